"""The table of a verdict: every number, within the room there is, and nothing that is markup."""

from __future__ import annotations

import math
from typing import Any

import pytest

from perdure import verdict_table
from perdure.records import Answer, Reason, Verdict

PAST = Reason(
    gate="past",
    answer="refused",
    metric="accuracy",
    value=0.65,
    limit=0.78,
    champion=0.8,
    message="past: …",
    difference=-0.15,
    low=-0.2,
    high=-0.1,
    rows=1860.4,
    detectable=0.047,
)


def named(gate: str, answer: Answer = "passed") -> Reason:
    return Reason(gate, answer, "accuracy", 0.5, None, None, gate)


def test_a_row_has_every_number() -> None:
    [row] = verdict_table.rows(Verdict("refused", (PAST,)))
    assert dict(zip(verdict_table.HEADER, row, strict=True)) == {
        "gate": "past",
        "answer": "refused",
        "value": "0.6500 accuracy",
        "champion": "0.8000",
        "difference": "-0.1500 (-0.2000 to -0.1000)",
        "limit": "0.7800",
        "rows": "1,860",
        "shows": "0.0470",
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300, -3.0, 0.0, 12.0])
def test_any_number_has_its_place(value: float) -> None:
    reason = Reason("own cost", "passed", "cost", value, value, value, "cost")
    assert len(verdict_table.rows(Verdict("passed", (reason,)))[0]) == len(verdict_table.HEADER)


def test_what_refuses_nothing_is_reported() -> None:
    [row] = verdict_table.rows(Verdict("passed", (named("lost"),)))
    assert row[1] == "reported"


def test_a_name_is_no_markup() -> None:
    name = "slice `a` | <img src=x> [x](http://y) *b*\n# c"
    page = verdict_table.markdown(Verdict("passed", (named(name),)))
    assert len(page.splitlines()) == 3
    [row] = page.splitlines()[2:]
    assert "\\|" in row
    for sign in (" `", " <img", " [", " *", " # "):
        assert sign not in row


@pytest.mark.parametrize("limit", [400, 1_000, 4_900])
def test_a_long_table_keeps_what_was_refused(limit: int) -> None:
    many = [named(f"slice {n:03}", "undecided" if n % 2 else "passed") for n in range(200)]
    verdict = Verdict("refused", (*many, PAST))
    page = verdict_table.markdown(verdict, limit)
    assert len(page) <= limit
    assert "| past | refused |" in page
    left = int(page.rpartition("and ")[2].split()[0])
    assert left + page.count("\n| ") == 201
    assert verdict_table.markdown(verdict).count("\n| ") == 201


@pytest.mark.parametrize(
    ("answer", "undecided", "words"),
    [
        ("passed", "pass", "passed"),
        ("refused", "wait", "refused"),
        ("undecided", "pass", "undecided, let through"),
        ("undecided", "hold", "undecided, held"),
        ("undecided", "wait", "undecided, held and tried on what comes"),
    ],
)
def test_a_summary_says_what_becomes_of_it(answer: Any, undecided: Any, words: str) -> None:
    assert verdict_table.summary(Verdict(answer, (), undecided)) == words
