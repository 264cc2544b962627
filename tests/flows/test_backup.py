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
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from perdure import config
from perdure.cli.render import safekeeping as render
from perdure.errors import Corrupt, Fault, LockHeld, PerdureError, UsageError
from perdure.flows import ingest, inspect
from perdure.flows.backup import backup
from perdure.flows.restore import PART, restore
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from perdure.flows.service import belonging, settled
from perdure.tasks import backups, data_versions
from tests.flows.test_inbox import mortal
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
    belonging.named(config.read(root))
    return root


@pytest.fixture(scope="module")
def kept(lived: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one backup of it; to be looked at."""
    place = tmp_path_factory.mktemp("backups")
    backup(str(lived), place)
    return place


def everything(root: Path) -> dict[str, object]:
    """What must be the same in the copy."""
    status = inspect.status(str(root))
    del status["disk_free_bytes"]  # of the machine, and other processes write to it, too
    return {
        **kit.picture(root),
        "learners": kit.learners(root),
        "status": status,
        "log": kit.git(root, "log", "--all", "--format=%H %s"),
        "refs": kit.git(root, "for-each-ref", "refs/heads", "refs/tags"),
        "branch": kit.git(root, "symbolic-ref", "HEAD"),
        "toml": (root / "perdure.toml").read_text(),
        "registry": (root / ".perdure" / "registry.id").read_text(),
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
            "https://example.org/weather.git"
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
    for each in (second, third, full):
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


# Threads share their filters: what one of them lets pass may be an error again for the other.
@pytest.mark.filterwarnings("ignore")
def test_what_is_copied_while_everything_runs_goes_on_to_the_same_end(
    lived: Path, tmp_path: Path
) -> None:
    """Ingests and retrainings go on meanwhile, and share nothing with it but the files."""
    root, place = tmp_path / "busy", tmp_path / "backups"
    shutil.copytree(lived, root, symlinks=True)
    (root / "inbox" / "waiting.csv").unlink()

    def work() -> None:
        for number in (5, 6):
            kit.ingest(root, kit.table(number))
            retrain.fn(str(root))

    made = []
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(work)
        while not busy.done():
            made.append(Path(backup(str(root), place).path))
            with suppress(TimeoutError):
                busy.result(0.1)  # it has work to do as well
        busy.result()
    assert len(made) >= 3
    last = restore(Path(backup(str(root), place).path), tmp_path / "last")
    assert (last.versions, last.experiences) == (4, 4)
    assert kit.learners(tmp_path / "last") == kit.learners(root)
    copy = tmp_path / "between"
    done = restore(made[len(made) // 2], copy)
    assert (done.versions, done.experiences) != (4, 4)
    kit.ingest(copy, *(kit.table(number) for number in (5, 6)))  # or they are known
    retrain.fn(str(copy))
    assert kit.learners(copy) == kit.learners(root)
    assert kit.picture(copy)["left"] == []


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
    with pytest.raises(Fault, match="No space") as error:
        restore(kept, tmp_path / "target")
    assert "df -h" in str(error.value.hint)
    assert list(tmp_path.iterdir()) == []


def test_a_backup_that_fails_or_is_killed_leaves_none_and_the_next_one_cleans_up(
    lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(backups.Copier, "wrote", full)
        with pytest.raises(Fault, match="No space") as error:
            backup(str(lived), tmp_path)
        assert "df -h" in str(error.value.hint)
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


def test_the_files_that_wait_are_not_looked_for_in_a_list(
    lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a thousand that would be a million looks."""

    class Long(list[Path]):
        def __contains__(self, one: object) -> bool:
            raise AssertionError(f"looked for {one}")

    monkeypatch.setattr(settled, "wait", lambda paths: Long(paths))
    assert backup(str(lived), tmp_path).left_out == ()


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


def test_what_is_no_file_is_left_out_and_said(lived: Path, tmp_path: Path) -> None:
    """A pipe would be waited for, a link followed out of the workspace, a module taken for gone."""
    root = tmp_path / "weather"
    shutil.copytree(lived, root, symlinks=True)
    (root / "inbox" / "link.csv").symlink_to(tmp_path / "nowhere")
    batch = root / "inbox" / "batch" / "cat"
    batch.mkdir(parents=True)
    (batch / "1.png").write_bytes(b"1")
    (batch / "2.png").symlink_to("1.png")
    (batch.parent / "dog").symlink_to("cat")
    os.mkfifo(root / "inbox" / "pipe.csv")
    (root / "linked.md").symlink_to(root / "notes" / "own.md")
    (root / "notes" / "nowhere").symlink_to(tmp_path / "nowhere")
    for name in ("module", "theirs"):
        (root / name).mkdir()
        kit.git(root / name, "init", "--quiet")
        kit.git(root / name, "commit", "--quiet", "--allow-empty", "-m", "x")
    kit.git(root, "add", "module")
    kit.git(root, "commit", "--quiet", "-m", "a repository within", "--", "module")
    kit.git(root / "module", "commit", "--quiet", "--allow-empty", "-m", "y")
    script = root / "notes" / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    (root / "perdure.toml").rename(root / "other.toml")
    (root / "perdure.toml").symlink_to("other.toml")
    done = backup(str(root), tmp_path / "backups")
    assert sorted(done.left_out) == [
        "inbox/batch/cat/2.png", "inbox/batch/dog", "inbox/link.csv", "inbox/pipe.csv",
        "linked.md", "module", "notes/nowhere", "perdure.toml", "theirs/",
    ]  # fmt: skip
    said = json.loads((Path(done.path) / "backup.json").read_text())
    assert said["deleted"] == []
    made = tmp_path / "made"
    restore(tmp_path / "backups", made)
    assert (made / "perdure.toml").read_text() == kit.git(root, "show", "HEAD:perdure.toml")
    assert os.access(made / "notes" / "run.sh", os.X_OK)
    assert not (made / "linked.md").is_symlink()
    assert (made / "module").is_dir()
    assert [path.name for path in (made / "inbox" / "batch").rglob("*")] == ["cat", "1.png"]


def test_a_file_that_may_not_be_read_is_left_out_and_said(lived: Path, tmp_path: Path) -> None:
    """Of the inbox, where others leave files, or beside the workspace's own files.

    Half a batch of images would be learned as a whole one.
    """
    root = tmp_path / "weather"
    shutil.copytree(lived, root, symlinks=True)
    (root / "inbox" / "theirs.csv").write_text(kit.table(5))
    for name in ("ants", "bees", "cats"):
        (root / "inbox" / "batch" / name).mkdir(parents=True)
        (root / "inbox" / "batch" / name / "1.png").write_bytes(name.encode())
    (root / "notes" / "secret.md").write_text("not for everybody\n")
    (root / "closed").mkdir()
    (root / "closed" / "secret.md").write_text("not for everybody\n")
    for name in ("inbox/theirs.csv", "inbox/batch/bees", "notes/secret.md", "closed"):
        (root / name).chmod(0)
    program = (
        "import pathlib, sys\n"
        "from perdure.flows.backup import backup\n"
        "print(*sorted(backup(sys.argv[1], pathlib.Path(sys.argv[2])).left_out), sep='\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(root), str(tmp_path / "backups")],
        preexec_fn=mortal if os.getuid() == 0 else None,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == [
        "closed/", "inbox/batch", "inbox/theirs.csv", "notes/secret.md"
    ]  # fmt: skip
    restore(tmp_path / "backups", tmp_path / "made")
    assert sorted(path.name for path in (tmp_path / "made" / "inbox").iterdir()) == [
        ".gitkeep", "waiting.csv"
    ]  # fmt: skip


def test_a_folder_of_the_registry_that_cannot_be_read_is_told(
    lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not left out: what is the workspace's own must be in a backup."""
    scandir, closed = os.scandir, lived / ".perdure" / "artifacts"

    def refused(path: str | Path | int) -> object:
        if path in (closed, str(closed)):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(Fault, match="Permission denied"):
        backup(str(lived), tmp_path)
    assert backups.snapshots(tmp_path) == ()


def test_a_batch_that_is_taken_out_of_the_inbox_meanwhile_is_left_out(
    lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ingest takes it out file by file, and what is left at that moment is no batch."""
    root = tmp_path / "weather"
    shutil.copytree(lived, root, symlinks=True)
    batch = root / "inbox" / "batch"
    for name in ("ants", "bees"):
        (batch / name).mkdir(parents=True)
        (batch / name / "1.png").write_bytes(name.encode())
    copied = backups.Copier.file

    def slow(self: backups.Copier, source: Path, *arguments: object) -> bool:
        done = copied(self, source, *arguments)  # type: ignore[arg-type]  # as they are
        if source == batch / "ants" / "1.png":
            shutil.rmtree(batch)
        return done

    monkeypatch.setattr(backups.Copier, "file", slow)
    done = backup(str(root), tmp_path / "backups")
    assert done.left_out == ()  # for it is data by now
    assert not (Path(done.path) / "inbox" / "batch").exists()
    restore(Path(done.path), tmp_path / "made")


def test_a_clock_that_was_ahead_removes_no_new_backup(lived: Path, tmp_path: Path) -> None:
    old = Path(backup(str(lived), tmp_path).path)
    note = json.loads((old / "backup.json").read_text())
    (old / "backup.json").write_text(json.dumps(note | {"at": "2099-01-01T00:00:00.000+00:00"}))
    new = backup(str(lived), tmp_path, keep=1)
    assert new.removed == (old.name,)
    assert backups.newest(tmp_path) == Path(new.path)


def test_a_backup_that_cannot_be_read_is_not_in_the_way_of_the_next(
    lived: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = Path(backup(str(lived), tmp_path).path)
    (old / "backup.json").write_text("{")
    new = backup(str(lived), tmp_path, keep=1)
    assert new.removed == ()  # who knows what it was
    assert f"{old / 'backup.json'} cannot be read" in caplog.text
    with pytest.raises(Corrupt):
        restore(tmp_path, tmp_path / "target")
    assert restore(Path(new.path), tmp_path / "target").champion == 2


def test_two_backups_into_one_place_do_not_meet(lived: Path, tmp_path: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        with backups.hold(tmp_path), backups.begun(tmp_path, "other"):
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


def test_older_backups_are_removed_before_the_next_one_begins(
    lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who begins a backup clears away what he finds half removed, in the middle of it."""
    prune, tried = backups.prune, []

    def pruned(place: Path, model: str, keep: int) -> tuple[str, ...]:
        with pytest.raises(LockHeld), backups.hold(place), backups.begun(place, "other"):
            pass
        tried.append(keep)
        return prune(place, model, keep)

    monkeypatch.setattr(backups, "prune", pruned)
    first = backup(str(lived), tmp_path, keep=1)
    assert backup(str(lived), tmp_path, keep=1).removed == (Path(first.path).name,)
    assert tried == [1, 1]


@pytest.mark.parametrize("link", [False, True])
def test_an_inbox_outside_of_the_workspace(lived: Path, tmp_path: Path, link: bool) -> None:
    """Its files come back, and nothing is written to where it is."""
    root, drop = tmp_path / "weather", tmp_path / "drop"
    shutil.copytree(lived, root, symlinks=True)
    shutil.move(root / "inbox", drop)
    (drop / ".gitkeep").unlink()
    if link:
        (root / "inbox").symlink_to(drop)
        kit.git(root, "rm", "--quiet", "--cached", "inbox/.gitkeep")
        kit.git(root, "add", "--force", "inbox")
        kit.git(root, "commit", "--quiet", "-m", "the inbox is elsewhere", "--", "inbox")
    else:
        text = (root / "perdure.toml").read_text()
        text = text.replace("[data]\n", f"[data]\ninbox = {json.dumps(str(drop))}\n")
        (root / "perdure.toml").write_text(text)
    (root / "inbox-restored").mkdir()  # the name is taken
    (root / "inbox-restored" / "own.txt").write_text("mine\n")
    backup(str(root), tmp_path / "backups")
    (drop / "waiting.csv").unlink()

    made = tmp_path / "made"
    [lacks] = restore(tmp_path / "backups", made).lacks
    assert (str(drop) if not link else "inbox") in lacks
    assert "perdure ingest inbox-restored-1/*" in lacks
    assert list(drop.iterdir()) == []
    assert [path.name for path in (made / "inbox-restored").iterdir()] == ["own.txt"]
    waited = made / "inbox-restored-1" / "waiting.csv"
    assert waited.read_text() == kit.table(4)
    [one] = ingest.ingest.fn(str(made), [str(waited)]).files
    assert one.experience is not None


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("old", [False, True])
def test_a_dvc_remote_that_is_another_folder_of_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absolute: bool, old: bool
) -> None:
    """Also of a backup that was made before backups said where it is."""
    root = kit.make(tmp_path / "weather")
    with (root / ".gitignore").open("a") as file:
        file.write("/store\n")
    (root / "store").mkdir()
    data_versions.init(root, str(root / "store"))
    if absolute:
        config_file = root / ".dvc" / "config"
        text = config_file.read_text().replace("url = ../store", f"url = {root / 'store'}")
        assert str(root / "store") in text
        config_file.write_text(text)
    kit.git(root, "commit", "--quiet", "--all", "-m", "a remote of its own")
    kit.ingest(root, kit.table(2))
    if old:
        sealed = backups.sealed
        monkeypatch.setattr(
            backups,
            "sealed",
            lambda copier, said: sealed(copier, {k: v for k, v in said.items() if k != "store"}),
        )
    backup(str(root), tmp_path / "backups")
    root.rename(tmp_path / "gone")
    made = tmp_path / "made"
    done = restore(tmp_path / "backups", made)
    assert (done.experiences, done.lacks) == (2, ())
    kit.ingest(made, kit.table(3))  # pushes to the one that it has
    place = made / (".perdure/dvc-remote" if old else "store") / "files" / "md5"
    kept = {path.name for path in place.rglob("*") if path.is_file()}
    cached = {path.name for path in (made / ".dvc" / "cache").rglob("*") if path.is_file()}
    assert kept == cached
    assert not root.exists()


def test_links_that_are_gone_or_replaced_lead_a_restore_nowhere(
    lived: Path, tmp_path: Path
) -> None:
    root, other = tmp_path / "weather", tmp_path / "other.md"
    shutil.copytree(lived, root, symlinks=True)
    other.write_text("not the workspace's\n")
    for name, target in (("out", other), ("out-new", other), ("in", "schema.toml")):
        (root / name).symlink_to(target)
    kit.git(root, "add", "out", "out-new", "in")
    kit.git(root, "commit", "--quiet", "-m", "links", "--", "out", "out-new", "in")
    for name in ("out", "out-new", "in"):
        (root / name).unlink()
    (root / "out-new").write_text("a file by now\n")
    backup(str(root), tmp_path / "backups")
    made = tmp_path / "made"
    restore(tmp_path / "backups", made)
    assert not os.path.lexists(made / "out")
    assert not os.path.lexists(made / "in")
    assert (made / "out-new").read_text() == "a file by now\n"
    assert not (made / "out-new").is_symlink()
    assert (made / "schema.toml").read_text() == (lived / "schema.toml").read_text()
    assert other.read_text() == "not the workspace's\n"


def test_a_place_inside_the_workspace_is_refused(lived: Path) -> None:
    with pytest.raises(UsageError, match="inside"):
        backup(str(lived), lived / "backups")
    assert not (lived / "backups").exists()


def test_a_workspace_below_the_top_of_its_repository(lived: Path, tmp_path: Path) -> None:
    top = tmp_path / "models"
    top.mkdir()
    subprocess.run(["git", "init", "--quiet", "-b", "trunk", str(top)], check=True)
    (top / "other.txt").write_text("another model\n")
    kit.git(top, "add", "other.txt")
    kit.git(top, "commit", "--quiet", "-m", "other")
    (top / "deep").mkdir()
    root = kit.make(top / "deep" / "weather")
    (top / "deep" / "weather-first.csv").unlink()  # of the kit's, and outside of the workspace
    for name in ("mlflow.db", "artifacts"):  # the first experience is the same
        one = lived / ".perdure" / name
        copy = shutil.copytree if one.is_dir() else shutil.copy2
        copy(one, root / ".perdure" / name)
    backup(str(root), tmp_path / "backups")
    done = restore(tmp_path / "backups", tmp_path / "new")
    assert done.path == str(tmp_path / "new" / "deep" / "weather")
    assert (done.versions, done.champion) == (2, 2)
    assert (tmp_path / "new" / "other.txt").read_text() == "another model\n"
    assert kit.differences(kit.picture(Path(done.path)), kit.picture(root)) == []


def test_with_an_mlflow_server_and_a_dvc_remote_it_says_what_is_not_in_it(tmp_path: Path) -> None:
    root, shared = kit.make(tmp_path / "weather"), tmp_path / "shared data"
    shared.mkdir()
    data_versions.init(root, str(shared))
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


def test_a_password_of_the_dvc_remote_is_not_in_a_backup(tmp_path: Path) -> None:
    root = kit.make(tmp_path / "weather")
    data_versions.init(root, "http://ada:s3cret@127.0.0.1:9/data")
    kit.git(root, "checkout", "--quiet", ".dvc/config")
    with (root / ".dvc" / "config.local").open("w") as file:
        file.write("['remote \"storage\"']\n    url = http://ada:s3cret@127.0.0.1:9/data\n")
    done = backup(str(root), tmp_path / "backups")
    assert done.lacks == ("the data, which the DVC remote http://127.0.0.1:9/data has",)
    files = [path for path in Path(done.path).rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"s3cret" in path.read_bytes()]


def test_what_is_left_out_is_named_without_a_wrong_reason(
    lived: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = lived / "inbox" / "link.csv"
    link.symlink_to("waiting.csv")
    try:
        done = backup(str(lived), tmp_path)
    finally:
        link.unlink()
    render.backed_up(done)
    assert "Left out: inbox/link.csv\n" in capsys.readouterr().out


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
