"""The demo: the main job, start to end, on half a century of real weather.

It calls what the commands call, in one process, and tells what it is doing.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import perdure
from perdure import config
from perdure.cli import render
from perdure.cli.console import err, out
from perdure.errors import Fault, UsageError
from perdure.records import Learned

if TYPE_CHECKING:
    import pandas as pd

YEAR = 365
"""Rows; the record has no dates and some days are missing."""
FIRST = 10
"""Years in the first experience."""
ARRIVING = 10
"""Years that arrive one by one."""
BROKEN_AFTER = 13
"""After this year a file without its pressure column arrives."""
TURNED_AFTER = 16
"""After this year a file with its labels turned round arrives."""
TARGET = "rain"
_MARK = "demo"


@dataclass(frozen=True)
class Line:
    """One row of the closing table."""

    experience: str
    what: str
    before: float | None
    """Accuracy of the champion before learning it."""
    verdict: str
    average: float | None
    forgetting: float | None
    naive_average: float | None
    naive_forgetting: float | None


@dataclass(frozen=True)
class Demonstration:
    """What the demo measured: accuracies averaged over the twenty years, on held-out rows."""

    workspace: str
    lines: tuple[Line, ...]
    perdure: float
    naive: float
    scratch: float
    picture: str


def run(directory: Path) -> Demonstration:
    """Make the demo's workspace, and walk through everything.

    Args:
        directory: Where; a workspace of an earlier demo there is made anew.

    Raises:
        UsageError: There is something else in the folder.
    """
    return _Demo(directory).run()


class _Demo:
    def __init__(self, directory: Path) -> None:
        self.root = directory.resolve()
        self.lines: list[tuple[str, Learned]] = []
        self.step = 0

    def run(self) -> Demonstration:
        record = sample()
        self._clear()
        years = [record.iloc[i * YEAR : (i + 1) * YEAR] for i in range(FIRST + ARRIVING)]
        self._say(
            "A workspace",
            f"perdure init {self.root.name} --data first-ten-years.csv --target {TARGET}",
            "Daily weather at Bellevue, Nebraska, from 1949. The model is to say whether it rained.",
        )
        self._initialise(record.iloc[: FIRST * YEAR])
        self._say("The first version", "perdure retrain", "Ten years to begin with.")
        self._retrain(f"years 1 to {FIRST}")
        self._say(
            f"{ARRIVING} years arrive, one by one",
            "perdure ingest && perdure retrain",
            "Each is checked, versioned with DVC, and learned on its own, with a memory of older days.",
        )
        spare = record.iloc[(FIRST + ARRIVING) * YEAR : (FIRST + ARRIVING + 1) * YEAR]
        for number in range(FIRST + 1, FIRST + ARRIVING + 1):
            self._arrive(f"year-{number:02}", years[number - 1])
            if number == BROKEN_AFTER:
                out.print("  [yellow]A broken file arrives: it has no pressure column.[/]")
                self._arrive("broken", spare.drop(columns="sea_level_pressure_mb"), learn=False)
            if number == TURNED_AFTER:
                out.print("  [yellow]A year arrives with its labels turned round: rain is 0, dry is 1.[/]")
                self._arrive("turned-round", spare.assign(**{TARGET: 1 - spare[TARGET]}))
        self._roll_back()
        return self._compare(years)

    def _clear(self) -> None:
        if not self.root.exists() or not any(self.root.iterdir()):
            return
        if not (self.root / ".perdure" / _MARK).exists():
            raise UsageError(
                f"{self.root} is no demo's workspace; it is left alone", hint="perdure demo --dir DIR"
            )
        shutil.rmtree(self.root)

    def _say(self, title: str, command: str, words: str) -> None:
        self.step += 1
        out.print(f"\n[bold cyan]{self.step}. {title}[/]   [dim]$ {command}[/]")
        out.print(f"  {words}")

    def _initialise(self, first: pd.DataFrame) -> None:
        from perdure.flows.initialise import initialise

        (self.root / ".perdure").mkdir(parents=True)
        (self.root / ".perdure" / _MARK).touch()
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "first-ten-years.csv"
            first.to_csv(data, index=False)
            result = initialise(self.root, data, TARGET, "classification", "weather")
        render.file_line(result.first)

    def _arrive(self, name: str, rows: pd.DataFrame, learn: bool = True) -> None:
        from perdure.flows import ingest

        rows.to_csv(self.root / "inbox" / f"{name}.csv", index=False)
        for one in ingest.run(str(self.root), []).files:
            render.file_line(one)
        if learn:
            self._retrain(name)

    def _retrain(self, what: str) -> None:
        from perdure.flows import retrain

        for one in retrain.run(str(self.root)).learned:
            self.lines.append((what, one))
            before = one.prequential and one.prequential["accuracy"]
            average = one.average and one.average["accuracy"]
            out.print(
                f"    version {one.version}: {render.verdict_word(one)}, "
                f"accuracy on it before learning {render.number(before)}, "
                f"average over all experiences now {render.number(average)}"
            )
            for reason in one.reasons:
                out.print(f"    [red]✗[/] {reason}")

    def _roll_back(self) -> None:
        from perdure.flows import hold, inspect, rollback

        root = str(self.root)
        champion = inspect.status(root)["champion"]
        target = inspect.show(root, inspect.show(root, champion["version"])["parent"])["parent"]
        older = inspect.show(root, target)
        self._say(
            "A rollback by two versions",
            f'perdure rollback --to {target} --reason "complaints"',
            "Weights, replay memory and place in the data go back together.",
        )
        result = rollback.run(root, target, "complaints", False)
        render.rolled_back(result)
        now = inspect.status(root)["champion"]
        for key in ("weights_sha256", "state_sha256", "cursor"):
            if now[key] != older[key]:
                raise Fault(f"after the rollback {key} is not that of version {target}")
        out.print(
            f"  weights {now['weights_sha256'][:12]}, state {now['state_sha256'][:12]}, "
            f"{len(now['cursor'])} experiences learned: [green]those of version {target}, bit for bit[/]"
        )
        names = {learned.experience: what for what, learned in self.lines}
        self._say(
            "Retraining goes on from there",
            f"perdure release {result.held[-1]} && perdure retrain",
            "The two years are held; released, the later one first, they are learned again from the older version.",
        )
        for experience in reversed(result.held):
            hold.release(root, [experience], "the complaints were about something else")
            self._retrain(f"{names[experience]}, again")

    def _compare(self, years: list[pd.DataFrame]) -> Demonstration:
        from perdure.cli import comparison
        from perdure.tasks import evaluation, figures, packaging
        from perdure.tasks.registry import Registry

        self._say(
            "Beside it: naive fine-tuning, and training from scratch",
            'strategies = ["naive"]',
            "The same years in the same order without a memory; and one training on everything at once.",
        )
        ws = config.read(self.root)
        champion = Registry(ws).read().champion
        if champion is None:
            raise Fault("the demo has no champion")
        folder = Registry(ws).download(champion.version)
        cursor = sorted(champion.cursor)
        with tempfile.TemporaryDirectory() as scratch:
            steps, naive_matrix, naive = comparison.fine_tune(ws, cursor, Path(scratch))
            scratched = comparison.from_scratch(ws, cursor, Path(scratch))
            averages = [
                comparison.by_year(ws, learner, years)
                for learner in (folder / packaging.LEARNER, naive, scratched)
            ]
        matrix = evaluation.matrix_from_json(packaging.numbers_in(folder)["matrix"])
        picture = self.root / "matrix.png"
        figures.compared({"replay": matrix, "naive fine-tuning": naive_matrix}, picture)
        seen: set[str] = set()
        lines = []
        for what, one in self.lines:
            beside = steps.get(one.experience) if one.experience not in seen else None
            seen.add(one.experience)
            lines.append(
                Line(
                    experience=one.experience,
                    what=what,
                    before=one.prequential["accuracy"] if one.prequential else None,
                    verdict=one.verdict,
                    average=one.average["accuracy"] if one.average else None,
                    forgetting=one.forgetting,
                    naive_average=beside and beside.average,
                    naive_forgetting=beside and beside.forgetting,
                )
            )
        return Demonstration(str(self.root), tuple(lines), *averages, picture=str(picture))


def show(result: Demonstration) -> None:
    """The closing words: the table, the comparison, the picture, and where to look next."""
    shown = render.table(
        "experience", "what", ">before", "verdict", ">average", ">forgetting", ">naive avg.", ">naive forg.",
        title="\nAccuracy on held-out days: of the champion before learning, and over all experiences after",
    )
    for line in result.lines:
        colour = "green" if line.verdict == "passed" else "red"
        shown.add_row(
            line.experience,
            line.what,
            render.number(line.before),
            f"[{colour}]{line.verdict}[/]",
            *map(render.number, (line.average, line.forgetting, line.naive_average, line.naive_forgetting)),
        )
    out.print(shown)
    out.print(f"Average accuracy over the {FIRST + ARRIVING} years, on days that no training saw:")
    out.print(f"  Perdure, replay                        [bold]{result.perdure:.4f}[/]")
    out.print(
        f"  naive fine-tuning                      {result.naive:.4f}   ({result.perdure - result.naive:+.4f} for Perdure)"
    )
    out.print(
        f"  training from scratch on everything    {result.scratch:.4f}   ({result.perdure - result.scratch:+.4f} for Perdure)"
    )
    folder = Path(result.workspace)
    shown_as = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    bin_ = Path(sys.executable).parent
    bin_ = bin_.relative_to(Path.cwd()) if bin_.is_relative_to(Path.cwd()) else bin_
    out.print(f"\nThe picture: {Path(result.picture).name} in {shown_as}/, what each version knows of each year")
    out.print("Look around:")
    out.print(f"  {bin_}/perdure status -w {shown_as}")
    out.print(f"  {bin_}/perdure history -w {shown_as}")
    out.print(f"  {bin_}/mlflow server --backend-store-uri sqlite:///{shown_as}/.perdure/mlflow.db   # runs, versions")
    out.print(
        f"  PREFECT_API_DATABASE_CONNECTION_URL=sqlite+aiosqlite:///{folder}/.perdure/prefect.db "
        f"{bin_}/prefect server start   # flow runs"
    )


def sample() -> pd.DataFrame:
    """The weather record behind this repository's `data.dvc`; fetched from its DVC remote if missing.

    Raises:
        UsageError: Perdure is not installed from a clone of its repository.
    """
    import pandas as pd

    from perdure.tasks import data_versions

    repository = Path(perdure.__file__).resolve().parents[2]
    if not (repository / "data.dvc").exists():
        raise UsageError("the demo's data is in Perdure's repository", hint="clone it, and: make demo")
    path = repository / "data" / "weather.parquet"
    if not path.exists():
        err.print("Fetching the sample data behind data.dvc …")
        data_versions.pull(config.read(repository))
    return pd.read_parquet(path)
