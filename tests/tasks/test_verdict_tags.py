"""Verdicts as tags and in intents, those of an older Perdure too."""

from __future__ import annotations

import json
import math

import pytest

from perdure.records import Change, Reason, Verdict
from perdure.tasks.registry import codec

WHOLE = Verdict(
    "undecided",
    (
        Reason("sanity", "passed", "classes predicted", 2, 2, None, "sanity: 2 of 2"),
        Reason("past", "undecided", "accuracy", 0.8, 0.78, 0.8, "past: …", 0.0, -0.1, 0.1, 73.5),
        Reason("lost", "passed", "rows lost", 0.1, None, None, "lost: 10 %", detectable=0.2),
    ),
    "hold",
)


def test_a_verdict_comes_back_whole_from_its_tags() -> None:
    tags = codec.verdict_tags(WHOLE)
    assert codec.whole_verdict(tags) == WHOLE
    assert tags[codec.PREFIX + "verdict"] == "undecided"
    assert json.loads(tags[codec.PREFIX + "reasons"]) == ["past: …"]
    assert codec.whole_verdict({codec.PREFIX + "verdict": "passed"}) is None
    assert codec.verdict_tags(None) == {}


def test_a_long_verdict_comes_back_whole() -> None:
    many = tuple(Reason(f"slice {n}", "passed", "m", 1.0, 0.5, 1.0, "x" * 90) for n in range(200))
    tags = codec.verdict_tags(Verdict("passed", many))
    assert all(len(value) <= 5_000 for value in tags.values())
    assert codec.whole_verdict(tags) == Verdict("passed", many)


def test_not_a_number_comes_back() -> None:
    reason = Reason("past", "undecided", "r2", math.nan, math.nan, math.nan, "past: …")
    found = codec.whole_verdict(codec.verdict_tags(Verdict("undecided", (reason,))))
    assert found is not None
    assert math.isnan(found.reasons[0].value)


@pytest.mark.parametrize(("passed", "answer"), [(True, "passed"), (False, "refused")])
def test_an_intent_of_an_older_perdure_is_finished(passed: bool, answer: str) -> None:
    old = {
        "passed": passed,
        "reasons": [
            {
                "gate": "floor",
                "passed": passed,
                "metric": "accuracy",
                "value": 0.4,
                "limit": 0.5,
                "champion": None,
                "message": "floor: …",
            }
        ],
    }
    intent = json.loads(codec.dumps(Change("key")))
    found = codec.change({**intent, "verdicts": {"3": old}}).verdicts[3]
    assert (found.answer, found.passed) == (answer, passed)
    assert found.reasons[0].answer == answer
    assert found.refusals == (() if passed else ("floor: …",))
