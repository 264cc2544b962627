"""The memory of rows: even shares, chance within them, and never more than its size."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.errors import ConfigError
from perdure.strategies import catalogue
from perdure.strategies.learner.state import State
from perdure.strategies.plugins.base import TensorData
from perdure.strategies.plugins.memory import Memory, Policy, balanced
from tests.strategies.small import ROOT, config_of, learn, learned

HERE = SimpleNamespace(rows_device=torch.device("cpu"))


def rows(labels: list[int], first: int = 0) -> dict[str, torch.Tensor]:
    """Rows of these labels; x numbers them, from `first`."""
    count = len(labels)
    x = torch.arange(first, first + count, dtype=torch.float32).unsqueeze(1)
    return {"x": x, "y": torch.tensor(labels), "task": torch.zeros(count, dtype=torch.int64)}


def experience(labels: list[int], number: int, first: int) -> tuple[Any, Any]:
    """What Avalanche passes to `post_adapt`."""
    found = rows(labels, first)
    data = TensorData((found["x"], found["y"], found["task"]))
    clock = SimpleNamespace(train_exp_counter=number)
    return SimpleNamespace(clock=clock), SimpleNamespace(dataset=data)


groups = st.lists(st.integers(0, 5), max_size=60)


@settings(deadline=None)
@given(groups, st.integers(1, 40))
def test_even_shares_are_those_of_dealing_one_by_one(labels: list[int], size: int) -> None:
    found = balanced(torch.tensor(labels, dtype=torch.int64), size)
    # The oracle: go round the groups and take the first row that is left of each.
    left = {g: [i for i, label in enumerate(labels) if label == g] for g in set(labels)}
    dealt: list[int] = []
    while any(left.values()) and len(dealt) < size:
        heads = sorted(places.pop(0) for places in left.values() if places)
        dealt += heads[: size - len(dealt)]
    assert found.tolist() == sorted(dealt)
    taken, there = Counter(labels[place] for place in found.tolist()), Counter(labels)
    assert sum(taken.values()) == min(size, len(labels))
    for g in there:
        assert taken[g] == there[g] or taken[g] >= max(taken.values()) - 1


@pytest.mark.parametrize("size", [30, 31])
def test_class_balanced_counts_are_those_of_avalanche(size: int) -> None:
    torch.manual_seed(0)
    memory = Memory(size, "class-balanced")
    for first, labels in ((0, [0] * 50 + [1] * 20), (70, [2] * 40), (110, [1] * 5 + [3] * 30)):
        memory.add(rows(labels, first))
    counts = sorted(Counter(memory.rows[1].tolist()).values())
    from avalanche.training.storage_policy import ClassBalancedBuffer

    assert counts == sorted(ClassBalancedBuffer(size).get_group_lengths(4))


def test_a_class_that_is_small_leaves_its_places_to_the_others() -> None:
    memory = Memory(30, "class-balanced")
    memory.add(rows([0] * 100 + [1] * 3 + [2] * 100))
    assert Counter(memory.rows[1].tolist()) in ({0: 14, 1: 3, 2: 13}, {0: 13, 1: 3, 2: 14})


def test_within_a_class_every_row_is_kept_with_the_same_probability() -> None:
    """In whichever experience it came, however the classes' shares shrank in between."""
    torch.manual_seed(0)
    runs, counts = 1500, np.zeros(70)
    stream = [(0, [0] * 20 + [1] * 10), (30, [0] * 10 + [2] * 20), (60, [2] * 5 + [1] * 5)]
    for _ in range(runs):
        memory = Memory(12, "class-balanced")
        for first, labels in stream:
            memory.add(rows(labels, first))
        counts[memory.rows[0][:, 0].long().numpy()] += 1
    label = np.array([y for _, labels in stream for y in labels])
    for c, there in Counter(label.tolist()).items():
        share = 4 / there
        error = np.abs(counts[label == c] / runs - share).max()
        assert error < 6 * np.sqrt(share * (1 - share) / runs)  # six standard errors


