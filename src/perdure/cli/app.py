"""The commands: each one sentence, one example, one call.

Heavy libraries are imported by what a command calls, not here: `perdure --help` is quick.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from perdure import __version__, exhausted
from perdure.cli import console, letting_go, provenance, render, safekeeping, service
from perdure.cli.options import AsJson, Patience, Where, Why, example, root
from perdure.errors import EXIT_CODES, PerdureError, UsageError

app = typer.Typer(
    name="perdure",
    help="Keeps a model in production learning, and lets you take it back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Exit codes: " + "; ".join(f"{code} {text}" for code, text in EXIT_CODES.items()) + ".",
)


def _version(asked: bool) -> None:
    if asked:
        console.out.print(f"perdure {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    console.configure_logging(verbose)


@app.command(epilog=example("perdure init weather --data days.csv --target rain"))
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="PATH",
            help="The first data: a table (CSV, JSON lines, Parquet, Feather); or images: a folder "
            "or ZIP archive with a folder for each class, or NPZ arrays.",
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(
            "--target", metavar="COLUMN", help="The column to predict; of images by default label."
        ),
    ] = None,
    task: Annotated[
        Literal["classification", "regression"] | None,
        typer.Option("--task", help="By default inferred from the target."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name of the registered model; by default the folder's."),
    ] = None,
    kind: Annotated[
        Literal["table", "image", "text", "sequence"] | None,
        typer.Option("--kind", help="What to learn from; by default inferred from the data."),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            "--column", metavar="COLUMN", help="The one of text or sequence, with --kind."
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="HEIGHTxWIDTH",
            help="Of images; by default their most common size, at most 224 on the longer side.",
        ),
    ] = None,
    number: Annotated[
        list[str] | None,
        typer.Option("--number", metavar="COLUMN", help="It holds numbers; may be repeated."),
    ] = None,
    category: Annotated[
        list[str] | None,
        typer.Option("--category", metavar="COLUMN", help="It holds words of a list."),
    ] = None,
    time: Annotated[
        list[str] | None,
        typer.Option("--time", metavar="COLUMN", help="It holds dates or times."),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="COLUMN", help="Leave it out."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Make a workspace with a schema inferred from the first data, its first experience."""
    from perdure.flows.initialise import ColumnKind, initialise

    asked: tuple[tuple[ColumnKind, list[str] | None], ...] = (
        ("number", number),
        ("category", category),
        ("time", time),
        ("ignore", ignore),
    )
    kinds = {column: kind for kind, names in asked for column in names or []}
    result = initialise(directory, data, target, task, name, kind, column, size, kinds)
    console.work_at(directory)
    console.emit_json(result) if json else render.initialised(result)
    raise typer.Exit(0 if result.first.outcome in ("ingested", "waiting") else 3)


@app.command(epilog=example("perdure ingest new/*.csv"))
def ingest(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH...", help="Files, or folders of files or of images; by default the inbox."
        ),
    ] = None,
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Check files against the schema, and make each an experience or put it into quarantine."""
    from perdure.flows import ingest as flows
    from perdure.service.notify.after import notify_after

    with notify_after(root(workspace)):
        result = flows.run(root(workspace), [str(path) for path in paths or []])
    console.emit_json(result) if json else render.ingested(result)
    refused = any(f.outcome == "quarantined" or f.refused_rows for f in result.files)
    raise typer.Exit(3 if refused else 0)


@app.command(epilog=example("perdure schema --diff new.csv"))
def schema(
    diff: Annotated[
        Path | None,
        typer.Option("--diff", metavar="FILE", help="Show what FILE has that is not listed."),
    ] = None,
    accept: Annotated[
        Path | None,
        typer.Option("--accept", metavar="FILE", help="Take what is new in FILE into the schema."),
    ] = None,
    lift: Annotated[
        bool,
        typer.Option("--lift", help="Remove the limits that an older version inferred."),
    ] = False,
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Show the schema, compare a file with it, or take what is new in a file into it."""
    from perdure.flows import schema as flows

    asked = [diff is not None, accept is not None, lift]
    if sum(asked) > 1:
        raise UsageError("--diff, --accept and --lift are three things to do; choose one")
    if diff is not None:
        result, show = flows.diff(root(workspace), str(diff)), render.schema_differences
    elif accept is not None:
        result, show = flows.accept(root(workspace), str(accept)), render.schema_changed
    elif lift:
        result, show = flows.lift(root(workspace)), render.schema_changed
    else:
        result, show = flows.show(root(workspace)), render.schema
    console.emit_json(result) if json else show(result)


