"""Gates: pure functions of numbers that return a verdict with reasons.

A gate has three answers. With d the difference between candidate and champion on the same rows
(positive: the candidate is better), m the margin and one-sided bounds at `confidence`:

- refused: the upper bound of d is below -m; harm is shown.
- passed: the lower bound of d is at least -m; it is shown that there is none (non-inferiority).
- undecided: neither.

The upper bound is never below d, so no gate refuses what is better than the champion on what it
measures. `tasks.evaluation.comparing` says how bounds are made; docs/gates.md explains them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

from perdure.config import LOWER_IS_BETTER, GatesConfig
from perdure.records import SANITY, Answer, Comparison, Evaluation, Reason, Verdict

POWER = 0.8
"""How often a loss is shown that a message calls one that so many rows show."""

_FEW = "; too few rows to tell"
_BALANCE = 'training.class_weights = "balanced" or evaluation.metric = "balanced_accuracy"'


def judge(evaluation: Evaluation, gates: GatesConfig) -> Verdict:
    """Put a candidate's numbers before every gate.

    - `sanity`: outputs are numbers, and not one class for everything. Refused for good.
    - `floor`: not worse than a constant prediction, or than a value of the metric.
    - `new`: on the new experience, not worse than the champion by more than `new_margin`.
    - `past`: on the earlier experiences, the recent ones weighing more, by `past_margin`.
    - `slice NAME`: on rows that a condition chooses; corrected for their number (Holm 1979).
    - `lost`: rows that the champion has right and the candidate wrong.
    - `calibration`: whether probabilities say how often the model is right.
    - the user's own, which were asked when the rows were at hand.

    Without a champion only sanity, the floor and the user's own stand.
    """
    reasons = (
        *_sanity(evaluation, gates),
        *_floor(evaluation, gates),
        *_margins(evaluation, gates),
        *_slices(evaluation, gates),
        *_classes(evaluation, gates),
        *evaluation.own,
    )
    answers = {reason.answer for reason in reasons}
    answer: Answer = "passed"
    if "refused" in answers:
        answer = "refused"
    elif "undecided" in answers:
        answer = "undecided"
    return Verdict(answer, reasons, gates.undecided)


def quantile(confidence: float, degrees: float | None) -> float:
    """Of Student's t, or of the normal distribution where `degrees` is None."""
    if degrees is None:
        return NormalDist().inv_cdf(confidence)
    from scipy import special

    return float(special.stdtrit(degrees, confidence)) if degrees > 0 else math.inf


@dataclass(frozen=True)
class _Tested:
    """A difference beside a margin."""

    answer: Answer
    low: float
    high: float
    detectable: float


def _tested(one: Comparison, margin: float, confidence: float, unit: float) -> _Tested:
    """Compare a difference with a margin; `unit` is the quantile of the bounds."""
    if not math.isfinite(one.standard_error):
        return _Tested("undecided", -math.inf, math.inf, math.inf)
    low, high = one.centre - unit * one.standard_error, one.centre + unit * one.standard_error
    # Where the bound goes through a centre that was drawn towards zero, what is better stays so.
    refused = high < -margin and one.difference < 0
    answer: Answer = "refused" if refused else "passed" if low >= -margin else "undecided"
    power = quantile(POWER, one.degrees)
    return _Tested(answer, low, high, margin + (unit + power) * one.standard_error)


def _sanity(evaluation: Evaluation, gates: GatesConfig) -> Iterator[Reason]:
    """What no setting turns off."""
    metric, average = evaluation.metric, evaluation.candidate.average[evaluation.metric]
    count = evaluation.not_finite
    if count or (math.isnan(average) and math.isfinite(evaluation.baseline[metric])):
        where = f"on {count:,} of {evaluation.rows:,} test rows" if count else f"in {metric}"
        yield Reason(
            SANITY,
            "refused",
            "outputs that are no number",
            count,
            0,
            None,
            f"{SANITY}: the candidate's output is not a number {where}; training diverged: lower "
            "training.learning_rate, or look for very large values in the data",
            rows=evaluation.rows,
        )
        return
    found = evaluation.predicted
    if found is None or found.present < 2 or metric == "log_loss":
        return  # with log_loss the probabilities count, and the floor judges them
    one_class = found.candidate == 1 and _would_name_another(evaluation, gates.confidence)
    refused = one_class and not _no_worse(evaluation)
    message = f"{SANITY}: {found.candidate} of {found.present} classes predicted"
    if found.candidate == 1:
        message = (
            f"{SANITY}: all {evaluation.rows:,} test rows are predicted as one class, although "
            f"{found.others:,} are of another"
        )
        if refused:
            message += f": no better than a constant prediction. Try {_BALANCE}"
        elif not one_class:
            message += ": too few of them to tell"
        else:
            message += ": so it is with the champion, or what serves is worse"
    yield Reason(
        SANITY,
        "refused" if refused else "passed",
        "classes predicted",
        found.candidate,
        2,
        found.champion,
        message,
        rows=evaluation.rows,
    )


