"""How a flow run's process ended is told as it was."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from perdure.service.forkserver import Forkserver, Run


def closes_its_files_before_it_ends(code: int) -> None:
    """As the kernel does for every process, only slower."""
    os.closerange(3, 256)
    time.sleep(0.5)
    os._exit(code)


@pytest.mark.parametrize("code", [0, 3])
def test_an_exit_code_that_comes_late_is_waited_for(code: int) -> None:
    async def ended() -> int:
        process = get_context("spawn").Process(target=closes_its_files_before_it_ends, args=(code,))
        process.start()
        return await Run(process, Forkserver()).exit_code()

    assert asyncio.run(ended()) == code


BEGIN_AND_END = """
import asyncio, psutil
from perdure.service.forkserver import Forkserver

async def begin_and_end():
    forkserver = Forkserver()
    forkserver.preload()
    await forkserver.end()

if __name__ == "__main__":
    asyncio.run(begin_and_end())
    started = psutil.Process().children()
    _, alive = psutil.wait_procs(started, 5)
    print([one.pid for one in alive if "forkserver" in " ".join(one.cmdline())])
"""


def test_a_forkserver_that_is_only_now_being_started_ends_too(tmp_path: Path) -> None:
    """Else a worker that was ended in its first second waited until everything was imported.

    In a process of its own, as a worker is: it ends all of its children.
    """
    script = tmp_path / "begin_and_end.py"
    script.write_text(BEGIN_AND_END)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
