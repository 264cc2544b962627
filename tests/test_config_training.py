"""`[training]`: what belongs to what, and what does not fit the rest of the file."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import config
from perdure.config.training import (
    OPTIMIZERS,
    SCHEDULES,
    OptimizerConfig,
    ScheduleConfig,
    TrainingConfig,
)
from perdure.errors import ConfigError

MINIMAL = '[model]\nname = "m"\n[data]\ntarget = "y"\ntask = "{task}"\n{data}\n[training]\n{text}'


def parsed(text: str, task: str = "classification", data: str = "") -> TrainingConfig:
    return config.parse(MINIMAL.format(task=task, data=data, text=text)).training


def test_what_is_left_out_does_what_was_done_before_it_was_there() -> None:
    plain = parsed("")
    assert plain.optimizer.settings == OPTIMIZERS["adam"]
    assert (plain.schedule.name, plain.schedule.warmup) == ("constant", 0)
    assert (plain.precision, plain.accumulate, plain.clip_norm, plain.l1) == ("float32", 1, None, 0)
    assert not plain.augmentation.on
    assert plain.carry_optimizer
    assert parsed('optimizer = "sgd"').optimizer.settings["momentum"] == 0.9


def test_a_name_is_a_table_without_settings() -> None:
    assert parsed('optimizer = "adamw"') == parsed('optimizer = { name = "adamw" }')
    assert parsed('schedule = "step"') == parsed('[training.schedule]\nname = "step"')
    whole = parsed('optimizer = { name = "sgd", momentum = 0.5 }\nclass_weights = { a = 2 }')
    assert whole.optimizer.settings == {**OPTIMIZERS["sgd"], "momentum": 0.5}
    assert TrainingConfig.model_validate(whole.model_dump(mode="json")) == whole


@pytest.mark.parametrize(
    ("kind", "known", "values"),
    [
        (
            OptimizerConfig,
            OPTIMIZERS,
            {
                "momentum": 0.5, "nesterov": False, "betas": (0.1, 0.2), "alpha": 0.3, "eps": 1e-3,
                "weight_decay": 0.1, "amsgrad": True, "centered": True,
            },
        ),
        (ScheduleConfig, SCHEDULES, {"every": 2, "factor": 0.5, "patience": 4, "lowest": 1e-9}),
    ],
)  # fmt: skip
def test_every_setting_belongs_to_its_owners_alone(
    kind: Any, known: dict[str, dict[str, Any]], values: dict[str, Any]
) -> None:
    assert set(values) == set(kind.model_fields) - {"name", "warmup"}
    for name, own in known.items():
        for key, value in values.items():
            if key in own:
                assert kind(name=name, **{key: value}).settings == {**own, key: value}
            else:
                with pytest.raises(ValueError, match=f"{key} is a setting of .*, not of {name}"):
                    kind(name=name, **{key: value})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('optimizer = "sdg"', "training.optimizer.name = 'sdg'"),
        ("optimizer = { momentum = 0.5 }", "training.optimizer.name: is required"),
        ('optimizer = { name = "sgd", momentum = 1 }', "training.optimizer.momentum = 1"),
        ('optimizer = { name = "sgd", speed = 1 }', "training.optimizer.speed: unknown key"),
        ('optimizer = { name = "adam", momentum = 0.5 }', "not of adam; that has betas, eps"),
        ('optimizer = { name = "sgd", momentum = 0, nesterov = true }', "nesterov = true needs"),
        ('schedule = "linear"', "training.schedule.name = 'linear'"),
        ('schedule = { name = "step", warmup = 1.5 }', "training.schedule.warmup = 1.5"),
        ('schedule = { name = "cosine", lowest = 0.5 }', "lowest = 0.5 is above"),
        ('precision = "fp16"', "training.precision = 'fp16'"),
        ("accumulate = 0", "training.accumulate = 0"),
        ("clip_norm = 0", "training.clip_norm = 0"),
        ("l1 = -1", "training.l1 = -1"),
        ("patience = 0", "training.patience = 0"),
        ("label_smoothing = 1", "training.label_smoothing = 1"),
        ("class_weights = { a = 0 }", "training.class_weights.a = 0"),
        ("augmentation = { rotation = 200 }", "training.augmentation.rotation = 200"),
        ("augmentation = { zoom = 2 }", "training.augmentation.zoom: unknown key"),
        ('loss = "mse"', "training.loss = 'mse' does not fit"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    assert fault in str(caught.value)


@pytest.mark.parametrize("text", ['class_weights = "balanced"', "label_smoothing = 0.1"])
def test_what_is_for_classes_does_not_fit_a_regression(text: str) -> None:
    parsed(text)
    with pytest.raises(ConfigError, match=r"is for a classification; data.task is 'regression'"):
        parsed(text, "regression")
    assert parsed('loss = "huber"', "regression").loss == "huber"
    with pytest.raises(ConfigError, match=r"loss = 'cross_entropy' does not fit .*mse, huber or"):
        parsed('loss = "cross_entropy"', "regression")


def test_patience_needs_validation_rows() -> None:
    assert parsed("patience = 3").patience == 3
    with pytest.raises(ConfigError, match=r"data.validation = 0 leaves none"):
        parsed("patience = 3", data="validation = 0.0")