def _would_name_another(evaluation: Evaluation, confidence: float) -> bool:
    """Whether even a guess would name a second class on these rows.

    With m of n rows of other classes, a guess at the classes' shares names none of them on n rows
    with a probability of `(1 - m/n)**n`, about `exp(-m)`. Where that is at most `1 - confidence`
    (at 0.95 from m = 3 on), one class for everything is no accident of few rows.
    """
    found, rows = evaluation.predicted, evaluation.rows
    if found is None or rows == 0:
        return False
    return bool((1 - found.others / rows) ** rows <= 1 - confidence)


def _no_worse(evaluation: Evaluation) -> bool:
    """Whether the champion is no better: one class too, or below a constant."""
    found = evaluation.predicted
    if found is not None and found.champion == 1:
        return True
    ours = evaluation.comparisons.get("floor")
    theirs = evaluation.comparisons.get("champion floor")
    return ours is not None and theirs is not None and ours.difference >= theirs.difference


def _floor(evaluation: Evaluation, gates: GatesConfig) -> Iterator[Reason]:
    if gates.floor is False:
        return
    of_champion = None
    if gates.floor == "baseline":
        one = evaluation.comparisons.get("floor")
        theirs = evaluation.comparisons.get("champion floor")
        if one is None:
            return
        limit, what = one.champion, "what a constant prediction reaches"
        reached = theirs is None or theirs.difference >= 0
        of_champion = theirs.candidate if theirs else None
    else:
        average = evaluation.comparisons.get("average")
        if average is None:
            return
        limit, what = float(gates.floor), "the value of [gates] floor"
        sign = -1.0 if evaluation.metric in LOWER_IS_BETTER else 1.0
        one = replace(
            average,
            difference=average.difference - sign * limit,
            centre=average.centre - sign * limit,
        )
        champion = evaluation.champion
        of_champion = champion.average[evaluation.metric] if champion else None
        reached = of_champion is None or sign * (of_champion - limit) >= 0
    tested = _tested(one, 0.0, gates.confidence, quantile(gates.confidence, one.degrees))
    bound = "at most" if one.metric in LOWER_IS_BETTER else "at least"
    head = (
        f"floor: {one.metric} {one.candidate:.4f} on {_rows(one)}, {bound} {limit:.4f} is asked "
        f"({what}{_champion(of_champion)})"
    )
    if not reached:
        answer: Answer = "passed"
        end = "; the champion does not reach it either, so it refuses nothing"
    else:
        answer = tested.answer
        end = _end(one, tested, answer, "below it", "floor")
    yield _reason("floor", one, answer, tested, limit, of_champion, head + end)


def _margins(evaluation: Evaluation, gates: GatesConfig) -> Iterator[Reason]:
    half = gates.past_half_life
    weights = "" if half is False else f" (half-life {half:g} experiences)"
    for gate, margin, where in (
        ("new", gates.new_margin, "of the new experience"),
        ("past", gates.past_margin, f"of earlier experiences{weights}"),
    ):
        one = evaluation.comparisons.get(gate)
        if margin is not False and one is not None:
            unit = quantile(gates.confidence, one.degrees)
            tested = _tested(one, margin, gates.confidence, unit)
            yield _beside(gate, one, margin, tested, where, f"{gate}_margin = {margin:g}")


