"""Strategies by name, their settings, what goes with what; and that asking costs nothing."""

from __future__ import annotations

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
    assert found == {
        "ewc": {"penalty": 100.0},
        "naive": {},
        "replay": {"size": 2000, "batch_size": None},
    }


@pytest.mark.parametrize(
    ("strategies", "fault"),
    [
        (["replya"], "training.strategies.0.name = 'replya': unknown; known: ewc, naive, replay"),
        ([{"name": "replay", "size": 0}], "training.strategies.0.size = 0: input should be"),
        ([{"name": "replay", "sise": 5}], "training.strategies.0.sise: unknown key"),
        ([{"name": "replay", "batch_size": 0}], "training.strategies.0.batch_size = 0: input"),
        ([{"name": "ewc", "penalty": -1.0}], "training.strategies.0.penalty = -1.0: input should"),
        ([{"name": "naive", "size": 5}], "training.strategies.0.size: unknown key"),
        (["replay", "replay"], "training.strategies.1.name = 'replay': stands there twice"),
        (
            ["replay", "naive"],
            "training.strategies.1.name = 'naive': does not combine with 'replay'; "
            "naive combines with nothing",
        ),
    ],
)
def test_each_fault_is_named_with_its_key(strategies: list[Any], fault: str) -> None:
    (found,) = catalogue.check(config_of(strategies), ROOT)
    assert found.startswith(fault)


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
    assert names == [("ewc", {"penalty": 100.0}), ("replay", {"size": 7, "batch_size": None})]


def test_neither_checking_nor_verifying_imports_torch() -> None:
    code = (
        "import sys\n"
        "from perdure.strategies import catalogue, files\n"
        "assert catalogue.discover()\n"
        "print([m for m in ('torch', 'avalanche', 'numpy') if m in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_learner_is_loaded_without_avalanche() -> None:
    code = (
        "import sys\n"
        "import perdure.strategies.learner\n"
        "print('torch' in sys.modules, 'avalanche' in sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "False"]


def test_every_strategy_says_formula_reference_state_and_what_it_fits() -> None:
    assert catalogue.discover()
    for name in catalogue.discover():
        text = (Path(catalogue.__file__).parent / f"{name}.py").read_text(encoding="utf-8")
        docstring = text.split('"""')[1]
        assert "Reference" in docstring
        assert "https://" in docstring
        assert "Fits classification and regression" in docstring
        assert "θ" in docstring
