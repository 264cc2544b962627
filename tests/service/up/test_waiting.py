"""What a part lacks is said once, counts as long as it lacks it, and is shown."""

from __future__ import annotations

import logging

import pytest

from perdure import blocked
from perdure.cli.render import service
from perdure.running import Part, Running


def test_each_reason_is_said_once_and_taken_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "perdure")
    reasons = iter(["no GPU", "no GPU", "GPU 0 is taken", None])
    assert blocked.until_none(lambda: next(reasons), 15.0, lambda seconds: seconds != 15.0)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4
    heard: list[tuple[str, ...]] = [()]
    for line in lines:
        heard.append(blocked.heard(f"2026-11-26 12:00:00,000 WARNING {line}", heard[-1]))
    assert heard == [(), ("no GPU",), (), ("GPU 0 is taken",), ()]


def test_who_is_told_to_end_waits_no_longer() -> None:
    asked: list[float] = []

    def told_to_end(seconds: float) -> bool:
        asked.append(seconds)
        return True

    assert not blocked.until_none(lambda: "no GPU", 15.0, told_to_end)
    assert asked == [15.0]


def test_it_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    parts = (
        Part("worker", "running", 1, 0, "x"),
        Part("worker-gpu", "running", 2, 0, "x", "GPU 0 is taken"),
    )
    now = Running(1, "here", "2026-01-01T00:00:00+00:00", "ready", "a", None, "b", parts)
    for show in (service.parts, service.running):
        show(now)
        shown = capsys.readouterr().out
        assert "worker-gpu waits: GPU 0 is taken" in shown
        assert shown.count("waits") == 1
