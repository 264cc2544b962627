"""DVC: the data folder is recorded whole, kept in the remote, and brought back."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perdure.config import Workspace, parse
from perdure.errors import Fault, Unreachable, UsageError
from perdure.tasks import data_versions
from perdure.tasks.data_versions.client import opened

CONFIG = '[model]\nname="m"\n[data]\ntarget="y"\ntask="classification"'


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def workspace(root: Path, remote: str | None = None) -> Workspace:
    root.mkdir(parents=True, exist_ok=True)
    data_versions.init(root, remote)
    return Workspace(root, parse(CONFIG))


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository; DVC's own scratch kept in the test, the working directory elsewhere."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    root = tmp_path / "top"
    root.mkdir()
    git(root, "init", "-q")
    return root


def add(ws: Workspace, name: str, content: str = "x") -> Path:
    path = ws.experiences / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_data_comes_back_in_another_clone(
    top: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert not data_versions.is_initialised(top)
    ws = workspace(top, str(tmp_path / "remote"))
    (tmp_path / "remote").mkdir()
    assert data_versions.is_initialised(top)
    assert data_versions.revision(ws) is None
    assert not data_versions.missing(ws)
    add(ws, "1", "one")
    first = data_versions.add_and_push(ws)
    add(ws, "2", "two")
    second = data_versions.add_and_push(ws)
    assert first != second == data_versions.revision(ws)
    assert data_versions.add_and_push(ws) == second
    git(top, "add", *map(str, data_versions.files(ws)))
    git(top, "commit", "-qm", "data")
    assert git(top, "status", "--porcelain", "--untracked-files=no") == ""
    assert "data" not in git(top, "ls-files", "data").split()

    git(tmp_path, "clone", "-q", str(top), str(tmp_path / "clone"))
    clone = Workspace(tmp_path / "clone", parse(CONFIG))
    assert data_versions.missing(clone)
    data_versions.pull(clone)
    assert (clone.experiences / "2").read_text() == "two"
    assert not data_versions.missing(clone)
    assert data_versions.add_and_push(clone) == second
    assert capfd.readouterr() == ("", "")


def test_the_default_remote_moves_with_the_workspace(top: Path) -> None:
    ws = workspace(top / "sub" / "ws")
    text = (ws.root / ".dvc" / "config").read_text()
    assert "url = ../.perdure/dvc-remote" in text
    assert str(top) not in text
    add(ws, "1")
    data_versions.add_and_push(ws)
    moved = Workspace(ws.root.rename(top / "moved"), parse(CONFIG))
    shutil.rmtree(moved.data)
    shutil.rmtree(moved.root / ".dvc" / "cache")
    data_versions.pull(moved)
    assert (moved.experiences / "1").read_text() == "x"
    assert data_versions.remote_problem(moved) is None


def test_a_workspace_in_a_folder_of_a_repository_stages_dvcs_files_alone(top: Path) -> None:
    (top / "user").write_text("1")
    git(top, "add", "user")
    ws = workspace(top / "sub")
    add(ws, "1")
    data_versions.add_and_push(ws)
    # `dvc init` stages its own files; nothing after that is staged.
    staged = git(top, "diff", "--cached", "--name-only").splitlines()
    assert staged == ["sub/.dvc/.gitignore", "sub/.dvc/config", "sub/.dvcignore", "user"]
    assert not (top / ".dvc").exists()
    assert (ws.root / "data.dvc").exists()
    assert {p.name for p in data_versions.files(ws)} >= {"data.dvc", "config", ".dvcignore"}


def test_init_again_changes_nothing_and_finishes_what_was_begun(top: Path) -> None:
    ws = workspace(top)
    add(ws, "1")
    revision = data_versions.add_and_push(ws)
    config = (top / ".dvc" / "config").read_text()
    data_versions.init(top)
    assert (top / ".dvc" / "config").read_text() == config
    assert data_versions.add_and_push(ws) == revision

    half = top / "half"
    (half / ".dvc").mkdir(parents=True)
    assert not data_versions.is_initialised(half)
    data_versions.init(half)
    assert data_versions.is_initialised(half)


def test_settings_keep_dvc_to_itself(top: Path) -> None:
    workspace(top)
    text = (top / ".dvc" / "config").read_text()
    for line in ("analytics = False", "autostage = False", "remote = storage"):
        assert line in text


def test_the_hook_environment_does_not_mislead(
    top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    ws = workspace(top)
    add(ws, "1")
    data_versions.add_and_push(ws)
    assert (top / ".gitignore").read_text() == "/data\n"
    assert [p.name for p in other.iterdir()] == [".git"]


def test_a_remote_that_is_not_there_is_told_and_what_was_added_stays(
    top: Path, tmp_path: Path
) -> None:
    remote = tmp_path / "disk" / "remote"
    ws = workspace(top, str(remote))
    add(ws, "1")
    assert data_versions.remote_problem(ws)
    with pytest.raises(Unreachable, match="does not exist") as error:
        data_versions.add_and_push(ws)
    assert error.value.hint is not None
    assert not remote.exists()
    assert data_versions.revision(ws) is not None
    remote.mkdir(parents=True)
    data_versions.add_and_push(ws)
    assert data_versions.remote_problem(ws) is None
    assert any(remote.rglob("*"))


def test_a_remote_that_breaks_is_told(top: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    remote.mkdir()
    ws = workspace(top, str(remote))
    add(ws, "1")
    (remote / "files").write_text("not a folder")
    with pytest.raises(Unreachable):
        data_versions.add_and_push(ws)


def test_an_unknown_kind_of_remote_is_told(top: Path) -> None:
    ws = workspace(top, "gs://bucket/path")
    add(ws, "1")
    with pytest.raises(Unreachable, match="gs"):
        data_versions.add_and_push(ws)
    assert data_versions.remote_problem(ws)


def test_a_full_disk_is_a_fault(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ws = workspace(top)
    add(ws, "1")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dvc.repo.Repo.push", full)
    with pytest.raises(Fault, match="disk is full"):
        data_versions.add_and_push(ws)
    monkeypatch.setattr("dvc.repo.Repo.add", full)
    with pytest.raises(Fault, match="disk is full"):
        data_versions.add_and_push(ws)


def test_what_the_remote_lacks_is_told(top: Path) -> None:
    ws = workspace(top)
    with pytest.raises(UsageError, match=r"data\.dvc does not exist"):
        data_versions.pull(ws)
    add(ws, "1")
    data_versions.add_and_push(ws)
    for gone in (ws.data, top / ".dvc" / "cache", top / ".perdure" / "dvc-remote"):
        shutil.rmtree(gone)
    with pytest.raises(Unreachable):
        data_versions.pull(ws)


def test_a_folder_that_lost_experiences_is_not_recorded(top: Path) -> None:
    ws = workspace(top)
    one, _ = add(ws, "1"), add(ws, "2", "two")
    revision = data_versions.add_and_push(ws)
    one.unlink()
    add(ws, "3")
    with pytest.raises(Fault, match="lacks experiences/1"):
        data_versions.add_and_push(ws)
    # A fresh clone, where an ingest forgot to pull.
    shutil.rmtree(top / ".dvc" / "cache")
    shutil.rmtree(ws.data)
    add(ws, "3")
    with pytest.raises(Fault, match="lacks 1 files"):
        data_versions.add_and_push(ws)
    assert data_versions.revision(ws) == revision


def test_a_broken_pointer_is_told(top: Path) -> None:
    ws = workspace(top)
    (top / "data.dvc").write_text("outs: 3")
    with pytest.raises(Fault, match=r"data\.dvc cannot be read"):
        data_versions.revision(ws)


def test_a_pointer_that_a_kill_left_empty_is_put_back(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC writes `data.dvc` in place: killed then, the file is empty."""
    from dvc.repo import Repo

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        (top / "data.dvc").write_text("")
        raise Killed

    ws = workspace(top)
    for number in ("1", "2"):
        before = data_versions.revision(ws)
        add(ws, number)
        with monkeypatch.context() as patch:
            patch.setattr(Repo, "add", killed)
            with pytest.raises(Killed):
                data_versions.add_and_push(ws)
        assert (top / "data.dvc").read_text() == ""
        assert data_versions.revision(ws) == before  # status still works
        after = data_versions.add_and_push(ws)
        assert after == data_versions.revision(ws) != before
    # The copy is gone: a later fault of the file is not ours to hide.
    (top / "data.dvc").write_text("<<<<<<< HEAD")
    with pytest.raises(Fault, match="git checkout"):
        data_versions.revision(ws)


