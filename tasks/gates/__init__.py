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
from dataclasses import replace
from statistics import NormalDist

from perdure.config import LOWER_IS_BETTER, GatesConfig
from perdure.records import NO_NUMBER, SANITY, Answer, Comparison, Evaluation, Reason, Verdict
from perdure.tasks.gates import findings

__all__ = ["judge", "settings"]

_KEYS = {
    "floor": "floor",
    "new": "new_margin",
    "past": "past_margin",
    "lost": "lost",
    "calibration": "calibration_margin",
}
"""The key of `[gates]` that each gate goes by."""

_BALANCE = 'training.class_weights = "balanced" or evaluation.metric = "balanced_accuracy"'


def judge(evaluation: Evaluation, gates: GatesConfig) -> Verdict:
    """Put a candidate's numbers before every gate.

    - `sanity`: outputs are numbers, and right for more than one class. Refused for good.
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


def settings(verdict: Verdict) -> tuple[str, ...]:
    """The keys of `[gates]` that kept a candidate back, each once.

    None for `sanity`, which no setting turns off, and for the user's own gates.
    """
    if verdict.passed:
        return ()
    if verdict.answer == "undecided":
        return ("undecided",)
    refusing = [one.gate for one in verdict.reasons if one.answer == "refused"]
    keys = ("slices" if gate.startswith("slice ") else _KEYS.get(gate) for gate in refusing)
    return tuple(dict.fromkeys(key for key in keys if key is not None))


def _sanity(evaluation: Evaluation, gates: GatesConfig) -> Iterator[Reason]:
    """What no setting turns off."""
    metric, average = evaluation.metric, evaluation.candidate.average[evaluation.metric]
    count = evaluation.not_finite
    if count or (math.isnan(average) and math.isfinite(evaluation.baseline[metric])):
        where = f"on {count:,} of {evaluation.rows:,} test rows" if count else f"in {metric}"
        yield Reason(
            SANITY,
            "refused",
            NO_NUMBER,
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
    one_class = found.candidate < 2 and _would_name_another(evaluation, gates.confidence)
    refused = one_class and not _no_worse(evaluation, gates.confidence)
    message = (
        f"{SANITY}: {found.candidate} of {found.present} classes have a row that is predicted right"
    )
    if found.candidate < 2:
        message = (
            f"{SANITY}: of {evaluation.rows:,} test rows only those of one class are predicted "
            f"right, although {found.others:,} are of another"
        )
        if refused:
            message += f": no better than a constant prediction. Try {_BALANCE}"
        elif not one_class:
            message += ": too few of them to decide"
        else:
            message += ": so it is with the champion, or what serves is worse"
    yield Reason(
        SANITY,
        "refused" if refused else "passed",
        "classes predicted right",
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
    (at 0.95 from m = 3 on), no row of another class right is no accident of few rows.
    """
    found, rows = evaluation.predicted, evaluation.rows
    if found is None or rows == 0:
        return False
    return bool((1 - found.others / rows) ** rows <= 1 - confidence)


def _no_worse(evaluation: Evaluation, confidence: float) -> bool:
    """Whether the champion is not better either.

    It is right for one class too, or less often than the candidate, or not shown to be better
    than a constant.
    """
    found = evaluation.predicted
    if found is not None and found.champion is not None and found.champion < 2:
        return True
    ours = evaluation.comparisons.get("floor")
    theirs = evaluation.comparisons.get("champion floor")
    if ours is None or theirs is None:
        return False
    low = findings.test(theirs, 0.0, confidence).low
    return ours.difference >= theirs.difference or low <= 0.0


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
    tested = findings.test(one, 0.0, gates.confidence)
    bound = "at most" if one.metric in LOWER_IS_BETTER else "at least"
    head = (
        f"floor: {one.metric} {one.candidate:.4f} on {findings.rows(one)}, {bound} {limit:.4f} "
        f"is asked ({what}{findings.champion(of_champion)})"
    )
    if not reached:
        answer: Answer = "passed"
        end = "; the champion does not reach it either, so it refuses nothing"
    else:
        answer = tested.answer
        end = findings.ending(one, tested, answer, "below it", "floor")
        if answer != "passed" and one.metric == "balanced_accuracy":
            end += f"; for rare classes: {_BALANCE}"
    yield findings.reason("floor", one, answer, tested, limit, of_champion, head + end)


def _margins(evaluation: Evaluation, gates: GatesConfig) -> Iterator[Reason]:
    half = gates.past_half_life
    weights = "" if half is False else f" (half-life {half:g} experiences)"
    for gate, written, where in (
        ("new", gates.new_margin, "of the new experience"),
        ("past", gates.past_margin, f"of earlier experiences{weights}"),
    ):
        one = evaluation.comparisons.get(gate)
        margin = findings.margin(evaluation, f"{gate}_margin", written)
        if margin is not None and one is not None:
            tested = findings.test(one, margin.value, gates.confidence)
            yield findings.beside(gate, one, margin, tested, where)


def _slices(evaluation: Evaluation, gates: GatesConfig) -> Iterator[Reason]:
    """Refuse where harm is shown on a slice; one with too few rows is reported alone.

    Bounds are corrected for the number of slices: Holm, A simple sequentially rejective multiple
    test procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    usual = None if gates.past_margin is False else gates.past_margin
    found = []
    for wanted in gates.slices:
        one = evaluation.comparisons.get(f"slice {wanted.title}")
        written = usual if wanted.margin is None else wanted.margin
        setting = f"slices, {wanted.title}"
        margin = findings.margin(evaluation, "past_margin", written, setting)
        if one is not None and margin is not None:
            found.append((_no_harm(one, margin.value), one, margin, wanted.title))
    found.sort(key=lambda each: each[0])
    going_on = True
    for place, (_, one, margin, title) in enumerate(found):
        left = len(found) - place if going_on else 1
        confidence = 1 - (1 - gates.confidence) / left
        tested = findings.test(one, margin.value, confidence)
        if tested.answer != "refused" or not going_on:
            going_on = False
            if tested.answer == "refused":  # at its own confidence, but not after Holm
                tested = replace(tested, answer="undecided")
        among = f" (one of {len(found)} slices)" if len(found) > 1 else ""
        reason = findings.beside(f"slice {title}", one, margin, tested, f"of the slice{among}")
        if reason.answer == "undecided":
            few = findings.FEW
            text = f"{reason.message.removesuffix(few)}{few}, so it refuses nothing"
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
        tested = findings.test(lost, limit or 0.0, gates.confidence)
        answer: Answer = "passed" if limit is None else tested.answer
        head = (
            f"lost: {lost.candidate:.2%} of {findings.rows(lost)}, which the champion has right, "
        )
        head += "are wrong"
        if limit is not None:
            head += f", at most {limit:.2%} is asked"
            head += findings.ending(lost, tested, answer, "more", f"lost = {limit:g}")
        yield findings.reason("lost", lost, answer, tested, limit, None, head)
    calibration = evaluation.comparisons.get("calibration")
    if calibration is None:
        return
    most = gates.calibration_margin
    tested = findings.test(calibration, most or 0.0, gates.confidence)
    if most is not False:
        margin = findings.Margin(most, f"calibration_margin = {most:g}")
        yield findings.beside("calibration", calibration, margin, tested, "")
        return
    value, theirs = calibration.candidate, calibration.champion
    head = f"calibration: {calibration.metric} {value:.4f} on {findings.rows(calibration)}"
    head += f"{findings.champion(theirs).replace('; ', ' (')})"
    yield findings.reason("calibration", calibration, "passed", tested, None, theirs, head)
