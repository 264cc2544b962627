"""The command by which rows leave the data and the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perdure.cli import console
from perdure.cli.options import AsJson, Patience, Where, example, root
from perdure.cli.render import letting_go as render


def register(app: typer.Typer) -> None:
    """Add the command to Perdure's."""
    shown = """perdure forget --where "customer == 'K-1017'" --reason "request 88\""""
    app.command(epilog=example(shown))(forget)


def forget(
    reason: Annotated[
        str,
        typer.Option("--reason", metavar="TEXT", help="Why; goes into history and receipt."),
    ],
    where: Annotated[
        str | None,
        typer.Option(
            "--where", metavar="CONDITION", help="Rows that fulfil a condition on their columns."
        ),
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option(
            "--rows",
            metavar="FILE",
            help="Rows equal to one of this table's, which may have some of the columns alone.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; by default it is only shown what would be done.")
    ] = False,
    wait: Patience = 0.0,
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Take rows out of the data and out of every model, and learn again what came after them."""
    from perdure.flows.forget import forget as flow

    named = None if rows is None else str(rows)
    result = flow(root(workspace), where, named, reason, yes, wait)
    console.emit_json(result) if json else render.forgotten(result)
