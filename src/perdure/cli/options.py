"""What the options of several commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perdure.cli import console

Where = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        "-w",
        metavar="DIR",
        help="The workspace; by default the nearest one here or above.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write the result as JSON.")]
Why = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why; goes into the history.")
]

Patience = Annotated[
    float,
    typer.Option(
        "--wait",
        metavar="SECONDS",
        min=0,
        help="How long to wait where another process works on the model; by default not at all.",
    ),
]


def example(text: str) -> str:
    """The epilog of a command."""
    return f"Example: {text}"


def root(workspace: Path | None) -> str:
    """The folder of the workspace: as given, or the nearest one here or above."""
    console.work_at(workspace)
    return str(workspace or console.nearest() or Path.cwd())
