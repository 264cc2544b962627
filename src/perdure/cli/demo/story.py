"""What the demo does: it calls what the commands call, and prints what happens."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perdure import arrival_table, config
from perdure.cli import render
from perdure.cli.console import escape, out
from perdure.cli.demo import sample
from perdure.cli.demo.closing import Compared, Demonstration, lines
from perdure.cli.demo.sample import ARRIVING, FIRST, PRESSURE, SPARE, TARGET
from perdure.errors import Fault, UsageError
from perdure.records import Arrival, Drift, Learned, Verdict

if TYPE_CHECKING:
    import pandas as pd

INCOMPLETE_AFTER = 11
"""After this year a file without its pressure column arrives."""
IN_PASCALS = 13
"""This year arrives in other units first, and then as it should be."""
FLIPPED_AFTER = 14
"""After this year a file with flipped labels arrives, and a person promotes what learned it."""
_INDENT = "  "


def run(directory: Path) -> Demonstration:
    """Make the demo's workspace, and walk through everything.

    Args:
        directory: Where; the workspace of an earlier demo there is made again.

    Raises:
        UsageError: There is something else in the folder; it is left alone.
    """
    return _Story(directory.resolve()).run()


class _Story:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.chapter = 0
        self.learned: list[tuple[str, Learned]] = []

    def run(self) -> Demonstration:
        years = sample.years(sample.record())
        known, rest = years[: FIRST + ARRIVING], years[FIRST + ARRIVING :]
        spare, changed = rest[:SPARE], rest[SPARE:]
        self._clear()
        self._begin(known[:FIRST])
        self._arrivals(known, FIRST, INCOMPLETE_AFTER)
        self._incomplete(spare[0])
        self._arrivals(known, INCOMPLETE_AFTER, IN_PASCALS - 1)
        broken = self._other_units(known[IN_PASCALS - 1])
        self._arrivals(known, IN_PASCALS, FLIPPED_AFTER)
        verdict = self._flipped(spare)
        rolled_back = self._automatic_rollback(known)
        self._roll_back_and_go_on()
        compared = self._compare(known)
        promoted = self._lasting_change(changed)
        return Demonstration(
            workspace=str(self.root),
            lines=lines(self.learned, compared.naive_steps),
            perdure=compared.perdure,
            naive=compared.naive,
            scratch=compared.scratch,
            picture=compared.picture,
            broken=broken,
            refused=verdict,
            rolled_back=rolled_back,
            promoted=promoted,
        )

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

    def _note(self, words: str) -> None:
        out.print(f"{_INDENT}[yellow]{words}[/]")

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
        self._title(
            "Years arrive, one by one",
            "perdure ingest && perdure retrain",
            "Each is checked, versioned with DVC and learned by itself, beside a memory of 2,000 "
            "older days.",
        )

    def _arrivals(self, years: list[pd.DataFrame], after: int, last: int) -> None:
        for number in range(after + 1, last + 1):
            self._arrive(f"year-{number:02}", years[number - 1])
            self._retrain(f"year {number}")

    def _incomplete(self, spare: pd.DataFrame) -> None:
        self._note("A file arrives that has no pressure column. The schema refuses it.")
        self._arrive("no-pressure", spare.drop(columns=PRESSURE))

    def _other_units(self, year: pd.DataFrame) -> Drift:
        self._title(
            "A file in other units",
            "perdure ingest && perdure retrain",
            "The pressure of this year is in pascals. Every value is a number, so the schema has "
            "nothing against it.",
        )
        self._arrive("pascals", sample.in_pascals(year))
        drift = self._retrain("pressure in pascals")[-1].drift
        if drift is None:
            raise Fault("the experience in pascals was not compared with what is known")
        out.print(f"{_INDENT}Every column, beside what the champion has learned from:")
        out.print(render.drift_grid(drift))
        self._note("The right file arrives.")
        self._arrive(f"year-{IN_PASCALS}", year)
        self._retrain(f"year {IN_PASCALS}")
        return drift

    def _flipped(self, spare: list[pd.DataFrame]) -> Verdict:
        import pandas as pd

        from perdure.flows import promote, status

        root = str(self.root)
        self._title(
            "A file with flipped labels",
            "perdure ingest && perdure retrain",
            "Two years, and each row looks as it should. What a model learns from them is wrong, "
            "and the gates see it.",
        )
        self._arrive("flipped", sample.flipped(pd.concat(spare)))
        refused = self._retrain("labels flipped")[-1]
        if refused.version is None:
            raise Fault("nothing was learned from the year with flipped labels")
        verdict = status.show(root, refused.version)["findings"]
        assert isinstance(verdict, Verdict)
        out.print(
            f"{_INDENT}The verdict on version {refused.version}. Each difference to the champion "
            "stands with its interval;"
        )
        out.print(
            f"{_INDENT}[dim]shows[/] is the smallest loss that so many rows show in four of five "
            "cases:"
        )
        out.print(render.verdict_grid(verdict))
        reason = "the new labels are right, I think"
        self._title(
            "A person decides otherwise",
            f'perdure promote {refused.version} --force --reason "{reason}"',
            "That is possible, and a mistake. From now on the bad version serves.",
        )
        render.promoted(promote.run(root, refused.version, True, reason), _INDENT)
        return verdict

    def _automatic_rollback(self, years: list[pd.DataFrame]) -> Arrival | None:
        self._title(
            "The next year takes it back",
            "perdure ingest && perdure retrain",
            "Before anything learns from it, the year measures the champion, and beside it those "
            "that might serve.",
        )
        number = FLIPPED_AFTER + 1
        self._arrive(f"year-{number}", years[number - 1])
        found = self._retrain(f"year {number}")
        moved = _moved(found, "rolled back")
        self._arrivals(years, number, FIRST + ARRIVING)
        return moved

    def _lasting_change(self, years: list[pd.DataFrame]) -> Arrival | None:
        import pandas as pd

        first = FIRST + ARRIVING + 1
        self._title(
            "The world changes for good",
            "perdure ingest && perdure retrain",
            f"From year {first} on, {TARGET} is 1 on the days without rain. Two years come in each "
            "file. The first file looks just like the faulty one.",
        )
        found: list[Learned] = []
        for place in range(0, len(years), 2):
            name = f"{first + place} and {first + place + 1}"
            self._arrive(
                f"years-{name.replace(' ', '-')}",
                sample.flipped(pd.concat(years[place : place + 2])),
            )
            found += self._retrain(f"years {name}, 1 is dry")
        before = [one.prequential["accuracy"] for one in found if one.prequential]
        out.print(
            f"{_INDENT}Accuracy of the champion on each of these files, before it was learned: "
            f"{', '.join(map(render.number, before))}."
        )
        out.print(f"{_INDENT}It learns the new meaning, although its memory still has the old one.")
        return _moved(found, "promoted")

    def _arrive(self, name: str, rows: pd.DataFrame) -> None:
        from perdure.flows import ingest

        rows.to_csv(self.root / "inbox" / f"{name}.csv", index=False)
        for one in ingest.run(str(self.root), []).files:
            render.file_line(one, _INDENT)

    def _retrain(self, what: str) -> tuple[Learned, ...]:
        from perdure.flows import retrain

        found = retrain.run(str(self.root)).learned
        for one in found:
            self.learned.append((what, one))
            self._print(one)
        return found

    def _print(self, one: Learned) -> None:
        indent = _INDENT * 2
        if one.version is not None:
            words = [f"version {one.version}: {render.verdict_word(one)}"]
            if one.prequential:
                before = render.number(one.prequential["accuracy"])
                words.append(f"accuracy of the champion on it, before it was learned, {before}")
            if one.average:
                after = render.number(one.average["accuracy"])
                words.append(f"average over all experiences, after it, {after}")
            out.print(f"{indent}{'; '.join(words)}")
        render.learned(one, indent)
        if one.verdict == "postponed" and one.arrival is not None:
            out.print(render.arrival_grid(one.arrival))
            out.print(arrival_table.CAPTION, style="dim", soft_wrap=False)

    def _roll_back_and_go_on(self) -> None:
        from perdure.flows import release, rollback, status

        root = str(self.root)
        champion = status.status(root)["champion"]["version"]
        target = status.show(root, status.show(root, champion)["parent"])["parent"]
        older = status.show(root, target)
        self._title(
            "A rollback by hand, by two versions",
            f'perdure rollback --to {target} --reason "complaints"',
            "Users complain. Weights, memory and place in the data go back together.",
        )
        result = rollback.run(root, target, "complaints", False)
        render.rolled_back(result, _INDENT)
        now = status.status(root)["champion"]
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
            release.release(root, [experience], "the complaints were about something else")
            self._retrain(f"{names[experience]}, again")

    def _compare(self, years: list[pd.DataFrame]) -> Compared:
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
            found = Compared(
                perdure=comparison.by_year(ws, folder / packaging.LEARNER, years),
                naive=comparison.by_year(ws, naive.learner, years),
                scratch=comparison.by_year(ws, from_scratch, years),
                picture=str(picture),
                naive_steps=naive.steps,
            )
        found.show(_INDENT)
        return found


def _moved(found: Sequence[Learned], action: str) -> Arrival | None:
    """What an experience showed that moved the model; None: none did."""
    arrivals = (one.arrival for one in found)
    return next((one for one in arrivals if one is not None and one.action == action), None)
