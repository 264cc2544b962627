"""A restore refuses what is not a whole backup, and writes into an empty folder alone."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from perdure import manifest
from perdure.cli.app import app
from perdure.errors import Corrupt, Fault, PerdureError, UsageError
from perdure.flows.backup import backup
from perdure.flows.restore import PART, restore
from perdure.tasks import backups
from tests.flows.backups.test_contents import spoil
from tests.flows.backups.test_place import small_files
from tests.promises import kit

FORMAT_1 = Path(__file__).with_name("backup-format-1.tar.xz")
"""Made by the code of commit 0098e3b: one version, an experience that is pending, a file that
waits, links and files that are committed, changed, deleted and untracked."""


@pytest.fixture
def copy(kept: Path, tmp_path: Path) -> Path:
    """A copy of a backup, to be changed."""
    [whole] = backups.snapshots(kept)
    return Path(shutil.copytree(whole, tmp_path / whole.name))


def noted(backup: Path, **changes: Any) -> None:
    """Change the note of a backup, and its manifest with it, as an attacker would."""
    note = backup / "backup.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | changes))
    manifest.write(backup)


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("repository.bundle", spoil),
        ("repository.bundle", Path.unlink),
        ("workspace/.perdure/mlflow.db", spoil),
        ("backup.json", lambda path: path.write_text("{}")),
        ("backup.json", lambda path: path.write_bytes(os.urandom(99))),
        ("backup.json", lambda path: path.write_text("[" * 99_999)),
        ("backup.json", lambda path: noted(path.parent, format=3)),
        ("backup.json", lambda path: noted(path.parent, links=["x"])),
        ("manifest.json", Path.unlink),
        ("manifest.json", spoil),
        ("stranger", lambda path: path.write_text("x")),
        ("workspace/link", lambda path: path.symlink_to("/etc/hostname")),
    ],
)
def test_a_backup_that_is_not_whole_is_refused_and_nothing_is_written(
    copy: Path, tmp_path: Path, name: str, harm: Callable[[Path], object]
) -> None:
    harm(copy / name)
    with pytest.raises(Corrupt) as caught:
        restore(copy, tmp_path / "target")
    assert "nothing was written; ls" in str(caught.value.hint)
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"folder": "../outside"},
        {"folder": "/outside"},
        {"folder": "way"},
        {"links": {"../outside": "x"}},
        {"links": {"way": "..", "way/outside": "x"}},
        {"links": {"/outside": "x"}},
        {"format": 1, "deleted": ["../target.txt"]},
        {"format": 1, "store": "../outside"},
        {"format": 1, "store": ".."},
    ],
)
def test_a_backup_that_was_made_to_write_elsewhere_writes_nowhere(
    root: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "target.txt").write_text("mine")
    (root / "way").symlink_to(tmp_path / "outside")
    kit.git(root, "add", "way")
    kit.git(root, "commit", "--quiet", "-m", "a link", "--", "way")
    made = Path(backup(str(root), tmp_path / "backups").path)
    if changes.get("format") == 1:
        (made / "workspace").rename(made / "data")
    noted(made, **changes)
    with pytest.raises(PerdureError):
        restore(made, tmp_path / "target")
    assert not (tmp_path / "target").exists()
    assert list((tmp_path / "outside").iterdir()) == []
    assert (tmp_path / "target.txt").read_text() == "mine"


def test_a_restore_writes_into_an_empty_folder_alone(kept: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        restore(kept, tmp_path)
    with pytest.raises(UsageError, match="not a folder"):
        restore(kept, tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / PART / "left").mkdir(parents=True)  # of one that was killed
    assert restore(kept, empty).champion == 2
    assert not (empty / PART).exists()
    with pytest.raises(UsageError, match="no backup"):
        restore(empty, tmp_path / "other")


@pytest.mark.parametrize("existed", [False, True])
def test_a_restore_that_fails_leaves_nothing(kept: Path, tmp_path: Path, existed: bool) -> None:
    target = tmp_path / "target"
    if existed:
        target.mkdir()
    with small_files(100_000), pytest.raises(Fault, match="File too large") as error:
        restore(kept, target)
    assert "df -h" in str(error.value.hint)
    assert list(tmp_path.rglob("*")) == [target][: int(existed)]


def test_links_that_are_gone_or_replaced_are_not_made_again(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.md"
    other.write_text("not the workspace's\n")
    for name in ("kept", "gone", "replaced"):
        (root / name).symlink_to(other)
    kit.git(root, "add", "kept", "gone", "replaced")
    kit.git(root, "commit", "--quiet", "-m", "links", "--", "kept", "gone", "replaced")
    (root / "gone").unlink()
    (root / "replaced").unlink()
    (root / "replaced").write_text("a file by now\n")
    backup(str(root), tmp_path / "backups")
    made = tmp_path / "made"
    restore(tmp_path / "backups", made)
    assert (made / "kept").readlink() == other
    assert not os.path.lexists(made / "gone")
    assert not (made / "replaced").is_symlink()
    assert (made / "replaced").read_text() == "a file by now\n"
    assert other.read_text() == "not the workspace's\n"


def test_a_backup_of_format_1_is_restored(tmp_path: Path) -> None:
    with tarfile.open(FORMAT_1) as archive:
        archive.extractall(tmp_path / "backups", filter="data")
    made = tmp_path / "made"
    done = restore(tmp_path / "backups", made)
    assert (done.versions, done.champion, done.experiences, done.lacks) == (1, 1, 2, ())
    learner = kit.learners(made)[0]
    assert learner["cursor"] == ["000001-bbbfec40"]
    assert learner["weights"].startswith("83d01fc87a75e985")
    assert kit.git(made, "status", "--porcelain").splitlines() == [
        " D gone.md", " M notes/kept.md", " D removed", " T replaced",
        "?? notes/own.md",
    ]  # fmt: skip
    assert (made / "out").readlink() == Path("/etc/hostname")
    assert (made / "replaced").read_text() == "a file by now\n"
    assert (made / "notes" / "kept.md").read_text() == "changed\n"
    assert (made / "inbox" / "waiting.csv").read_text() == kit.table(4)
    assert (made / ".perdure" / "registry.id").exists()
    assert kit.git(made, "for-each-ref", "--format=%(refname)").split() == [
        "refs/heads/main", "refs/heads/side", "refs/tags/v1"
    ]  # fmt: skip
    # The next backup is one of format 2.
    again = backup(str(made), tmp_path / "backups")
    assert backups.read(Path(again.path)).format == 2
    assert restore(tmp_path / "backups", tmp_path / "again").backup == again.path


def test_the_commands(root: Path, tmp_path: Path) -> None:
    """As a person types them; their JSON is that of tests/docs/test_outputs.py."""
    (root / "inbox" / "link.csv").symlink_to("waiting.csv")
    place, made = str(tmp_path / "backups"), str(tmp_path / "made")
    done = CliRunner().invoke(app, ["backup", place, "--keep", "3", "-w", str(root)])
    assert done.exit_code == 0, done.output
    assert "version 2 is the champion" in done.output
    assert "Left out: inbox/link.csv\n" in done.output
    back = CliRunner().invoke(app, ["restore", place, made])
    assert back.exit_code == 0, back.output
    assert "3 versions; version 2 is the champion. 4 experiences." in back.output
    again = CliRunner().invoke(app, ["restore", place, made])
    assert isinstance(again.exception, UsageError)
