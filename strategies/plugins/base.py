"""What Perdure's plugins have in common, and Avalanche itself, imported without its noise.

Every other module takes Avalanche's classes from here: its import warns about libraries
that Perdure never uses.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import TensorDataset

from perdure.strategies.learner.state import State

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from avalanche.benchmarks import DatasetExperience
    from avalanche.benchmarks.utils import AvalancheDataset, DataAttribute
    from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin, SupervisedPlugin
    from avalanche.training.storage_policy import ReservoirSamplingBuffer
    from avalanche.training.templates import SupervisedTemplate

__all__ = [
    "AvalancheDataset",
    "DatasetExperience",
    "EvaluationPlugin",
    "Owner",
    "Plugin",
    "Remembering",
    "ReplayPlugin",
    "ReservoirSamplingBuffer",
    "SupervisedPlugin",
    "SupervisedTemplate",
    "TensorData",
    "TensorExperience",
]


class Remembering(Protocol):
    """An Avalanche plugin whose memory can be taken out and put back."""

    def state(self) -> State:
        """All that the plugin must remember, on the CPU."""
        ...

    def restore(self, state: State, strategy: SupervisedTemplate) -> None:
        """Remember again, on the strategy's device, for the strategy's model."""
        ...


class Owner(Protocol):
    """A plugin that puts its own loss in the place of the criterion; at most one does."""

    def objective(self, strategy: Any) -> Tensor:
        """The loss of the current batch, a scalar.

        The first `strategy.new_rows` of `strategy.mbatch` and of `strategy.mb_output` are
        new, the others came from a memory.
        """
        ...


class Plugin(SupervisedPlugin):  # type: ignore[misc]  # Avalanche is untyped
    """A plugin that keeps nothing: what Perdure's own ones extend.

    Beside Avalanche's callbacks and what `Remembering` asks for, a plugin may have
    `objective` (see `Owner`), and `mark` and `rewind`.
    """

    def state(self) -> State:
        """Nothing."""
        return State()

    def restore(self, state: State, strategy: SupervisedTemplate) -> None:
        """Nothing."""

    def mark(self) -> None:
        """The weights of this moment may be gone back to."""

    def rewind(self) -> None:
        """The weights went back to where they were at the last `mark`; go back with them."""


class TensorData(AvalancheDataset):  # type: ignore[misc]  # Avalanche is untyped
    """An Avalanche dataset of (x, y, task label) that also offers its tensors whole."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = tuple(tensors)
        _, targets, tasks = tensors
        super().__init__(
            [TensorDataset(*tensors)],
            data_attributes=[
                DataAttribute(targets, "targets"),
                DataAttribute(tasks, "targets_task_labels"),
            ],
        )


class TensorExperience(DatasetExperience):  # type: ignore[misc]  # Avalanche is untyped
    """An experience on tensors, all of one task."""

    task_labels = (0,)

    def __init__(self, dataset: TensorData, number: int) -> None:
        super().__init__(dataset=dataset, current_experience=number)
