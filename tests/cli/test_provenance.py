"""`trace` and `history --at`: what came of a file, and what served when."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure.errors import LockHeld
from perdure.flows.ingest import ingest
from perdure.flows.served import moves
from perdure.records import Event
from perdure.tasks import locks
from tests.cli.conftest import Cli
from tests.promises import kit


def asked(cli: Cli, root: Path, *arguments: str) -> Any:
    result = cli(*arguments, "-w", root, "--json")
    assert result.code == 0, result.err
    return json.loads(result.out)


def experiences(root: Path) -> list[str]:
    return sorted(path.stem for path in (root / "data" / "experiences").iterdir())


def test_an_experience_that_an_abandoned_version_learned(cli: Cli, lived: Path) -> None:
    _, second, *_ = experiences(lived)
    found = asked(cli, lived, "trace", second)
    [experience] = found["experiences"]
    assert (found["kind"], experience["id"], experience["state"]) == ("experience", second, "held")
    assert experience["reasons"]
    assert experience["versions"] == [2, 3]
    assert [(one["version"], one["aliases"]) for one in found["versions"]] == [(2, []), (3, [])]
    shown = cli("trace", second, "-w", lived).out
    assert "learned by versions 2, 3" in shown
    assert "None of these versions serves" in shown


def test_what_serves_is_named(cli: Cli, lived: Path) -> None:
    found = asked(cli, lived, "trace", "workspace-first.csv")
    assert found["kind"] == "file"
    assert [one["version"] for one in found["versions"]] == [1, 2, 3]
    assert found["experiences"][0]["state"] == "learned"
    assert set(found["versions"][0]["aliases"]) >= {"champion", "challenger"}
    assert "learned by versions 1 to 3" in cli("trace", "workspace-first.csv", "-w", lived).out


def test_a_version_and_what_it_is_made_of(cli: Cli, lived: Path) -> None:
    first, second, third, _ = experiences(lived)
    found = asked(cli, lived, "trace", "v3")
    assert [one["id"] for one in found["experiences"]] == [first, second, third]
    assert [one["version"] for one in found["versions"]] == [3]
    assert found["versions"][0]["verdict"] == "refused"


def test_a_refused_file_one_that_is_refused_in_part_and_one_in_the_inbox(
    cli: Cli, lived: Path
) -> None:
    found = asked(cli, lived, "trace", "inbox/broken.csv")
    assert (found["experiences"], found["versions"]) == ([], [])
    assert "c" in found["refused"][0]["reason"]
    assert "Nothing has learned from it" in cli("trace", "broken.csv", "-w", lived).out
    partly = asked(cli, lived, "trace", "partly.csv")
    assert partly["refused"][0]["rows"] == 1
    assert [one["state"] for one in partly["experiences"]] == ["pending"]
    assert partly["versions"] == []
    waits = asked(cli, lived, "trace", "waiting.csv")["waiting"]
    assert waits == [{"file": "waiting.csv", "rows": None, "since": None}]


def test_rows_that_were_set_aside_are_traced_to_where_they_joined(cli: Cli, tmp_path: Path) -> None:
    root = kit.make(tmp_path / "workspace")
    for name, number in (("first.csv", 2), ("second.csv", 3)):
        kit.arrive(root, name, kit.few(number))
        ingest.fn(str(root))
    _, own, other = experiences(root)
    found = asked(cli, root, "trace", "first.csv")
    assert [one["id"] for one in found["experiences"]] == [own, other]


@pytest.mark.parametrize("what", ["never.csv", "000099-aaaaaaaa", "99"])
def test_what_is_not_known_is_said(cli: Cli, lived: Path, what: str) -> None:
    result = cli("trace", what, "-w", lived)
    assert result.code == 2
    assert what in result.err


def test_both_answer_while_a_retraining_runs(cli: Cli, lived: Path) -> None:
    with locks.hold(config_of(lived), "model", "retrain"):
        with pytest.raises(LockHeld), locks.hold(config_of(lived), "model", "another"):
            pass
        assert asked(cli, lived, "trace", "1")["kind"] == "version"
        assert asked(cli, lived, "history", "--at", utc())["version"] == 1


def config_of(root: Path) -> Any:
    from perdure import config

    return config.read(root)


def utc(later: timedelta = timedelta()) -> str:
    return (datetime.now(UTC) + later).isoformat()


def served_at(cli: Cli, root: Path, at: str) -> Any:
    return asked(cli, root, "history", "--at", at)


def test_what_served_when(cli: Cli, lived: Path) -> None:
    events = asked(cli, lived, "history")
    first, second, back = (e for e in events if e["action"] in ("promoted", "rolled back"))
    found = served_at(cli, lived, second["at"])
    assert (found["version"], found["since"], found["until"]) == (2, second["at"], back["at"])
    assert found["verdict"]["answer"] == "passed"
    before = datetime.fromisoformat(second["at"]) - timedelta(microseconds=1)
    assert served_at(cli, lived, before.isoformat())["version"] == 1
    now = served_at(cli, lived, utc())
    assert (now["version"], now["action"], now["reason"]) == (1, "rolled back", "complaints")
    assert (now["until"], now["registered"], now["moved_in_mlflow"]) == (None, True, False)
    shown = cli("history", "--at", first["at"], "-w", lived).out
    assert "version 1" in shown
    assert "passed every gate" in shown


def test_a_time_without_a_zone_is_of_this_machine(
    cli: Cli, lived: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    promoted = datetime.fromisoformat(asked(cli, lived, "history")[0]["at"])
    monkeypatch.setenv("TZ", "Etc/GMT-5")  # five hours east
    time.tzset()
    try:
        there = (promoted + timedelta(hours=5)).replace(tzinfo=None)
        assert served_at(cli, lived, there.isoformat())["version"] == 1
        result = cli("history", "--at", (there - timedelta(seconds=1)).isoformat(), "-w", lived)
        assert (result.code, "nothing served" in result.err) == (2, True)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("at", "why"),
    [("soon", "is no time"), ("0001-01-01", "no"), ("2000-01-01", "nothing served at 2000"),
     ("2999-01-01", "has not come yet")],
)  # fmt: skip
def test_a_time_that_has_no_answer(cli: Cli, lived: Path, at: str, why: str) -> None:
    result = cli("history", "--at", at, "-w", lived)
    assert result.code == 2
    assert why in result.err
    assert "→" in result.err


def test_nothing_has_served_yet(cli: Cli, tmp_path: Path) -> None:
    root = kit.make(tmp_path / "workspace")
    result = cli("history", "--at", utc(), "-w", root)
    assert (result.code, "none has served yet" in result.err) == (2, True)


@pytest.mark.parametrize(
    "command", [("trace", "1"), ("history", "--at", "2026-01-01"), ("verify",), ("reproduce", "1")]
)
def test_where_mlflow_is_away_they_say_so(
    cli: Cli, lived: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    root = shutil.copytree(lived, tmp_path / "workspace", symlinks=True)
    with (root / "perdure.toml").open("a") as file:
        file.write('\n[tracking]\nuri = "http://127.0.0.1:9"\n')
    result = cli(*command, "-w", root)
    assert (result.code, result.out) == (5, "")
    assert "does not answer" in result.err


def test_verify_has_a_line_for_each_check_and_an_exit_code(
    cli: Cli, lived: Path, tmp_path: Path
) -> None:
    result = cli("verify", "-w", lived)
    assert (result.code, result.out.count("✓"), result.out.count("✗")) == (0, 8, 0)
    root = Path(shutil.copytree(lived, tmp_path / "workspace", symlinks=True))
    registry = kit.registry(root)
    (registry.download(registry.version(2)) / "model.pt2").write_bytes(b"")
    result = cli("verify", "2", "-w", root)
    assert (result.code, "model.pt2 was changed" in result.out) == (1, True)
    assert "✗ graph" in result.out
    assert "--to VERSION" in result.out
    result = cli("reproduce", "2", "-w", root)
    assert (result.code, "model.pt2 was changed" in result.err) == (1, True)
    result = cli("verify", "9", "-w", root)
    assert result.code == 2


def test_reproduce_says_what_came_out(cli: Cli, lived: Path) -> None:
    result = cli("reproduce", "1", "-w", lived)
    assert (result.code, "bit for bit" in result.out) == (0, True)


def test_there_is_nothing_to_verify_yet(cli: Cli, tmp_path: Path) -> None:
    result = cli("verify", "-w", kit.make(tmp_path / "workspace"))
    assert (result.code, "no champion" in result.err) == (2, True)


def test_forgetting_may_take_the_champion_away() -> None:
    events = [
        Event("2026-01-01T00:00:00+00:00", "promoted", 1),
        Event("2026-01-02T00:00:00+00:00", "promoted", 2, 1),
        Event("2026-01-03T00:00:00+00:00", "forgot", reason="the champion had not seen them"),
        Event("2026-01-04T00:00:00+00:00", "forgot", 1, 2),
        Event("2026-01-05T00:00:00+00:00", "rolled back", 1, 1),
        Event("2026-01-06T00:00:00+00:00", "moved", 3, reason="the alias challenger was moved"),
        Event("2026-01-07T00:00:00+00:00", "forgot", None, 1),
    ]
    assert [(one.at[8:10], one.version) for one in moves(events)] == [
        ("01", 1), ("02", 2), ("04", 1), ("07", None),
    ]  # fmt: skip
