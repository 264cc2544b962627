"""Learn a stream under a set of rules, with the real learner, gates, drift and tournament.

Everything is what a workspace does, but for files, DVC and MLflow: the registry is a dictionary to
which the changes of `flows/decisions/` are applied.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from perdure.config import DriftConfig, GatesConfig, Workspace, parse
from perdure.config.gates import MARGINS
from perdure.flows import arrival, decisions, measuring, tournament
from perdure.records import (
    Change,
    DataRevision,
    Evaluation,
    Experience,
    Registered,
    Verdict,
    Version,
)
from perdure.tasks import drift, evaluation, gates, training
from perdure.tasks.tables import check, splitting
from perdure.tasks.tables import schema as schemas

if TYPE_CHECKING:
    import pandas as pd

    from perdure.strategies.features.columns import FeatureSpec

BY = "benchmark"
Rule = Literal["no gate", "margins", "shown", "tournament", "tournament and drift"]
RULES: dict[Rule, str] = {
    "no gate": "every version is promoted",
    "margins": "refused where it is worse than the margin, as it was measured (0.1.0)",
    "shown": "refused where it is shown to be worse than the margin",
    "tournament": "the same, and what was refused is tried on what comes; older ones may return",
    "tournament and drift": "the same, and a broken experience is held: the defaults",
}


@dataclass
class Trial:
    """What became of one stream."""

    before: dict[int, float] = field(default_factory=dict)
    """Accuracy of the champion on each experience, by its place, before anything learned it."""
    learned: frozenset[int] = frozenset()
    """Places that the last champion has learned."""
    served: dict[int, frozenset[int]] = field(default_factory=dict)
    """By place what the champion had learned that served when it arrived."""
    promoted: int = 0
    """Contenders that took the champion's place."""
    rolled_back: int = 0
    held: tuple[str, ...] = ()
    drifting: tuple[int, ...] = ()
    broken: tuple[int, ...] = ()

    def accuracy(self, without: Sequence[int] = ()) -> float:
        """Mean accuracy before learning, over the experiences but some."""
        return float(np.mean([v for place, v in self.before.items() if place not in without]))


