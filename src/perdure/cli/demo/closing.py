"""The demo's closing words: the table, and where to look next."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perdure.cli import render
from perdure.cli.console import out
from perdure.cli.demo.sample import ARRIVING, FIRST
from perdure.records import Arrival, Drift, Learned, Verdict

if TYPE_CHECKING:
    from perdure.cli.demo.comparison import Step


@dataclass(frozen=True)
class Line:
    """One row of the closing table; accuracies."""

    experience: str
    what: str
    version: int | None
    """What was learned from it, or what it moved the model to; None: it was held before that."""
    before: float | None
    """Metric of the champion on it, before anything learned from it."""
    verdict: str
    """Answer of the gates; or `held`, `promoted`, `rolled back` where it was not learned."""
    average: float | None
    """Over all experiences, after it."""
    forgetting: float | None
    naive_average: float | None
    naive_forgetting: float | None


@dataclass(frozen=True)
class Demonstration:
    """What the demo measured: accuracies averaged over its years, on held-out days."""

    workspace: str
    lines: tuple[Line, ...]
    perdure: float
    naive: float
    scratch: float
    picture: str
    broken: Drift
    """Name of the file in other units."""
    refused: Verdict
    """On the version that learned flipped labels."""
    rolled_back: Arrival | None
    """What took that version back after a person had promoted it; None: nothing did."""
    promoted: Arrival | None
    """What promoted a refused version, after the world had changed; None: nothing did."""


@dataclass(frozen=True)
class Compared:
    """Perdure, fine-tuning without a memory and training from scratch, on the same years."""

    perdure: float
    naive: float
    scratch: float
    picture: str
    naive_steps: Mapping[str, Step]

    def show(self, indent: str = "") -> None:
        """Print the three accuracies."""
        years = FIRST + ARRIVING
        out.print(f"{indent}Average accuracy over the {years} years, on days that no training saw:")
        out.print(f"{indent}  [bold]Perdure, with replay                {self.perdure:.4f}[/]")
        for what, value in (
            ("naive fine-tuning", self.naive),
            ("from scratch, on everything at once", self.scratch),
        ):
            difference = self.perdure - value
            out.print(f"{indent}  {what:<35} {value:.4f}   Perdure {difference:+.4f}")


def lines(learned: Sequence[tuple[str, Learned]], naive: Mapping[str, Step]) -> tuple[Line, ...]:
    """The rows of the table; naive fine-tuning stands beside the first time of each experience."""
    result: list[Line] = []
    for what, one in learned:
        first = all(line.experience != one.experience or not line.average for line in result)
        beside = naive.get(one.experience) if first and one.average else None
        result.append(
            Line(
                experience=one.experience,
                what=what,
                version=_version(one),
                before=_before(one),
                verdict=_verdict(one),
                average=one.average["accuracy"] if one.average else None,
                forgetting=one.forgetting,
                naive_average=beside.average if beside else None,
                naive_forgetting=beside.forgetting if beside else None,
            )
        )
    return tuple(result)


def _version(one: Learned) -> int | None:
    return one.version or (one.arrival.version if one.arrival else None)


def _before(one: Learned) -> float | None:
    if one.prequential:
        return one.prequential["accuracy"]
    return one.arrival.champion_value if one.arrival else None


def _verdict(one: Learned) -> str:
    if one.version is None and one.arrival is not None:
        return one.arrival.action
    return one.verdict


def show(result: Demonstration) -> None:
    """Print the closing words."""
    shown = render.table(
        "experience",
        "what",
        ">version",
        ">before",
        "verdict",
        ">average",
        ">forgetting",
        ">naive: average",
        ">forgetting",
        title="\nAccuracy on held-out days. before: of the champion, on the new experience; "
        "average: over all experiences, after learning it",
    )
    colours = {"refused": "red", "held": "red", "rolled back": "yellow"}
    for line in result.lines:
        numbers = (line.average, line.forgetting, line.naive_average, line.naive_forgetting)
        shown.add_row(
            line.experience,
            line.what,
            str(line.version or "–"),
            render.number(line.before),
            f"[{colours.get(line.verdict, 'green')}]{line.verdict}[/]",
            *map(render.number, numbers),
        )
    out.print(shown)
    _where_next(_short(Path(result.workspace)), _short(Path(sys.executable).parent))


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
