"""Optimizers by name, and their state by the names of the parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perdure.config import TrainingConfig
from perdure.strategies.state import State, on_cpu


def make(training: TrainingConfig, model: nn.Module) -> torch.optim.Optimizer:
    """A new optimizer over all parameters.

    `sgd` has momentum 0.9; `adam` and `adamw` have torch's defaults (betas 0.9 and 0.999,
    eps 1e-8; weight decay 0 and 0.01).
    """
    parameters, rate = model.parameters(), training.learning_rate
    if training.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=0.9)
    if training.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate)
    return torch.optim.Adam(parameters, lr=rate)


def state_of(optimizer: torch.optim.Optimizer, name: str, model: nn.Module) -> State:
    """What the optimizer remembers of each parameter: `<key>/<parameter>`, on the CPU.

    Settings such as the learning rate are not part of it: they come from the configuration.
    """
    state = State(values={"name": name, "other": {}})
    for parameter_name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                state.tensors[f"{key}/{parameter_name}"] = on_cpu(value)
            else:
                state.values["other"][f"{key}/{parameter_name}"] = value
    return state


def restore(optimizer: torch.optim.Optimizer, name: str, model: nn.Module, state: State) -> None:
    """Give the optimizer back what it remembered.

    Another optimizer than before starts afresh: its numbers mean something else.
    """
    if state.values.get("name") != name:
        return
    parameters = dict(model.named_parameters())
    for full, value in {**state.tensors, **state.values["other"]}.items():
        key, _, parameter_name = full.partition("/")
        parameter = parameters[parameter_name]
        if isinstance(value, Tensor):
            # Adam counts its steps on the CPU wherever the weights are.
            value = value.clone() if key == "step" else value.to(parameter.device, copy=True)
        optimizer.state[parameter][key] = value
