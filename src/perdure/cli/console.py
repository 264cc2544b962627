"""Where words go: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from perdure import progress
from perdure.records import to_json

_WIDE = 200
"""Columns where the output is no terminal: a table in a file or a pipe is not folded."""

out = Console(highlight=False, soft_wrap=True)
if not out.is_terminal:
    out = Console(highlight=False, soft_wrap=True, width=_WIDE)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def emit_json(value: Any) -> None:
    """Write a result as JSON to stdout."""
    sys.stdout.write(json.dumps(to_json(value), indent=2, ensure_ascii=False) + "\n")


def emit_line(value: Any) -> None:
    """Write one of many results as a line of JSON to stdout, at once."""
    sys.stdout.write(json.dumps(to_json(value), ensure_ascii=False) + "\n")
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
