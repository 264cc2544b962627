"""A part that fails is tried again, says so once, and stops no other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from perdure.errors import Unreachable
from perdure.service import loops
from perdure.service.loops import Loop


@contextmanager
def running(*every: Loop) -> Iterator[None]:
    for loop in every:
        loop.start()
    try:
        yield
    finally:
        for loop in every:
            loop.stop()
        for loop in every:
            loop.join(10)
            assert not loop.is_alive()


def until(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_part_that_fails_is_tried_again_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(loops, "LONGEST_PAUSE_S", 0.01)
    fails, works = threading.Event(), []
    fails.set()
    tried: list[int] = []

    def one() -> float:
        tried.append(1)
        if fails.is_set():
            raise Unreachable(f"nobody there, try {len(tried)}")
        return 0.0

    def other() -> float:
        works.append(1)
        return 0.0

    with running(Loop("One", one, rest_s=0), Loop("Other", other, rest_s=0.001)):
        until(lambda: len(tried) > 5)
        until(lambda: len(works) > 5)
        fails.clear()
        until(lambda: len(tried) > 10)
    assert [record.message for record in caplog.records] == [
        "One failed, and is tried again: nobody there, try 1",
        "One goes on.",
    ]


def test_a_part_is_woken_and_stopped_out_of_a_long_pause() -> None:
    done: list[int] = []

    def step() -> float:
        done.append(1)
        return 3600.0

    loop = Loop("One", step)
    with running(loop):
        until(lambda: len(done) == 1)
        loop.wake()
        until(lambda: len(done) == 2)


def test_an_error_nobody_expected_is_told_with_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def step() -> float:
        raise ZeroDivisionError("how?")

    with running(Loop("One", step)):
        until(lambda: caplog.records)
    assert "ZeroDivisionError" in caplog.text


def test_a_library_that_wants_to_exit_ends_no_part(caplog: pytest.LogCaptureFixture) -> None:
    tried: list[int] = []

    def step() -> float:
        tried.append(1)
        raise SystemExit("enough")

    loop = Loop("One", step)
    with running(loop):
        until(lambda: caplog.records)
        loop.wake()
        until(lambda: len(tried) > 1)
    assert "enough" in caplog.text
