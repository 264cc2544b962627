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
    Promoted,
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


def test_a_contender_that_is_promoted(terminal: io.StringIO, width: int) -> None:
    moved = dataclasses.replace(ARRIVAL, action="promoted", version=8)
    one = learned(version=None, verdict="postponed", reasons=("promoted: …",), arrival=moved)
    results.retrained(Retrained((one, learned()), 9, 9, "accuracy"))
    shown = terminal.getvalue()
    assert "contender promoted" in shown
    assert (
        "version 8, refused before, is better than the champion (loss 0.205 instead of 0.411, "
        "365 rows that neither had learned, evidence > 1,000,000): it serves now"
    ) in shown
    assert "perdure release" not in shown
    assert not one.kept_back
    assert all(len(line.rstrip()) <= width for line in tables(shown))


def test_an_automatic_rollback(terminal: io.StringIO) -> None:
    moved = dataclasses.replace(ARRIVAL, action="rolled back", version=5)
    one = learned(version=None, verdict="postponed", reasons=("rolled back: …",), arrival=moved)
    results.retrained(Retrained((one,), 5, 5, "accuracy"))
    assert "rolled back" in terminal.getvalue()
    assert "version 5 is better than the champion, version 6 (loss 0.400" in terminal.getvalue()
    assert "perdure release ID" in terminal.getvalue()
    assert one.kept_back


def test_an_experience_that_is_broken(terminal: io.StringIO) -> None:
    moved = dataclasses.replace(ARRIVAL, action="held", standings=())
    reasons = ("broken: `pressure`: other units?",)
    one = learned(version=None, verdict="refused", reasons=reasons, arrival=moved, drift=DRIFT)
    results.retrained(Retrained((one,), 6, 6, "accuracy"))
    assert "broken, and held before it was learned: `pressure`: other" in terminal.getvalue()
    assert one.kept_back


def test_a_version_that_is_refused_and_one_that_is_let_go(terminal: io.StringIO) -> None:
    gone = dataclasses.replace(ARRIVAL, let_go=(4,), reasons=("shown to be worse on 365 rows",))
    one = learned(
        verdict="refused", reasons=("past: worse",), promoted=False, arrival=gone, contender=True
    )
    results.retrained(Retrained((one,), 6, 6, "accuracy"))
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


def heads(text: str) -> list[str]:
    """The words of the lines above the rule of the first table."""
    lines = text.splitlines()
    rule = next(place for place, line in enumerate(lines) if "───" in line)
    return " ".join(lines[:rule]).split()


@pytest.mark.parametrize(
    ("metric", "side", "way"),
    [("accuracy", "↑", "higher"), ("balanced_accuracy", "↑", "higher"), ("log_loss", "↓", "lower"),
     ("mae", "↓", "lower"), ("r2", "↑", "higher")],
)  # fmt: skip
def test_a_retraining_names_its_metric_and_its_good_side(
    terminal: io.StringIO, width: int, metric: str, side: str, way: str
) -> None:
    values = {"accuracy": 0.1, "balanced_accuracy": 0.2, "log_loss": 0.3, "mae": 12345.678}
    values = {**values, "r2": 0.4, "rmse": 9e9}
    one = learned(prequential=values, average=values, forgetting=-0.5, rows=1234)
    results.retrained(Retrained((one,), 9, 9, metric))
    shown = terminal.getvalue()
    head = "".join(heads(shown))
    if width >= words.NARROW:
        assert head.count(metric) == 2
    assert head.count(side) == 2 + (side == "↓")
    assert f"{metric}: {way} is better" in " ".join(shown.split())
    cells = next(line for line in tables(shown) if "000009" in line).split()
    wanted = "12,345.7" if metric == "mae" else f"{values[metric]:.3f}"
    assert cells[-4:] == [wanted, wanted, "1,234", "-0.500"]
    assert all(len(line.rstrip()) <= width for line in tables(shown))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(12345.678, "12,345.7"), (12.3456, "12.346"), (0.00012345, "0.000123"), (0.0, "0.000"),
     (-250.04, "-250.0"), (None, "–"), (float("nan"), "–")],
)  # fmt: skip
def test_a_number_in_the_unit_of_the_target(value: float | None, shown: str) -> None:
    assert words.measured("mae", value) == shown
    if value is not None and abs(value) < 10:  # a share, or log loss, has three decimals
        assert words.measured("accuracy", value) == f"{value:.3f}"


def refused(**more: Any) -> Learned:
    plain = learned(verdict="refused", reasons=("past: worse",), promoted=False, rows=80)
    return dataclasses.replace(plain, **more)


def sentences(terminal: io.StringIO) -> str:
    return " ".join(terminal.getvalue().split())


def test_a_refusal_names_its_setting_and_the_commands(terminal: io.StringIO) -> None:
    one = refused(contender=True, settings=("past_margin",))
    results.retrained(Retrained((one,), 6, 6, "accuracy"))
    shown = sentences(terminal)
    assert "change [gates] past_margin; then perdure release 000009-aaaaaaaa and" in shown
    assert "and perdure retrain To let version 9 serve as it is: perdure promote 9 --force" in shown
    assert "version 9 is tried on what arrives next" in shown
    assert "Nothing serves yet" not in shown


