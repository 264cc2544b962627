"""The replay memory: who stays in it, what it holds, how it changes size."""

from __future__ import annotations

import numpy as np
import torch

from perdure.strategies.plugins.base import TensorData
from perdure.strategies.plugins.memory import Memory
from tests.strategies.small import config_of, learn, learned


def rows(first: int, count: int) -> TensorData:
    x = torch.arange(first, first + count, dtype=torch.float32).unsqueeze(1)
    return TensorData((x, x[:, 0].long(), torch.zeros(count, dtype=torch.int64)))


def test_every_row_is_kept_with_the_same_probability() -> None:
    """Inclusion is size / n for each of n rows, in whichever experience it came."""
    torch.manual_seed(0)
    runs, size, counts = 3000, 10, np.zeros(40)
    for _ in range(runs):
        memory = Memory(max_size=size)
        for first, count in ((0, 25), (25, 10), (35, 5)):
            memory.update_from_dataset(rows(first, count))
        held = memory.rows[1].numpy()
        assert len(set(held.tolist())) == size
        counts[held] += 1
    share = size / 40
    # Six standard errors of a binomial share: a wrong reservoir is off by far more.
    assert np.abs(counts / runs - share).max() < 6 * np.sqrt(share * (1 - share) / runs)


def test_rows_and_labels_stay_together_and_weights_descend() -> None:
    learner = learned(config_of([{"name": "replay", "size": 50}]), 3)
    held = learner.memory["replay"].tensors
    assert {name: (tuple(t.shape), t.dtype) for name, t in held.items()} == {
        "x": ((50, 5), torch.float32),
        "y": ((50,), torch.int64),
        "task": ((50,), torch.int64),
        "weight": ((50,), torch.float32),
    }
    assert (held["weight"].diff() <= 0).all()
    memory = Memory(max_size=7)
    memory.update_from_dataset(rows(0, 20))
    x, y, _ = memory.rows
    assert torch.equal(x[:, 0].long(), y)


def test_the_memory_holds_no_more_than_its_own_bytes() -> None:
    memory = Memory(max_size=10)
    for first in range(0, 5000, 1000):
        memory.update_from_dataset(rows(first, 1000))
    held = [*memory.rows, memory.weights]
    assert [t.untyped_storage().nbytes() for t in held] == [10 * 4, 10 * 8, 10 * 8, 10 * 4]


def test_a_smaller_memory_keeps_the_rows_of_highest_weight() -> None:
    learner = learned(config_of([{"name": "replay", "size": 50}]), 1)
    before = learner.memory["replay"].tensors
    config = config_of([{"name": "replay", "size": 5}])
    learn(learner, 1, config)
    after = learner.memory["replay"].tensors
    assert len(after["x"]) == len(after["weight"]) == 5
    assert after["weight"][-1] >= before["weight"][4]


def test_a_strategy_added_later_starts_empty_and_one_removed_is_dropped() -> None:
    learner = learned(config_of(["naive"]), 1)
    assert learner.memory == {}
    learn(learner, 1, config_of(["replay", "ewc"]))
    assert set(learner.memory) == {"replay", "ewc"}
    assert len(learner.memory["replay"].tensors["x"]) == 60  # of the second experience alone
    learn(learner, 2, config_of(["ewc"]))
    assert set(learner.memory) == {"ewc"}


def test_the_order_of_the_strategies_in_the_file_does_not_matter() -> None:
    one = learned(config_of(["replay", "ewc"]), 2)
    other = learned(config_of(["ewc", "replay"]), 2)
    assert one.weights_sha256 == other.weights_sha256
    assert one.state_sha256 == other.state_sha256
