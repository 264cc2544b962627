"""iCaRL; see `perdure.strategies.icarl`."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from perdure.config import CONFIG_NAME
from perdure.errors import ConfigError
from perdure.strategies.learner.state import State, on_cpu
from perdure.strategies.models.nearest import features
from perdure.strategies.plugins.base import Plugin, SupervisedTemplate, TensorData
from perdure.strategies.plugins.memory import ROW, placed
from perdure.strategies.plugins.model_state import eval_mode
from perdure.strategies.training.loader import BatchLoader

_ROWS = 1024
"""Rows whose features are computed at once."""

Rows = tuple[Tensor, ...]


class Icarl(Plugin):
    """Exemplars near each class's mean, distillation, and prediction by the nearest mean.

    Args:
        size: Exemplars of all classes together, at most.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.exemplars: dict[int, Rows] = {}
        """x, y and task labels by class, the most telling rows first."""
        self.means: Tensor | None = None
        """float32 (classes, features), each of length 1."""
        self._teacher: nn.Module | None = None
        self._old: Tensor | None = None

    def after_train_dataset_adaptation(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Train on the new rows and the exemplars together."""
        strategy.adapted_dataset = TensorData(self._with(strategy.experience.dataset.tensors))

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Keep the model of this moment as the teacher; mark which rows are new."""
        new = strategy.experience.dataset.tensors
        with eval_mode(strategy.model):
            _features(strategy, new[0][:1])  # refuses a model that does not fit, before training
        if not self.exemplars:
            return
        classes = torch.cat([new[1], torch.tensor(list(self.exemplars), device=new[1].device)])
        self._share(len(torch.unique(classes)))
        self._teacher = copy.deepcopy(strategy.model).eval().requires_grad_(False)
        self._old = torch.tensor(sorted(self.exemplars), device=strategy.device)
        whole = strategy.adapted_dataset.tensors
        is_new = torch.arange(len(whole[0]), device=new[0].device) < len(new[0])
        strategy.dataloader = BatchLoader((*whole, is_new), strategy.train_mb_size)

    def _with(self, new: Rows) -> Rows:
        parts = [new, *self.exemplars.values()]
        return tuple(torch.cat(columns) for columns in zip(*parts, strict=True))

    def _share(self, classes: int) -> int:
        if classes > self.size:
            raise ConfigError(
                CONFIG_NAME,
                [
                    f"training.strategies: icarl: size = {self.size} exemplars are fewer than "
                    f"the {classes} classes"
                ],
            )
        return self.size // classes

    def objective(self, strategy: Any) -> Tensor:
        """Binary cross entropy against labels, and against the teacher for old classes."""
        found, y = strategy.mb_output, strategy.mb_y
        targets = torch.zeros_like(found).scatter_(1, y.unsqueeze(1), 1.0)
        if self._teacher is not None and self._old is not None:
            with torch.no_grad():
                given = self._teacher(strategy.mb_x).float().sigmoid()
            old_outputs = strategy.group.whole(given, len(y))
            # A new row of an old class teaches it; in the paper there is none.
            own = targets.bool() & strategy.mbatch[3].unsqueeze(1)
            old = torch.zeros(found.shape[1], dtype=torch.bool, device=found.device)
            old[self._old] = True
            targets = torch.where(old & ~own, old_outputs, targets)
        return binary_cross_entropy_with_logits(found, targets)

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Choose exemplars of the classes just learned, let go of some others, take means."""
        self._teacher = None
        x, y, task = strategy.experience.dataset.tensors
        came = [int(label) for label in torch.unique(y)]
        share = self._share(len({*came, *self.exemplars}))
        kept = {label: _first(rows, share) for label, rows in self.exemplars.items()}
        with eval_mode(strategy.model):
            for label in came:
                of_it = (y == label).nonzero()[:, 0]
                rows: Rows = tuple(t.index_select(0, of_it) for t in (x, y, task))
                if label in self.exemplars:
                    pairs = zip(self.exemplars[label], rows, strict=True)
                    rows = tuple(torch.cat(pair) for pair in pairs)
                best = herd(_features(strategy, rows[0]), share).to(y.device)
                kept[label] = tuple(t.index_select(0, best) for t in rows)
            self.exemplars = dict(sorted(kept.items()))
            self.means = self._means(strategy)

    def _means(self, strategy: Any) -> Tensor:
        """The mean features of each class's exemplars, scaled to length 1; 0 of the others."""
        means = {c: _features(strategy, rows[0]).mean(0) for c, rows in self.exemplars.items()}
        some = next(iter(means.values()))
        result = some.new_zeros(max(means) + 1, len(some))
        for label, mean in means.items():
            result[label] = normalize(mean, dim=0)
        return result

    def state(self) -> State:
        """`x`, `y`, `task` (class by class, the most telling first), and `means`."""
        if self.means is None:
            return State()
        columns = zip(*self.exemplars.values(), strict=True)
        tensors = {n: on_cpu(torch.cat(parts)) for n, parts in zip(ROW, columns, strict=True)}
        return State({**tensors, "means": on_cpu(self.means)})

    def restore(self, state: State, strategy: SupervisedTemplate) -> None:
        """Hold the exemplars again."""
        if not state.tensors:
            return
        labels, counts = torch.unique_consecutive(state.tensors["y"], return_counts=True)
        sizes = counts.tolist()
        split = [torch.split(placed(state.tensors[n], strategy), sizes) for n in ROW]
        rows = zip(*split, strict=True)
        self.exemplars = dict(zip(labels.tolist(), rows, strict=True))
        self.means = state.tensors["means"].to(strategy.device, copy=True)


def _first(rows: Rows, count: int) -> Rows:
    # A copy: a view would keep what is let go of alive.
    return tuple(t[:count].clone() for t in rows)


def _features(strategy: Any, x: Tensor) -> Tensor:
    def of(rows: Tensor) -> Tensor:
        parts = torch.split(rows, _ROWS)
        return torch.cat([features(strategy.model, part.to(strategy.device)) for part in parts])

    found: Tensor = strategy.group.each(x, of)
    return found


def herd(points: Tensor, count: int) -> Tensor:
    """Choose rows so that the mean of the first k is near the mean of all, for every k.

    Greedily, the k-th is argmin over the rows left of ‖μ - (φ + Σ chosen) / k‖ (the paper's
    algorithm 4).

    Args:
        points: φ, float32 (rows, features).
        count: Rows to choose, at most.

    Returns:
        int64 (chosen,), in the order of choice.
    """
    mean, total = points.mean(0), torch.zeros_like(points[0])
    # ‖kμ - Σ - φ‖² = constant - 2 (φᵀ(kμ - Σ) - ½‖φ‖²)
    lead = -0.5 * points.square().sum(1)
    chosen = torch.empty(min(count, len(points)), dtype=torch.int64, device=points.device)
    for k in range(1, len(chosen) + 1):
        best = (points @ (k * mean - total) + lead).argmax()
        chosen[k - 1] = best
        lead[best] = -torch.inf
        total = total + points[best]
    return chosen