def test_experience_balanced_has_as_many_of_each_however_large() -> None:
    memory = Memory(20, "experience-balanced")
    for number, count in enumerate([100, 7, 50]):
        memory.post_adapt(*experience([0] * count, number, 0))
    counts = Counter(memory.columns["experience"].tolist())
    assert sorted(counts.values()) == [6, 7, 7]
    assert set(counts) == {0, 1, 2}


def test_with_more_experiences_than_rows_each_has_the_same_chance_of_one() -> None:
    torch.manual_seed(0)
    runs, counts = 500, np.zeros(12)
    for _ in range(runs):
        memory = Memory(4, "experience-balanced")
        for number in range(12):
            memory.post_adapt(*experience([0] * 3, number, 0))
            assert len(memory) <= 4
        held = memory.columns["experience"].numpy()
        assert len(set(held.tolist())) == 4
        counts[held] += 1
    share = 4 / 12
    assert np.abs(counts / runs - share).max() < 6 * np.sqrt(share * (1 - share) / runs)


@pytest.mark.parametrize("policy", ["reservoir", "class-balanced", "experience-balanced"])
def test_rows_stay_together_and_hold_no_more_than_their_own_bytes(policy: Policy) -> None:
    memory = Memory(10, policy, beside=("extra",))
    for number in range(50):
        labels = [number % 3] * 40
        new = rows(labels, 40 * number)
        new["extra"] = new["x"] * 2 + new["y"].unsqueeze(1)
        places = memory.add(new, number)
        fresh = memory.columns["x"][places >= 0, 0] >= 40 * number
        assert fresh.all()
        assert torch.equal(memory.columns["x"][places >= 0], new["x"][places[places >= 0]])
    held = memory.columns
    assert torch.equal(held["extra"], held["x"] * 2 + held["y"].unsqueeze(1))
    assert torch.equal(held["y"], held["x"][:, 0].long() // 40 % 3)
    assert (memory.weights.diff() <= 0).all()
    width = {"x": 4, "extra": 4, "y": 8, "task": 8, "experience": 8}
    for name, column in held.items():
        assert column.untyped_storage().nbytes() == 10 * width[name], name


@pytest.mark.parametrize("policy", ["class-balanced", "experience-balanced"])
def test_a_smaller_memory_stays_even_and_nothing_is_redrawn(policy: Policy) -> None:
    memory = Memory(30, policy)
    for number in range(3):
        memory.add(rows([number] * 40, 40 * number), number)
    smaller = Memory(9, policy)
    smaller.restore(memory.state(), HERE)
    name = "y" if policy == "class-balanced" else "experience"
    assert Counter(smaller.columns[name].tolist()) == {0: 3, 1: 3, 2: 3}
    for group in range(3):
        of_it = memory.weights[memory.columns[name] == group]
        assert torch.equal(smaller.weights[smaller.columns[name] == group], of_it[:3])


def test_the_policy_may_change_between_versions() -> None:
    learner = learned(config_of([{"name": "replay", "size": 50}]), 2)
    for policy in ("experience-balanced", "class-balanced", "reservoir"):
        number = len(learner.cursor)
        learn(learner, number, config_of([{"name": "replay", "size": 50, "policy": policy}]))
        held = learner.memory["replay"].tensors
        assert len(held["x"]) == 50
        assert ("experience" in held) == (policy == "experience-balanced")
    first = learned(config_of([{"name": "replay", "size": 50}]), 2)
    learn(first, 2, config_of([{"name": "replay", "size": 50, "policy": "experience-balanced"}]))
    # Whatever was held before counts as one experience.
    assert Counter(first.memory["replay"].tensors["experience"].tolist()) == {-1: 25, 2: 25}


def test_a_regression_has_no_classes_to_balance() -> None:
    strategies = [{"name": "replay", "policy": "class-balanced"}]
    assert catalogue.check(config_of(strategies), ROOT) == []
    with pytest.raises(ConfigError) as caught:
        catalogue.chosen(config_of(strategies, "regression"), ROOT)
    assert caught.value.faults == (
        'training.strategies.0.policy = "class-balanced": a regression has no classes',
    )


def test_nothing_held_is_nothing_kept() -> None:
    memory = Memory(5)
    assert memory.state() == State()
    memory.restore(State(), HERE)
    assert memory.rows == []
    assert len(memory) == 0
