"""What the options of several commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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


def example(text: str) -> str:
    """The epilog of a command."""
    return f"Example: {text}"


def root(workspace: Path | None) -> str:
    """The folder of the workspace: as given, or the nearest one here or above."""
    if workspace is not None:
        return str(workspace)
    here = Path.cwd()
    return str(next((d for d in (here, *here.parents) if (d / "perdure.toml").is_file()), here))
