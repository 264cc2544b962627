"""Where words go: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import logging
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from rich import markup
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from perdure import escaping, progress
from perdure.records import to_json

_WIDE = 200
"""Columns where the output is no terminal: a table in a file or a pipe is not folded."""


class _Terminal(Console):
    """A console where no text moves the cursor or turns the direction of writing."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(escaping.terminal(text), **options)


out = _Terminal(highlight=False, soft_wrap=True)
if not out.is_terminal:
    out = _Terminal(highlight=False, soft_wrap=True, width=_WIDE)
err = _Terminal(stderr=True, highlight=False, soft_wrap=True)


def escape(text: str) -> str:
    """A text that is not ours, on one line, as plain text in a text with rich's markup."""
    return markup.escape(escaping.printable(text))


def escape_lines(text: str) -> str:
    """`escape` for a text of several lines of ours."""
    return "\n".join(map(escape, text.split("\n")))


AT_A_WORKSPACE = (
    "ingest", "schema", "retrain", "promote", "rollback", "pin", "unpin", "release", "quarantine",
    "evaluate", "status", "history", "show", "doctor", "up", "down", "logs", "open", "deploy",
    "worker", "backup", "prune", "migrate", "forget", "trace", "verify", "reproduce",
)  # fmt: skip
"""The commands that have `--workspace`."""

_COMMAND = re.compile(rf"\bperdure ({'|'.join(AT_A_WORKSPACE)})\b(?! -w)")
_elsewhere: ContextVar[Path | None] = ContextVar("_elsewhere", default=None)


def work_at(workspace: Path | None) -> None:
    """Let `command` name a workspace that is not the nearest one here or above.

    Args:
        workspace: As a person gave it; None: the nearest one.
    """
    if workspace is not None and workspace.resolve() == nearest():
        workspace = None
    _elsewhere.set(workspace)


def nearest() -> Path | None:
    """The nearest workspace, here or above; None: there is none."""
    here = Path.cwd()
    return next((d for d in (here, *here.parents) if (d / "perdure.toml").is_file()), None)


def command(text: str) -> str:
    """A text with Perdure's commands in it so that they work in this folder.

    `perdure retrain` becomes `perdure retrain -w DIR` where the command was called so.
    """
    place = _elsewhere.get()
    if place is None:
        return text
    option = f" -w {shlex.quote(str(place))}"
    return _COMMAND.sub(lambda found: found[0] + option, text)


def emit_json(value: Any) -> None:
    """Write a result as JSON to stdout."""
    text = json.dumps(to_json(value), indent=2, ensure_ascii=False)
    sys.stdout.write(escaping.json(text) + "\n")


def emit_line(value: Any) -> None:
    """Write one of many results as a line of JSON to stdout, at once."""
    sys.stdout.write(escaping.json(json.dumps(to_json(value), ensure_ascii=False)) + "\n")
    sys.stdout.flush()


class _Words(logging.Handler):
    """Perdure's own log lines, plain, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        err.print(self.format(record), style=style, markup=False)


def configure_logging(verbose: bool = False) -> None:
    """Show Perdure's words; keep other libraries to warnings."""
    logger = logging.getLogger("perdure")
    logger.handlers = [_Words()]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


def verbose() -> bool:
    """Whether `--verbose` was asked for."""
    return logging.getLogger("perdure").level <= logging.DEBUG


def failed(kind: str, message: str) -> None:
    """Say on stderr what ended a command."""
    err.print(kind, style="bold red", end=" ")
    err.print(message, markup=False)


@contextmanager
def bars() -> Iterator[None]:
    """Show progress as bars where stderr is a terminal, and not at all where it is none."""
    if not err.is_terminal:
        yield
        return
    with (
        Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=err,
            transient=True,
        ) as shown,
        progress.reported_by(lambda description, total: _bar(shown, description, total)),
    ):
        yield


@contextmanager
def _bar(shown: Progress, description: str, total: int) -> Iterator[progress.Advance]:
    task = shown.add_task(description, total=total)
    try:
        yield lambda done: shown.advance(task, done)
    finally:
        shown.remove_task(task)
