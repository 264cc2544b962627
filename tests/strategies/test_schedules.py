"""Learning rates within an experience, against their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from perdure.config.training import ScheduleConfig
from perdure.strategies.training.schedules import Rates
from tests.strategies.small import config_of, learn, learned, new

RATE, EPOCHS, STEPS = 0.4, 5, 6
TOTAL = EPOCHS * STEPS


def rates(loss: Callable[[int], float] = lambda epoch: 1.0, **settings: Any) -> list[float]:
    """The learning rate of every step."""
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=RATE)
    schedule = Rates(ScheduleConfig(**settings), optimizer, EPOCHS, STEPS)
    found = []
    for epoch in range(EPOCHS):
        for _ in range(STEPS):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.after_step()
        schedule.after_epoch(loss(epoch))
    return found


def cosine(step: int, first: int = 0, lowest: float = 0.0) -> float:
    turn = math.pi * (step - first) / (TOTAL - first)
    return lowest + (RATE - lowest) * (1 + math.cos(turn)) / 2


FORMULAS: list[tuple[dict[str, Any], Callable[[int], float]]] = [
    ({"name": "constant"}, lambda t: RATE),
    ({"name": "step", "every": 2, "factor": 0.5}, lambda t: RATE * 0.5 ** (t // STEPS // 2)),
    ({"name": "exponential", "factor": 0.8}, lambda t: RATE * 0.8 ** (t // STEPS)),
    ({"name": "cosine", "lowest": 0.1}, lambda t: cosine(t, lowest=0.1)),
]
NAMES = [str(settings["name"]) for settings, _ in FORMULAS]


@pytest.mark.parametrize(("settings", "formula"), FORMULAS, ids=NAMES)
def test_the_rate_follows_the_formula(
    settings: dict[str, Any], formula: Callable[[int], float]
) -> None:
    assert rates(**settings) == pytest.approx([formula(t) for t in range(TOTAL)])


@pytest.mark.parametrize("warmup", [9, 0.3])
@pytest.mark.parametrize(("settings", "formula"), FORMULAS, ids=NAMES)
def test_the_warm_up_rises_to_it(
    settings: dict[str, Any], formula: Callable[[int], float], warmup: float
) -> None:
    expected = [formula(t) * min(1.0, (t + 1) / 10) for t in range(TOTAL)]
    if settings["name"] == "cosine":  # falls from the end of the warm-up on
        expected = [RATE * (t + 1) / 10 if t < 9 else cosine(t, 9, 0.1) for t in range(TOTAL)]
    assert rates(**settings, warmup=warmup) == pytest.approx(expected)


def test_a_plateau_lowers_the_rate_when_the_loss_stays() -> None:
    settings = {"name": "plateau", "factor": 0.5, "patience": 1, "lowest": 0.15}
    assert rates(lambda epoch: 1.0, **settings)[::STEPS] == [0.4, 0.4, 0.4, 0.2, 0.2]
    assert rates(lambda epoch: -epoch, **settings) == [RATE] * TOTAL
    settings["patience"] = 0
    assert rates(lambda epoch: 1.0, **settings)[::STEPS] == [0.4, 0.4, 0.2, 0.15, 0.15]


def test_every_experience_begins_anew() -> None:
    config = config_of(["replay"], epochs=3, schedule={"name": "exponential", "factor": 0.5})
    learner = new(config)
    for number in range(2):
        trained = learn(learner, number, config)
        assert [epoch.learning_rate for epoch in trained.epochs] == [1e-3, 5e-4, 2.5e-4]
    assert learner.weights_sha256 != learned(config_of(["replay"], epochs=3), 2).weights_sha256


def test_the_steps_are_counted_in_groups_of_batches() -> None:
    config = config_of(
        ["naive"], epochs=1, batch_size=10, accumulate=4, schedule={"name": "cosine"}
    )
    trained = learn(new(config), 0, config)
    assert trained.epochs[0].learning_rate == pytest.approx(0.0)  # 2 steps, both were made


def test_without_a_schedule_no_rate_is_noted() -> None:
    config = config_of(["naive"])
    assert [epoch.learning_rate for epoch in learn(new(config), 0, config).epochs] == [None] * 2
