"""What lies in the inbox is learned exactly once, or waits there; nothing in it stops the rest."""

from __future__ import annotations

import ctypes
import json
import logging
import math
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure import config
from perdure.flows import inbox
from perdure.flows.ingest import ingest
from perdure.flows.initialise import initialise
from perdure.flows.retrain import retrain
from perdure.tasks import experiences, write_complete
from perdure.tasks.experiences import folder
from perdure.tasks.tables import read
from tests.promises import kit
from tests.tasks import picture_kit

REPOSITORY = Path(__file__).parents[2]
DEBOUNCE_S = 300
TRIGGER = f"\n[trigger]\ndebounce = {DEBOUNCE_S}\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.make(tmp_path_factory.mktemp("made") / "small", more=TRIGGER)


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A workspace with one experience of 120 rows."""
    return Path(shutil.copytree(made, tmp_path / "small", symlinks=True))


def halves(number: int) -> tuple[str, str]:
    """A table in two pieces, each of whole lines."""
    lines = kit.table(number).splitlines(keepends=True)
    return "".join(lines[:31]), "".join(lines[31:])


def rows(root: Path) -> list[int]:
    """Of each experience but the first."""
    return [one.rows for one in experiences.committed(config.read(root))[1:]]


def append(path: Path, text: str) -> None:
    """As a program does that opens its file for each piece."""
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def rest(path: Path) -> None:
    """Let the debounce go by, as far as the file's date tells it."""
    then = time.time() - DEBOUNCE_S - 1
    os.utime(path, (then, then))


def test_a_file_that_comes_in_pieces_is_left_by_a_run_of_the_clock(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is closed between two pieces, so the kernel knows of no writer."""
    caplog.set_level(logging.INFO)
    path = root / "inbox" / "pieces.csv"
    first, second = halves(2)
    path.write_text(first)
    assert ingest.fn(str(root), settled=True).files == ()
    assert "Still being written, and left for the next time: pieces.csv" in caplog.text
    append(path, second)
    assert ingest.fn(str(root), settled=True).files == ()
    rest(path)
    assert [one.rows for one in ingest.fn(str(root), settled=True).files] == [60]
    assert rows(root) == [60]
    assert not path.exists()


def test_without_waiting_it_would_be_learned_in_half(root: Path) -> None:
    """The control; and who types the command has the file that is there."""
    path = root / "inbox" / "pieces.csv"
    first, second = halves(2)
    path.write_text(first)
    assert [one.rows for one in ingest.fn(str(root)).files] == [30]
    path.write_text(first + second)
    ingest.fn(str(root))
    assert rows(root) == [30, 60]


def test_a_retraining_leaves_it_too_and_takes_what_has_settled(root: Path) -> None:
    rest(kit.arrive(root, "settled.csv", kit.table(2)))
    path = root / "inbox" / "pieces.csv"
    path.write_text(halves(3)[0])
    assert retrain.fn(str(root), inbox=True, min_rows=1_000).learned == ()
    assert path.exists()
    assert rows(root) == [60]


def test_a_date_in_the_future_says_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock was set back: a file must not wait for it to catch up."""
    kit.arrive(root, "one.csv", kit.table(2))
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 3600)
    assert len(inbox.arrived(config.read(root), None, rest_s=10)) == 1
    monkeypatch.setattr(time, "time", now)
    assert inbox.arrived(config.read(root), None, rest_s=10) == []


def test_a_folder_of_images_rests_as_its_newest_file_does(tmp_path: Path) -> None:
    batch = tmp_path / "batch"
    (batch / "cat").mkdir(parents=True)
    names = ("1.png", "2.png", "from a clock ahead.png")
    now = time.time()
    for name, age in zip(names, (300, 20, -3600), strict=True):
        (batch / "cat" / name).write_bytes(b"x")
        os.utime(batch / "cat" / name, (now - age, now - age))
    for place in (batch / "cat", batch):
        os.utime(place, (now - 200, now - 200))
    assert inbox._age_s(batch, now) == pytest.approx(20, abs=0.01)
    assert inbox._age_s(tmp_path / "nowhere", now) == math.inf


