"""What lies in the folder in which the processes of a learning step meet: safetensors and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from perdure import errors
from perdure.config import Config
from perdure.errors import ConfigError, PerdureError

TASK, ROWS, BEFORE = "task.json", "rows.safetensors", "before"
"""What is to be done, with what, and the learner to go on from."""
AFTER, TRAINED = "after", "trained.json"
"""The learner that came of it, and what the training did."""
STORE = "store"
"""Where they find each other."""


def printed(rank: int) -> str:
    """The file of what a process prints."""
    return f"printed-{rank}.txt"


def failed(rank: int) -> str:
    """The file of the error that a process found."""
    return f"failed-{rank}.json"


@dataclass(frozen=True)
class Rows:
    """Rows of an experience, as `encode` and `encode_target` give them: not standardised yet."""

    x: Tensor
    y: Tensor
    watched_x: Tensor
    """Rows that are only watched; may be none."""
    watched_y: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """By name; `Rows(**tensors)` puts them together again."""
        return {name: tensor.contiguous() for name, tensor in vars(self).items()}


@dataclass(frozen=True)
class Task:
    """What the processes are to do."""

    experience: str
    size: int
    gpus: bool
    root: str
    profile: str | None
    config: str
    """As `settings` gives it."""


def settings(config: Config) -> str:
    """What of a configuration decides a training, as JSON that `Config` reads."""
    return config.model_dump_json(by_alias=True, include={"model", "data", "training"})


def raised(value: Mapping[str, Any]) -> PerdureError:
    """The error that `error` wrote down."""
    kind: type[PerdureError] = getattr(errors, value["kind"])
    if issubclass(kind, ConfigError):
        return kind(value["path"], value["faults"], hint=value["hint"])
    return kind(value["message"], hint=value["hint"])


def error(found: PerdureError) -> dict[str, Any]:
    """An error as JSON values."""
    value: dict[str, Any] = {
        "kind": type(found).__name__,
        "message": found.message,
        "hint": found.hint,
    }
    if isinstance(found, ConfigError):
        value |= {"path": found.path, "faults": list(found.faults)}
    return value
