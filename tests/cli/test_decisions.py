"""What a person decides: promote against the gates, release, quarantine, roll back."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.flows.retrain import retrain
from tests.cli.conftest import Cli
from tests.promises import kit


def test_the_same_file_twice_is_skipped_with_a_word(cli: Cli, workspace: Path) -> None:
    first = kit.arrive(workspace, "one.csv", kit.table(2))
    assert cli("ingest", "-w", workspace).code == 0
    assert not first.exists()
    kit.arrive(workspace, "the same under another name.csv", kit.table(2))
    before = kit.git(workspace, "rev-parse", "HEAD")
    result = cli("ingest", "-w", workspace)
    assert result.code == 0
    assert "here already, as 000002-" in result.out
    assert cli("status", "-w", workspace, "--json").json["experiences"] == 2
    assert kit.git(workspace, "rev-parse", "HEAD") == before
    assert sorted(p.name for p in (workspace / "inbox").iterdir()) == [".gitkeep"]


def test_a_story_of_decisions(cli: Cli, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_USER", "ada")
    retrain.fn(str(workspace))
    kit.configure(workspace, past="0.2")
    [bad] = kit.ingest(workspace, kit.turned(3, 240))
    retrain.fn(str(workspace))

    def state() -> tuple[int, int, list[str], list[str], list[str]]:
        now = cli("status", "-w", workspace, "--json").json
        return (
            now["champion"]["version"],
            now["challenger"]["version"],
            now["pending"],
            [one["id"] for one in now["held"]],
            [one.get("experience") for one in now["quarantined"]],
        )

    assert state() == (1, 1, [], [bad], [])

    # A gate refused it: no without --force, no without a reason.
    result = cli("promote", "2", "-w", workspace)
    assert result.code == 3
    assert "past" in result.err
    assert cli("promote", "2", "--force", "-w", workspace).code == 2
    assert state() == (1, 1, [], [bad], [])
    result = cli("promote", "2", "--force", "--reason", "we know better", "-w", workspace)
    assert result.code == 0
    assert "against the gates" in result.out
    assert state() == (2, 2, [], [], [])  # what it learned is learned now, no longer held
    again = cli("promote", "2", "--force", "--reason", "once more", "-w", workspace)
    assert again.code == 0
    assert "already" in again.out

    result = cli("rollback", "--reason", "we did not", "-w", workspace)
    assert result.code == 0
    assert state() == (1, 1, [], [bad], [])
    assert cli("rollback", "-w", workspace).code == 2  # the first replaced none

    result = cli("release", bad, "-w", workspace, "--json")
    assert result.json == {"experiences": [bad]}
    assert state() == (1, 1, [bad], [], [])
    assert cli("release", bad, "-w", workspace).code == 2
    result = cli("quarantine", bad, "--reason", "sensor was off", "-w", workspace, "--json")
    assert result.json == {"experiences": [bad]}
    assert state() == (1, 1, [], [], [bad])
    assert retrain.fn(str(workspace)).learned == ()

    # What the champion has learned is not set aside, but rolled back.
    learned = cli("status", "-w", workspace, "--json").json["champion"]["cursor"][0]
    result = cli("quarantine", learned, "--reason", "too late", "-w", workspace)
    assert result.code == 3
    assert "perdure rollback" in result.err

    assert cli("release", bad, "-w", workspace).code == 0
    events = cli("history", "-w", workspace, "--json").json
    notes = ("held", "drifted", "metric fell", "let go")
    refusal = next(e["reason"] for e in events if e["action"] == "refused")
    assert [
        (e["action"], e["version"], e["reason"]) for e in events if e["action"] not in notes
    ] == [
        ("promoted", 1, "passed every gate"),
        ("refused", 2, refusal),
        ("forced", 2, "we know better"),
        ("rolled back", 1, "we did not"),
        ("released", None, None),
        ("quarantined", None, "sensor was off"),
        ("released", None, None),
    ]
    assert {e["by"] for e in events} == {"ada"}


def test_manual_promotion_leaves_the_champion_behind(cli: Cli, tmp_path: Path) -> None:
    root = kit.make(tmp_path / "w", mode="manual")
    kit.ingest(root, kit.table(2))
    retrain.fn(str(root))
    now = cli("status", "-w", root, "--json").json
    assert now["champion"] is None
    assert now["challenger"]["version"] == 2
    assert cli("promote", "1", "-w", root).code == 0
    now = cli("status", "-w", root, "--json").json
    # The challenger goes on from version 1 already: it stays.
    assert (now["champion"]["version"], now["challenger"]["version"]) == (1, 2)
    assert cli("promote", "2", "-w", root, "--json").json == {
        "version": 2, "replaced": 1, "forced": False, "changed": True,
    }  # fmt: skip
