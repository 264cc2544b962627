"""Gates of the user's own: how they are called, what they may return, what a fault says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from perdure.config import Workspace, parse
from perdure.errors import ConfigError, Fault
from perdure.records import Reason
from perdure.tasks import own_gates

CODE = """
import numpy as np

def cost(truth, candidate, champion, rows):
    missed = (truth == 1) & (candidate.argmax(axis=1) == 0)
    value = float((missed * rows["amount"]).sum())
    rows["amount"] = 0
    truth[:] = 0
    theirs = None
    if champion is not None:
        theirs = float((((truth == 1) & (champion.argmax(axis=1) == 0)) * rows["amount"]).sum())
    return {"value": value, "limit": 100, "champion": theirs, "passed": value <= 100}

def answers(truth, candidate, champion, rows):
    return {"value": np.float32(0.5), "answer": "undecided", "message": "half", "metric": "m"}

def raises(truth, candidate, champion, rows):
    raise KeyError("amount")

def nothing(truth, candidate, champion, rows):
    return None

def strange(truth, candidate, champion, rows):
    return {"value": 1, "answer": "maybe"}

def more(truth, candidate, champion, rows):
    return {"value": 1, "passed": True, "colour": "red"}

def text(truth, candidate, champion, rows):
    return {"value": "much", "passed": True}
"""
TRUTH = np.array([0, 1, 1])
OUTPUTS = np.eye(2)[[0, 0, 1]]
ROWS = pd.DataFrame({"amount": [5.0, 120.0, 7.0]})


def ask(root: Path, *functions: str) -> tuple[Reason, ...]:
    (root / "mine.py").write_text(CODE)
    own = "".join(f'[[gates.own]]\nfactory = "mine.py:{name}"\n' for name in functions)
    text = f'[model]\nname = "m"\n[data]\ntarget = "y"\ntask = "classification"\n{own}'
    ws = Workspace(root, parse(text))
    truth, rows = TRUTH.copy(), ROWS.copy()
    found = own_gates.ask(ws, truth, OUTPUTS, OUTPUTS, rows)
    # A function cannot change what other gates see.
    assert (truth == TRUTH).all()
    pd.testing.assert_frame_equal(rows, ROWS)
    return found


def test_a_function_refuses_passes_and_is_undecided(tmp_path: Path) -> None:
    cost, half = ask(tmp_path, "cost", "answers")
    assert (cost.gate, cost.answer, cost.value, cost.limit) == ("own cost", "refused", 120.0, 100)
    assert cost.message == "own cost: value 120.0, limit 100"
    assert (half.answer, half.value, half.metric) == ("undecided", 0.5, "m")
    assert half.message == "own answers: half"


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        ("raises", Fault, "mine.py:raises raised KeyError"),
        ("nothing", ConfigError, "returned None"),
        ("strange", ConfigError, "answer = 'maybe'"),
        ("more", ConfigError, "'colour'"),
        ("text", ConfigError, "value = 'much'"),
        ("absent", ConfigError, "has no function absent"),
    ],
)
def test_a_fault_names_the_function(tmp_path: Path, function: str, error: Any, words: str) -> None:
    with pytest.raises(error) as found:
        ask(tmp_path, function)
    assert f"mine.py:{function}" in str(found.value)
    assert words in str(found.value)


def test_a_function_that_cannot_be_had_is_a_fault_before_a_training(tmp_path: Path) -> None:
    text = (
        '[model]\nname = "m"\n[data]\ntarget = "y"\ntask = "classification"\n'
        '[[gates.own]]\nfactory = "gone.py:cost"\n[[gates.own]]\nfactory = "math:sqrt"\n'
    )
    [fault] = own_gates.check(parse(text), tmp_path)
    assert fault.startswith("gates.own.0.factory = 'gone.py:cost': FileNotFoundError")
