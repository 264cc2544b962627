"""Gates: pure functions of numbers that return a verdict with reasons."""

from __future__ import annotations

import math

from perdure.config import LOWER_IS_BETTER, GatesConfig
from perdure.records import Answer, Evaluation, Metrics, Reason, Verdict


def judge(evaluation: Evaluation, gates: GatesConfig) -> Verdict:
    """Put a candidate's numbers before every gate that is on.

    - `floor`: the average over experiences reaches a fixed value, or the baseline.
    - `new`: on the new experience, not worse than the champion by more than `new_margin`.
    - `past`: on all earlier experiences, not worse than the champion by more than `past_margin`.

    Without a champion only the floor stands. A value that is not a number passes no gate.
    """
    metric = evaluation.metric
    candidate, champion = evaluation.candidate, evaluation.champion
    reasons = []
    if gates.floor is not False:
        limit = evaluation.baseline[metric] if gates.floor == "baseline" else gates.floor
        reasons.append(
            _floor(metric, candidate.average[metric], limit, champion.average if champion else None)
        )
    if champion is not None:
        if gates.new_margin is not False and candidate.new and champion.new:
            reasons.append(_margin("new", metric, candidate.new, champion.new, gates.new_margin))
        if gates.past_margin is not False and candidate.past and champion.past:
            reasons.append(
                _margin("past", metric, candidate.past, champion.past, gates.past_margin)
            )
    answer: Answer = "passed" if all(reason.passed for reason in reasons) else "refused"
    return Verdict(answer, tuple(reasons))


def _reaches(metric: str, value: float, limit: float) -> bool:
    if math.isnan(value) or math.isnan(limit):
        return False
    return value <= limit if metric in LOWER_IS_BETTER else value >= limit


def _floor(metric: str, value: float, limit: float, champion: Metrics | None) -> Reason:
    passed = _reaches(metric, value, limit)
    bound = "at most" if metric in LOWER_IS_BETTER else "at least"
    theirs = champion[metric] if champion else None
    message = (
        f"floor: average {metric} {value:.4f}, {bound} {limit:.4f} is asked"
        + _beside(theirs)
        + ("" if passed else "  [gates] floor")
    )
    return Reason("floor", "passed" if passed else "refused", metric, value, limit, theirs, message)


_WHERE = {"new": "the new experience", "past": "all earlier experiences"}


def _margin(gate: str, metric: str, candidate: Metrics, champion: Metrics, margin: float) -> Reason:
    value, theirs = candidate[metric], champion[metric]
    lower = metric in LOWER_IS_BETTER
    limit = theirs + margin if lower else theirs - margin
    passed = _reaches(metric, value, limit)
    message = (
        f"{gate}: {metric} {value:.4f} on {_WHERE[gate]}, {'at most' if lower else 'at least'} "
        f"{limit:.4f} is asked"
        + _beside(theirs)
        + ("" if passed else f"  [gates] {gate}_margin = {margin:g}")
    )
    return Reason(gate, "passed" if passed else "refused", metric, value, limit, theirs, message)


def _beside(champion: float | None) -> str:
    return "" if champion is None else f" (champion: {champion:.4f})"