@app.command(epilog=example("perdure retrain"))
def retrain(
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Trace some training steps of the first experience."),
    ] = False,
    wait: Patience = 0.0,
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Learn every pending experience, judge each result, and promote what passes."""
    from perdure.flows import retrain as flows
    from perdure.service.notify.after import notify_after

    with console.bars(), notify_after(root(workspace)):
        result = flows.run(root(workspace), profile, wait)
    if json:
        console.emit_json(result)
    else:
        render.retrained(result)
        if any(one.promoted and one.prequential is None for one in result.learned):
            _serving(workspace)
    raise typer.Exit(3 if any(one.kept_back for one in result.learned) else 0)


def _serving(workspace: Path | None) -> None:
    """After the first promotion: how MLflow serves the model."""
    from perdure.flows import status

    render.serving(*status.serving(root(workspace)))


@app.command(epilog=example("perdure promote 12"))
def promote(
    version: Annotated[
        int | None,
        typer.Argument(help="By default the challenger, which waits for approval.", min=1),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Although a gate refused it; needs --reason.")
    ] = False,
    reason: Why = None,
    wait: Patience = 0.0,
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Make VERSION the champion, or approve the challenger."""
    from perdure.flows import promote as flows
    from perdure.service.notify.after import notify_after

    with notify_after(root(workspace)):
        result = flows.run(root(workspace), version, force, reason, wait)
    if json:
        console.emit_json(result)
    else:
        render.promoted(result)
        if result.changed and result.replaced is None:
            _serving(workspace)


