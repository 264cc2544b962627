"""What the parts write is kept within bounds, and can be read while it is written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from perdure.errors import UsageError
from perdure.service import control, part_log
from perdure.service.part_log import Log


@pytest.fixture
def made() -> Iterator[Callable[..., Log]]:
    """Makes logs, which are closed at the end."""
    with ExitStack() as logs:
        yield lambda *arguments: logs.enter_context(closing(Log(*arguments)))


def test_a_log_never_grows_beyond_its_bound_and_keeps_the_newest(
    tmp_path: Path, made: Callable[..., Log]
) -> None:
    log = made(tmp_path / "part.log", 1000)
    for number in range(1000):
        log.add(f"line {number:03d}\n".encode())
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["part.log", *(f"part.log.{n}" for n in (1, 2, 3))]
    assert all(path.stat().st_size <= 1000 for path in files)
    found = part_log.tail(tmp_path / "part.log", 250)
    assert found == [f"line {n:03d}" for n in range(750, 1000)]
    assert part_log.tail(tmp_path / "part.log", 0) == []


def test_lines_come_whole_whatever_pieces_they_were_written_in(
    tmp_path: Path, made: Callable[..., Log]
) -> None:
    log = made(tmp_path / "part.log")
    assert log.add(b"one\ntw") == ["one"]
    assert log.add("o\nübe".encode()[:-2]) == ["two"]
    assert log.add(b"be" + b"r\n") == ["über"]
    assert log.add(b"100 %") == []
    assert log.add(b"") == ["100 %"]
    assert log.add(b"x" * 100_000) == ["x" * 100_000]
    assert part_log.tail(log.path, 5)[:4] == list(log.last)[:4] == ["one", "two", "über", "100 %"]


def test_a_full_disk_loses_lines_and_nothing_else(tmp_path: Path, made: Callable[..., Log]) -> None:
    (tmp_path / "part.log").symlink_to("/dev/full")
    log = made(tmp_path / "part.log")
    assert log.add(b"one\n") == ["one"]
    log.note("started")
    assert list(log.last) == ["one"]


def test_follow_misses_no_line_over_a_rotation(tmp_path: Path, made: Callable[..., Log]) -> None:
    path = tmp_path / "part.log"
    log = made(path, 2000)
    log.add(b"before\n")
    stop = threading.Event()
    lines = part_log.follow({"part": path, "none": tmp_path / "n.log"}, stop)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.extend(line for _, line in lines))
    reader.start()
    while not found:
        log.add(b"begin\n")
        stop.wait(0.05)
    wanted = [f"line {number:04d}" for number in range(300)]
    for number, line in enumerate(wanted):
        log.add(f"{line}\n".encode())
        while number % 60 == 59 and line not in found:  # at most one rotation between two looks
            assert reader.is_alive()
            stop.wait(0.05)
    stop.set()
    reader.join()
    assert "before" not in found
    assert [line for line in found if line != "begin"] == wanted
    assert (tmp_path / "part.log.1").exists()


def test_a_part_that_has_written_nothing_is_wrong_use(
    tmp_path: Path, made: Callable[..., Log]
) -> None:
    (tmp_path / "perdure.toml").write_text(
        '[model]\nname = "weather"\n[data]\ntarget = "rain"\ntask = "classification"\n'
    )
    assert control.logs(tmp_path, None, 10) == ()
    made(tmp_path / ".perdure" / "up" / "logs" / "worker.log").add(b"one\ntwo\n")
    (found,) = control.logs(tmp_path, None, 1)
    assert (found.part, found.lines) == ("worker", ("two",))
    with pytest.raises(UsageError, match="there are worker"):
        control.logs(tmp_path, "server", 10)
