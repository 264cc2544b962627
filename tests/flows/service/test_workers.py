"""Which workers a machine keeps, and that it keeps them."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from perdure.config.unattended import MOST_PER_GPU
from perdure.errors import ConfigError, UsageError
from perdure.flows.service import gpus, worker, workers
from perdure.flows.service.workers import Kept, plan
from tests.flows.service.conftest import MakeWorkspace

TWO = '[resources]\npool = "gpu"\nper_gpu = 2'


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv(gpus.VISIBLE, "0,1")


def test_one_for_each_gpu_beside_those_of_other_models(make_workspace: MakeWorkspace) -> None:
    wanted = {
        None: [worker.command("gpu", gpu, 2) for gpu in "01"],
        1: [worker.command("gpu", gpu, 1) for gpu in "01"],
        3: [worker.command("gpu", gpu, 3) for gpu in "000111"],
    }
    for per_gpu, commands in wanted.items():
        found = plan(make_workspace("shares", TWO), "gpu", None, per_gpu)
        assert [one.command for one in found] == commands
    (alone,) = plan(make_workspace("alone", TWO.replace("2", "1")), "gpu", "1", None)
    assert alone.command == worker.command("gpu", "1", 1)


def test_a_gpu_has_so_many_shares_and_no_more(make_workspace: MakeWorkspace) -> None:
    ws = make_workspace("most", TWO.replace("2", str(MOST_PER_GPU)))
    with pytest.raises(UsageError, match="16 shares at most"):
        workers.work(str(ws.root), "gpu", None, MOST_PER_GPU + 1)
    with pytest.raises(ConfigError, match="per_gpu"):
        make_workspace("more", TWO.replace("2", str(MOST_PER_GPU + 1)))


def test_a_worker_that_cannot_be_started_now_is_started_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, tries = subprocess.Popen, 0

    def popen(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise BlockingIOError(11, "Resource temporarily unavailable")  # fork, without room
        return real(*arguments, **options)

    now = 1000.0
    monkeypatch.setattr(workers, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(subprocess, "Popen", popen)
    one = Kept([sys.executable, "-c", "input()"], {}, "The worker")
    pauses = []
    while one.process is None:
        one.tend()
        pauses.append(one.start_at - now)
        one.tend()  # not before its pause is over
        now = max(one.start_at, now)
        assert len(pauses) < 10
    assert tries == 3
    assert pauses[:2] == [1.0, 2.0]
    assert "The worker cannot be started: [Errno 11]" in caplog.text
    one.end()
    one.see_off(now)


def test_a_worker_that_dies_is_started_again_after_growing_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(workers, "time", SimpleNamespace(monotonic=lambda: now))
    kept = Kept([sys.executable, "-I", "-S", "-c", ""], {}, "A worker")

    def pause(lived_s: float) -> float:
        """Seconds until the next start, after a life of so many seconds."""
        nonlocal now
        now = max(now, kept.start_at)
        kept.tend()
        assert kept.process is not None
        kept.process.wait()
        assert kept.process.stdin is not None
        kept.process.stdin.close()
        now += lived_s
        kept.tend()
        return kept.start_at - now

    assert [pause(0.0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [pause(lived_s) for lived_s in (61.0, 0.0)] == [1, 2]
