"""What every strategy, and every combination of them, must keep."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from perdure.config import Task
from perdure.errors import Fault
from perdure.strategies import catalogue
from perdure.strategies.features.encoding import encode
from perdure.strategies.learner import files
from perdure.strategies.learner.learner import Learner
from perdure.strategies.learner.state import State
from tests.strategies.small import (
    CASES,
    TASKS,
    VARIANTS,
    config_of,
    copied,
    learn,
    learned,
    names_of,
    new,
    once,
    reloaded,
    sizes,
    table,
    tasks_of,
    variant,
)

EVERY = [(case, task) for case in CASES for task in tasks_of(case)]
every = pytest.mark.parametrize(("case", "task"), EVERY)

FITS_CLASSES_ALONE = {"er-ace", "gdumb", "icarl"}
UNBOUNDED = {"cumulative", "joint"}
NOT_NAIVE_AT_FIRST = {
    "gdumb": "learns the rows of its memory, fewer than there are",
    "icarl": "has a loss of its own, also where there is nothing old",
}
FULL_AFTER = {"gem": 2}
"""Experiences until a memory is full, where it is not after the first."""


def both(learner: Learner) -> tuple[str, str, tuple[str, ...]]:
    return learner.weights_sha256, learner.state_sha256, learner.cursor


def test_the_suite_runs_over_all_there_are() -> None:
    known = catalogue.discover()
    assert list(known) == [
        "agem", "cumulative", "der", "der++", "er-ace", "ewc", "gdumb", "gem", "icarl", "joint",
        "lwf", "mas", "naive", "replay", "si",
    ]  # fmt: skip
    combined = {"+".join(sorted((a, b))) for a in known for b in known[a].combines}
    assert combined == {
        "ewc+lwf", "ewc+replay", "lwf+mas", "lwf+replay", "lwf+si", "mas+replay", "replay+si",
    }  # fmt: skip
    assert set(CASES) == set(known) | combined
    for name, strategy in known.items():
        assert name == strategy.name
        assert strategy.fits == (TASKS[:1] if name in FITS_CLASSES_ALONE else TASKS)
        assert strategy.bounded == (name not in UNBOUNDED)
        assert all(name in known[other].combines for other in strategy.combines)
        # The error of a combination says why not.
        assert bool(strategy.standalone) == (not strategy.combines)


@every
def test_the_same_seed_gives_the_same_learner(case: str, task: Task) -> None:
    config = config_of(CASES[case], task)
    first, second = once(case, 2, task), learned(config, 2, task)
    assert both(first) == both(second)
    other = learned(config_of(CASES[case], task, seed=1), 2, task)
    assert other.weights_sha256 != first.weights_sha256


@every
def test_saved_and_loaded_between_experiences_is_the_same_as_uninterrupted(
    case: str, task: Task, tmp_path: Path
) -> None:
    config = config_of(CASES[case], task)
    learner = new(config, task)
    for number in range(3):
        learner = reloaded(learner, tmp_path / str(number), config)
        learn(learner, number, config)
    assert both(learner) == both(once(case, 3, task))
    assert both(reloaded(learner, tmp_path / "end", config)) == both(learner)
    assert files.digests_of(tmp_path / "end") == both(learner)[:2], "without torch"
    assert files.look(tmp_path / "end").cursor == learner.cursor


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_that_is_stopped_goes_on_as_uninterrupted(name: str, tmp_path: Path) -> None:
    config = config_of(variant(name))
    learner = new(config)
    for number in range(3):
        learner = reloaded(learner, tmp_path / str(number), config)
        learn(learner, number, config)
    whole = learned(config, 3)
    assert both(learner) == both(whole)
    # What it keeps is needed; and the case itself would have learned something else.
    learner.memory = {key: State() for key in learner.memory}
    for one in (learner, whole):
        learn(one, 3, config)
    assert learner.weights_sha256 != whole.weights_sha256
    assert whole.weights_sha256 != once(VARIANTS[name][0], 4).weights_sha256


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_every_optimizer_goes_on_where_it_was(optimizer: str, tmp_path: Path) -> None:
    config = config_of(CASES["ewc+replay"], optimizer=optimizer)
    learner = reloaded(learned(config, 1), tmp_path / "one", config)
    learn(learner, 1, config)
    assert both(learner) == both(learned(config, 2))


@every
def test_nothing_outside_has_an_influence(case: str, task: Task) -> None:
    config = config_of(CASES[case], task)
    expected = both(once(case, 2, task))
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)
    # NumPy types its state as a dict or a tuple; by default it is the tuple.
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
    threads = torch.get_num_threads()
    assert both(learned(config, 2, task)) == expected
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # type: ignore[index]
    assert random.getstate() == before[2]
    assert torch.get_num_threads() == threads


@every
def test_the_rows_are_not_modified(case: str, task: Task) -> None:
    config = config_of(CASES[case], task)
    learner = once(case, 1, task)
    columns, target = table(1, task)
    kept = {name: values.copy() for name, values in columns.items()}, target.copy()
    from perdure.strategies.training import engine

    engine.learn(learner, "x", columns, target, *table(7, task), config)
    learner.predict(columns)
    for name, values in kept[0].items():
        np.testing.assert_array_equal(columns[name], values)
    np.testing.assert_array_equal(target, kept[1])


@pytest.mark.parametrize(("case", "task"), [e for e in EVERY if e[0] not in UNBOUNDED])
def test_memory_is_bounded(case: str, task: Task) -> None:
    config = config_of(CASES[case], task)
    full = FULL_AFTER.get(case, 1)
    learner = once(case, full, task)
    first = sizes(learner)
    assert set(first) == set(names_of(case)) - {"naive"}
    for number in range(full, 6):
        learn(learner, number, config)
        assert sizes(learner) == first  # 60 rows a time: a memory of 50 is full after the first
        for strategy in CASES[case]:
            if isinstance(strategy, dict) and "size" in strategy:
                memory = learner.memory[strategy["name"]].tensors
                assert len(memory["x"]) <= strategy["size"] * strategy.get("memories", 1)


@pytest.mark.parametrize("case", sorted(UNBOUNDED))
def test_the_references_hold_every_row(case: str) -> None:
    learner = once(case, 3)
    held = learner.memory[case].tensors
    with torch.no_grad():
        seen = [learner.prepare(encode(learner.spec, table(n)[0])) for n in range(3)]
    assert {tuple(r) for r in held["x"].tolist()} == {tuple(r) for r in torch.cat(seen).tolist()}
    assert len(held["x"]) == len(held["y"]) == len(held["task"]) == 180


@every
def test_the_first_experience_is_that_of_naive(case: str, task: Task) -> None:
    same = once(case, 1, task).weights_sha256 == once("naive", 1, task).weights_sha256
    assert same == (case not in NOT_NAIVE_AT_FIRST)


@pytest.mark.parametrize(("case", "task"), [e for e in EVERY if e[0] != "naive"])
def test_the_second_differs_from_naive(case: str, task: Task) -> None:
    assert once(case, 2, task).weights_sha256 != once("naive", 2, task).weights_sha256


@every
def test_a_training_that_fails_leaves_the_learner_as_it_was(case: str, task: Task) -> None:
    config = config_of(CASES[case], task)
    learner = once(case, 1, task)
    before = both(learner)
    with pytest.raises(Fault, match="diverged"):
        learn(learner, 1, config_of(CASES[case], task, learning_rate=1e38, optimizer="sgd"))
    assert both(learner) == before
    learn(learner, 1, config)
    assert both(learner) == both(once(case, 2, task))


@every
def test_a_version_is_taken_back_bit_for_bit(case: str, task: Task) -> None:
    config = config_of(CASES[case], task)
    learner = once(case, 1, task)
    kept = copied(learner)
    learn(learner, 1, config)  # the version that is abandoned
    learn(kept, 2, config)
    straight = once(case, 1, task)
    learn(straight, 2, config)
    assert both(kept) == both(straight)
