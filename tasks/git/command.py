"""Git's command line: patient, quiet, and with our errors."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from perdure.errors import Fault
from perdure.secrets import in_text
from perdure.tasks.git import abandoned

LOCK_RETRIES_S = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Pauses between tries while another git holds `index.lock`; about 3 s together."""
NO_REPOSITORY = "not a git repository"
"""What git says outside of one."""
END_SECONDS = 5.0
"""How long git may take to end when it is asked to."""
_MISLEADING = (
    # `git rev-parse --local-env-vars`: set inside hooks, and then about another repository.
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT", "GIT_OBJECT_DIRECTORY", "GIT_DIR", "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE", "GIT_INDEX_FILE", "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE", "GIT_PREFIX", "GIT_SHALLOW_FILE", "GIT_COMMON_DIR",
    "GIT_INTERNAL_SUPER_PREFIX", "GIT_NAMESPACE", "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS",
)  # fmt: skip


_LOCK = re.compile(r"Unable to create '(.+\.lock)': File exists")
"""How git names the lock file that it met; it has no exit code of its own for it."""

Done = subprocess.CompletedProcess[str]

logger = logging.getLogger("perdure")


def git(
    root: Path,
    *arguments: str,
    settings: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Done:
    """Run git in a folder; again where another git holds a lock file, or a dead one has left it.

    Args:
        root: The folder.
        arguments: Of git.
        settings: `key=value`, for this command alone.
        environment: Variables to set beside those that there are.

    Raises:
        Fault: git refuses, or is not installed.
    """
    for pause in (*LOCK_RETRIES_S, None):
        done = run(root, *arguments, settings=settings, environment=environment)
        if done.returncode == 0:
            return done
        found = _LOCK.search(done.stderr)
        if found is None:
            break
        if pause is not None:
            time.sleep(pause)
        elif abandoned.remove(root / found[1]):
            logger.warning("%s was left by a git that was killed; removed.", found[1])
            done = run(root, *arguments, settings=settings, environment=environment)
            if done.returncode == 0:
                return done
    raise fault(arguments, done)


def fault(arguments: Sequence[str], done: Done) -> Fault:
    """Return what git reported as our error."""
    hint = None
    if _LOCK.search(done.stderr):
        hint = "wait for the other git process; if there is none, remove the lock file it names"
    return Fault(f"git {arguments[0]} failed ({done.returncode}): {error_line(done)}", hint=hint)


def error_line(done: Done) -> str:
    """Return the beginning of what git reported, as one line, without secrets of addresses."""
    return in_text(" ".join(line.strip() for line in done.stderr.strip().splitlines()[:3]))


def run(
    root: Path,
    *arguments: str,
    settings: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> Done:
    """Run git once, whatever comes of it.

    Args:
        root: The folder.
        arguments: Of git.
        settings: `key=value`, for this command alone.
        environment: Variables to set beside those that there are.
        seconds: After so long it is ended, with all that it has started.

    Raises:
        Fault: git is not installed.
        subprocess.TimeoutExpired: It took longer.
    """
    options = [part for setting in settings for part in ("-c", setting)]
    command = ["git", "-C", str(root), "--literal-pathspecs", *options, *arguments]
    try:
        process = subprocess.Popen(
            command,
            env={**_environment(os.environ), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="surrogateescape",
            # A signal for us and all our processes must not end git halfway: its lock
            # files would stay. And git's own children, as ssh is one, can be ended with it.
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise Fault("git is not installed, or not on the PATH", hint="install git") from error
    with process:
        try:
            out, err = process.communicate(timeout=seconds)
        except BaseException:
            _end(process)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _end(process: subprocess.Popen[str]) -> None:
    """End git and its children: it removes its lock files where it is asked to end."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=END_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in inherited.items() if name not in _MISLEADING}
    return {**kept, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
