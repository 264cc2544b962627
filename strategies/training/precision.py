"""Forward and backward passes in lower precision.

Micikevicius et al. 2018, "Mixed Precision Training", https://arxiv.org/abs/1710.03740.

Weights, gradients and optimizer state stay float32; so does the loss. With float16 the loss is
scaled up before the backward pass, so that small gradients do not become 0, and the gradients
are scaled back before anything looks at them. A step whose gradients overflowed is left out and
the scale is halved. The scale belongs to the learner's state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

_KEYS = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")
_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Precision:
    """How exactly a step is computed.

    Args:
        name: `float32`, `bfloat16` or `float16`.
        device: Where.
    """

    def __init__(self, name: str = "float32", device: torch.device | None = None) -> None:
        self.kind = (device or torch.device("cpu")).type
        self.lower = _TYPES.get(name)
        """The type of most operations; None: float32, and nothing is done."""
        self.scaler = torch.amp.GradScaler(self.kind) if name == "float16" else None

    def outputs(self, model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """The model's outputs in this precision, given as float32."""
        if self.lower is None:
            return model(x)
        with torch.autocast(self.kind, dtype=self.lower):
            result = model(x)
        return result.float()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss, scaled if need be."""
        if self.scaler is not None:
            loss = self.scaler.scale(loss)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own

    def unscale(self, optimizer: torch.optim.Optimizer) -> bool:
        """Give the gradients their true size; False: they overflowed, leave the step out."""
        if self.scaler is None:
            return True
        self.scaler.unscale_(optimizer)
        # The only way to know before `step`, which would run the hooks of a step left out.
        found = self.scaler._found_inf_per_device(optimizer)  # noqa: SLF001 (see above)
        return not any(bool(value) for value in found.values())

    def stepped(self) -> None:
        """A step was made or left out: the scale grows or shrinks."""
        if self.scaler is not None:
            self.scaler.update()

    def state(self) -> dict[str, Any]:
        """The scale and when it grows next, as JSON values; empty where there is none."""
        return dict(self.scaler.state_dict()) if self.scaler is not None else {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with a scale; an empty state is a new one."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict({key: state[key] for key in _KEYS})