def _slices(evaluation: Evaluation, gates: GatesConfig) -> Iterator[Reason]:
    """Refuse where harm is shown on a slice; one with too few rows is reported alone.

    Bounds are corrected for the number of slices: Holm, A simple sequentially rejective multiple
    test procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    usual = 0.02 if gates.past_margin is False else gates.past_margin
    found = []
    for wanted in gates.slices:
        one = evaluation.comparisons.get(f"slice {wanted.title}")
        if one is not None:
            margin = usual if wanted.margin is None else wanted.margin
            found.append((_no_harm(one, margin), one, margin, wanted.title))
    found.sort(key=lambda each: each[0])
    going_on = True
    for place, (_, one, margin, title) in enumerate(found):
        left = len(found) - place if going_on else 1
        confidence = 1 - (1 - gates.confidence) / left
        tested = _tested(one, margin, confidence, quantile(confidence, one.degrees))
        if tested.answer != "refused" or not going_on:
            going_on = False
            if tested.answer == "refused":  # at its own confidence, but not after Holm
                tested = replace(tested, answer="undecided")
        among = f" (one of {len(found)} slices)" if len(found) > 1 else ""
        reason = _beside(
            f"slice {title}", one, margin, tested, f"of the slice{among}", f"slices, {title}"
        )
        if reason.answer == "undecided":
            text = reason.message.removesuffix(_FEW) + f"{_FEW}, so it refuses nothing"
            reason = replace(reason, answer="passed", message=text)
        yield reason


def _no_harm(one: Comparison, margin: float) -> float:
    """The p-value of "not worse by more than the margin"."""
    if not math.isfinite(one.standard_error):
        return 1.0
    value = (one.centre + margin) / one.standard_error
    if one.degrees is None:
        return NormalDist().cdf(value)
    from scipy import special

    return float(special.stdtr(one.degrees, value))


def _classes(evaluation: Evaluation, gates: GatesConfig) -> Iterator[Reason]:
    """What is reported of every classifier, and refused where a limit is set."""
    lost = evaluation.comparisons.get("lost")
    if lost is not None:
        limit = None if gates.lost is False else float(gates.lost)
        unit = quantile(gates.confidence, lost.degrees)
        tested = _tested(lost, limit or 0.0, gates.confidence, unit)
        answer: Answer = "passed" if limit is None else tested.answer
        head = (
            f"lost: {lost.candidate:.2%} of {_rows(lost)}, which the champion has right, are wrong"
        )
        if limit is not None:
            head += f", at most {limit:.2%} is asked"
            head += _end(lost, tested, answer, "more", f"lost = {limit:g}")
        yield _reason("lost", lost, answer, tested, limit, None, head)
    calibration = evaluation.comparisons.get("calibration")
    if calibration is None:
        return
    margin = gates.calibration_margin
    unit = quantile(gates.confidence, calibration.degrees)
    tested = _tested(calibration, margin or 0.0, gates.confidence, unit)
    if margin is not False:
        yield _beside(
            "calibration", calibration, margin, tested, "", f"calibration_margin = {margin:g}"
        )
        return
    head = f"calibration: {calibration.metric} {calibration.candidate:.4f} on {_rows(calibration)}"
    head += f"{_champion(calibration.champion).replace('; ', ' (')})"
    yield _reason("calibration", calibration, "passed", tested, None, calibration.champion, head)


def _beside(
    gate: str, one: Comparison, margin: float, tested: _Tested, where: str, setting: str
) -> Reason:
    """A finding about a difference from the champion."""
    lower = one.metric in LOWER_IS_BETTER or gate == "calibration"
    limit = one.champion + margin if lower else one.champion - margin
    head = (
        f"{gate}: {one.metric} {one.candidate:.4f} on {_rows(one)}{' ' * bool(where)}{where}, "
        f"{'at most' if lower else 'at least'} {limit:.4f} is asked (champion: {one.champion:.4f})"
    )
    answer = tested.answer
    if not math.isfinite(one.difference):
        if math.isfinite(one.candidate):
            answer, end = "passed", "; the champion's is not a number"
        elif math.isfinite(one.champion):
            answer, end = "refused", f"; it is not a number  [gates] {setting}"
        else:
            answer, end = "undecided", "; neither is a number on these rows"
    else:
        end = _end(one, tested, answer, "worse by more than the margin", setting)
    return _reason(gate, one, answer, tested, limit, one.champion, head + end)


def _end(one: Comparison, tested: _Tested, answer: Answer, harm: str, setting: str) -> str:
    """The second half of a message: interval, answer, and what so many rows can show."""
    if not math.isfinite(one.standard_error):
        return _FEW
    said = {
        "passed": f"shown not to be {harm}",
        "refused": f"shown to be {harm}",
        "undecided": f"not known whether it is {harm}",
    }[answer]
    text = f"; difference {one.difference:+.4f} ({tested.low:+.4f} to {tested.high:+.4f}): {said}"
    text += f"; so many rows show a loss of {tested.detectable:.4f}"
    return text + (f"  [gates] {setting}" if answer == "refused" else "")


def _reason(
    gate: str,
    one: Comparison,
    answer: Answer,
    tested: _Tested,
    limit: float | None,
    champion: float | None,
    message: str,
) -> Reason:
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


def _rows(one: Comparison) -> str:
    count = round(one.rows)
    return f"{count:,} row{'' if count == 1 else 's'}"


def _champion(value: float | None) -> str:
    return "" if value is None else f"; champion: {value:.4f}"
