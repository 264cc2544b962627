"""New files in folders elsewhere come into the inbox: whole, once, and whatever happens."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import pytest

from perdure import config
from perdure.config import Workspace
from perdure.service import sources
from perdure.service.sources import SECOND_LOOK_S, FolderElsewhere
from perdure.tasks.write_complete import Looks


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "perdure.toml").write_text(
        '[model]\nname = "small"\n[data]\ntarget = "kind"\ntask = "classification"\n'
        "[trigger]\npoll = 60\n"
    )
    return config.read(root)


@pytest.fixture(params=["file", "memory"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a folder that is no folder of the workspace."""
    if request.param == "file":
        (tmp_path / "elsewhere").mkdir()
        yield f"file://{tmp_path}/elsewhere"
    else:
        url = f"memory://{uuid.uuid4().hex}"
        fs, root = fsspec.core.url_to_fs(url)
        fs.mkdir(root)
        yield url
        fs.rm(root, recursive=True)


IMAGES = """\
[target]
name = "class"
task = "classification"
classes = ["cat", "dog"]
[columns.image]
kind = "image"
height = 3
width = 3
"""


def write(url: str, name: str, text: str) -> None:
    with fsspec.open(f"{url}/{name}", "w", auto_mkdir=True) as file:
        file.write(text)


def arrived(ws: Workspace) -> dict[str, str]:
    """What is in the inbox, hidden files too."""
    if not ws.inbox.exists():
        return {}
    return {path.name: path.read_text() for path in sorted(ws.inbox.iterdir())}


def take(ws: Workspace) -> None:
    """What an ingest does with the files in the end."""
    for path in ws.inbox.iterdir():
        path.unlink()


def test_a_new_file_comes_once_it_is_the_same_on_two_looks(
    workspace: Workspace, elsewhere: str
) -> None:
    folder = FolderElsewhere(lambda: workspace, elsewhere)
    assert folder.poll() == 60
    write(elsewhere, "a.csv", "1\n")
    write(elsewhere, ".hidden.csv", "1\n")
    write(elsewhere, "below/b.csv", "1\n")
    assert folder.poll() == SECOND_LOOK_S
    assert arrived(workspace) == {}
    write(elsewhere, "a.csv", "1\n2\n")
    assert folder.poll() == SECOND_LOOK_S
    assert arrived(workspace) == {}
    assert folder.poll() == 60
    assert arrived(workspace) == {"a.csv": "1\n2\n"}
    take(workspace)
    for _ in range(3):
        assert folder.poll() == 60
    assert arrived(workspace) == {}


def test_each_version_comes_once_also_after_a_restart(workspace: Workspace, elsewhere: str) -> None:
    write(elsewhere, "a.csv", "1\n")
    for text in ("1\n", "2\n"):
        write(elsewhere, "a.csv", text)
        for _ in range(2):
            folder = FolderElsewhere(lambda: workspace, elsewhere)  # another process
            for _ in range(3):
                folder.poll()
            assert arrived(workspace).get("a.csv", text) == text
        assert arrived(workspace) == {"a.csv": text}
        take(workspace)
    (known,) = (workspace.state / "folders").iterdir()
    assert list(json.loads(known.read_text())["brought"]) == ["a.csv"]
    fs, root = fsspec.core.url_to_fs(elsewhere)
    fs.rm(f"{root}/a.csv")
    folder.poll()
    assert json.loads(known.read_text())["brought"] == {}  # it does not grow for ever
    write(elsewhere, "b.csv", "2\n")
    folder.poll()
    folder.poll()
    assert arrived(workspace) == {"b.csv": "2\n"}
    take(workspace)
    known.write_text("{broken")
    folder.poll()
    assert arrived(workspace) == {"b.csv": "2\n"}  # read again; its content is known


def test_a_name_that_is_taken_gets_another(workspace: Workspace, elsewhere: str) -> None:
    workspace.inbox.mkdir()
    (workspace.inbox / "a.csv").write_text("mine\n")
    write(elsewhere, "a.csv", "theirs\n")
    folder = FolderElsewhere(lambda: workspace, elsewhere)
    folder.poll()
    folder.poll()
    found = arrived(workspace)
    assert found.pop("a.csv") == "mine\n"
    ((name, text),) = found.items()
    assert text == "theirs\n"
    assert name.startswith("a-")
    assert name.endswith(".csv")


