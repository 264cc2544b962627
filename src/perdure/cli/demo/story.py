"""What the demo does: it calls what the commands call, and tells what it is doing."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from perdure import config
from perdure.cli import render
from perdure.cli.console import out
from perdure.cli.demo import sample
from perdure.cli.demo.closing import Demonstration, lines
from perdure.cli.demo.sample import ARRIVING, FIRST, TARGET
from perdure.errors import Fault, UsageError
from perdure.records import Learned

if TYPE_CHECKING:
    import pandas as pd

BROKEN_AFTER = 13
"""After this year a file without its pressure column arrives."""
TURNED_AFTER = 16
"""After this year a file with its labels turned round arrives."""
_INDENT = "  "


def run(directory: Path) -> Demonstration:
    """Make the demo's workspace, and walk through everything.

    Args:
        directory: Where; the workspace of an earlier demo there is made anew.

    Raises:
        UsageError: There is something else in the folder; it is left alone.
    """
    return _Story(directory.resolve()).tell()


class _Story:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.chapter = 0
        self.learned: list[tuple[str, Learned]] = []

    def tell(self) -> Demonstration:
        record = sample.record()
        *years, spare = sample.years(record)
        self._clear()
        self._begin(years[:FIRST])
        self._arrivals(years, spare)
        self._roll_back_and_go_on()
        return self._compare(years)

    def _clear(self) -> None:
        mark = self.root / ".perdure" / "demo"
        if self.root.exists() and any(self.root.iterdir()):
            if not mark.exists():
                raise UsageError(
                    f"{self.root} holds something else than a demo; it is left alone",
                    hint="perdure demo --dir DIR",
                )
            shutil.rmtree(self.root)
        mark.parent.mkdir(parents=True)
        mark.touch()

    def _title(self, title: str, command: str, words: str) -> None:
        self.chapter += 1
        out.print(f"\n[bold cyan]{self.chapter}. {title}[/]")
        out.print(f"{_INDENT}{words}")
        out.print(f"{_INDENT}[dim]$ {escape(command)}[/]")

    def _begin(self, years: list[pd.DataFrame]) -> None:
        import pandas as pd

        from perdure.flows.initialise import initialise

        self._title(
            "A workspace",
            f"perdure init {self.root.name} --data first-ten-years.csv --target {TARGET}",
            "Daily weather at Bellevue, Nebraska, from 1949. The model is to say if it rained.",
        )
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "first-ten-years.csv"
            pd.concat(years).to_csv(data, index=False)
            result = initialise(self.root, data, TARGET, "classification", "weather")
        render.file_line(result.first, _INDENT)
        self._title("The first version", "perdure retrain", "Ten years to begin with.")
        self._retrain(f"years 1 to {FIRST}")

    def _arrivals(self, years: list[pd.DataFrame], spare: pd.DataFrame) -> None:
        self._title(
            f"{ARRIVING} years arrive, one by one",
            "perdure ingest && perdure retrain",
            "Each is checked, versioned with DVC and learned by itself, beside a memory of 2,000 "
            "older days.",
        )
        for number, year in enumerate(years[FIRST:], start=FIRST + 1):
            self._arrive(f"year-{number:02}", year)
            self._retrain(f"year {number}")
            if number == BROKEN_AFTER:
                out.print("  [yellow]A broken file arrives: it has no pressure column.[/]")
                self._arrive("broken", spare.drop(columns="sea_level_pressure_mb"))
            if number == TURNED_AFTER:
                out.print("  [yellow]A year arrives with its labels turned round.[/]")
                self._arrive("turned-round", spare.assign(**{TARGET: 1 - spare[TARGET]}))
                self._retrain("labels turned")

    def _arrive(self, name: str, rows: pd.DataFrame) -> None:
        from perdure.flows import ingest

        rows.to_csv(self.root / "inbox" / f"{name}.csv", index=False)
        for one in ingest.run(str(self.root), []).files:
            render.file_line(one, _INDENT)

    def _retrain(self, what: str) -> None:
        from perdure.flows import retrain

        for one in retrain.run(str(self.root)).learned:
            self.learned.append((what, one))
            words = [f"version {one.version}: {render.verdict_word(one)}"]
            if one.prequential:
                before = render.number(one.prequential["accuracy"])
                words.append(f"the champion's accuracy on it, before anything learned it, {before}")
            if one.average:
                after = render.number(one.average["accuracy"])
                words.append(f"average over all experiences after it {after}")
            out.print(f"    {'; '.join(words)}")
            for reason in one.reasons:
                out.print(f"    [red]✗[/] {escape(reason)}")

    def _roll_back_and_go_on(self) -> None:
        from perdure.flows import hold, inspect, rollback

        root = str(self.root)
        champion = inspect.status(root)["champion"]["version"]
        target = inspect.show(root, inspect.show(root, champion)["parent"])["parent"]
        older = inspect.show(root, target)
        self._title(
            "A rollback by two versions",
            f'perdure rollback --to {target} --reason "complaints"',
            "Somebody complains. Weights, memory and place in the data go back together.",
        )
        result = rollback.run(root, target, "complaints", False)
        render.rolled_back(result, _INDENT)
        now = inspect.status(root)["champion"]
        for key in ("weights_sha256", "state_sha256", "cursor"):
            if now[key] != older[key]:
                raise Fault(f"after the rollback {key} is not that of version {target}")
        out.print(
            f"{_INDENT}weights {now['weights_sha256'][:12]}, state {now['state_sha256'][:12]}: "
            f"[green]those of version {target}, bit for bit[/]"
        )
        names = {learned.experience: what for what, learned in self.learned}
        self._title(
            "Retraining goes on from there",
            f"perdure release {result.held[-1]} && perdure retrain",
            "Both years are released, the later one first, and learned from the older version.",
        )
        for experience in reversed(result.held):
            hold.release(root, [experience], "the complaints were about something else")
            self._retrain(f"{names[experience]}, again")

    def _compare(self, years: list[pd.DataFrame]) -> Demonstration:
        from perdure.cli.demo import comparison
        from perdure.tasks import figures, packaging
        from perdure.tasks.registry import Registry

        self._title(
            "Beside it: fine-tuning without a memory, and training from scratch",
            'strategies = ["naive"]',
            "The same years in the same order; and one training on all of them at once.",
        )
        ws = config.read(self.root)
        champion = Registry(ws).read().champion
        if champion is None:
            raise Fault("the demo has no champion")
        folder = Registry(ws).download(champion)
        cursor = sorted(champion.cursor)
        with tempfile.TemporaryDirectory() as scratch:
            naive = comparison.fine_tune(ws, cursor, Path(scratch))
            from_scratch = comparison.from_scratch(ws, cursor, Path(scratch))
            picture = figures.compared(
                {"replay": packaging.matrix_in(folder), "naive fine-tuning": naive.matrix},
                self.root / "matrix.png",
            )
            return Demonstration(
                workspace=str(self.root),
                lines=lines(self.learned, naive.steps),
                perdure=comparison.by_year(ws, folder / packaging.LEARNER, years),
                naive=comparison.by_year(ws, naive.learner, years),
                scratch=comparison.by_year(ws, from_scratch, years),
                picture=str(picture),
            )
