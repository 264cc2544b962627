"""What gates have in common: a difference beside a margin, and the words for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from perdure.config import LOWER_IS_BETTER
from perdure.config.gates import IN_TARGET_UNIT, MARGINS
from perdure.records import Answer, Comparison, Evaluation, Reason

POWER = 0.8
"""How often a loss is shown that a message calls one that so many rows show."""
FEW = "; too few rows to decide"


@dataclass(frozen=True)
class Margin:
    """How much worse than the champion a candidate may be.

    Attributes:
        value: In the unit of the metric.
        setting: What to change in `[gates]`.
        source: Where the value comes from, if it does not stand there.
    """

    value: float
    setting: str
    source: str = ""


def margin(
    evaluation: Evaluation, key: str, written: float | Literal[False] | None, setting: str = ""
) -> Margin | None:
    """The margin that is written, or else that of `MARGINS`; None: the gate is off.

    Args:
        evaluation: Its metric, and what a constant prediction reaches on its rows.
        key: `new_margin` or `past_margin`.
        written: What perdure.toml says; None: nothing.
        setting: What to change, if it is not the key.
    """
    if written is False:
        return None
    usual, metric = MARGINS[key], evaluation.metric
    if written is not None or metric not in IN_TARGET_UNIT:
        value = usual if written is None else written
        return Margin(value, setting or f"{key} = {value:g}")
    value = usual * evaluation.baseline[metric]
    source = f"; margin {value:.4f}: {usual:g} of what a constant prediction reaches"
    return Margin(value, setting or key, source)


def quantile(confidence: float, degrees: float | None) -> float:
    """Quantile of Student's t, or of the normal distribution where `degrees` is None."""
    if degrees is None:
        return NormalDist().inv_cdf(confidence)
    from scipy import special

    return float(special.stdtrit(degrees, confidence)) if degrees > 0 else math.inf


@dataclass(frozen=True)
class Tested:
    """A difference beside a margin."""

    answer: Answer
    low: float
    high: float
    detectable: float


def test(one: Comparison, margin: float, confidence: float) -> Tested:
    """Compare a difference with a margin, in the unit of the metric."""
    if not math.isfinite(one.standard_error):
        return Tested("undecided", -math.inf, math.inf, math.inf)
    unit = quantile(confidence, one.degrees)
    low, high = one.centre - unit * one.standard_error, one.centre + unit * one.standard_error
    # Where the bound goes through a centre that was drawn towards zero, what is better stays so.
    refused = high < -margin and one.difference < 0
    answer: Answer = "refused" if refused else "passed" if low >= -margin else "undecided"
    power = quantile(POWER, one.degrees)
    return Tested(answer, low, high, margin + (unit + power) * one.standard_error)


def beside(gate: str, one: Comparison, margin: Margin, tested: Tested, where: str) -> Reason:
    """A finding about a difference from the champion."""
    lower = one.metric in LOWER_IS_BETTER or gate == "calibration"
    limit = one.champion + margin.value if lower else one.champion - margin.value
    head = (
        f"{gate}: {one.metric} {one.candidate:.4f} on {rows(one)}{' ' * bool(where)}{where}, "
        f"{'at most' if lower else 'at least'} {limit:.4f} is asked "
        f"(champion: {one.champion:.4f}{margin.source})"
    )
    answer = tested.answer
    if not math.isfinite(one.difference):
        if math.isfinite(one.candidate):
            answer, end = "passed", "; the champion's is not a number"
        elif math.isfinite(one.champion):
            answer, end = "refused", f"; it is not a number  [gates] {margin.setting}"
        else:
            answer, end = "undecided", "; neither is a number on these rows"
    else:
        end = ending(one, tested, answer, "worse by more than the margin", margin.setting)
    return reason(gate, one, answer, tested, limit, one.champion, head + end)


def ending(one: Comparison, tested: Tested, answer: Answer, harm: str, setting: str) -> str:
    """The second half of a message: interval, answer, and what so many rows can show."""
    if not math.isfinite(one.standard_error):
        return FEW
    words = {
        "passed": f"shown not to be {harm}",
        "refused": f"shown to be {harm}",
        "undecided": f"not known whether it is {harm}",
    }[answer]
    text = f"; difference {one.difference:+.4f} ({tested.low:+.4f} to {tested.high:+.4f}): {words}"
    text += f"; so many rows show a loss of {tested.detectable:.4f}"
    return text + (f"  [gates] {setting}" if answer == "refused" else "")


def reason(
    gate: str,
    one: Comparison,
    answer: Answer,
    tested: Tested,
    limit: float | None,
    champion: float | None,
    message: str,
) -> Reason:
    """A finding, with the numbers that it rests on."""
    return Reason(
        gate=gate,
        answer=answer,
        metric=one.metric,
        value=one.candidate,
        limit=limit,
        champion=champion,
        message=message,
        difference=_finite(one.difference),
        low=_finite(tested.low),
        high=_finite(tested.high),
        rows=one.rows,
        detectable=_finite(tested.detectable),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def rows(one: Comparison) -> str:
    """How many rows a difference stands on."""
    count = round(one.rows)
    return f"{count:,} row{'' if count == 1 else 's'}"


def champion(value: float | None) -> str:
    """What the champion reaches; nothing where there is none."""
    return "" if value is None else f"; champion: {value:.4f}"
