"""ER-ACE by hand: which classes compete, and when rows enter the memory."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from perdure.strategies import er_ace
from perdure.strategies.plugins.er_ace import ErAce
from tests.strategies.small import config_of, learn, learned


def entropy(z: list[float], y: int, classes: list[int]) -> float:
    return float(np.log(sum(np.exp(z[c]) for c in classes)) - z[y])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_new_rows_compete_among_the_classes_of_their_batch(smoothing: float) -> None:
    plugin = ErAce(10, None)
    plugin._entered = True
    found = torch.tensor(
        [[1.0, 2.0, 3.0, 4.0], [0.5, 0.0, -1.0, 2.0], [3.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 1.0]],
        requires_grad=True,
    )
    strategy = SimpleNamespace(
        mb_output=found, mb_y=torch.tensor([2, 3, 0, 1]), new_rows=2,
        _criterion=nn.CrossEntropyLoss(label_smoothing=smoothing),
    )  # fmt: skip
    loss = plugin.objective(strategy)
    (gradient,) = torch.autograd.grad(loss, found)
    z = found.tolist()
    if not smoothing:
        new = (entropy(z[0], 2, [2, 3]) + entropy(z[1], 3, [2, 3])) / 2
        old = (entropy(z[2], 0, [0, 1, 2, 3]) + entropy(z[3], 1, [0, 1, 2, 3])) / 2
        assert loss.item() == pytest.approx((new + old) / 2, rel=1e-6)
    assert torch.isfinite(loss)
    # Classes that are not in the new batch are not pushed by it, those of the memory are.
    assert (gradient[:2, :2] == 0).all()
    assert (gradient[:2, 2:] != 0).all()
    assert (gradient[2:] != 0).all()


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """For each batch: rows of the memory, and new rows of the batch that are among them."""
    seen: list[tuple[int, int]] = []

    class Watching(ErAce):
        def objective(self, strategy: Any) -> torch.Tensor:
            held = self.memory.columns["x"].tolist() if len(self.memory) else []
            new = strategy.mbatch[0][: strategy.new_rows].tolist()
            seen.append((len(held), sum(row in held for row in new)))
            return super().objective(strategy)

    watching = replace(er_ace.STRATEGY, plugin=lambda settings: Watching(settings.size, None))
    monkeypatch.setattr("perdure.strategies.catalogue.discover", lambda: {"er-ace": watching})
    return seen


def test_rows_are_in_the_memory_while_they_are_learned_but_for_the_first_experience(
    watched: list[tuple[int, int]],
) -> None:
    config = config_of([{"name": "er-ace", "size": 1000}], batch_size=20)
    learner = learned(config, 1)
    assert watched == [(0, 0)] * 6
    watched.clear()
    learn(learner, 1, config)
    assert watched == [(120, 20)] * 6
    assert len(learner.memory["er-ace"].tensors["x"]) == 120  # each row once
