"""The doctor asks the git remote, and says what stands between this machine and publishing."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path

import pytest

from perdure.flows import doctor
from perdure.flows.ingest import ingest
from perdure.records import Check
from perdure.tasks.git import trial
from tests.promises import kit
from tests.service.clones import Clones


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Clones:
    return Clones(tmp_path_factory.mktemp("made") / "shared")


@pytest.fixture
def both(made: Clones, tmp_path: Path) -> Clones:
    return made.copy(tmp_path / "shared")


def look(both: Clones) -> Check:
    [found] = [one for one in doctor.examine(str(both.root("b"))) if one.name == "git remote"]
    return found


def test_a_remote_that_takes_a_push_and_nothing_is_pushed(both: Clones) -> None:
    published = kit.git(both.bare, "rev-parse", "main")
    (both.root("b") / "mine.txt").write_text("mine")
    kit.git(both.root("b"), "add", "mine.txt")
    kit.git(both.root("b"), "commit", "--quiet", "-m", "mine")
    found = look(both)
    assert (found.ok, found.detail) == (True, "origin answers, and takes a push to main")
    assert kit.git(both.bare, "rev-parse", "main") == published
    # Others' commits, which are not here yet, are taken over before anything is published.
    both.ingest("a", 2)
    assert look(both).ok


def test_a_remote_that_is_away_is_told(both: Clones) -> None:
    both.bare.rename(both.bare.with_name("away"))
    found = look(both)
    assert not found.ok
    assert found.detail.startswith("origin does not answer: fatal: ")
    assert found.mend == "git push --dry-run origin HEAD:main"


def test_a_remote_that_hangs_is_not_waited_for(
    both: Clones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"git://127.0.0.1:{server.getsockname()[1]}/x"
        kit.git(both.root("b"), "remote", "set-url", "origin", address)
        found = look(both)
    assert (found.ok, found.detail) == (False, "origin does not answer: no end after 1 s")


def test_a_remote_that_can_be_read_alone_is_told(both: Clones) -> None:
    """As one is for an account that may only fetch."""
    kit.git(both.root("b"), "config", "remote.origin.receivepack", "false")
    found = look(both)
    assert not found.ok
    assert found.detail.startswith("origin answers, but takes no push to main: ")


def test_a_remote_that_there_is_not_is_told(both: Clones) -> None:
    kit.git(both.root("b"), "remote", "remove", "origin")
    found = look(both)
    assert not found.ok
    assert "has no such remote" in found.detail
    assert found.mend == "git remote add origin URL"


def test_one_that_is_not_used_is_no_fault(both: Clones) -> None:
    kit.configure(both.root("b"))
    assert look(both).detail == "origin answers; not used, as shared.git_remote is not set"
    both.bare.rename(both.bare.with_name("away"))
    found = look(both)
    assert found.ok
    assert found.detail.startswith("origin does not answer: ")
    kit.git(both.root("b"), "remote", "remove", "origin")
    assert look(both).detail == "none; shared.git_remote is not set"


def test_what_breaks_in_an_unknown_way_is_a_check_that_failed(both: Clones) -> None:
    """The doctor is asked when things are broken."""
    ingest.fn(str(both.root("b")))
    config = both.root("b") / ".dvc" / "config"
    config.write_text("[core\n")
    found = {one.name: one for one in doctor.examine(str(both.root("b")))}
    assert not found["remote"].ok
    assert found["git remote"].ok
    assert all(one.mend for one in found.values() if not one.ok)


def test_a_check_that_breaks_is_one_that_failed(
    both: Clones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # not even git
    found = {one.name: one for one in doctor.examine(str(both.root("b")))}
    assert not found["git"].ok
    assert not found["git remote"].ok
    assert all(one.mend for one in found.values() if not one.ok)


def test_an_inbox_that_nothing_can_be_taken_out_of_is_told(
    both: Clones, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = both.ws("a")
    ws.inbox.mkdir(exist_ok=True)
    assert doctor._inbox(ws).ok
    asked = os.access

    def as_if_read_only(path: Path, mode: int) -> bool:
        """Root, who runs the tests in a container, may write whatever the mode says."""
        return asked(path, mode) and not (path == ws.inbox and mode & os.W_OK)

    monkeypatch.setattr(os, "access", as_if_read_only)
    found = {one.name: one for one in doctor.examine(str(ws.root))}["inbox"]
    assert not found.ok
    assert str(ws.inbox) in found.detail
    assert found.mend == f"chmod u+rwx {ws.inbox}"


def timed(root: Path, schedule: str) -> list[Check]:
    kit.configure(root, more=f"\n[schedule]\n{schedule}\n")
    return [one for one in doctor.examine(str(root)) if one.name in ("schedule", "workspace")]


def test_the_schedule_is_examined(tmp_path: Path) -> None:
    root = kit.make(tmp_path / "workspace")
    assert [one.name for one in timed(root, 'timezone = "UTC"')] == ["workspace"]
    good = timed(root, 'cron = "0 3 * * *"\ntimezone = "Europe/Berlin"')[1]
    assert good.ok
    assert re.fullmatch(r"next retraining at \d{4}-\d\d-\d\d 03:00 Europe/Berlin", good.detail)
    ended = timed(root, 'rrule = "FREQ=DAILY;UNTIL=20200301T000000"')[1]
    assert not ended.ok
    assert (
        "schedule.rrule = 'FREQ=DAILY;UNTIL=20200301T000000' has no time any more" in ended.detail
    )
    for key, value in (("cron", "0 25 * * *"), ("rrule", "FREQ=NEVER")):
        [bad] = timed(root, f'{key} = "{value}"')
        assert (bad.name, bad.ok) == ("workspace", False)
        assert f"schedule.{key} = '{value}'" in bad.detail


def test_a_lock_that_a_killed_git_left_is_named(both: Clones) -> None:
    root = both.root("b")
    lock = root / ".git" / "index.lock"
    for age_s, ok in ((0.0, True), (3600.0, False)):  # a young one may be somebody's
        lock.touch()
        then = time.time() - age_s
        os.utime(lock, (then, then))
        [found] = [one for one in doctor.examine(str(root)) if one.name == "locks"]
        assert found.ok == ok
    assert found.mend == f"rm {lock}"
    lock.unlink()


def test_an_ingest_of_nothing_ends_well_where_the_dvc_remote_is_away(both: Clones) -> None:
    """It compares the remote with the data, where it can."""
    both.storage.rename(both.storage.with_name("away"))
    assert ingest.fn(str(both.root("a"))).files == ()
    assert not both.storage.exists()  # a disk that is not mounted looks like this