def test_a_refusal_for_good_is_not_said_to_be_tried_again(terminal: io.StringIO) -> None:
    results.retrained(Retrained((refused(reasons=("sanity: one class",)),), 6, 6, "accuracy"))
    shown = sentences(terminal)
    assert "version 9 is not tried on what arrives next" in shown
    assert "[gates]" not in shown
    assert "perdure release 000009-aaaaaaaa and perdure retrain" in shown
    assert "perdure promote 9 --force --reason TEXT" in shown


@pytest.mark.parametrize(
    ("metric", "helps", "strange"),
    [("accuracy", 'training.class_weights = "balanced"', "rmse"), ("mae", "rmse", "class_weights")],
)
def test_a_first_refusal_says_that_nothing_serves(
    terminal: io.StringIO, metric: str, helps: str, strange: str
) -> None:
    one = refused(settings=("floor",), prequential=None)
    results.retrained(Retrained((one,), None, None, metric))
    shown = sentences(terminal)
    assert "Nothing serves yet" in shown
    assert "more rows: perdure ingest FILE" in shown
    for part in (helps, "evaluation.metric", "[gates] floor", "perdure promote 9 --force"):
        assert part in shown
    assert strange not in shown.partition("Nothing serves yet")[2]


def test_what_a_rollback_holds_has_no_way_past_a_gate(terminal: io.StringIO) -> None:
    moved = dataclasses.replace(ARRIVAL, action="rolled back", version=5)
    one = learned(version=None, verdict="postponed", reasons=("rolled back: …",), arrival=moved)
    results.retrained(Retrained((one,), 5, 5, "accuracy"))
    shown = sentences(terminal)
    assert "to learn it: perdure release ID and perdure retrain" in shown
    assert "promote" not in shown


STATUS: dict[str, Any] = {
    "model": "small", "experiences": 2, "rows": 700, "moved_in_mlflow": [], "tournament": [],
    "pending": [], "held": [], "quarantined": [], "inbox": [], "data_missing": False,
    "disk_free_bytes": 1e12, "running": None, "challenger": None, "latest": None, "metric": "mae",
    "waiting_files": [], "min_rows": 30,
}  # fmt: skip
CHAMPION = {
    "version": 4, "promoted_at": "2026-11-21T08:57:52+00:00", "weights_sha256": "abcdef01" * 8,
    "state_sha256": "12345678" * 8, "cursor": ["000001-aaaaaaaa"],
    "score": {"metric": "mae", "value": 1234.5, "baseline": 2000.0, "rows": 140},
}  # fmt: skip
LATEST = {
    "experience": "000002-bbbbbbbb", "rows": 300, "version": 3, "metric": "mae", "value": 0.05,
}  # fmt: skip


def test_status_says_how_good_the_champion_is_before_any_digest(terminal: io.StringIO) -> None:
    state.status({**STATUS, "champion": CHAMPION, "challenger": CHAMPION, "latest": LATEST})
    shown = sentences(terminal)
    good = "mae ↓ 1,234.5 on 140 test rows (a constant prediction: 2,000.0)"
    newest = "mae ↓ 0.05 on 000002-bbbbbbbb, 300 rows, when it arrived (version 3 served)"
    assert shown.index(good) < shown.index(newest) < shown.index("abcdef01")
    assert "challenger the same version" in shown


def test_status_of_a_version_of_an_older_perdure(terminal: io.StringIO) -> None:
    older = {**CHAMPION, "score": None}
    state.status({**STATUS, "champion": older, "latest": {**LATEST, "value": None}})
    shown = sentences(terminal)
    assert "champion version 4 since 2026-11-21T08:57:52Z" in shown
    assert "mae" not in shown


@pytest.mark.parametrize(
    ("now", "following"),
    [({"held": [{"id": "x", "reasons": ["floor: …"]}]}, "promote VERSION --force --reason TEXT"),
     ({"challenger": CHAMPION}, "perdure promote"), ({"pending": ["x"]}, "perdure retrain"),
     ({"experiences": 0, "rows": 0}, "perdure ingest FILE")],
)  # fmt: skip
def test_status_where_nothing_serves(
    terminal: io.StringIO, now: dict[str, Any], following: str
) -> None:
    state.status({**STATUS, "champion": None, **now})
    shown = sentences(terminal)
    assert "champion none: nothing serves yet" in shown
    assert following in shown


def test_the_first_promotion_has_nothing_to_take_back(terminal: io.StringIO) -> None:
    results.promoted(Promoted(1, None, forced=False, changed=True))
    assert "rollback" not in terminal.getvalue()
    results.promoted(Promoted(2, 1, forced=False, changed=True))
    assert "It replaced version 1; take it back: perdure rollback" in terminal.getvalue()