class _Stream:
    """One stream, as it is learned."""

    def __init__(
        self,
        frames: Sequence[pd.DataFrame],
        target: str,
        rule: Rule,
        seed: int,
        root: Path,
        forced: int | None = None,
    ) -> None:
        self.rule, self.target, self.forced = rule, target, forced
        text = (
            f'[model]\nname = "m"\nparameters = {{ hidden = [128, 128] }}\n[data]\n'
            f'target = "{target}"\ntask = "classification"\n[training]\nseed = {seed}\n'
        )
        self.ws = Workspace(root, parse(text))
        if rule in ("no gate", "margins"):
            off = GatesConfig(floor=False, new_margin=False, past_margin=False)
            config = self.ws.config.model_copy(update={"gates": off})
            self.ws = Workspace(root, config)
        self.schema = schemas.infer(frames[0], target)
        self.now = Registered(None, None, None, None, {})
        self.versions: dict[int, Version] = {}
        self.labels: dict[int, tuple[Any, ...]] = {}
        self.rows: dict[int, pd.DataFrame] = {}
        self.numbers: dict[int, Evaluation] = {}
        self.frames = [check.check(frame, self.schema).accepted for frame in frames]
        self.trial = Trial()

    def learn(self) -> Trial:
        """Let the experiences arrive one by one."""
        for place in range(len(self.frames)):
            while waiting := self._pending(place):
                self._step(waiting[0])
        champion = self.now.champion
        assert champion is not None
        self.trial.learned = frozenset(map(_place, champion.cursor))
        self.trial.held = tuple(self.now.held)
        return self.trial

    def _pending(self, latest: int) -> list[int]:
        learned = self.now.challenger.cursor if self.now.challenger else ()
        names = [_name(place) for place in range(latest + 1)]
        return [_place(n) for n in names if n not in learned and n not in self.now.held]

    def _step(self, place: int) -> None:
        rows, champion = self._rows(place), self.now.champion
        experience = Experience(_name(place), place + 1, "", len(rows.frame), "", Path(str(place)))
        is_news = champion is not None and experience.number > self.now.tournament.measured
        if not is_news or self._arrives(experience, rows, place):
            self._train(experience, rows)

    def _arrives(self, experience: Experience, rows: measuring.Rows, place: int) -> bool:
        """Measure; whether the experience is to be learned now."""
        champion = self.now.champion
        assert champion is not None
        judged = self.rule.startswith("tournament")
        state = tournament.begin(self.now.tournament, self.now, going_back=judged)
        if not judged:
            state = replace(state, entrants=())
        known = {champion.version, *(one.version for one in state.entrants)}
        fresh = [n for n in sorted(known) if experience.id not in self.versions[n].cursor]
        spec = self._spec(fresh, rows.frame)
        measured = arrival.Measured(
            training.truth(spec, rows.frame),
            {n: self._outputs(n, spec, rows.frame) for n in fresh},
        )
        found = self._drift(rows) if self.rule == "tournament and drift" else None
        shown, change = arrival.weigh(
            self.ws.config, self.now, state, experience, measured, self.versions, found, None, BY
        )
        if found is not None and found.level == "drifting":
            self.trial.drifting += (place,)
        if shown.champion_value is not None:
            self.trial.before[place] = shown.champion_value
            self.trial.served[place] = frozenset(map(_place, champion.cursor))
        self.trial.promoted += shown.action == "promoted"
        self.trial.rolled_back += shown.action == "rolled back"
        if shown.action == "held":
            self.trial.broken += (place,)
        self._apply(change)
        return shown.action == "none"

    def _drift(self, rows: measuring.Rows) -> Any:
        champion = self.now.champion
        assert champion is not None
        spec = self.schema.feature_spec()
        return drift.measure(
            self.rows[champion.version],
            rows.frame,
            [(column.name, column.kind) for column in spec.columns],
            DriftConfig(),
            owner=evaluation.EXPERIENCE,
            target=(spec.target, spec.task),
        )

    def _train(self, experience: Experience, rows: measuring.Rows) -> None:
        parent, champion = self.now.challenger, self.now.champion
        number = len(self.versions) + 1
        spec = self._spec([parent.version] if parent else [], rows.frame)
        training.train(
            self.ws,
            spec,
            self._folder(parent.version) if parent else None,
            experience.id,
            rows.frame,
            rows.splits,
            self._folder(number),
        )
        test = rows.splits == "test"
        measured_on = evaluation.rows(
            self.rows[parent.version] if parent else None,
            rows.frame[test],
            rows.keys[test],
            experience.id,
            self.ws.config.evaluation.max_rows,
        )
        version = Version(
            version=number,
            learning_key=str(number),
            parent=parent.version if parent else None,
            experience=experience.id,
            weights_sha256="",
            state_sha256="",
            cursor=(*(parent.cursor if parent else ()), experience.id),
            data=DataRevision(None, None),
            code=None,
            strategy=("replay",),
            verdict=None,
            reasons=(),
            replaced=None,
            run_id="",
            created_at="",
        )
        self.versions[number], self.labels[number] = version, spec.labels
        self.rows[number] = measured_on
        numbers = measuring.numbers_of(
            self.ws,
            spec,
            measured_on,
            experience.id,
            self._outputs(number, spec, measured_on),
            self._outputs(champion.version, spec, measured_on) if champion else None,
            None,
            None,
        )
        forced = _place(experience.id) == self.forced
        self.forced = None if forced else self.forced  # once: learned again, it is judged
        verdict = Verdict("passed", ()) if forced else self._verdict(numbers)
        settings = self.ws.config.tournament
        change = (
            decisions.passed(self.now, version, verdict, True, BY, settings)
            if verdict.passed
            else decisions.refused(self.now, version, verdict, BY)
        )
        self._apply(change)

    def _verdict(self, numbers: Evaluation) -> Verdict:
        if self.rule == "no gate" or numbers.champion is None:
            return Verdict("passed", ())
        if self.rule != "margins":
            return gates.judge(numbers, self.ws.config.gates)
        metric = numbers.metric
        fine = numbers.candidate.average[metric] >= numbers.baseline[metric]
        for ours, theirs, margin in (
            (numbers.candidate.new, numbers.champion.new, MARGINS["new_margin"]),
            (numbers.candidate.past, numbers.champion.past, MARGINS["past_margin"]),
        ):
            if ours and theirs:
                fine &= ours[metric] >= theirs[metric] - margin
        return Verdict("passed" if fine else "refused", ())

    def _apply(self, change: Change) -> None:
        for number, before in change.replaced.items():
            self.versions[number] = dataclasses.replace(self.versions[number], replaced=before)
        held = {**self.now.held, **{one.id: one for one in change.hold}}
        for name in change.release:
            held.pop(name, None)
        aliases = {**self.now.aliases, **change.aliases}
        state = change.tournament or self.now.tournament
        self.now = Registered(
            champion=self.versions.get(aliases.get("champion") or 0),
            challenger=self.versions.get(aliases.get("challenger") or 0),
            champion_since=None,
            challenger_since=None,
            held=held,
            tournament=state,
            entrants={one.version: self.versions[one.version] for one in state.entrants},
            aliases={alias: number for alias, number in aliases.items() if number is not None},
        )

    def _rows(self, place: int) -> measuring.Rows:
        frame, data = self.frames[place], self.ws.config.data
        keys = splitting.keys(frame, self.schema.feature_spec().columns)
        sides = splitting.splits(keys, data.test, data.validation)
        return measuring.Rows(_name(place), frame, keys, sides)

    def _spec(self, versions: Sequence[int], frame: pd.DataFrame) -> FeatureSpec:
        known = dict.fromkeys(label for number in versions for label in self.labels[number])
        return training.grown(
            self.schema.feature_spec(), tuple(known), frame[self.target].to_numpy()
        )

    def _outputs(self, number: int, spec: FeatureSpec, frame: pd.DataFrame) -> Any:
        return training.outputs(self.ws, spec, self._folder(number), frame)

    def _folder(self, number: int) -> Path:
        return self.ws.root / str(number)


def learn(
    frames: Sequence[pd.DataFrame],
    target: str,
    rule: Rule,
    seed: int,
    forced: int | None = None,
) -> Trial:
    """Learn a stream, one experience after the other, with every default but the rule.

    Args:
        frames: The experiences, in order; at least two.
        target: The column to predict.
        rule: What lets a version through, and takes it back.
        seed: Of the learner.
        forced: The place of an experience whose version is promoted whatever the gates say.
    """
    with tempfile.TemporaryDirectory(prefix="perdure-bench-") as folder:
        return _Stream(frames, target, rule, seed, Path(folder), forced).learn()


def _name(place: int) -> str:
    return f"{place + 1:06d}-00000000"


def _place(name: str) -> int:
    return int(name[:6]) - 1
