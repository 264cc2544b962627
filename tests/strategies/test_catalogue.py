"""Strategies by name, their settings, what goes with what; and that asking costs nothing."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perdure.config import Task
from perdure.errors import ConfigError
from perdure.strategies import catalogue
from tests.strategies.small import config_of

ROOT = Path("w")


def test_defaults_are_pinned() -> None:
    found = {n: s.settings().model_dump() for n, s in catalogue.discover().items()}
    memory = {"size": 2000, "batch_size": None}
    assert found == {
        "agem": memory,
        "cumulative": {},
        "der": {**memory, "alpha": 0.5},
        "der++": {**memory, "alpha": 0.5, "beta": 0.5},
        "er-ace": memory,
        "ewc": {
            "penalty": 100.0, "online": False, "decay": 1.0, "rows": None, "form": "gradient",
        },
        "gdumb": {"size": 5000},
        "gem": {"size": 256, "memories": 10, "strength": 0.5},
        "icarl": {"size": 2000},
        "joint": {},
        "lwf": {"alpha": 1.0, "temperature": 2.0},
        "mas": {"penalty": 0.01, "decay": 1.0, "rows": None},
        "naive": {},
        "replay": {**memory, "policy": "reservoir"},
        "si": {"penalty": 1.0, "damping": 0.1},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("strategies", "fault"),
    [
        (
            ["replya"],
            "training.strategies.0.name = 'replya': unknown; known: agem, cumulative, der, der++, "
            "er-ace, ewc, gdumb, gem, icarl, joint, lwf, mas, naive, replay, si, or a plugin",
        ),
        ([{"name": "replay", "size": 0}], "training.strategies.0.size = 0: input should be"),
        ([{"name": "replay", "sise": 5}], "training.strategies.0.sise: unknown key"),
        ([{"name": "replay", "batch_size": 0}], "training.strategies.0.batch_size = 0: input"),
        ([{"name": "ewc", "penalty": -1.0}], "training.strategies.0.penalty = -1.0: input should"),
        ([{"name": "naive", "size": 5}], "training.strategies.0.size: unknown key"),
        (["replay", "replay"], "training.strategies.1.name = 'replay': stands there twice"),
        (
            ["replay", "naive"],
            "training.strategies.1.name = 'naive': does not combine with 'replay'; "
            "naive combines with nothing (naive: it is training with nothing added, so",
        ),
        (
            ["ewc", "der++"],
            "training.strategies.1.name = 'der++': does not combine with 'ewc'; der++ combines "
            "with nothing (der++: its loss takes the place of the criterion, with a memory",
        ),
        (
            ["gdumb", "replay"],
            "training.strategies.1.name = 'replay': does not combine with 'gdumb'; replay combines "
            "with ewc, lwf, mas, si (gdumb: it trains a new model on its memory alone",
        ),
        (
            ["ewc", "replay", "si"],
            "training.strategies.2.name = 'si': does not combine with 'ewc'; si combines with lwf, "
            "replay (si: ewc and mas pull the same weights back, each by its own measure",
        ),
        ([{"name": "der++", "beta": -1}], "training.strategies.0.beta = -1: input should be"),
        ([{"name": "replay", "size": True}], "training.strategies.0.size = True: input should be"),
        ([{"name": "ewc", "penalty": "5"}], "training.strategies.0.penalty = '5': input should be"),
        ([{"name": "gem", "memories": 0}], "training.strategies.0.memories = 0: input should be"),
        (
            [{"name": "replay", "policy": "oldest"}],
            "training.strategies.0.policy = 'oldest': input should be 'reservoir', 'class-ba",
        ),
    ],
)
def test_each_fault_is_named_with_its_key(strategies: list[Any], fault: str) -> None:
    (found,) = catalogue.check(config_of(strategies), ROOT)
    assert found.startswith(fault)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"class_weights": "balanced"}, "training.class_weights = 'balanced'"),
        ({"class_weights": {"yes": 2.0}}, "training.class_weights = {'yes': 2.0}"),
        ({"label_smoothing": 0.1}, "training.label_smoothing = 0.1"),
        (
            {"class_weights": "balanced", "label_smoothing": 0.1},
            "training.class_weights = 'balanced' and training.label_smoothing = 0.1",
        ),
    ],
)
def test_what_a_loss_would_leave_out_without_a_word_is_refused(
    training: dict[str, Any], message: str
) -> None:
    (fault,) = catalogue.check(config_of(["icarl"], **training), ROOT)
    assert fault.startswith("training.strategies.0.name = 'icarl': its loss, ")
    assert f"has no place for {message}; leave that out" in fault
    others = [name for name, s in catalogue.discover().items() if name != "icarl"]
    assert [name for name in others if catalogue.check(config_of([name], **training), ROOT)] == []
    assert catalogue.check(config_of(["icarl"], label_smoothing=0.0), ROOT) == []


@pytest.mark.parametrize("first", catalogue.discover())
def test_every_pair_that_is_refused_is_told_why(first: str) -> None:
    known = catalogue.discover()
    for second in set(known) - {first}:
        faults = catalogue.check(config_of([first, second]), ROOT)
        if second in known[first].combines:
            assert faults == []
            continue
        (fault,) = faults
        reason = re.fullmatch(r".*; \S+ combines with [^(]*\((\S+): (.{30,})\)", fault)
        assert reason, fault
        assert reason[1] in (first, second)


def test_what_holds_weights_outputs_and_rows_goes_together() -> None:
    for penalty in ("ewc", "mas", "si"):
        assert catalogue.check(config_of(["replay", penalty, "lwf"]), ROOT) == []


def test_all_faults_are_told_together() -> None:
    config = config_of([{"name": "replay", "size": 0}, "nonsense", {"name": "ewc", "penalty": -1}])
    assert len(catalogue.check(config, ROOT)) == 3
    with pytest.raises(ConfigError) as caught:
        catalogue.chosen(config, ROOT)
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_what_is_right_is_chosen_in_alphabetical_order(task: Task) -> None:
    config = config_of([{"name": "replay", "size": 7}, "ewc"], task)
    assert catalogue.check(config, ROOT) == []
    names = [(s.name, settings.model_dump()) for s, settings in catalogue.chosen(config, ROOT)]
    assert names[0][0] == "ewc"
    assert names[1:] == [("replay", {"size": 7, "batch_size": None, "policy": "reservoir"})]


def test_neither_checking_nor_verifying_imports_torch() -> None:
    code = (
        "import sys\n"
        "from perdure.strategies import catalogue\n"
        "from perdure.strategies.learner import files\n"
        "assert callable(files.verify)\n"
        "assert catalogue.discover()\n"
        "print([m for m in ('torch', 'avalanche') if m in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_learner_is_loaded_without_avalanche() -> None:
    code = (
        "import sys\n"
        "import perdure.strategies.learner.learner\n"
        "print('torch' in sys.modules, 'avalanche' in sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "False"]


@pytest.mark.parametrize("name", ["er-ace", "gdumb", "icarl"])
def test_what_needs_classes_does_not_fit_a_regression_and_what_does_is_named(name: str) -> None:
    assert catalogue.check(config_of([name]), ROOT) == []
    (fault,) = catalogue.check(config_of([name], "regression"), ROOT)
    fitting = "agem, cumulative, der, der++, ewc, gem, joint, lwf, mas, naive, replay, si"
    assert fault == (
        f"training.strategies.0.name = {name!r}: does not fit regression; those that do: {fitting}"
    )


def test_every_strategy_says_formula_reference_state_and_what_it_fits() -> None:
    assert catalogue.discover()
    for name, strategy in catalogue.discover().items():
        module = {"der++": "derpp"}.get(name, name.replace("-", "_"))
        docstring = importlib.import_module(f"perdure.strategies.{module}").__doc__ or ""
        assert "Reference" in docstring
        assert "https://" in docstring
        fits = " and ".join(strategy.fits)
        assert f"Fits {fits}" in docstring
        assert re.search(r"^    \S.*[=←·] ", docstring, re.MULTILINE)  # a formula of its own line
        result = (strategy.memory, strategy.cost, strategy.fails, strategy.reference)
        assert all(result) or name == "naive"
        completed = (*result, strategy.standalone, strategy.conflicts_reason, strategy.summary)
        assert not any(word.endswith(".") for word in completed)
