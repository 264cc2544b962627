"""A file that somebody is still writing is left alone, whoever it is and however slowly."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import config
from perdure.errors import UsageError
from perdure.flows import inbox
from perdure.tasks import write_complete
from perdure.tasks.write_complete import APART_S, Looks

WRITES = """\
import sys
file = open(sys.argv[1], "ab", buffering=0)
file.write(b"a,b\\n")
print("open", flush=True)
for line in sys.stdin:
    file.write(line.encode())
    print("wrote", flush=True)
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


class Writer:
    """Another process that has a file open, and writes when it is told to."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", WRITES, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        assert self._from.readline() == "open\n"

    def write(self, line: str) -> None:
        self._to.write(line + "\n")
        assert self._from.readline() == "wrote\n"

    def close(self) -> None:
        self._to.close()
        self._from.close()
        self._process.wait()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder; on Linux one whose files' writers the kernel knows."""
    if sys.platform == "linux":
        assert write_complete._Mounts().are_local(tmp_path / "a")
    return tmp_path


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def writer(place: Path) -> Iterator[Writer]:
    found = Writer(place / "slow.csv")
    yield found
    found.close()


@linux
def test_the_kernel_knows_who_writes_slowly(place: Path, writer: Writer) -> None:
    path, looks = place / "slow.csv", Looks(Clock())  # whose time stands still
    assert looks.settled([path]) == []
    writer.write("1,2")
    assert looks.settled([path]) == []
    writer.close()
    assert looks.settled([path]) == [path]
    assert path.read_text() == "a,b\n1,2\n"


@linux
def test_without_the_kernel_a_slow_writer_would_be_taken_for_done(
    place: Path, writer: Writer
) -> None:
    clock = Clock()
    path, looks = place / "slow.csv", Looks(clock, kernel=False)
    assert looks.settled([path]) == []
    clock.now += APART_S
    assert looks.settled([path]) == [path]


def test_where_the_kernel_does_not_tell_two_looks_must_agree(place: Path, writer: Writer) -> None:
    clock = Clock()
    path, looks = place / "slow.csv", Looks(clock, kernel=False)
    for line in ("1,2", "3,4"):
        assert looks.settled([path]) == []
        writer.write(line)
        os.utime(path, (0, 0))  # a date says nothing
        clock.now += APART_S
    assert looks.settled([path]) == []
    clock.now += APART_S / 2
    assert looks.settled([path]) == []
    clock.now += APART_S / 2
    assert looks.settled([path]) == [path]


def test_a_folder_of_images_is_done_when_all_of_it_is(place: Path) -> None:
    clock = Clock()
    (place / "batch" / "cat").mkdir(parents=True)
    (place / "batch" / "cat" / "1.png").write_bytes(b"1")
    looks = Looks(clock)
    assert looks.settled([place / "batch"]) == []
    (place / "batch" / "dog").mkdir()
    (place / "batch" / "dog" / "1.png").write_bytes(b"1")
    clock.now += APART_S
    assert looks.settled([place / "batch"]) == []
    clock.now += APART_S
    assert looks.settled([place / "batch"]) == [place / "batch"]


@linux
def test_a_folder_with_an_open_file_is_not_done(place: Path) -> None:
    clock = Clock()
    (place / "batch" / "cat").mkdir(parents=True)
    looks = Looks(clock)
    writer = Writer(place / "batch" / "cat" / "1.png")
    for _ in range(3):
        assert looks.settled([place / "batch"]) == []
        clock.now += APART_S
    writer.close()
    looks.settled([place / "batch"])
    clock.now += APART_S
    assert looks.settled([place / "batch"]) == [place / "batch"]


@linux
def test_to_ask_harms_nobody_who_opens_the_file_meanwhile(place: Path) -> None:
    """The kernel tells the one who asks by a signal that would end him by default."""
    path = place / "a.csv"
    path.write_text("a\n")
    program = (
        "import sys\nfor _ in range(4000):\n    open(sys.argv[1], 'ab').close()\nprint('done')"
    )
    other = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    )
    messages = []
    while other.poll() is None:
        messages.append(write_complete._is_written(path))
    assert other.communicate()[0] == "done\n"
    assert {True, False} >= set(messages)
    assert len(messages) > 100


def test_what_is_no_file_is_not_waited_for(place: Path) -> None:
    (place / "link").symlink_to("/nowhere")
    os.mkfifo(place / "pipe")
    paths = [place / "link", place / "pipe"]
    assert Looks().settled([*paths, place / "gone"]) == paths


@pytest.fixture
def workspace(place: Path) -> config.Workspace:
    (place / "perdure.toml").write_text(
        '[model]\nname = "small"\n[data]\ntarget = "kind"\ntask = "classification"\n'
    )
    (place / "inbox").mkdir()
    return config.read(place)


def test_an_ingest_leaves_what_is_being_written_for_the_next(
    workspace: config.Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (workspace.inbox / "done.csv").write_text("a,b\n")
    writer = Writer(workspace.inbox / "slow.csv")
    if sys.platform == "linux":
        assert [one.path.name for one in inbox.arrived(workspace, None)] == ["done.csv"]
        assert [r.message for r in caplog.records] == [
            "Still being written, and left for the next time: slow.csv"
        ]
        # It is taken where somebody names it.
        named = inbox.arrived(workspace, [str(workspace.inbox / "slow.csv")])
        assert [one.path.name for one in named] == ["slow.csv"]
    writer.close()
    found = [one.path.name for one in inbox.arrived(workspace, None)]
    assert found == ["done.csv", "slow.csv"]


def test_a_folder_that_somebody_names_is_taken_as_it_is(
    workspace: config.Workspace, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    writer = Writer(tmp_path / "elsewhere" / "slow.csv")
    found = inbox.arrived(workspace, [str(tmp_path / "elsewhere")])
    writer.close()
    assert [one.path.name for one in found] == ["slow.csv"]
    with pytest.raises(UsageError):
        inbox.arrived(workspace, [str(tmp_path / "nowhere")])
