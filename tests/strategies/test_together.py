"""A penalty on the weights beside distillation of the outputs: the loss is the sum of both."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss

from perdure.config import Task
from perdure.strategies.features.encoding import encode, encode_target
from perdure.strategies.learner.learner import Learner
from tests.strategies.small import TASKS, config_of, copied, learn, learned, table

RATE, STEPS = 0.05, 4
TERMS = ("rows", "outputs", "weights")
PENALTIES = {"ewc": 2.0, "mas": 0.3, "si": 20.0}


def rows(learner: Learner, number: int) -> tuple[Tensor, Tensor]:
    columns, target = table(number, learner.spec.task)
    y = learner.output.standardise(encode_target(learner.spec, target))
    return learner.prepare(encode(learner.spec, columns)), y


def by_hand(
    learner: Learner, penalty: str, terms: tuple[str, ...] = TERMS
) -> tuple[list[Tensor], list[Tensor]]:
    """Weights after full batches of plain SGD on the sum by autograd, and SI's ω."""
    held = learner.memory[penalty].tensors
    model, teacher = copy.deepcopy(learner.model).train(), learner.model.eval()
    named = dict(model.named_parameters())
    first = {name: p.detach().clone() for name, p in named.items()}
    importance = {name: held[f"A/{name}"] for name in named}
    centre = first
    if penalty == "ewc":
        centre = {name: held[f"B/{name}"] / importance[name].clamp_min(1e-30) for name in named}
    x, y = rows(learner, 2)
    if "replay" in learner.memory:
        memory = learner.memory["replay"].tensors
        x, y = torch.cat([x, memory["x"]]), torch.cat([y, memory["y"]])
    classes = learner.spec.task == "classification"
    work = [torch.zeros_like(p) for p in named.values()]
    for _ in range(STEPS):
        found, outputs = model(x), teacher(x).detach()
        loss = torch.zeros(())
        if "rows" in terms:
            loss = loss + (cross_entropy(found, y) if classes else mse_loss(found, y))
        if "outputs" in terms and classes:
            p, q = log_softmax(outputs / 2, 1), log_softmax(found / 2, 1)
            loss = loss + 3.0 * kl_div(q, p, log_target=True, reduction="batchmean")
        elif "outputs" in terms:
            loss = loss + 3.0 * mse_loss(found, outputs)
        of_rows = torch.autograd.grad(loss, list(named.values()), retain_graph=True)
        if "weights" in terms:
            away = [(importance[n] * (p - centre[n]).square()).sum() for n, p in named.items()]
            loss = loss + PENALTIES[penalty] * torch.stack(away).sum()
        whole = torch.autograd.grad(loss, list(named.values()))
        with torch.no_grad():
            for parameter, g, w, r in zip(named.values(), whole, work, of_rows, strict=True):
                parameter.sub_(RATE * g)
                w.add_(RATE * r * g)
    return [p.detach() for p in named.values()], work


def case(penalty: str, others: list[Any], task: Task) -> tuple[Learner, Learner]:
    """A learner of two experiences, and the same after a third."""
    strategies = [{"name": penalty, "penalty": PENALTIES[penalty]}, *others]
    plain: dict[str, Any] = {
        "optimizer": {"name": "sgd", "momentum": 0.0}, "learning_rate": RATE, "batch_size": 200,
        "epochs": STEPS, "model": {"parameters": {"hidden": [8]}},
    }  # fmt: skip
    config = config_of(strategies, task, **plain)
    before = learned(config, 2, task)
    after = copied(before)
    learn(after, 2, config)
    return before, after


LWF = {"name": "lwf", "alpha": 3.0}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("others", [[LWF], [LWF, {"name": "replay", "size": 50}]])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_step_is_that_of_the_sum(penalty: str, others: list[Any], task: Task) -> None:
    before, after = case(penalty, others, task)
    expected, work = by_hand(before, penalty)
    for p, q in zip(after.model.parameters(), expected, strict=True):
        torch.testing.assert_close(p.detach(), q, rtol=1e-4, atol=1e-6)
    for left_out in TERMS:
        without, _ = by_hand(before, penalty, tuple(t for t in TERMS if t != left_out))
        apart = [(p - q).abs().max() for p, q in zip(without, expected, strict=True)]
        assert max(apart) > 1e-4, left_out
    if penalty == "si":  # what is added up is of the loss with distillation, without the penalty
        names = [name for name, _ in before.model.named_parameters()]
        for name, q, w in zip(names, expected, work, strict=True):
            moved = (q - before.model.get_parameter(name).detach()).square()
            new = (before.memory["si"].tensors[f"A/{name}"] + w / (moved + 0.1)).clamp_min(0)
            found = after.memory["si"].tensors[f"A/{name}"]
            torch.testing.assert_close(found, new, rtol=1e-3, atol=1e-6)
