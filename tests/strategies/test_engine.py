"""One learning step: what it reports, what it refuses, and where it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from perdure.errors import DataRefused, UsageError
from perdure.progress import Advance, reported_by
from perdure.strategies.learner.learner import Learner
from perdure.strategies.training import devices, engine
from tests.strategies.small import CASES, ROOT, config_of, learn, learned, new, spec_of, table

CONFIG = config_of(["naive"])
LONGER = {"cumulative", "joint", "icarl"}
"""Cases whose second experience has more rows to train on than the new ones."""


def test_the_record_has_a_loss_for_each_epoch() -> None:
    learner = new(CONFIG)
    trained = learn(learner, 0, CONFIG)
    assert [epoch.number for epoch in trained.epochs] == [1, 2]
    assert trained.rows == 60
    assert trained.seconds > 0
    columns, target = table(100, rows=20)
    p = learner.predict(columns)[np.arange(20), (target == "yes").astype(int)]
    assert trained.epochs[-1].validation_loss == pytest.approx(-np.log(p).mean(), rel=1e-5)
    assert all(0 < epoch.loss < 5 for epoch in trained.epochs)


def test_without_validation_rows_there_is_no_validation_loss() -> None:
    columns, target = table(0)
    none = {name: values[:0] for name, values in columns.items()}
    trained = engine.learn(new(CONFIG), "0", columns, target, none, target[:0], CONFIG)
    assert [epoch.validation_loss for epoch in trained.epochs] == [None, None]


def test_watching_rows_has_no_influence() -> None:
    columns, target = table(0)
    one, other = new(CONFIG), new(CONFIG)
    engine.learn(one, "0", columns, target, *table(9), CONFIG)
    engine.learn(other, "0", columns, target, *table(8, rows=3), CONFIG)
    assert one.weights_sha256 == other.weights_sha256
    assert one.state_sha256 == other.state_sha256


@pytest.mark.parametrize("case", list(CASES))
def test_progress_counts_every_batch(case: str) -> None:
    seen: list[tuple[str, int]] = []
    done: list[int] = []

    @contextmanager
    def reporter(description: str, total: int) -> Iterator[Advance]:
        seen.append((description, total))
        yield done.append

    config = config_of(CASES[case])
    learner = learned(config, 1)
    with reported_by(reporter):
        learn(learner, 1, config)
    # 60 rows in batches of 16, twice; some strategies train on other rows than the new ones
    before = learned(config, 1).clock["train_iterations"]
    batches = learner.clock["train_iterations"] - before
    assert seen == [("learning 000001", batches)]
    assert sum(done) == batches >= 8
    assert batches == 8 or case in LONGER


def test_more_epochs_fit_better() -> None:
    config = config_of(["naive"], epochs=60, learning_rate=0.01)
    trained = learn(new(config), 0, config)
    assert trained.epochs[-1].loss < 0.6 * trained.epochs[0].loss


def test_an_experience_is_learned_once() -> None:
    learner = learned(CONFIG, 1)
    with pytest.raises(UsageError, match="000000 was learned already"):
        learn(learner, 0, CONFIG)


def test_rows_that_do_not_fit_are_refused() -> None:
    columns, target = table(0)
    empty = {name: values[:0] for name, values in columns.items()}
    learner = new(CONFIG)
    with pytest.raises(DataRefused, match="0 training rows"):
        engine.learn(learner, "0", empty, target[:0], empty, target[:0], CONFIG)
    with pytest.raises(DataRefused, match="60 rows of features, but 5 of the target"):
        engine.learn(learner, "0", columns, target[:5], empty, target[:0], CONFIG)
    assert learner.cursor == ()


def test_a_device_that_is_not_there_is_wrong_use() -> None:
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(UsageError, match=f"training.device = '{missing}'"):
        learn(new(CONFIG), 0, config_of(["naive"], device=missing))
    assert devices.choose_device("cpu") == torch.device("cpu")
    assert devices.choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_the_thread_count_of_the_configuration_holds_while_it_learns() -> None:
    seen: set[int] = set()

    @contextmanager
    def reporter(_description: str, _total: int) -> Iterator[Advance]:
        yield lambda _done: seen.add(torch.get_num_threads())

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with reported_by(reporter):
            learn(new(CONFIG), 0, config_of(["naive"], threads=2))
            assert torch.get_num_threads() == 3
            learn(new(CONFIG), 0, config_of(["naive"], threads=0))
    finally:
        torch.set_num_threads(before)
    assert seen == {2, 3}


def test_the_last_batch_may_be_one_row() -> None:
    columns, target = table(0, rows=33)
    config = config_of(CASES["ewc+replay"])
    learner = Learner.new(spec_of(), config, ROOT, columns)
    engine.learn(learner, "0", columns, target, columns, target, config)
    assert learner.clock["train_iterations"] == 2 * 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("case", list(CASES))
def test_what_a_gpu_learned_is_saved_from_the_cpu(case: str) -> None:
    config = config_of(CASES[case], device="cuda")
    learner = learned(config, 2)
    assert "random.cuda" in learner.parts()
    assert all(t.device.type == "cpu" for p in learner.parts().values() for t in p.tensors.values())
    learn(learner, 2, config_of(CASES[case]))