def test_a_pull_cut_short_is_not_taken_for_whole(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.repo import Repo

    ws = workspace(top)
    add(ws, "1")
    data_versions.add_and_push(ws)
    shutil.rmtree(ws.data)

    def killed(*_: object, **__: object) -> None:
        ws.data.mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Repo, "pull", killed)
        with pytest.raises(KeyboardInterrupt):
            data_versions.pull(ws)
    assert data_versions.missing(ws)
    data_versions.pull(ws)
    assert not data_versions.missing(ws)
    assert (ws.experiences / "1").exists()


def test_a_held_lock_is_waited_for_then_told(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.lock import LockError
    from dvc.repo import Repo

    ws = workspace(top)
    add(ws, "1")
    real, tries = Repo.add, []

    def held(self: Repo, *arguments: object) -> object:
        tries.append(1)
        if len(tries) < 3:
            raise LockError("held")
        return real(self, *arguments)

    monkeypatch.setattr(Repo, "add", held)
    data_versions.add_and_push(ws)
    assert len(tries) == 3
    monkeypatch.setattr(Repo, "add", lambda *_: held(*_) if len(tries) < 0 else _raise(LockError))
    with pytest.raises(Fault, match="lock is held"):
        data_versions.add_and_push(ws)


def _raise(kind: type[Exception]) -> None:
    raise kind("held")


@pytest.mark.parametrize("left", ["", '{"write": {"/data": {"pid": 1', '{"write": 3}'])
def test_dvcs_note_that_a_kill_left_half_written_stops_nothing(top: Path, left: str) -> None:
    ws = workspace(top)
    add(ws, "1", "one")
    first = data_versions.add_and_push(ws)
    note = top / ".dvc" / "tmp" / "rwlock"
    note.write_text(left)
    add(ws, "2", "two")
    second = data_versions.add_and_push(ws)
    assert first != second == data_versions.revision(ws)
    note.write_text(left)
    shutil.rmtree(ws.data)
    data_versions.pull(ws)
    assert sorted(path.name for path in ws.experiences.iterdir()) == ["1", "2"]


def test_killed_at_any_time_the_next_run_repairs(top: Path) -> None:
    ws = workspace(top)
    for number in range(20):
        add(ws, str(number), str(number))
    script = (
        "import sys; from pathlib import Path\n"
        "from perdure.config import Workspace, parse\n"
        "from perdure.tasks import data_versions\n"
        "import dvc.repo\n"
        "print('go', flush=True)\n"
        "data_versions.add_and_push(Workspace(Path(sys.argv[1]), parse(sys.argv[2])))\n"
    )
    killed = 0
    for pause in (0.02, 0.08, 0.2, 0.35):
        add(ws, f"more {pause}", "x")
        with subprocess.Popen(
            [sys.executable, "-c", script, str(top), CONFIG], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"go\n"
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
    assert killed
    revision = data_versions.add_and_push(ws)
    shutil.rmtree(ws.data)
    shutil.rmtree(top / ".dvc" / "cache")
    data_versions.pull(ws)
    assert len(list(ws.experiences.iterdir())) == 24
    assert data_versions.add_and_push(ws) == revision


@pytest.mark.parametrize("left", [b"", None])
def test_an_object_that_the_remote_lacks_is_pushed_again(top: Path, left: bytes | None) -> None:
    """A kill leaves an empty object in a local remote, or none although the listing is there."""
    ws = workspace(top)
    for number in range(3):
        add(ws, str(number), f"row {number}")
    data_versions.add_and_push(ws)
    digest = hashlib.md5(b"row 1", usedforsecurity=False).hexdigest()
    stored = top / ".perdure" / "dvc-remote" / "files" / "md5" / digest[:2] / digest[2:]
    stored.unlink()
    if left is not None:
        stored.write_bytes(left)
        add(ws, "3", "row 3")
    data_versions.add_and_push(ws)
    shutil.rmtree(ws.data)
    shutil.rmtree(top / ".dvc" / "cache")
    data_versions.pull(ws)
    assert {"0", "1", "2"} <= {path.name for path in ws.experiences.iterdir()}


def test_an_empty_listing_in_the_remote_does_not_stop_the_next_push(top: Path) -> None:
    """What DVC leaves when it is killed between making an object and reflinking it."""
    ws = workspace(top)
    add(ws, "1")
    recorded = data_versions.add_and_push(ws)
    listing = ws.root / ".perdure/dvc-remote/files/md5" / recorded[:2] / recorded[2:]
    whole = listing.read_bytes()
    listing.chmod(0o644)
    listing.write_bytes(b"")
    assert data_versions.add_and_push(ws) == recorded
    assert listing.read_bytes() == whole


def test_what_the_remote_lacks_is_found_and_pushed_whatever_dvc_believes(top: Path) -> None:
    ws = workspace(top)
    for number in range(3):
        add(ws, str(number), f"row {number}")
    data_versions.add_and_push(ws)
    assert data_versions.lacking(ws) == ()
    digest = hashlib.md5(b"row 1", usedforsecurity=False).hexdigest()
    stored = top / ".perdure" / "dvc-remote" / "files" / "md5" / digest[:2] / digest[2:]
    stored.unlink()
    with opened(top) as repo:  # the control: DVC sees nothing to push
        assert repo.push(targets=[str(data_versions.pointer(ws))]) == 0
    assert data_versions.lacking(ws) == data_versions.push_lacking(ws) == ("experiences/1",)
    assert stored.read_bytes() == b"row 1"
    assert data_versions.lacking(ws) == data_versions.push_lacking(ws) == ()
