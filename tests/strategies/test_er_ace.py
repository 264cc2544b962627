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
from perdure.strategies.er_ace.plugin import ErAce
from tests.strategies.small import config_of, learn, learned


def entropy(
    z: list[float], y: int, classes: list[int], smoothing: float, weight: list[float]
) -> float:
    """(1 - ε) w_y (-log p_y) + ε/K Σ_c w_c (-log p_c), over K classes and no others."""
    whole = np.log(sum(np.exp(z[c]) for c in classes))
    spread = sum(weight[c] * (whole - z[c]) for c in classes) / len(classes)
    return float((1 - smoothing) * weight[y] * (whole - z[y]) + smoothing * spread)


@pytest.mark.parametrize("weight", [None, [1.0, 3.0, 0.5, 2.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_new_rows_compete_among_the_classes_of_their_batch(
    smoothing: float, weight: list[float] | None
) -> None:
    plugin = ErAce(10, None)
    plugin._entered = True
    found = torch.tensor(
        [[1.0, 2.0, 3.0, 4.0], [0.5, 0.0, -1.0, 2.0], [3.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 1.0]],
        requires_grad=True,
    )
    strategy = SimpleNamespace(
        mb_output=found, mb_y=torch.tensor([2, 3, 0, 1]), new_rows=2,
        _criterion=nn.CrossEntropyLoss(
            None if weight is None else torch.tensor(weight), label_smoothing=smoothing
        ),
    )  # fmt: skip
    loss = plugin.objective(strategy)
    (gradient,) = torch.autograd.grad(loss, found)
    z, w = found.tolist(), weight or [1.0] * 4

    def mean(rows: tuple[int, int], labels: tuple[int, int], classes: list[int]) -> float:
        losses = [
            entropy(z[row], y, classes, smoothing, w) for row, y in zip(rows, labels, strict=True)
        ]
        return sum(losses) / sum(w[y] for y in labels)

    expected = (mean((0, 1), (2, 3), [2, 3]) + mean((2, 3), (0, 1), [0, 1, 2, 3])) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    # Classes that are not in the new batch are not pushed by it, those of the memory are.
    assert (gradient[:2, :2] == 0).all()
    assert (gradient[:2, 2:] != 0).all()
    assert (gradient[2:] != 0).all()
    # A softmax pushes as much down as up: no row's outputs are pushed all the same way.
    torch.testing.assert_close(gradient.sum(dim=1), torch.zeros(4), rtol=0, atol=1e-6)


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
