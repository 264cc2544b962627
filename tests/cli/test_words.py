"""What a person reads on a terminal about drift, verdicts and the tournament."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
from rich.console import Console

from perdure import arrival_table
from perdure.cli.render import results, state, words
from perdure.records import (
    Arrival,
    ColumnDrift,
    Drift,
    Learned,
    Reason,
    Retrained,
    Standing,
    Verdict,
    to_json,
)

DRIFT = Drift(
    "broken", 0.3, 0.6, 365, 1000, 9,
    (
        ColumnDrift("pressure", "number", "broken", 1, 0.6, 0, 0, 1.0, reason="other units?"),
        *(ColumnDrift(f"column_{n}", "number", "as ever", n / 1000, 0.5, 0, 0) for n in range(60)),
    ),
    ("`pressure`: other units?",),
)  # fmt: skip
STANDINGS = (
    Standing(8, "contender", True, 0.205, 0.411, 0.79, 1e9, 0.001, 365, 1),
    Standing(5, "predecessor", True, 0.4, 0.411, 0.6, 19.99, 1.0, 365, 1),
    Standing(1, "anchor", False),
)
ARRIVAL = Arrival("000009-aaaaaaaa", 365, 6, 0.589, STANDINGS)


def learned(**more: Any) -> Learned:
    plain = Learned("000009-aaaaaaaa", 9, "passed", (), True, {"accuracy": 0.8}, None, None)
    return dataclasses.replace(plain, **more)


@pytest.fixture(params=[80, 140])
def width(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def printed(width: int, monkeypatch: pytest.MonkeyPatch) -> Console:
    console = Console(file=io.StringIO(), width=width, soft_wrap=True, highlight=False)
    for room in (results, state, words):
        monkeypatch.setattr(room, "out", console)
    return console


@pytest.fixture
def terminal(printed: Console) -> io.StringIO:
    assert isinstance(printed.file, io.StringIO)
    return printed.file


def tables(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(" ")]


def test_a_contender_that_is_promoted(terminal: io.StringIO) -> None:
    moved = dataclasses.replace(ARRIVAL, action="promoted", version=8)
    one = learned(version=None, verdict="postponed", reasons=("promoted: …",), arrival=moved)
    results.retrained(Retrained((one, learned()), 9, 9))
    shown = terminal.getvalue()
    assert "contender promoted" in shown
    assert (
        "version 8, refused before, is better than the champion (loss 0.205 instead of 0.411, "
        "365 rows that neither had learned, evidence > 1,000,000): it serves now"
    ) in shown
    assert "perdure release" not in shown
    assert not one.kept_back
    assert all(len(line.rstrip()) <= 80 for line in tables(shown))


def test_an_automatic_rollback(terminal: io.StringIO) -> None:
    moved = dataclasses.replace(ARRIVAL, action="rolled back", version=5)
    one = learned(version=None, verdict="postponed", reasons=("rolled back: …",), arrival=moved)
    results.retrained(Retrained((one,), 5, 5))
    assert "rolled back" in terminal.getvalue()
    assert "version 5 is better than the champion, version 6 (loss 0.400" in terminal.getvalue()
    assert "perdure release ID" in terminal.getvalue()
    assert one.kept_back


def test_an_experience_that_is_broken(terminal: io.StringIO) -> None:
    moved = dataclasses.replace(ARRIVAL, action="held", standings=())
    reasons = ("broken: `pressure`: other units?",)
    one = learned(version=None, verdict="refused", reasons=reasons, arrival=moved, drift=DRIFT)
    results.retrained(Retrained((one,), 6, 6))
    assert "broken, and held before it was learned: `pressure`: other" in terminal.getvalue()
    assert one.kept_back


def test_a_version_that_is_refused_and_one_that_is_let_go(terminal: io.StringIO) -> None:
    gone = dataclasses.replace(ARRIVAL, let_go=(4,), reasons=("shown to be worse on 365 rows",))
    one = learned(verdict="refused", reasons=("past: worse",), promoted=False, arrival=gone)
    results.retrained(Retrained((one,), 6, 6))
    shown = terminal.getvalue()
    assert "✗ 000009-aaaaaaaa: past: worse" in shown
    assert "version 9 is tried on what arrives next" in shown
    assert "version 4 is tried no longer: shown to be worse" in shown


def test_a_wide_table_shows_the_columns_that_moved_most(
    printed: Console, terminal: io.StringIO, width: int
) -> None:
    printed.print(words.drift_grid(DRIFT))
    shown = terminal.getvalue()
    lines = tables(shown)[3:]
    assert lines[0].split()[:2] == ["pressure", "broken"]
    assert lines[1].split()[0] == "column_59"
    assert sum("column_" in line for line in lines) == 11
    assert "… and 49 more columns" in shown
    assert "other units?" in shown
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= width


def test_a_verdict_fits_a_narrow_terminal(
    printed: Console, terminal: io.StringIO, width: int
) -> None:
    reason = Reason(
        "calibration", "passed", "balanced_accuracy", 0.6, 0.7, 0.72, "…",
        -0.1585, -0.1842, -0.1322, 1009.0, 0.0593,
    )  # fmt: skip
    printed.print(words.verdict_grid(Verdict("passed", (reason,))))
    shown = terminal.getvalue()
    assert "calibration" in shown  # not cut within a word
    assert "+" not in shown
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= width


def test_who_might_serve(printed: Console, terminal: io.StringIO, width: int) -> None:
    printed.print(words.arrival_grid(dataclasses.replace(ARRIVAL, version=8)))
    lines = [" ".join(line.split()) for line in tables(terminal.getvalue())]
    assert "champion 6 0.5890 – – – – 365" in lines
    assert "contender 8 0.7900 0.2050 0.4110 > 1,000,000 < 0.1 365" in lines
    # What falls short of 20 is not shown as 20.
    assert "predecessor 5 0.6000 0.4000 0.4110 19.9 – 365" in lines


def test_evidence_in_plain_words(terminal: io.StringIO) -> None:
    one = {
        "version": 8, "role": "contender", "pinned": False, "experience": "000007-aaaaaaaa",
        "rows": 365, "experiences": 1, "difference": 0.031, "evidence": 7.94, "needed": 20.000001,
        "left": 4,
    }  # fmt: skip
    new = {**one, "role": "anchor", "experience": None, "rows": 0, "left": None, "pinned": True}
    state.tournament([one, new])
    first, second = terminal.getvalue().splitlines()
    assert first.endswith(
        "better by 0.031 a row on 365 rows, evidence 7.9 of 20 needed; tried on 4 experiences more"
    )
    assert " ".join(second.split()) == (
        "anchor, pinned version 8: nothing has arrived since that it had not learned"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "< 0.1"), (1.0, "1.0"), (19.999, "19.9"), (20.0, "20.0"), (1234.4, "1,234"),
     (1e7, "> 1,000,000"), (float("inf"), "> 1,000,000")],
)  # fmt: skip
def test_evidence_is_never_rounded_up(value: float, shown: str) -> None:
    assert arrival_table.evidence(value) == shown


def test_a_version_of_an_older_perdure_has_neither(terminal: io.StringIO) -> None:
    state.before(None, None)
    assert terminal.getvalue() == ""
    state.before(to_json(ARRIVAL), to_json(DRIFT))
    assert "those that might serve had on it" in terminal.getvalue()
    assert "Drift, from what the champion had learned: broken: pressure" in terminal.getvalue()
