"""How many processes learn an experience together, and what can be learned so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from perdure.config import CONFIG_NAME, Config
from perdure.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

KEY = "resources.processes"


def count(config: Config) -> int:
    """How many processes there are: as configured, or one for each GPU that is visible.

    Raises:
        ConfigError: There are fewer GPUs than processes.
    """
    wanted = config.resources.processes
    return 1 if wanted == 1 else for_gpus(wanted, visible_gpus(config))


def for_gpus(wanted: int | Literal["gpus"], gpus: int) -> int:
    """How many processes there are where so many GPUs are visible; without any, they share a CPU.

    Raises:
        ConfigError: There are some, and fewer than processes.
    """
    if wanted == "gpus":
        return max(1, gpus)
    if 0 < gpus < wanted:
        raise ConfigError(
            CONFIG_NAME,
            [
                f"{KEY} = {wanted}: each process needs a GPU of its own, and here {gpus} "
                f"{'is' if gpus == 1 else 'are'} visible"
            ],
            hint=f'{KEY} = "gpus", or training.device = "cpu"',
        )
    return wanted


def visible_gpus(config: Config) -> int:
    """GPUs that `training.device` lets a training use; 0: it is on a CPU."""
    import torch

    if config.training.device == "cpu" or not torch.cuda.is_available():
        return 0
    return torch.cuda.device_count()


def check_model(model: nn.Module) -> None:
    """See that a model may be trained on a part of a batch.

    Raises:
        ConfigError: It has layers that look at a whole batch, or gradients that cannot be summed.
    """
    from perdure.strategies.training.steps import normalises

    faults = []
    if normalises(model):
        faults.append(
            f"{KEY}: the model has batch normalisation, and each process would normalise by its "
            'own rows; take one without, such as norm = "group" of a built-in model'
        )
    sparse = [name for name, layer in model.named_modules() if getattr(layer, "sparse", False)]
    if sparse:
        faults.append(f"{KEY}: {', '.join(sparse)} has sparse gradients, which are not summed")
    if faults:
        raise ConfigError(CONFIG_NAME, faults, hint=f"{KEY} = 1 in perdure.toml")
