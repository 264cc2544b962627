"""The demo's closing words: the table, the comparison, and where to look next."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perdure.cli import render
from perdure.cli.console import out
from perdure.cli.demo.sample import ARRIVING, FIRST
from perdure.records import Learned

if TYPE_CHECKING:
    from perdure.cli.demo.comparison import Step


@dataclass(frozen=True)
class Line:
    """One row of the closing table; accuracies."""

    experience: str
    what: str
    before: float | None
    """Of the champion on it, before anything learned from it."""
    verdict: str
    average: float | None
    """Over all experiences, after it."""
    forgetting: float | None
    naive_average: float | None
    naive_forgetting: float | None


@dataclass(frozen=True)
class Demonstration:
    """What the demo measured: accuracies averaged over the twenty years, on held-out days."""

    workspace: str
    lines: tuple[Line, ...]
    perdure: float
    naive: float
    scratch: float
    picture: str


def lines(learned: Sequence[tuple[str, Learned]], naive: Mapping[str, Step]) -> tuple[Line, ...]:
    """The rows of the table; naive fine-tuning stands beside the first time of each experience."""
    result: list[Line] = []
    for what, one in learned:
        first = all(line.experience != one.experience for line in result)
        beside = naive.get(one.experience) if first else None
        result.append(
            Line(
                experience=one.experience,
                what=what,
                before=one.prequential["accuracy"] if one.prequential else None,
                verdict=one.verdict,
                average=one.average["accuracy"] if one.average else None,
                forgetting=one.forgetting,
                naive_average=beside.average if beside else None,
                naive_forgetting=beside.forgetting if beside else None,
            )
        )
    return tuple(result)


def show(result: Demonstration) -> None:
    """Print the closing words."""
    shown = render.table(
        "experience",
        "what",
        ">before",
        "verdict",
        ">average",
        ">forgetting",
        ">naive: average",
        ">forgetting",
        title="\nAccuracy on held-out days. before: of the champion, on the new experience; "
        "average: over all experiences, after learning it",
    )
    for line in result.lines:
        colour = "red" if line.verdict == "refused" else "green"
        numbers = (line.average, line.forgetting, line.naive_average, line.naive_forgetting)
        shown.add_row(
            line.experience,
            line.what,
            render.number(line.before),
            f"[{colour}]{line.verdict}[/]",
            *map(render.number, numbers),
        )
    out.print(shown)
    out.print(f"Average accuracy over the {FIRST + ARRIVING} years, on days that no training saw:")
    out.print(f"  [bold]Perdure, with replay                {result.perdure:.4f}[/]")
    _beside("naive fine-tuning", result.naive, result.perdure)
    _beside("from scratch, on everything at once", result.scratch, result.perdure)
    _where_next(_short(Path(result.workspace)), _short(Path(sys.executable).parent))


def _beside(what: str, value: float, ours: float) -> None:
    out.print(f"  {what:<35} {value:.4f}   Perdure {ours - value:+.4f}")


def _where_next(demo: Path, bin_: Path) -> None:
    database = (demo / ".perdure" / "prefect.db").resolve()
    out.print(f"\nThe picture: [bold]{demo}/matrix.png[/], what was known of which year, and when.")
    out.print("Look around:")
    out.print(f"  {bin_}/perdure status -w {demo}")
    out.print(f"  {bin_}/perdure history -w {demo}")
    out.print("Runs, versions and figures in MLflow, at http://127.0.0.1:5000")
    out.print(
        f"  {bin_}/mlflow server --port 5000 "
        f"--backend-store-uri sqlite:///{demo}/.perdure/mlflow.db"
    )
    out.print("Flow runs in Prefect, at http://127.0.0.1:4200")
    out.print(
        f"  PREFECT_SERVER_DATABASE_CONNECTION_URL=sqlite+aiosqlite:///{database} "
        f"{bin_}/prefect server start"
    )


def _short(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
