"""What a learning run and a version show on MLflow's pages."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from perdure.records import (
    Arrival,
    ColumnDrift,
    Drift,
    DriftPoint,
    Epoch,
    Evaluation,
    Level,
    Reason,
    Standing,
    Trained,
    Verdict,
)
from perdure.tasks.registry import pages
from tests.tasks.version_kit import EXPERIENCE, TRAINED, evaluation


def training(trained: Trained) -> set[tuple[str, float, int]]:
    found = pages.metrics(trained, evaluation())
    return {one for one in found if one[0].startswith(("train/", "validation/"))}


def test_what_was_measured_in_training_is_shown_and_nothing_else() -> None:
    plain = {("train/loss", 0.5, 1), ("train/loss", 0.4, 2), ("validation/loss", 0.6, 1)}
    assert training(TRAINED) == plain | {("train/seconds", 1.5, 0)}
    whole = Trained(
        (Epoch(1, 0.5, None, learning_rate=0.1),), rows=9, seconds=2.0, rows_per_second=500.0,
        best_epoch=1, accelerator_bytes=3 * 2**19,
    )  # fmt: skip
    assert training(whole) == {
        ("train/loss", 0.5, 1),
        ("train/learning_rate", 0.1, 1),
        ("train/seconds", 2.0, 0),
        ("train/rows_per_second", 500.0, 0),
        ("train/best_epoch", 1.0, 0),
        ("train/accelerator_mebibytes", 1.5, 0),
    }


def point(number: int, columns: Mapping[str, float], level: Level = "as ever") -> DriftPoint:
    broken = tuple(columns) if level == "broken" else ()
    return DriftPoint(f"{number:06d}-aaaaaaaa", level, 0.5, columns, broken)


def drift_metrics(*history: DriftPoint) -> list[tuple[str, float, int]]:
    drift = Drift("as ever", 0.3, 0.2, 365, 1000, 9, ()) if history else None
    found = dataclasses.replace(evaluation(), drift_history=history, drift=drift)
    logged = [one for one in pages.metrics(TRAINED, found) if one[0].startswith("drift")]
    shown = [(name, value, 0) for name, value in pages.life(found) if name.startswith("drift")]
    assert shown == logged
    return logged


def test_the_drift_of_what_was_learned_is_a_metric() -> None:
    first = point(3, {"wind": 0.25, "rain": 0.5})
    assert drift_metrics(first) == [
        ("drift_level", 0.0, 0), ("drift/all", 0.5, 0), ("drift/wind", 0.25, 0),
        ("drift/rain", 0.5, 0),
    ]  # fmt: skip
    assert drift_metrics(first, point(7, {"wind": 3.5}, "broken")) == [
        ("drift_level", 2.0, 0), ("drift/all", 0.5, 0), ("drift/wind", 3.5, 0),
    ]  # fmt: skip
    assert drift_metrics() == []


def test_what_was_not_compared_has_no_drift_and_not_that_of_the_one_before() -> None:
    found = dataclasses.replace(evaluation(), drift_history=(point(3, {"wind": 0.25}),))
    assert not [name for name, _ in pages.life(found) if name.startswith("drift")]


def test_mlflow_takes_the_name_of_any_column() -> None:
    from mlflow.utils import validation

    check: Any = validation._validate_metric_name  # MLflow's functions have no types

    columns = [
        "all",
        "body (words)",
        "body [words]",
        "a/b",
        "..",
        ".",
        "Größe",
        "x" * 400,
        "%",
        "$",
    ]
    names = [name for name, _, _ in drift_metrics(point(1, dict.fromkeys(columns, 0.5)))]
    for name in names:
        check(name)
        assert len(name) <= 250
    assert len(set(names)) == len(names) == len(columns) + 2
    assert "drift/Größe" in names
    # The same name for the same column in every experience.
    both, one = point(1, {"a/b": 0.5, "a_b": 0.5}), point(2, {"a_b": 0.5})
    assert drift_metrics(both)[3:] == drift_metrics(both, one)[2:]


def drifted(columns: int) -> Evaluation:
    found = tuple(
        ColumnDrift(
            f"co|lumn {n}", "number", "drifting", 0.5, 0.1 + n / 1000, 0, 0, reason="x" * 80
        )
        for n in range(columns)
    )
    drift = Drift("drifting", 0.3, 0.2, 365, 1000, 9, found)
    standing = Standing(3, "contender", True, 0.2, 0.3, 0.8, 7.96, 0.01, 365, 1)
    arrival = Arrival(EXPERIENCE, 365, 2, 0.7, (standing,))
    return dataclasses.replace(evaluation(), drift=drift, arrival=arrival)


def verdict(messages: int) -> Verdict:
    reason = Reason("past", "refused", "accuracy", 0.6, 0.7, 0.72, "worse " * 20)
    return Verdict("refused", (reason,) * messages)


@pytest.mark.parametrize("columns", [1, 60, 1000])
@pytest.mark.parametrize("messages", [1, 100])
def test_a_description_shows_the_tournament_and_the_columns_that_moved_most(
    columns: int, messages: int
) -> None:
    before = pages.before_learning(drifted(columns))
    text = pages.version_description(EXPERIENCE, ("ewc",), 3, 2, verdict(messages), before)
    assert len(text) <= pages.DESCRIPTION
    assert "**Verdict: refused**" in text
    assert "| contender | 3 | 0.8000 | 0.2000 | 0.3000 | 7.9 | &lt; 0.1 | 365 |" in text
    assert "Drift: drifting: co\\|lumn 0" in text
    assert "| co\\|lumn 0 | drifting |" in text
    assert ("more columns" in text) == (columns > 1)
    # A verdict that is written later leaves this part as it is.
    assert pages.part_before(text) == before
    later = pages.version_description(EXPERIENCE, ("ewc",), 3, 2, None, pages.part_before(text))
    assert later.endswith(before)


def test_of_what_was_not_measured_a_description_says_nothing() -> None:
    assert pages.before_learning(evaluation()) == ""
    assert pages.part_before(None) == pages.part_before("Learned something") == ""
