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
from perdure.strategies.learner import Learner
from tests.strategies.small import (
    CASES,
    TASKS,
    config_of,
    copied,
    learn,
    learned,
    new,
    reloaded,
    sizes,
    table,
)

EVERY = [(case, task) for case in CASES for task in TASKS]
every = pytest.mark.parametrize(("case", "task"), EVERY)


def both(learner: Learner) -> tuple[str, str, tuple[str, ...]]:
    return learner.weights_sha256, learner.state_sha256, learner.cursor


def test_the_suite_runs_over_all_there_are() -> None:
    known = catalogue.discover()
    assert list(known) == ["ewc", "naive", "replay"]
    combined = {"+".join(sorted((a, b))) for a in known for b in known[a].combines}
    assert combined == {"ewc+replay"}
    assert set(CASES) == set(known) | combined
    for name, strategy in known.items():
        assert name == strategy.name
        assert set(strategy.fits) == set(TASKS)
        assert all(name in known[other].combines for other in strategy.combines)


@every
def test_the_same_seed_gives_the_same_learner(case: str, task: Task) -> None:
    config = config_of(CASES[case], task)
    first, second = learned(config, 2, task), learned(config, 2, task)
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
    assert both(learner) == both(learned(config, 3, task))
    assert both(reloaded(learner, tmp_path / "end", config)) == both(learner)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_every_optimizer_goes_on_where_it_was(optimizer: str, tmp_path: Path) -> None:
    config = config_of(CASES["ewc+replay"], optimizer=optimizer)
    learner = reloaded(learned(config, 1), tmp_path / "one", config)
    learn(learner, 1, config)
    assert both(learner) == both(learned(config, 2))


@every
def test_nothing_outside_has_an_influence(case: str, task: Task) -> None:
    config = config_of(CASES[case], task)
    expected = both(learned(config, 2, task))
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
    learner = learned(config, 1, task)
    columns, target = table(1, task)
    kept = {name: values.copy() for name, values in columns.items()}, target.copy()
    from perdure.strategies import engine

    engine.learn(learner, "x", columns, target, *table(7, task), config)
    learner.predict(columns)
    for name, values in kept[0].items():
        np.testing.assert_array_equal(columns[name], values)
    np.testing.assert_array_equal(target, kept[1])


@every
def test_memory_is_bounded(case: str, task: Task) -> None:
    config = config_of(CASES[case], task)
    learner = learned(config, 1, task)
    first = sizes(learner)
    assert set(first) == set(case.split("+")) - {"naive"}
    for number in range(1, 4):
        learn(learner, number, config)
    assert sizes(learner) == first  # 60 rows a time: a memory of 50 is full after the first


@every
def test_the_first_experience_is_that_of_naive(case: str, task: Task) -> None:
    one = learned(config_of(CASES[case], task), 1, task)
    assert one.weights_sha256 == learned(config_of(["naive"], task), 1, task).weights_sha256


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("case", [case for case in CASES if case != "naive"])
def test_the_second_differs_from_naive(case: str, task: Task) -> None:
    two = learned(config_of(CASES[case], task), 2, task)
    assert two.weights_sha256 != learned(config_of(["naive"], task), 2, task).weights_sha256


@every
def test_a_training_that_fails_leaves_the_learner_as_it_was(case: str, task: Task) -> None:
    config = config_of(CASES[case], task)
    learner = learned(config, 1, task)
    before = both(learner)
    with pytest.raises(Fault, match="diverged"):
        learn(learner, 1, config_of(CASES[case], task, learning_rate=1e38, optimizer="sgd"))
    assert both(learner) == before
    learn(learner, 1, config)
    assert both(learner) == both(learned(config, 2, task))


@every
def test_a_version_is_taken_back_bit_for_bit(case: str, task: Task) -> None:
    config = config_of(CASES[case], task)
    learner = learned(config, 1, task)
    kept = copied(learner)
    learn(learner, 1, config)  # the version that is abandoned
    learn(kept, 2, config)
    straight = learned(config, 1, task)
    learn(straight, 2, config)
    assert both(kept) == both(straight)
