"""`perdure up --detach`: a supervisor in a session of its own, which outlives this process.

The file is also that supervisor's program: `python -P -m perdure.up.detach ROOT FD` writes to
the descriptor what runs once it is ready, or why it could not be started, and closes it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from perdure import config, running
from perdure.errors import Fault, PerdureError
from perdure.flows.workspace import root_of
from perdure.running import Running
from perdure.up.commands import LOG, run
from perdure.up.parts import module


def detach(root: Path) -> Running:
    """Start everything that a workspace needs in the background, and wait until it is ready.

    Args:
        root: The workspace.

    Raises:
        PerdureError: What `run` raises.
    """
    ws = config.read(root_of(str(root)))
    said, tell = os.pipe()
    try:
        log = running.log_path(ws.state, LOG)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            process = subprocess.Popen(
                module("perdure.up.detach", str(ws.root), str(tell)),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=ws.root,
                start_new_session=True,
                pass_fds=(tell,),
            )
    except OSError as error:
        os.close(said)
        raise Fault(f"{log} cannot be written: {error}") from error
    finally:
        os.close(tell)
    try:
        with os.fdopen(said, encoding="utf-8") as pipe:
            return _told(pipe.read(), log)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise


def _told(text: str, log: Path) -> Running:
    if not text:
        raise Fault("perdure up ended before it was ready", hint=f"perdure logs {LOG}, or {log}")
    found: dict[str, Any] = json.loads(text)
    if "kind" in found:
        error = Fault(found["message"], hint=found["hint"])
        error.exit_code = found["exit_code"]
        raise error
    return running.from_json(found)


def main(root: Path, tell: int) -> None:
    """Run everything in this process, and tell the one that waits when it is ready."""
    os.set_inheritable(tell, False)
    own = logging.getLogger("perdure")  # `run` keeps its lines, and nobody reads them here
    own.addHandler(logging.NullHandler())
    own.setLevel(logging.INFO)
    own.propagate = False
    with os.fdopen(tell, "w", encoding="utf-8") as waiting:

        def told(value: dict[str, Any]) -> None:
            with suppress(OSError, ValueError):  # nobody waits any more
                waiting.write(json.dumps(value))
                waiting.close()

        try:
            run(root, lambda now: told(dataclasses.asdict(now)))
        except PerdureError as error:
            told(_failed(error))
            sys.exit(error.exit_code)


def _failed(error: PerdureError) -> dict[str, Any]:
    return {
        "kind": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
