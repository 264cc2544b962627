"""Promise 8. What, where, the value, the limit, the next command; and another exit than a fault."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from perdure.errors import EXIT_CODES, Fault, Refusal
from perdure.flows import status
from perdure.flows.ingest import ingest
from perdure.flows.promote import promote
from perdure.flows.retrain import retrain
from tests.promises import kit


def test_refusal_and_fault_are_different_exits() -> None:
    assert Refusal.exit_code == 3 != Fault.exit_code == 1
    assert "refused" in EXIT_CODES[3]
    assert not issubclass(Refusal, Fault)
    assert not issubclass(Fault, Refusal)


def test_bad_rows_are_refused_each_with_its_reason_and_nothing_is_dropped(
    workspace: Path,
) -> None:
    lines = kit.table(2).splitlines()
    lines[3] = "1.0,much,red,yes"
    lines[7] = "1.0,2.0,violet,yes"
    lines[9] = "1.0,2.0,red,"
    kit.arrive(workspace, "new.csv", "\n".join(lines) + "\n")
    [one] = ingest.fn(str(workspace)).files
    assert one.outcome in {"ingested", "quarantined"}
    assert one.folder is not None
    folder = workspace / one.folder
    with (folder / "reasons.csv").open(newline="") as file:
        found = {(row["column"], row["value"]) for row in csv.DictReader(file)}
    assert ("b", "much") in found
    assert "kind" in {column for column, _ in found}
    assert one.rows + one.refused_rows == len(lines) - 1
    kept = sorted(path.name for path in folder.iterdir())
    assert "rows.csv" in kept or any(name.startswith("original") for name in kept)


def test_a_gate_says_what_value_limit_champion_and_next(workspace: Path) -> None:
    retrain.fn(str(workspace))
    kit.configure(workspace, past="0.2")
    kit.ingest(workspace, kit.turned(3, 240))
    [learned] = retrain.fn(str(workspace)).learned
    assert learned.verdict == "refused"
    [reason] = learned.reasons
    numbers = kit.registry(workspace).evaluation(kit.registry(workspace).version(2))
    ours, theirs = (numbers[who]["past"]["accuracy"] for who in ("candidate", "champion"))
    for word in (
        "past: accuracy",
        f"{ours:.4f}",
        f"at least {theirs - 0.2:.4f}",
        f"champion: {theirs:.4f}",
        f"difference {ours - theirs:+.4f} (",
        "so many rows show a loss of",
        "[gates] past_margin = 0.2",
    ):
        assert word in reason
    now = status.status(str(workspace))
    assert now["champion"]["version"] == 1  # it serves on
    assert now["held"][0]["reasons"] == [reason]
    with pytest.raises(Refusal) as refused:
        promote.fn(str(workspace), version=2)
    assert reason in refused.value.message
    assert refused.value.hint is not None
    assert "perdure promote 2 --force" in refused.value.hint


def test_a_refusal_does_not_stop_what_comes_after(workspace: Path) -> None:
    """The learner is as it was before, and the next experience is learned all the same."""
    retrain.fn(str(workspace))
    before = kit.learners(workspace)
    kit.configure(workspace, past="0.2")
    kit.ingest(workspace, kit.turned(3, 240), kit.table(4))
    bad, good = retrain.fn(str(workspace)).learned
    assert (bad.verdict, good.reasons) == ("refused", ())
    version = kit.registry(workspace).read().champion
    assert version.parent == 1
    assert list(version.cursor) == [*before[0]["cursor"], good.experience]
