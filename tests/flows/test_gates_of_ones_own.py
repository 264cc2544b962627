"""Slices and gates of the user's own, through a whole learning step."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.errors import ConfigError
from perdure.flows.evaluate import evaluate
from perdure.flows.retrain import retrain
from tests.promises import kit

SLICES = """
[[gates.slices]]
where = "colour == 'red' and a > 0"
name = "red"

[[gates.slices]]
where = "colour in ['green']"

[[gates.own]]
factory = "mine.py:rows_enough"
"""
MINE = """
def rows_enough(truth, candidate, champion, rows):
    count = int((rows["colour"] == "red").sum())
    return {"value": count, "limit": 1, "passed": count >= 1, "message": f"{count} red rows"}
"""


def test_slices_and_own_gates_are_part_of_the_verdict(tmp_path: Path) -> None:
    root = kit.make(tmp_path / "workspace", more=SLICES)
    (root / "mine.py").write_text(MINE)
    kit.ingest(root, kit.table(2, 120))
    first, second = retrain.fn(str(root)).learned
    assert (first.promoted, second.promoted) == (True, True)
    registry = kit.registry(root)
    one, two = (registry.verdict(number) for number in (1, 2))
    own = next(reason for reason in one.reasons if reason.gate == "own rows_enough")
    assert own.answer == "passed"
    assert own.message == f"own rows_enough: {own.value:.0f} red rows"
    assert not any(reason.gate.startswith("slice") for reason in one.reasons)  # no champion yet
    found = {reason.gate: reason for reason in two.reasons}
    red, green = found["slice red"], found["slice colour in ['green']"]
    assert red.rows is not None
    assert green.rows is not None
    assert 0 < red.rows < green.rows
    assert "one of 2 slices" in red.message
    now = evaluate.fn(str(root), version=2)
    assert any(reason.gate == "own rows_enough" for reason in now.verdict.reasons)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('[[gates.slices]]\nwhere = "height > 2"\n', "gates.slices.0.where = 'height > 2'"),
        ('[[gates.slices]]\nwhere = "colour > 2"\n', "cannot be compared"),
        ('[[gates.own]]\nfactory = "gone.py:check"\n', "gates.own.0.factory = 'gone.py:check'"),
    ],
)
def test_what_does_not_suit_is_a_fault_before_a_training(
    tmp_path: Path, more: str, words: str
) -> None:
    root = kit.make(tmp_path / "workspace", more=more)
    with pytest.raises(ConfigError) as error:
        retrain.fn(str(root))
    assert words in str(error.value)
    assert kit.registry(root).read().challenger is None
