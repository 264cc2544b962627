"""A child process ends with its parent, however the parent ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

CHILD = """
import signal, sys, time
from perdure import parent
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
parent.end_with()
print("here", flush=True)
while True:
    time.sleep(0.1)
"""
PARENT = f"""
import subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", {CHILD!r}], stdin=subprocess.PIPE, start_new_session=True
)
print(child.pid, flush=True)
child.wait()
"""


def test_the_end_of_standard_input_is_a_sigterm() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        child.stdin.write("what is written there does not matter\n")
        child.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(timeout=0.5)
        child.stdin.close()
        assert child.wait(timeout=10) == 7


def test_a_child_of_a_killed_parent_ends() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        output = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
        assert "here" in output
        child = psutil.Process(int((output - {"here"}).pop()))
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_one_without_standard_input_ends_at_once() -> None:
    closing = "import os; os.close(0)\n" + CHILD
    assert subprocess.run([sys.executable, "-c", closing], check=False, timeout=20).returncode == 7