def test_what_grows_after_it_was_looked_at_is_left(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look whether it is whole and the reading, in whichever moment."""
    path = root / "inbox" / "grows.csv"
    first, second = halves(2)
    path.write_text(first)
    asked = write_complete.wait

    def ask(paths: list[Path]) -> list[Path]:
        found = asked(paths)
        append(path, second)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(write_complete, "wait", ask)
        assert ingest.fn(str(root)).files == ()
    assert [one.rows for one in ingest.fn(str(root)).files] == [60]


@pytest.fixture
def read_then(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Do something right after the next file was read."""
    todo: list[Callable[[], Any]] = []
    known = read.read

    def reading(*args: Any) -> Any:
        try:
            return known(*args)
        finally:
            if todo:
                todo.pop()()

    monkeypatch.setattr(read, "read", reading)
    yield todo.append
    assert not todo


def test_what_grows_while_it_is_read_is_left_and_the_others_are_taken(
    root: Path, read_then: Callable[[Callable[[], Any]], None]
) -> None:
    path = root / "inbox" / "a-grows.csv"
    first, second = halves(2)
    path.write_text(first)
    kit.arrive(root, "b-whole.csv", kit.table(3))
    read_then(lambda: append(path, second))
    assert [one.file for one in ingest.fn(str(root)).files] == ["b-whole.csv"]
    assert path.exists()
    assert [one.rows for one in ingest.fn(str(root)).files] == [60]
    assert rows(root) == [60, 60]


def test_what_was_cut_off_as_it_was_read_is_not_refused_for_it(
    root: Path, read_then: Callable[[Callable[[], Any]], None]
) -> None:
    path = root / "inbox" / "grows.csv"
    text = kit.table(2)
    path.write_text(text[:-8])  # in the middle of a row
    kit.arrive(root, "whole.csv", kit.table(3))
    read_then(lambda: append(path, text[-8:]))
    assert [one.outcome for one in ingest.fn(str(root)).files] == ["ingested"]
    assert [one.outcome for one in ingest.fn(str(root)).files] == ["ingested"]
    assert experiences.list_quarantined(config.read(root)) == ()


def test_what_is_gone_before_it_is_read_is_nothing(
    root: Path, read_then: Callable[[Callable[[], Any]], None]
) -> None:
    kit.arrive(root, "a.csv", kit.table(2))
    gone = kit.arrive(root, "b.csv", kit.table(3))
    read_then(gone.unlink)
    assert [one.file for one in ingest.fn(str(root)).files] == ["a.csv"]
    assert experiences.list_quarantined(config.read(root)) == ()


WITHOUT_RIGHTS = """\
import json, logging, sys
from pathlib import Path
from perdure.flows.ingest import ingest
from perdure.flows.initialise import initialise
logging.basicConfig(level=logging.WARNING)
root = Path(sys.argv[1])
(root / "inbox" / "b.csv").chmod(0)
(root / "inbox").chmod(0o555)
try:
    for _ in range(2):
        print(json.dumps([[one.file, one.outcome] for one in ingest.fn(str(root)).files]))
finally:
    (root / "inbox").chmod(0o755)
"""


def mortal() -> None:
    """Give up root's right to read and write everything; others have not got it."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: <linux/capability.h>
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP: <linux/prctl.h>


def test_files_that_wait_are_not_compared_with_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a thousand that would be a million times, while the data's lock is held."""
    compared = []

    def equal(self: inbox.Arrived, other: object) -> bool:
        compared.append(self)
        return self is other

    files = [inbox.Arrived(path, write_complete.seen(path)) for path in pieces(tmp_path, 30)]
    monkeypatch.setattr(inbox.Arrived, "__eq__", equal)
    assert [file.path for file in inbox._settled(files, 0.0)] == [file.path for file in files]
    assert inbox._settled(files, 3600.0) == []
    assert compared == []


def pieces(folder: Path, number: int) -> list[Path]:
    for name in range(number):
        (folder / f"{name:02}.csv").write_text("a\n")
    return sorted(folder.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="root's rights are Linux's")
def test_a_file_that_may_not_be_read_or_removed_stops_nothing(root: Path) -> None:
    """As one that an export job leaves to itself: it stays, and the others are data."""
    for name, number in (("a.csv", 2), ("b.csv", 3), ("c.csv", 4)):
        kit.arrive(root, name, kit.table(number))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RIGHTS, str(root)],
        cwd=REPOSITORY,
        preexec_fn=mortal if os.getuid() == 0 else None,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == [["a.csv", "ingested"], ["c.csv", "ingested"]]
    assert second == [["a.csv", "known"], ["c.csv", "known"]]
    assert "b.csv cannot be read (Permission denied)" in done.stderr
    assert "a.csv is kept now, and is to be removed from the inbox" in done.stderr
    (root / "inbox" / "b.csv").chmod(0o644)
    assert [one.outcome for one in ingest.fn(str(root)).files] == ["known", "ingested", "known"]
    assert sorted(path.name for path in (root / "inbox").iterdir()) == [".gitkeep"]


