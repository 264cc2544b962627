"""Servers away, a full disk, a clock that jumps: 20 s here, a minute each by `make soak`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.soak.outages import NO_NAMESPACE

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("kind", ["servers", "disk", "clock"])
def test_nothing_is_lost(kind: str) -> None:
    if kind == "clock" and not sys.platform.startswith("linux"):
        pytest.skip("libfaketime is for Linux here")
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak.outages", kind, "--seconds", "20"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == NO_NAMESPACE:
        pytest.skip("this machine lets no user have a file system of his own (unshare)")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{kind}: nothing was lost, and nothing is left" in done.stdout
