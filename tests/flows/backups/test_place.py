"""A folder of backups: each is whole or not there, and costs what is new."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from perdure.errors import Corrupt, Fault, LockHeld, UsageError
from perdure.flows.backup import backup
from perdure.flows.restore import restore
from perdure.tasks import backups
from tests.promises import kit


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """Let no file of this process and its children become larger: as a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_second_backup_copies_only_what_is_new_and_outlives_the_first(
    root: Path, tmp_path: Path
) -> None:
    place = tmp_path / "backups"
    first = backup(str(root), place)
    second = backup(str(root), place)
    kit.ingest(root, kit.table(6))
    third = backup(str(root), place, full=True)
    assert first.copied == first.size
    assert third.copied == third.size
    new = {
        path.name: path.stat().st_size
        for path in Path(second.path).rglob("*")
        if path.is_file() and path.stat().st_nlink == 1
    }
    assert second.copied == sum(new.values()) - new.pop("manifest.json")
    assert new.keys() == {"backup.json", "mlflow.db", "repository.bundle", "data.dvc"}

    fourth = backup(str(root), place, keep=2)
    assert fourth.removed == (Path(first.path).name, Path(second.path).name)
    assert [str(path) for path in backups.snapshots(place)] == [third.path, fourth.path]
    only = backup(str(root), place, keep=1)
    assert backups.snapshots(place) == [Path(only.path)]
    assert only.copied < only.size
    assert restore(place, tmp_path / "made").experiences == 6
    assert kit.learners(tmp_path / "made") == kit.learners(root)


def test_a_backup_that_fails_leaves_nothing(root: Path, tmp_path: Path) -> None:
    kit.arrive(root, "large.csv", kit.table(7, rows=9_000))
    with small_files(100_000), pytest.raises(Fault, match="File too large") as error:
        backup(str(root), tmp_path / "backups")
    assert "df -h" in str(error.value.hint)
    assert [path.name for path in (tmp_path / "backups").iterdir()] == [".lock"]


def test_a_backup_that_is_killed_leaves_none_and_the_next_one_cleans_up(
    prepared: Path, tmp_path: Path
) -> None:
    program = (
        "import os, pathlib, signal, sys\n"
        "from perdure.flows.backup import backup\n"
        "from perdure.tasks import backups\n"
        "backups.Draft.seal = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "backup(sys.argv[1], pathlib.Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", program, str(prepared), str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert backups.snapshots(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(UsageError, match="no backup"):
        restore(tmp_path, tmp_path / "made")
    made = Path(backup(str(prepared), tmp_path).path)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", made.name}


def test_two_backups_into_one_place_do_not_meet(prepared: Path, tmp_path: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        with backups.writing(tmp_path, "other", link=True, keep=None):
            inside.set()
            go_on.wait(60)
            raise Fault("given up")

    def first() -> None:
        with pytest.raises(Fault, match="given up"):
            slow()

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(60)
    with pytest.raises(LockHeld):
        backup(str(prepared), tmp_path)
    go_on.set()
    thread.join()
    backup(str(prepared), tmp_path)


def test_one_that_cannot_be_read_is_not_in_the_way_of_the_next(
    prepared: Path, tmp_path: Path
) -> None:
    old = Path(backup(str(prepared), tmp_path).path)
    (old / "backup.json").write_text("{")
    (old / "manifest.json").write_text("{")
    with pytest.raises(Corrupt, match=r"backup\.json cannot be read"):
        restore(tmp_path, tmp_path / "target")
    new = backup(str(prepared), tmp_path)
    assert restore(tmp_path, tmp_path / "target").backup == new.path


def test_backups_of_several_models_are_kept_apart(kept: Path, root: Path, tmp_path: Path) -> None:
    text = (root / "perdure.toml").read_text()
    (root / "perdure.toml").write_text(text.replace('"small"', '"small-2"'))
    first, second = (backup(str(root), tmp_path / "backups", keep=1) for _ in range(2))
    assert second.removed == (Path(first.path).name,)
    [other] = backups.snapshots(kept)
    (tmp_path / "backups" / other.name).symlink_to(other)
    assert backup(str(root), tmp_path / "backups", keep=1).removed == (Path(second.path).name,)
    with pytest.raises(UsageError, match="backups of small, small-2"):
        restore(tmp_path / "backups", tmp_path / "made")
    assert restore(tmp_path / "backups" / other.name, tmp_path / "made").champion == 2


def test_a_place_inside_the_repository_is_refused(prepared: Path) -> None:
    with pytest.raises(UsageError, match="inside"):
        backup(str(prepared), prepared / "backups")
    assert not (prepared / "backups").exists()