@app.command(epilog=example('perdure rollback --reason "complaints since Monday"'))
def rollback(
    to: Annotated[
        int | None,
        typer.Option(
            "--to",
            metavar="VERSION",
            min=1,
            help="By default the version that the champion replaced.",
        ),
    ] = None,
    reason: Why = None,
    keep_data: Annotated[
        bool,
        typer.Option(
            "--keep-data", help="Leave the experiences of the abandoned versions pending."
        ),
    ] = False,
    wait: Patience = 0.0,
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Take the model back, whole: weights, memory and its place in the data."""
    from perdure.flows import rollback as flows
    from perdure.service.notify.after import notify_after

    with notify_after(root(workspace)):
        result = flows.run(root(workspace), to, reason, keep_data, wait)
    console.emit_json(result) if json else render.rolled_back(result)


@app.command(epilog=example('perdure pin 12 --reason "audited in March"'))
def pin(
    version: Annotated[int, typer.Argument(help="The version.", min=1)],
    reason: Why = None,
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Make VERSION the anchor, which the champion must not fall behind."""
    from perdure.flows import pin as flows

    result = flows.pin(root(workspace), version, reason)
    console.emit_json(result) if json else render.pinned(result)


@app.command(epilog=example("perdure unpin"))
def unpin(workspace: Where = None, json: AsJson = False) -> None:
    """Let the anchor move by itself again."""
    from perdure.flows import pin as flows

    result = flows.unpin(root(workspace))
    console.emit_json(result) if json else render.pinned(result)


@app.command(epilog=example("perdure release 000013-1a2b3c4d"))
def release(
    experiences: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Experiences held or in quarantine.")
    ],
    reason: Why = None,
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Make held experiences pending again."""
    from perdure.flows import release

    result = release.release(root(workspace), experiences, reason)
    console.emit_json(result) if json else render.released(result)


@app.command(epilog=example('perdure quarantine 000013-1a2b3c4d --reason "sensor was off"'))
def quarantine(
    experiences: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Experiences not yet learned.")
    ],
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; goes into the history.")
    ],
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Set experiences aside by hand, so that nothing learns from them."""
    from perdure.flows import release

    result = release.quarantine(root(workspace), experiences, reason)
    console.emit_json(result) if json else render.quarantined(result)


@app.command(epilog=example("perdure evaluate 12 --gates"))
def evaluate(
    version: Annotated[int, typer.Argument(help="The version.", min=1)],
    gates: Annotated[
        bool, typer.Option("--gates", help="Show every number of every gate, as a table.")
    ] = False,
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Measure VERSION and the champion on the same rows, and put it before the gates again."""
    from perdure.flows import evaluate as flows

    with console.bars():
        result = flows.run(root(workspace), version)
    console.emit_json(result) if json else render.evaluated(result, gates)
    raise typer.Exit(0 if result.verdict.passed else 3)


@app.command(epilog=example("perdure status --json"))
def status(workspace: Where = None, json: AsJson = False) -> None:
    """Show champion, challenger, and what is pending, held or in quarantine."""
    from perdure.flows import status
    from perdure.service import external_servers

    result = status.status(root(workspace))
    console.emit_json(result) if json else render.status(result)
    external_servers.ask_prefect(Path(root(workspace)))


@app.command(epilog=example("perdure history"))
def history(
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="TIME",
            help="Say what served then: a date, which is its first moment, or a date and a time; "
            "of this machine's time zone where none is given.",
        ),
    ] = None,
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """List what happened to the model, oldest first, or say what served at a time."""
    if at is not None:
        provenance.history_at(root(workspace), at, json)
        return
    from perdure.flows import status

    result = status.history(root(workspace))
    console.emit_json(result) if json else render.history(result)


@app.command(epilog=example("perdure show 12"))
def show(
    version: Annotated[int, typer.Argument(help="The version.", min=1)],
    workspace: Where = None,
    json: AsJson = False,
) -> None:
    """Show one version: its learner, verdict, metrics and accuracy matrix."""
    from perdure.flows import status

    result = status.show(root(workspace), version)
    console.emit_json(result) if json else render.shown(result)


@app.command(epilog=example("perdure demo"))
def demo(
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where the demo's workspace is made.")
    ] = Path("demo"),
    json: AsJson = False,
) -> None:
    """Learn twenty years of weather year by year, refuse bad data, roll back, and go on."""
    from perdure.cli import demo as demonstration

    if json:
        console.out.stderr = True  # the story is no result
    with console.bars():
        result = demonstration.run(directory)
    console.emit_json(result) if json else demonstration.show(result)


@app.command(epilog=example("perdure doctor"))
def doctor(workspace: Where = None, json: AsJson = False) -> None:
    """Check the schema, git, DVC, their remotes, MLflow, Prefect, the device and the versions."""
    from perdure.flows import doctor
    from perdure.service.notify import receivers

    result = doctor.examine(root(workspace), notices=receivers.check)
    console.emit_json({"checks": result}) if json else render.examined(result)
    raise typer.Exit(0 if all(check.ok for check in result) else 1)


service.register(app)
safekeeping.register(app)
letting_go.register(app)
provenance.register(app)


def main() -> None:
    """Run a command, and end with the exit code of what ended it."""
    console.configure_logging()
    console.work_at(None)
    try:
        app()
    except PerdureError as error:
        # An error about memory that has a hint knows more, such as which setting to lower.
        lacks = exhausted.named(error)
        if lacks and (error.hint is None or not exhausted.is_memory(error)):
            error.hint = f"{lacks.what}: {lacks.hint}"
        if error.hint is not None:
            error.hint = console.command(error.hint)
        console.failed(_kind(error), str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        console.failed("Interrupted:", "the next run goes on from here.")
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the one place where every other fault ends
        _unexpected(error)
    finally:
        console.work_at(None)


def _unexpected(error: Exception) -> NoReturn:
    """A fault that Perdure has no name for: in short, and whole with --verbose."""
    if console.verbose():
        raise error
    if lacks := exhausted.named(error):
        console.failed("Fault:", f"{lacks.what}: {error or 'MemoryError'}\n  → {lacks.hint}")
        sys.exit(1)
    console.failed(
        "Fault:",
        f"{type(error).__name__}: {error}\n  → perdure --verbose … shows where; perdure doctor "
        "looks for the cause. Nothing is half-done: the next run goes on from here",
    )
    sys.exit(1)


def _kind(error: PerdureError) -> str:
    if error.exit_code == UsageError.exit_code:
        return "Wrong use:"
    return {3: "Refused:", 4: "Busy:", 5: "Unreachable:"}.get(error.exit_code, "Fault:")
