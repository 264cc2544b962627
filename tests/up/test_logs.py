"""What the parts write is kept within bounds, and can be read while it is written."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.errors import UsageError
from perdure.up import commands, logs


def test_a_log_never_grows_beyond_its_bound_and_keeps_the_newest(tmp_path: Path) -> None:
    log = logs.Log(tmp_path / "part.log", max_bytes=1000)
    for number in range(1000):
        log.write(f"line {number:03d}\n".encode())
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["part.log", *(f"part.log.{n}" for n in (1, 2, 3))]
    assert all(path.stat().st_size <= 1000 for path in files)
    assert logs.tail(tmp_path / "part.log", 250) == [f"line {n:03d}" for n in range(750, 1000)]
    assert logs.tail(tmp_path / "part.log", 0) == []
    log.write(b"x" * 5000)
    assert (tmp_path / "part.log").stat().st_size == 1000


def test_lines_come_whole_whatever_pieces_they_were_written_in(tmp_path: Path) -> None:
    log = logs.Log(tmp_path / "part.log")
    assert log.write(b"one\ntw") == ["one"]
    assert log.write("o\nübe".encode()[:-2]) == ["two"]
    assert log.write(b"be" + b"r\n") == ["über"]
    log.write(b"rest")
    assert log.words == "one\ntwo\nüber\nrest"
    log.forget()
    assert log.words == ""


def test_a_full_disk_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "part.log").symlink_to("/dev/full")
    log = logs.Log(tmp_path / "part.log")
    assert log.write(b"one\n") == ["one"]
    log.note("started")
    assert log.words == "one"


def test_follow_misses_no_line_over_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "part.log"
    log = logs.Log(path, max_bytes=2000)
    log.write(b"before\n")
    stop = threading.Event()
    lines: Iterator[tuple[str, str]] = logs.follow({"part": path, "none": tmp_path / "n.log"}, stop)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.extend(line for _, line in lines))
    reader.start()
    wanted = [f"line {number:04d}" for number in range(300)]
    for number, line in enumerate(wanted):
        log.write(f"{line}\n".encode())
        if number % 60 == 59:  # 600 bytes at a time: at most one rotation between two looks
            while len(found) <= number:
                assert reader.is_alive()
                stop.wait(0.05)
    stop.set()
    reader.join()
    assert found == wanted
    assert logs.older(path, 1).exists()


def test_a_part_that_has_written_nothing_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "perdure.toml").write_text(
        '[model]\nname = "weather"\n[data]\ntarget = "rain"\ntask = "classification"\n'
    )
    assert commands.logs(tmp_path, None, 10) == ()
    logs.Log(tmp_path / ".perdure" / "up" / "logs" / "worker.log").write(b"one\ntwo\n")
    (found,) = commands.logs(tmp_path, None, 1)
    assert (found.part, found.lines) == ("worker", ("two",))
    with pytest.raises(UsageError, match="there are worker"):
        commands.logs(tmp_path, "server", 10)
