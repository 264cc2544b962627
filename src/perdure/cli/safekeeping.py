"""The commands that keep a workspace safe, and its registry small."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perdure.cli import console
from perdure.cli.options import AsJson, Where, example, root
from perdure.cli.render import safekeeping as render


def register(app: typer.Typer) -> None:
    """Add the commands to Perdure's."""
    app.command(epilog=example("perdure backup /mnt/backups/weather --keep 14"))(backup)
    app.command(epilog=example("perdure restore /mnt/backups/weather weather"))(restore)
    app.command(epilog=example("perdure prune --yes"))(prune)
    app.command(epilog=example("perdure migrate --to http://mlflow.internal:5000 --yes"))(migrate)


def backup(
    place: Annotated[
        Path, typer.Argument(metavar="PLACE", help="A folder of backups, on another disk.")
    ],
    keep: Annotated[
        int | None,
        typer.Option("--keep", metavar="N", min=1, help="Remove all but the newest N backups."),
    ] = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="Copy everything again; link nothing of the backup before."),
    ] = False,
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Write everything that cannot be fetched again to PLACE, also while things run."""
    from perdure.flows.backup import backup as flow

    result = flow(root(workspace), place, keep, full)
    console.emit_json(result) if json else render.backed_up(result)


def restore(
    source: Annotated[
        Path,
        typer.Argument(metavar="BACKUP", help="A backup, or a folder of them: then the newest."),
    ],
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="An empty or new folder, of any name.")
    ],
    json: AsJson = False,
) -> None:
    """Check BACKUP file by file, and make a workspace of it in DIR that goes on from there."""
    from perdure.flows.restore import restore as flow

    result = flow(source, directory)
    console.emit_json(result) if json else render.restored(result)


def prune(
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep",
            metavar="N",
            min=1,
            help="So many of the newest versions that were promoted stay, and so many rollbacks in "
            "a row; by default `tracking.keep`, which is 10.",
        ),
    ] = None,
    keep_days: Annotated[
        int | None,
        typer.Option(
            "--keep-days",
            metavar="D",
            min=0,
            help="A version stays for so many days after the last event of it; by default "
            "`tracking.keep_days`, which is 30.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove them; by default it is only shown what would go.")
    ] = False,
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Remove the versions that nothing needs any more, with all their files."""
    from perdure.flows.prune import prune as flow

    result = flow(root(workspace), keep, keep_days, yes)
    console.emit_json(result) if json else render.pruned(result)
    raise typer.Exit(1 if result.left else 0)


def migrate(
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="URI", help="The other MLflow, as `tracking.uri` would name it."
        ),
    ],
    yes: Annotated[
        bool,
        typer.Option("--yes", help="Copy it; by default it is only shown what would be copied."),
    ] = False,
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Copy the model's registry to another MLflow: versions, runs, history and aliases."""
    from perdure.flows.migrate import migrate as flow

    result = flow(root(workspace), to, yes)
    console.emit_json(result) if json else render.migrated(result)