def test_a_failure_that_no_reader_foresaw_refuses_its_file_alone(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    initialise(root, picture_kit.folder(tmp_path / "first", picture_kit.files()))
    inbox_folder = root / "inbox"
    picture_kit.archive(inbox_folder / "1.zip", picture_kit.files(seed=1))
    odd = picture_kit.archive(inbox_folder / "2.zip", picture_kit.files(seed=2))
    with zipfile.ZipFile(odd, "a") as archive:
        archive.writestr(zipfile.ZipInfo(""), b"a member without a name")
    picture_kit.archive(inbox_folder / "3.zip", picture_kit.files(seed=3))
    found = {one.file: one for one in ingest.fn(str(root)).files}
    assert {name: one.outcome for name, one in found.items()} == {
        "1.zip": "ingested", "2.zip": "quarantined", "3.zip": "ingested",
    }  # fmt: skip
    assert found["2.zip"].reasons[0].startswith("cannot be read: IndexError: ")
    assert [path.name for path in inbox_folder.iterdir()] == [".gitkeep"]


def test_many_files_read_each_experience_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not once for each file."""
    looked, known = [], folder.of_file

    def of_file(path: Path) -> Any:
        looked.append(path.name)
        return known(path)

    monkeypatch.setattr(folder, "of_file", of_file)
    for number in range(2, 12):
        kit.arrive(root, f"{number:02}.csv", kit.table(number, 30))
    assert len(ingest.fn(str(root)).files) == 10
    assert len(rows(root)) == 10
    assert len(looked) <= 1 + 10 + 11  # there, written, and `rows`


def test_files_come_in_order_of_arrival_and_together_by_name(root: Path, tmp_path: Path) -> None:
    def names() -> list[str]:
        return [one.path.name for one in inbox.arrived(config.read(root), None)]

    for name in ("year-10.csv", "year-9.csv", "a.csv"):
        (root / "inbox" / name).write_text(name)
        time.sleep(0.02)
    assert names() == ["a.csv", "year-9.csv", "year-10.csv"]
    settings = (
        (root / "perdure.toml").read_text().replace(f"debounce = {DEBOUNCE_S}", "debounce = 0")
    )
    (root / "perdure.toml").write_text(settings)
    assert names() == ["year-10.csv", "year-9.csv", "a.csv"]
    # What comes later is taken later, whatever its own date and name are.
    (root / "inbox" / "year-8.csv").write_text("8")
    os.utime(root / "inbox" / "year-8.csv", (0, 0))
    assert names()[-1] == "year-8.csv"
    (root / "inbox" / "year-10.csv").rename(tmp_path / "away.csv")
    time.sleep(0.02)
    (tmp_path / "away.csv").rename(root / "inbox" / "year-10.csv")
    assert names() == ["year-9.csv", "a.csv", "year-8.csv", "year-10.csv"]
