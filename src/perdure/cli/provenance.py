"""The commands that say where a version comes from, and whether it can be trusted."""

from __future__ import annotations

from typing import Annotated

import typer

from perdure.cli import console
from perdure.cli.options import AsJson, Where, example, root
from perdure.cli.render import provenance as render
from perdure.errors import Corrupt


def register(app: typer.Typer) -> None:
    """Add the commands to Perdure's."""
    app.command(epilog=example("perdure trace day-0312.csv"))(trace)
    app.command(epilog=example("perdure verify 12"))(verify)
    app.command(epilog=example("perdure reproduce 12"))(reproduce)


def trace(
    asked: Annotated[
        str,
        typer.Argument(
            metavar="FILE|ID|VERSION",
            help="The name of a file that came in, an experience, or a version.",
        ),
    ],
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Say which versions learned from a file or an experience, or what a version learned from."""
    from perdure.flows.trace import trace as flow

    result = flow(root(workspace), asked)
    console.emit_json(result) if json else render.traced(result)


def verify(
    version: Annotated[int | None, typer.Argument(help="By default the champion.", min=1)] = None,
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Check digests, lineage, data and graph of VERSION against the registry; changes nothing."""
    from perdure.flows.verify import verify as flow

    result = flow(root(workspace), version)
    console.emit_json(result) if json else render.verified(result)
    raise typer.Exit(0 if result.ok else Corrupt.exit_code)


def reproduce(
    version: Annotated[int, typer.Argument(help="The version.", min=1)],
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Train VERSION again from its parent and its data, and compare the bits; keeps nothing."""
    from perdure.flows.reproduce import reproduce as flow

    with console.bars():
        result = flow(root(workspace), version)
    console.emit_json(result) if json else render.reproduced(result)
    raise typer.Exit(0 if result.outcome == "same" else 1)


def history_at(workspace: str, at: str, json: bool) -> None:
    """`perdure history --at TIME`."""
    from perdure.flows import served

    result = served.at(workspace, at)
    console.emit_json(result) if json else render.served(result)
