"""`perdure up --detach`: the supervisor in a session of its own, which outlives the terminal.

The program `python -P -m perdure.service.background ROOT` is that supervisor. It writes what runs
to standard output as JSON once it is ready, or why it could not be started, and closes it.
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
from perdure.running import Running
from perdure.service import up
from perdure.service.supervisor import module
from perdure.workspace import root_of


def start(root: Path) -> Running:
    """Start everything that a workspace needs in the background, and wait until it is ready.

    Args:
        root: The workspace.

    Raises:
        PerdureError: What `up.run` raises.
    """
    ws = config.read(root_of(str(root)))
    path = running.log_path(ws.state, up.LOG)
    command = module("perdure.service.background", str(ws.root))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = path.open("ab")
    except OSError as error:
        raise Fault(f"{path} cannot be written: {error}") from error
    with log:
        process = subprocess.Popen(
            command,
            cwd=ws.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    assert process.stdout is not None
    try:
        with process.stdout as answer:
            text = answer.read()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    if not text:
        hint = f"perdure logs {up.LOG}, or {path}"
        raise Fault("perdure up ended before it was ready", hint=hint)
    found: dict[str, Any] = json.loads(text)
    if "message" in found:
        failure = PerdureError(found["message"], hint=found["hint"])
        failure.exit_code = found["exit_code"]
        raise failure
    return running.from_json(found)


def main(root: Path) -> None:
    """Run everything in this process, and answer the one that waits until it is ready."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what is written there from now on goes to the log
    own = logging.getLogger("perdure")  # `up.run` keeps its lines, and they are not read here
    own.setLevel(logging.INFO)
    own.addHandler(logging.NullHandler())
    own.propagate = False

    def say(value: dict[str, Any]) -> None:
        with suppress(OSError):  # the command that waited has ended
            json.dump(value, answer)
            answer.close()

    try:
        up.run(root, lambda now: say(dataclasses.asdict(now)))
    except PerdureError as error:
        say({"message": error.message, "hint": error.hint, "exit_code": error.exit_code})
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
