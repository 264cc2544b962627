"""Learning without forgetting; see `perdure.strategies.lwf`."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from perdure.strategies.features.modules import Network
from perdure.strategies.learner.state import State
from perdure.strategies.plugins.base import Plugin, SupervisedTemplate


class LearningWithoutForgetting(Plugin):
    """Distillation from the model as the experience found it.

    Args:
        alpha: α ≥ 0.
        temperature: T > 0.
    """

    def __init__(self, alpha: float, temperature: float) -> None:
        super().__init__()
        self.alpha, self.temperature = alpha, temperature
        self.known: list[int] = []
        """Outputs that were learned, ascending: label · heads + head. None before the first
        experience's end."""
        self._teacher: _Watched | None = None
        self._student: _Watched | None = None
        self._groups: list[Tensor] = []

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """The teacher is the model as it is now: it has learned all that came before."""
        if not self.known or not self.alpha:
            return
        teacher = copy.deepcopy(strategy.model).eval().requires_grad_(False)
        self._teacher, self._student = _Watched(teacher), _Watched(strategy.model)
        heads = _heads(strategy.model)
        of_heads = ([k for k in self.known if k % heads == head] for head in range(heads))
        self._groups = [torch.tensor(g, device=strategy.device) for g in of_heads if g]

    def before_backward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Add α times the distance to the teacher's outputs, of memory rows as of new ones."""
        if self._teacher is None or self._student is None:
            return
        group, rows = strategy.group, len(strategy.mb_y)
        with torch.no_grad():
            given = strategy.precision.outputs(self._teacher.model, strategy.mb_x)
        taught = group.whole(self._teacher.of_all_heads(given), rows)
        found = strategy.mb_output
        if _heads(strategy.model) > 1:
            found = group.whole(self._student.of_all_heads(found), rows)
        strategy.loss = strategy.loss + self.alpha * self.distance(found, taught, strategy.mb_y)

    def distance(self, found: Tensor, taught: Tensor, y: Tensor) -> Tensor:
        """Between the known outputs of the model and of the teacher, (rows, outputs) each.

        The targets say by their type whether these are logits.
        """
        pairs = [(_only(found, group), _only(taught, group)) for group in self._groups]
        if y.is_floating_point():
            terms = [functional.mse_loss(a, b) for a, b in pairs]
            return torch.stack(terms).mean()
        return torch.stack([distillation(a, b, self.temperature) for a, b in pairs]).sum()

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Let go of the teacher; the outputs of this experience's rows are learned now."""
        x, y, _ = strategy.experience.dataset.tensors
        outputs = torch.zeros(len(y), dtype=torch.int64) if y.is_floating_point() else y.cpu()
        if _heads(strategy.model) > 1:
            outputs = outputs * _heads(strategy.model) + strategy.model.head_of(x).cpu()
        self.known = sorted({*self.known, *outputs.unique().tolist()})
        if self._student is not None:
            self._student.close()
        self._teacher = self._student = None
        self._groups = []

    def state(self) -> State:
        """`known`; nothing before the first experience."""
        return State(values={"known": self.known}) if self.known else State()

    def restore(self, state: State, strategy: SupervisedTemplate) -> None:
        """Know again which outputs were learned."""
        self.known = [int(output) for output in state.values.get("known", [])]


class _Watched:
    """A model, and the outputs of all its heads in its last forward pass."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._outputs: Tensor | None = None
        self._hook = None
        if isinstance(model, Network) and model.head_count > 1:
            self._hook = model.body.register_forward_hook(self._note)

    def _note(self, body: nn.Module, entered: Any, outputs: Tensor) -> None:
        self._outputs = outputs

    def of_all_heads(self, given: Tensor) -> Tensor:
        """float32 (rows, labels · heads); `given` is what the model gave for the same rows."""
        return given if self._outputs is None else self._outputs.float()

    def close(self) -> None:
        if self._hook is not None:
            self._hook.remove()


def _heads(model: nn.Module) -> int:
    return model.head_count if isinstance(model, Network) else 1


def _only(outputs: Tensor, chosen: Tensor) -> Tensor:
    whole = len(chosen) == outputs.shape[1]  # then there is nothing to choose
    return outputs if whole else outputs.index_select(1, chosen)


def distillation(found: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """KL divergence of softmax(found / T) from softmax(taught / T), mean over rows.

    Args:
        found: float32 (rows, outputs), logits.
        taught: Likewise, of the teacher.
        temperature: T > 0.
    """
    return functional.kl_div(
        torch.log_softmax(found / temperature, dim=1),
        torch.log_softmax(taught / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
