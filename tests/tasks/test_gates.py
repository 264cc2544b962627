"""Gates are laws of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.config import GatesConfig
from perdure.records import Evaluation, Matrix, Measured
from perdure.tasks import gates


def measured(new: float, past: float | None, metric: str = "accuracy") -> Measured:
    values = [new] if past is None else [past, new]
    return Measured(
        by_experience={str(i): {metric: v} for i, v in enumerate(values)},
        new={metric: new},
        past=None if past is None else {metric: past},
        average={metric: sum(values) / len(values)},
    )


def evaluation(
    candidate: Measured, champion: Measured | None, baseline: float = 0.0, metric: str = "accuracy"
) -> Evaluation:
    return Evaluation(
        metric=metric,
        candidate=candidate,
        champion=champion,
        baseline={metric: baseline},
        prequential=None,
        matrix=Matrix(metric, (), ()),
        forgetting=None,
        backward_transfer=None,
        rows=1,
    )


share = st.floats(0, 1)


def test_a_turned_year_is_seen_by_the_past_gate_alone() -> None:
    numbers = evaluation(measured(0.45, 0.65), measured(0.20, 0.80), baseline=0.5)
    verdict = gates.judge(numbers, GatesConfig())
    assert not verdict.passed
    assert {r.gate: r.passed for r in verdict.reasons} == {
        "floor": True,
        "new": True,
        "past": False,
    }
    (refusal,) = verdict.refusals
    for part in (
        "past",
        "accuracy 0.6500",
        "at least 0.7800",
        "champion: 0.8000",
        "past_margin = 0.02",
    ):
        assert part in refusal


@given(share, share, share, share, st.floats(0, 0.5), st.floats(0, 0.5))
def test_passing_is_reaching_every_limit(
    new: float, past: float, champion_new: float, champion_past: float, margin: float, other: float
) -> None:
    numbers = evaluation(measured(new, past), measured(champion_new, champion_past))
    verdict = gates.judge(numbers, GatesConfig(floor=False, new_margin=margin, past_margin=other))
    assert verdict.passed == (new >= champion_new - margin and past >= champion_past - other)
    assert len(verdict.refusals) == sum(not r.passed for r in verdict.reasons)


@given(share, share, st.floats(0, 0.2))
def test_a_better_candidate_never_fares_worse(value: float, champion: float, gain: float) -> None:
    before = gates.judge(
        evaluation(measured(value, value), measured(champion, champion)), GatesConfig()
    )
    after = gates.judge(
        evaluation(measured(value + gain, value + gain), measured(champion, champion)),
        GatesConfig(),
    )
    assert after.passed or not before.passed


@given(share, share, st.floats(0, 0.5))
def test_where_less_is_better_everything_turns_round(
    value: float, champion: float, margin: float
) -> None:
    numbers = evaluation(
        measured(value, value, "rmse"), measured(champion, champion, "rmse"), metric="rmse"
    )
    verdict = gates.judge(numbers, GatesConfig(floor=False, new_margin=margin, past_margin=margin))
    assert verdict.passed == (value <= champion + margin)


def test_without_a_champion_only_the_floor_stands() -> None:
    verdict = gates.judge(evaluation(measured(0.6, None), None, baseline=0.7), GatesConfig())
    assert [r.gate for r in verdict.reasons] == ["floor"]
    assert not verdict.passed


@pytest.mark.parametrize("where", ["candidate", "champion"])
def test_not_a_number_passes_no_gate(where: str) -> None:
    nan, good = measured(float("nan"), float("nan")), measured(0.9, 0.9)
    numbers = evaluation(nan, good) if where == "candidate" else evaluation(good, nan)
    assert not gates.judge(numbers, GatesConfig()).passed


def test_a_gate_that_is_off_says_nothing() -> None:
    off = GatesConfig(floor=False, new_margin=False, past_margin=False)
    verdict = gates.judge(evaluation(measured(0, 0), measured(1, 1)), off)
    assert verdict.passed
    assert verdict.reasons == ()
