"""The commands of a workspace that runs unattended."""

from __future__ import annotations

import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import typer

from perdure.cli import console, render
from perdure.cli.options import AsJson, Where, example, root


def register(app: typer.Typer) -> None:
    """Add the commands to Perdure's."""
    app.command(epilog=example("perdure up --detach"))(up)
    app.command(epilog=example("perdure down"))(down)
    app.command(epilog=example("perdure logs worker --follow"))(logs)
    app.command("open", epilog=example("perdure open mlflow"))(open_page)
    app.command(epilog=example("perdure deploy"))(deploy)
    app.command(epilog=example("perdure worker --pool gpu"))(worker)


def up(
    in_background: Annotated[
        bool, typer.Option("--detach", help="In the background; return when it is ready.")
    ] = False,
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Run a server, the watcher of the inbox, workers and pages, and keep them going."""
    from perdure.service import background
    from perdure.service.up import run

    show = console.emit_json if json else render.running
    if in_background:
        show(background.start(Path(root(workspace))))
        return
    run(Path(root(workspace)), show)
    console.err.print("Everything has ended.", style="dim")


def down(workspace: Where = None, json: AsJson = False) -> None:
    """End what perdure up runs in this workspace, and wait until it is gone."""
    from perdure.service import control

    ended = control.down(Path(root(workspace)))
    console.emit_json({"ended": ended}) if json else render.ended(ended)


def logs(
    part: Annotated[
        str | None, typer.Argument(metavar="PART", help="One part; by default all of them.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on showing what is written.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="N", min=0, help="The last N of each part.")
    ] = 20,
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Show what the parts that perdure up runs have written."""
    from perdure.service import control

    found = control.logs(Path(root(workspace)), part, lines)
    console.emit_json({"logs": found}) if json else render.logs(found)
    if not follow:
        return
    with suppress(KeyboardInterrupt):
        for name, line in control.follow(Path(root(workspace)), part):
            text = {"part": name, "line": line}
            console.emit_line(text) if json else render.log_line(name, line, alone=part is not None)


def open_page(
    page: Annotated[Literal["prefect", "mlflow"], typer.Argument(help="Which pages.")] = "prefect",
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Open the pages of Prefect or MLflow in a browser, which Prefect's server lets in."""
    from perdure.service import control

    address = control.page(Path(root(workspace)), page)
    opened = not json and webbrowser.open(address)
    if json:
        console.emit_json({"page": address})
    elif not opened:
        console.out.print(address, soft_wrap=True)


def deploy(
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Take over the deployments of the model's other registry."),
    ] = False,
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Put the workspace's deployments, schedule and automations into Prefect's server."""
    from perdure.service import deploy

    result = deploy.run(root(workspace), replace)
    console.emit_json(result) if json else render.deployed(result)


def worker(
    pool: Annotated[Literal["cpu", "gpu"], typer.Option("--pool", help="The work pool.")] = "cpu",
    gpus: Annotated[
        str | None,
        typer.Option(
            "--gpus",
            metavar="LIST",
            help="With --pool gpu, the GPUs, as in 0,1; by default all that are visible.",
        ),
    ] = None,
    per_gpu: Annotated[
        int | None,
        typer.Option(
            "--per-gpu",
            metavar="N",
            min=1,
            help="Runs on a GPU at a time; by default one, or as resources.per_gpu says.",
        ),
    ] = None,
    workspace: Where = None,
) -> None:
    """Take this model's flow runs from a work pool, each on a GPU of its own, until Ctrl-C."""
    from perdure.service import worker

    worker.work(root(workspace), pool, gpus, per_gpu)
