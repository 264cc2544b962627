"""Pauses between two starts."""

from __future__ import annotations

from perdure.backoff import Backoff


def test_pauses_grow_and_restart_after_a_longer_life() -> None:
    backoff = Backoff()
    assert [backoff.after(0.0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [backoff.after(lived) for lived in (61.0, 0.0, 59.0)] == [1, 2, 4]
