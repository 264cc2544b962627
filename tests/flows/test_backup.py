"""A backup has everything that cannot be fetched again, and what is made of it goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from perdure import config
from perdure.errors import Corrupt, Fault, LockHeld, PerdureError, UsageError
from perdure.flows import ingest, inspect
from perdure.flows.backup import backup
from perdure.flows.restore import PART, restore
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from perdure.tasks import backups
from tests.promises import kit

STRATEGIES = '[{ name = "replay", size = 40 }, { name = "ewc", penalty = 50 }]'


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two experiences learned, a file refused, and much that is not committed; to be looked at."""
    root = kit.make(tmp_path_factory.mktemp("lived") / "first place", strategies=STRATEGIES)
    kit.ingest(root, kit.table(2), kit.table(3).replace("a,b,", "a,c,"))
    retrain.fn(str(root))
    kit.arrive(root, "waiting.csv", kit.table(4))
    with (root / "perdure.toml").open("a") as file:
        file.write("# not committed\n")
    (root / "notes").mkdir()
    (root / "notes" / "own.md").write_text("untracked\n")
    kit.git(root, "remote", "add", "origin", "https://ada:pa55word@example.org/weather.git")
    kit.git(root, "branch", "side")
    kit.git(root, "tag", "v1")
    return root


@pytest.fixture(scope="module")
def kept(lived: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one backup of it; to be looked at."""
    place = tmp_path_factory.mktemp("backups")
    backup(str(lived), place)
    return place


def everything(root: Path) -> dict[str, object]:
    """What must be the same in the copy."""
    return {
        **kit.picture(root),
        "learners": kit.learners(root),
        "status": inspect.status(str(root)),
        "log": kit.git(root, "log", "--all", "--format=%H %s"),
        "refs": kit.git(root, "for-each-ref", "refs/heads", "refs/tags"),
        "branch": kit.git(root, "symbolic-ref", "HEAD"),
        "toml": (root / "perdure.toml").read_text(),
        "notes": (root / "notes" / "own.md").read_text(),
    }


def test_what_is_restored_elsewhere_is_the_same_and_goes_on_bit_for_bit(
    lived: Path, kept: Path, tmp_path: Path
) -> None:
    root = tmp_path / "anöther place"
    was = everything(lived)
    gone = tmp_path / "gone"
    shutil.copytree(lived, gone, symlinks=True)  # to see what would have been
    hidden = lived.with_name("hidden")
    lived.rename(hidden)  # nothing may be read from where it was
    try:
        done = restore(kept, root)
        assert (done.path, done.model, done.champion) == (str(root), "small", 2)
        assert (done.versions, done.experiences, done.lacks) == (2, 2, ())
        now = everything(root)
        assert kit.differences(now, was) == []
        assert was["inbox"] == [".gitkeep", "waiting.csv"]
        assert len(was["quarantined"]) == 1  # type: ignore[arg-type]  # a list
        assert kit.git(root, "remote", "get-url", "origin").strip() == (
            "https://ada@example.org/weather.git"
        )

        for folder in (gone, root):
            ingest.ingest.fn(str(folder))
            retrain.fn(str(folder))
        assert kit.learners(root) == kit.learners(gone)
        assert kit.learners(root)[0]["weights"] != was["learners"][0]["weights"]  # type: ignore[index]  # a list
        assert rollback.fn(str(root)).version == 2
        assert kit.learners(root) == was["learners"]
        assert not lived.exists()
    finally:
        hidden.rename(lived)


def test_a_second_backup_copies_only_what_is_new(lived: Path, tmp_path: Path) -> None:
    root, place = tmp_path / "weather", tmp_path / "backups"
    shutil.copytree(lived, root, symlinks=True)
    first = backup(str(root), place)
    second = backup(str(root), place)
    ingest.ingest.fn(str(root))
    retrain.fn(str(root))
    third = backup(str(root), place)
    full = backup(str(root), place, full=True)
    assert first.copied == first.size
    assert full.copied == full.size
    database = (Path(second.path) / "registry" / "mlflow.db").stat().st_size
    assert second.copied - database < 5_000  # and the note
    assert 0 < third.copied - database < first.copied - database
    for each in (first, second, third, full):
        restore(Path(each.path), tmp_path / Path(each.path).name)
    assert kit.learners(tmp_path / Path(second.path).name) == kit.learners(lived)
    assert kit.learners(tmp_path / Path(third.path).name) == kit.learners(root)
    assert (
        kit.differences(
            kit.picture(tmp_path / Path(full.path).name),
            kit.picture(tmp_path / Path(third.path).name),
        )
        == []
    )

    kept = backup(str(root), place, keep=2)
    assert [Path(one).name for one in kept.removed] == [
        Path(one.path).name for one in (first, second, third)
    ]
    assert [str(path) for path in backups.snapshots(place)] == [full.path, kept.path]
    restore(Path(kept.path), tmp_path / "of the last")  # its links outlive what was removed


def test_what_is_copied_while_everything_runs_goes_on_to_the_same_end(tmp_path: Path) -> None:
    """Ingests and retrainings go on in another process while backups are made one by one."""
    root, place = kit.make(tmp_path / "busy"), tmp_path / "backups"
    program = (
        "import sys\n"
        "from perdure.flows.ingest import ingest\n"
        "from perdure.flows.retrain import retrain\n"
        "from tests.promises import kit\n"
        "import pathlib\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "retrain.fn(str(root)); print('learned', flush=True)\n"
        "for number in (2, 3, 4):\n"
        "    kit.ingest(root, kit.table(number)); retrain.fn(str(root))\n"
    )
    made = []
    with subprocess.Popen(
        [sys.executable, "-c", program, str(root)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    ) as busy:
        assert busy.stdout is not None
        assert busy.stdout.readline() == "learned\n"
        while busy.poll() is None:
            made.append(Path(backup(str(root), place).path))
    assert busy.returncode == 0
    assert len(made) >= 3
    last = restore(Path(backup(str(root), place).path), tmp_path / "last")
    assert (last.versions, last.experiences) == (4, 4)
    assert kit.learners(tmp_path / "last") == kit.learners(root)
    seen = []
    for path in (made[len(made) // 3], made[2 * len(made) // 3]):
        copy = tmp_path / path.name
        done = restore(path, copy)
        seen.append((done.versions, done.experiences))
        kit.ingest(copy, *(kit.table(number) for number in (2, 3, 4)))  # or they are known
        retrain.fn(str(copy))
        assert kit.learners(copy) == kit.learners(root)
        assert kit.picture(copy)["left"] == []
    assert seen[0] != (4, 4), seen


def spoil(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("repository.bundle", spoil),
        ("repository.bundle", Path.unlink),
        ("registry/mlflow.db", spoil),
        ("backup.json", lambda path: path.write_text("{}")),
        ("manifest.json", Path.unlink),
        ("manifest.json", spoil),
        ("stranger", lambda path: path.write_text("x")),
    ],
)
def test_a_backup_that_is_not_whole_is_refused_and_nothing_is_written(
    kept: Path, tmp_path: Path, name: str, harm: Callable[[Path], object]
) -> None:
    [whole] = backups.snapshots(kept)
    copy = tmp_path / whole.name
    shutil.copytree(whole, copy)
    harm(copy / name)
    target = tmp_path / "target"
    with pytest.raises(PerdureError) as caught:
        restore(copy, target)
    assert isinstance(caught.value, Corrupt)
    assert "nothing was written" in caught.value.message
    assert caught.value.hint is not None
    assert not target.exists()


def test_a_restore_writes_into_an_empty_folder_alone(kept: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        restore(kept, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / PART / "left").mkdir(parents=True)  # of one that was killed
    assert restore(kept, empty).champion == 2
    with pytest.raises(UsageError, match="no backup"):
        restore(empty, tmp_path / "other")


def test_a_restore_that_fails_leaves_nothing(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(OSError, match="No space"):
        restore(kept, tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


def test_a_backup_that_fails_or_is_killed_leaves_none_and_the_next_one_cleans_up(
    lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(backups.Copier, "wrote", full)
        with pytest.raises(OSError, match="No space"):
            backup(str(lived), tmp_path)
    assert backups.snapshots(tmp_path) == ()
    program = (
        "import os, pathlib, signal, sys\n"
        "from perdure.flows import backup\n"
        "from perdure.tasks import backups\n"
        "backups.sealed = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "backup.backup(sys.argv[1], pathlib.Path(sys.argv[2]))\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(lived), str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert backups.snapshots(tmp_path) == ()
    assert len([path for path in tmp_path.iterdir() if path.name != ".lock"]) == 1
    made = Path(backup(str(lived), tmp_path).path)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", made.name}


def test_what_is_still_being_written_is_left_out_and_said(lived: Path, tmp_path: Path) -> None:
    growing = lived / "inbox" / "growing.csv"
    try:
        with growing.open("w") as file:
            file.write(kit.table(9)[:100])
            file.flush()
            done = backup(str(lived), tmp_path)
    finally:
        growing.unlink()
    assert done.left_out == ("inbox/growing.csv",)
    restore(tmp_path, tmp_path / "made")
    assert not (tmp_path / "made" / "inbox" / "growing.csv").exists()
    assert (tmp_path / "made" / "inbox" / "waiting.csv").exists()


def test_a_version_that_is_spoilt_is_told_when_it_is_backed_up(lived: Path, tmp_path: Path) -> None:
    root = tmp_path / "weather"
    shutil.copytree(lived, root, symlinks=True)
    [one, *_] = sorted((root / ".perdure" / "artifacts").rglob("*.safetensors"))
    one.chmod(0o644)
    spoil(one)
    with pytest.raises(Corrupt, match=one.name):
        backup(str(root), tmp_path / "backups")
    assert backups.snapshots(tmp_path / "backups") == ()


def test_data_that_the_remote_has_not_got_is_taken_from_the_cache_or_told(
    lived: Path, tmp_path: Path
) -> None:
    root = tmp_path / "weather"
    shutil.copytree(lived, root, symlinks=True)
    shutil.rmtree(root / ".perdure" / "dvc-remote" / "files")
    backup(str(root), tmp_path / "backups")
    restore(tmp_path / "backups", tmp_path / "made")
    assert kit.picture(tmp_path / "made")["files"] == kit.picture(lived)["files"]
    shutil.rmtree(root / ".dvc" / "cache")
    with pytest.raises(Fault, match="data lacks"):
        backup(str(root), tmp_path / "others")


def test_two_backups_into_one_place_do_not_meet(lived: Path, tmp_path: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        with backups.begun(tmp_path, "other"):
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
        backup(str(lived), tmp_path)
    go_on.set()
    thread.join()
    backup(str(lived), tmp_path)


def test_a_place_inside_the_workspace_is_refused(lived: Path) -> None:
    with pytest.raises(UsageError, match="inside"):
        backup(str(lived), lived / "backups")
    assert not (lived / "backups").exists()


def test_a_workspace_below_the_top_of_its_repository(tmp_path: Path) -> None:
    top = tmp_path / "models"
    top.mkdir()
    subprocess.run(["git", "init", "--quiet", "-b", "trunk", str(top)], check=True)
    (top / "other.txt").write_text("another model\n")
    kit.git(top, "add", "other.txt")
    kit.git(top, "commit", "--quiet", "-m", "other")
    (top / "deep").mkdir()
    root = kit.make(top / "deep" / "weather")
    (top / "deep" / "weather-first.csv").unlink()  # of the kit's, and outside of the workspace
    retrain.fn(str(root))
    backup(str(root), tmp_path / "backups")
    done = restore(tmp_path / "backups", tmp_path / "new")
    assert done.path == str(tmp_path / "new" / "deep" / "weather")
    assert (tmp_path / "new" / "other.txt").read_text() == "another model\n"
    assert kit.differences(kit.picture(Path(done.path)), kit.picture(root)) == []


def test_with_an_mlflow_server_and_a_dvc_remote_it_says_what_is_not_in_it(tmp_path: Path) -> None:
    root, shared = kit.make(tmp_path / "weather"), tmp_path / "shared data"
    shared.mkdir()
    subprocess.run(
        [sys.executable, "-m", "dvc", "remote", "modify", "storage", "url", str(shared)],
        cwd=root,
        check=True,
        capture_output=True,
    )
    kit.ingest(root, kit.table(2))  # pushes there
    with (root / "perdure.toml").open("a") as file:
        file.write('[tracking]\nuri = "http://ada:s3cret@127.0.0.1:9"\n')
    done = backup(str(root), tmp_path / "backups")
    assert len(done.lacks) == 2
    assert "127.0.0.1:9" in done.lacks[0]
    assert str(shared) in done.lacks[1]
    said = (Path(done.path) / "backup.json").read_text()
    assert "s3cret" not in said
    assert not (Path(done.path) / "registry").exists()
    back = restore(tmp_path / "backups", tmp_path / "made")
    assert back.experiences == 2
    assert back.lacks == done.lacks
    shutil.rmtree(shared)
    again = restore(tmp_path / "backups", tmp_path / "later")
    assert again.experiences == 0
    assert "dvc pull" in again.lacks[-1]


def test_the_commands(lived: Path, tmp_path: Path) -> None:
    """As a person types them."""

    def perdure(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "perdure", *arguments],
            capture_output=True,
            text=True,
            env={**os.environ},
            check=False,
        )

    made = perdure("backup", str(tmp_path / "b"), "--keep", "3", "-w", str(lived), "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["champion"] == 2
    back = perdure("restore", str(tmp_path / "b"), str(tmp_path / "new"))
    assert back.returncode == 0, back.stderr
    assert "version 2 is the champion" in back.stdout
    assert config.read(tmp_path / "new").config.model.name == "small"
    again = perdure("restore", str(tmp_path / "b"), str(tmp_path / "new"))
    assert again.returncode == 2
    assert "not empty" in again.stderr