def test_a_folder_that_does_not_answer_is_tried_again_ever_more_rarely(
    workspace: Workspace, elsewhere: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    url = f"{elsewhere}/new"
    folder = FolderElsewhere(lambda: workspace, url)
    pauses = [folder.poll() for _ in range(6)]
    assert pauses == [120, 240, 480, 900, 900, 900]
    assert [r.message.partition(":")[0] for r in caplog.records] == [url.partition(":")[0]]
    write(url, "a.csv", "1\n")
    assert folder.poll() == SECOND_LOOK_S
    assert folder.poll() == 60
    assert arrived(workspace) == {"a.csv": "1\n"}
    messages = [r.message for r in caplog.records]
    assert messages[1:] == [f"{url} can be read again.", f"a.csv came from {url}."]


def test_a_missing_library_is_named(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    folder = FolderElsewhere(lambda: workspace, "nosuch://user:secret@bucket/new")
    folder.poll()
    (record,) = caplog.records
    assert "nosuch://user@bucket/new" in record.message
    assert "secret" not in record.message


def test_one_object_that_cannot_be_read_holds_up_no_other(
    workspace: Workspace,
    elsewhere: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(elsewhere, "a.csv", "1\n")
    write(elsewhere, "b.csv", "2\n")
    now = 0.0
    folder = FolderElsewhere(lambda: workspace, elsewhere, clock=lambda: now)
    folder.poll()
    fs, _ = fsspec.core.url_to_fs(elsewhere)
    get_file = type(fs).get_file

    def refuse(self: Any, path: str, *arguments: Any, **more: Any) -> None:
        if path.endswith("a.csv"):
            asked.append(now)
            raise PermissionError(path)
        get_file(self, path, *arguments, **more)

    asked: list[float] = []
    with monkeypatch.context() as patch:
        patch.setattr(type(fs), "get_file", refuse)
        for _ in range(40):  # of a minute
            assert folder.poll() == 60  # nor does it slow the others down
            now += 60
    assert arrived(workspace) == {"b.csv": "2\n"}
    assert [late - early for early, late in pairwise(asked)] == [120, 240, 480, 900, 900][
        : len(asked) - 1
    ]
    assert len(asked) >= 5
    assert len([r for r in caplog.records if "a.csv" in r.message]) == 1
    write(elsewhere, "a.csv", "1\n2\n")  # another version is read at once
    folder.poll()
    folder.poll()
    assert arrived(workspace) == {"a.csv": "1\n2\n", "b.csv": "2\n"}


def test_what_changes_while_it_is_read_stays_for_the_next_time(
    workspace: Workspace, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(elsewhere, "a.csv", "1\n")
    folder = FolderElsewhere(lambda: workspace, elsewhere)
    folder.poll()
    fs, _ = fsspec.core.url_to_fs(elsewhere)
    get_file = type(fs).get_file

    def slow(self: Any, *arguments: Any, **more: Any) -> None:
        get_file(self, *arguments, **more)
        write(elsewhere, "a.csv", "1\n2\n")

    with monkeypatch.context() as patch:
        patch.setattr(type(fs), "get_file", slow)
        folder.poll()
        assert arrived(workspace) == {}
    folder.poll()
    folder.poll()
    assert arrived(workspace) == {"a.csv": "1\n2\n"}


KILLED = """\
import os, signal, sys
from pathlib import Path
from perdure import atomic, config
from perdure.service import sources

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[3] == "copy":
    atomic.sync = die
else:
    sources.FolderElsewhere._remember = die
folder = sources.FolderElsewhere(lambda: config.read(Path(sys.argv[1])), sys.argv[2])
folder.poll()
folder.poll()
"""


@pytest.mark.parametrize("when", ["copy", "name"])
def test_killed_after_the_copy_or_the_name_nothing_is_lost_or_half_there(
    workspace: Workspace, tmp_path: Path, when: str
) -> None:
    url = f"file://{tmp_path}/elsewhere"
    write(url, "a.csv", "1\n")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(workspace.root), url, when],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == -9
    shown = {name: text for name, text in arrived(workspace).items() if name[0] != "."}
    assert shown == ({} if when == "copy" else {"a.csv": "1\n"})
    assert len(arrived(workspace)) == 1  # hidden, or with its name
    sources.clear(workspace)
    folder = FolderElsewhere(lambda: workspace, url)
    folder.poll()
    folder.poll()
    assert set(arrived(workspace).values()) == {"1\n"}
    assert not [name for name in arrived(workspace) if name[0] == "."]


def test_a_folder_that_cannot_be_given_its_name_is_tried_again(
    workspace: Workspace, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that is full: it is not there already, as one is that a killed one brought."""
    workspace.schema.write_text(IMAGES)
    now = 0.0
    looks = Looks(lambda: now)
    folder = FolderElsewhere(lambda: workspace, elsewhere, looks, clock=lambda: now)
    write(elsewhere, "batch/cat/1.png", "1")
    folder.poll()
    rename = Path.rename
    with monkeypatch.context() as patched:

        def full(self: Path, target: Path) -> Path:
            if self.name.startswith(sources.PARTIAL):
                raise OSError(errno.ENOSPC, "No space left on device")
            return rename(self, target)

        patched.setattr(Path, "rename", full)
        now = 10.0
        folder.poll()
    assert list(workspace.inbox.iterdir()) == []
    now = 2000.0
    folder.poll()
    assert [path.name for path in workspace.inbox.iterdir()] == ["batch"]
    assert (workspace.inbox / "batch" / "cat" / "1.png").read_text() == "1"
    # And one that nobody has ingested yet is not replaced.
    write(elsewhere, "batch/cat/1.png", "one more")
    folder.poll()
    now = 4000.0
    folder.poll()
    first, second = sorted(workspace.inbox.iterdir())
    assert (first / "cat" / "1.png").read_text() == "1"
    assert (second / "cat" / "1.png").read_text() == "one more"


def test_a_folder_of_images_comes_whole(workspace: Workspace, elsewhere: str) -> None:
    workspace.schema.write_text(IMAGES)
    write(elsewhere, "batch/cat/1.png", "1")
    clock = itertools.count()
    folder = FolderElsewhere(lambda: workspace, elsewhere, Looks(lambda: float(next(clock))))
    folder.poll()
    write(elsewhere, "batch/dog/1.png", "2")
    folder.poll()
    assert not workspace.inbox.exists()
    folder.poll()
    place = workspace.inbox / "batch"
    found = {str(p.relative_to(place)): p.read_text() for p in place.rglob("*.png")}
    assert found == {"cat/1.png": "1", "dog/1.png": "2"}
    assert [path.name for path in workspace.inbox.iterdir()] == ["batch"]
