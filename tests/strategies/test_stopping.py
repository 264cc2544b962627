"""Early stopping: what it waits for, and what it goes back to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from perdure.records import Trained
from perdure.strategies.learner.learner import Learner
from perdure.strategies.learner.state import State, digest
from perdure.strategies.training import engine
from perdure.strategies.training.precision import Precision
from perdure.strategies.training.stopping import Stopping
from tests.strategies.small import config_of, new, table
from tests.strategies.test_steps import NORMED

WILD: dict[str, Any] = {"learning_rate": 0.05, "epochs": 8}
"""The validation loss falls, and then rises again."""


def trained(strategy: Any, folder: Path, **training: Any) -> tuple[Learner, Trained]:
    (folder / "normed.py").write_text(NORMED)
    model = {"factory": f"{folder / 'normed.py'}:make", "bins": 0}
    config = config_of([strategy], model=model, **{**WILD, **training})
    learner = new(config)
    record = engine.learn(learner, "0", *table(0), *table(0, rows=20), config)
    return learner, record


def parts(learner: Learner) -> dict[str, str]:
    """Digests of what training changes, but for clock and random streams."""
    return {
        name: digest({name: part})
        for name, part in learner.parts().items()
        if name in ("weights", "optimizer") or name.startswith("memory.")
    }


@pytest.mark.parametrize("patience", [2, 100])
@pytest.mark.parametrize("strategy", ["naive", "ewc"])
def test_the_best_epoch_is_gone_back_to_whole(strategy: str, patience: int, tmp_path: Path) -> None:
    stopped, record = trained(strategy, tmp_path, patience=patience)
    losses = [epoch.validation_loss for epoch in record.epochs]
    best = losses.index(min(loss for loss in losses if loss is not None)) + 1
    assert 1 < best < len(losses)
    assert record.best_epoch == best
    assert len(losses) == (best + 2 if patience == 2 else WILD["epochs"])
    # Weights, buffers, optimizer and Fisher are those of a training that ended there.
    ended, short = trained(strategy, tmp_path, epochs=best)
    assert short.best_epoch is None
    assert parts(stopped) == parts(ended)
    later, _ = trained(strategy, tmp_path, epochs=len(losses))
    assert all(parts(stopped)[name] != part for name, part in parts(later).items())


def test_without_validation_rows_all_epochs_are_learned(tmp_path: Path) -> None:
    (tmp_path / "normed.py").write_text(NORMED)
    model = {"factory": f"{tmp_path / 'normed.py'}:make"}
    columns, target = table(0)
    none = {name: values[:0] for name, values in columns.items()}
    found = []
    for patience in (None, 1):
        config = config_of(["naive"], model=model, patience=patience, **WILD)
        learner = new(config)
        record = engine.learn(learner, "0", columns, target, none, target[:0], config)
        assert (len(record.epochs), record.best_epoch) == (8, None)
        found.append(learner)
    assert found[0].weights_sha256 == found[1].weights_sha256
    assert found[0].state_sha256 == found[1].state_sha256


class Noting:
    """A strategy's plugin with something of its own to take back."""

    def __init__(self) -> None:
        self.value = self.marked = 0

    def mark(self) -> None:
        self.marked = self.value

    def rewind(self) -> None:
        self.value = self.marked

    def state(self) -> State:
        return State()


def rows(loss: float | None) -> torch.Tensor | None:
    return None if loss is None else torch.full((2,), loss, dtype=torch.float64)


@pytest.mark.parametrize(
    ("losses", "min_delta", "stops", "best"),
    [
        ([3.0, 2.0, 2.5, 2.4, 1.0], 0.0, 4, 2),
        ([3.0, 2.9, 2.8, 2.7, 2.6], 0.5, 3, 1),
        ([3.0, float("nan"), float("nan"), 1.0], 0.0, 3, 1),
        ([float("nan"), None, 3.0, 2.0], 0.0, None, 4),
        ([3.0, 2.0, 1.0], 0.0, None, 3),
        ([None, None, None], 0.0, None, None),
    ],
)
def test_patience_counts_epochs_without_improvement(
    losses: list[float | None], min_delta: float, stops: int | None, best: int | None
) -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    plugin = Noting()
    left = iter(losses)
    stopping = Stopping(2, min_delta, [plugin, object()], lambda: rows(next(left)))
    ended = None
    for epoch in range(1, len(losses) + 1):
        plugin.value = epoch
        nn.init.constant_(model.weight, float(epoch))
        optimizer.state[model.weight] = {"momentum_buffer": torch.full((1, 1), float(epoch))}
        if stopping.see(model, optimizer, Precision()):
            ended = epoch
            break
    assert (ended, stopping.best) == (stops, best)
    stopping.rewind(model, optimizer, Precision())
    at = best or len(losses)
    assert float(model.weight.detach()) == plugin.value == at
    assert float(optimizer.state[model.weight]["momentum_buffer"]) == at
