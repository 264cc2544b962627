"""The registry: MLflow's model registry and runs, and the only importer of MLflow's client.

```
registered model   its name is `model.name`
  aliases          champion, challenger; contender, contender-2, anchor
  tags perdure.…   held.<experience>, champion_since, challenger_since, events (their number),
                   intent (a change under way), last_change, aliases (where the last change left
                   champion and challenger), tournament (entrants and their evidence)
  versions         one learner each; tags perdure.…: learning_key, parent, experience, verdict,
                   reasons, weights_sha256, state_sha256, cursor, data_git, data_dvc, code,
                   strategy, score, replaced; removed, while it is being removed
experiment <model>          one run per learning step; of a removed version with removed, version
experiment <model>/history  one run per event
```
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure.config import Workspace
from perdure.errors import Corrupt, Fault
from perdure.records import (
    Change,
    Evaluation,
    Event,
    LearningRun,
    Lineage,
    Registered,
    Trained,
    Verdict,
    Version,
)
from perdure.records.removal import Removal
from perdure.tasks.registry import codec, quick
from perdure.tasks.registry.client import Client, Missing, tracking_uri

if TYPE_CHECKING:
    from perdure.tasks.registry.changes import Changes
    from perdure.tasks.registry.history import History
    from perdure.tasks.registry.removal import Remover
    from perdure.tasks.registry.versions import Versions

__all__ = ["Registry"]


class Registry:
    """The registry of one workspace. It connects when it is first asked something.

    Every method may raise `Unreachable`: MLflow does not answer.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.name = workspace.config.model.name
        self.client = Client(tracking_uri(workspace))

    def read(self) -> Registered:
        """What the registry says now: the aliases with their versions, and what is held.

        Raises:
            Corrupt: An alias is on a version that Perdure did not write.
            Fault: This registry is an unfinished copy of another one.
        """
        snapshot = self._snapshot()
        if codec.COPYING in snapshot.tags:
            raise Fault(
                f"the model {self.name} here is an unfinished copy; nothing was read or changed",
                hint="set tracking.uri as it was, then perdure migrate once more",
            )
        ours = {alias: n for alias, n in snapshot.aliases.items() if alias in codec.ALIASES}
        found = {
            number: codec.version(row.version, row.run_id, row.created, row.tags)
            for number, row in snapshot.versions.items()
            if number in ours.values()
        }
        champion, challenger = (found.get(ours.get(alias, 0)) for alias in codec.LINE)
        state = codec.tournament_in(snapshot.tags)
        return Registered(
            champion=champion,
            challenger=challenger,
            champion_since=snapshot.tags.get(codec.since("champion")),
            challenger_since=snapshot.tags.get(codec.since("challenger")),
            held=codec.held(snapshot.tags),
            tournament=state,
            entrants={e.version: found[e.version] for e in state.entrants if e.version in found},
            aliases=ours,
            recorded=codec.recorded(snapshot.tags),
            changing=codec.INTENT in snapshot.tags,
        )

    def version(self, number: int) -> Version:
        """One version.

        Raises:
            UsageError: There is no such version.
            Corrupt: Perdure did not write it.
        """
        return self._versions.get(number)

    def versions(self) -> tuple[Version, ...]:
        """All versions that Perdure wrote, oldest first."""
        return self._versions.all()

    def find(self, learning_key: str) -> Version | None:
        """The version with this learning key; None: there is none."""
        return self._versions.find(learning_key)

    def register(
        self,
        folder: Path,
        lineage: Lineage,
        evaluation: Evaluation,
        trained: Trained,
        verdict: Verdict | None = None,
        figures: Mapping[str, Path] | None = None,
        profile: Path | None = None,
    ) -> Version:
        """Register a version folder under its learning key, once.

        Called again with the same key it returns the version that there is. Killed at any
        moment and called again, it registers the version once; a run left over is marked
        killed.

        Args:
            folder: A version folder, complete with its manifest.
            lineage: What it was learned from; its learning key is the version's identity.
            evaluation: The numbers that the gates saw.
            trained: What the training did.
            verdict: What the gates decided; None: not judged yet (`judge`, or a `Change`).
            figures: PNG files by what they show; logged under their file names, in `figures`.
            profile: A folder with a profile of the training; its files are logged in `profile`.

        Raises:
            Corrupt: The folder is not what its manifest says.
        """
        return self._versions.register(
            folder, lineage, evaluation, trained, verdict, figures or {}, profile
        )

    def download(self, version: Version) -> Path:
        """The version folder on this machine, checked; where it lies here already, no copy.

        It must not be changed.

        Raises:
            Corrupt: A file is missing or changed.
        """
        return self._versions.folder(version)

    def check(self, version: Version) -> None:
        """Compare what MLflow keeps around a version folder, `MLmodel` among it, with the registry.

        `download` does so where the artifacts lie on this machine, and when it fetches them.

        Raises:
            Corrupt: It is not what was registered: MLflow could run other code than Perdure's.
        """
        self._versions.check(version)

    def run(self, version: Version) -> LearningRun:
        """On what, and with which settings, a version was learned; empty where its run is gone."""
        return self._versions.run(version)

    def as_now(self, version: Version, place: Path) -> Path:
        """The version folder as MLflow has it now, unchecked; never one that was kept.

        Args:
            version: Which.
            place: An empty folder to fetch it into, unless it lies on this machine.

        Raises:
            Corrupt: There is none, or more than one.
        """
        return self._versions.as_now(version, place)

    def check_files(self, folder: Path, version: Version) -> None:
        """Compare every file of a version folder with its manifest, and that with the registry.

        Raises:
            Corrupt: It is not what was registered.
        """
        from perdure.tasks.registry import whole

        whole.check(folder, version)

    def check_learner(self, folder: Path, version: Version) -> None:
        """Compare the weights, the rest and the cursor of a version folder's learner with the tags.

        Raises:
            Corrupt: They are others than were registered, or cannot be read.
        """
        from perdure.tasks.registry import whole

        whole.check_learner(folder / "learner", version)

    def keep(self, folder: Path, version: Version) -> None:
        """Keep the folder of a version on this machine, as if it had been downloaded.

        Args:
            folder: The version folder, in `.perdure/`; moved, unless MLflow's artifacts lie on
                this machine.
            version: What it was registered as.
        """
        self._versions.keep(folder, version)

    def evaluation(self, version: Version) -> dict[str, Any]:
        """The numbers that the gates saw: `records.Evaluation` as JSON.

        Raises:
            Corrupt: The file is missing or changed.
        """
        return self._versions.evaluation(version)

    def verdict(self, number: int) -> Verdict | None:
        """The verdict of a version with every number; None: not judged, or by an older Perdure.

        Raises:
            UsageError: There is no such version.
        """
        return codec.whole_verdict(self._versions.row(number).tags)

    def judge(self, number: int, verdict: Verdict) -> Version:
        """Write a verdict on a version that has none yet.

        Raises:
            UsageError: There is no such version.
        """
        return self._changes.judge(number, verdict)

    def apply(self, change: Change) -> None:
        """Carry a change out: aliases, verdicts, what is held, and the history.

        An intent that was cut short is finished first. A change with a known key is not
        carried out again. Killed at any moment, `recover` finishes it.

        Raises:
            LockHeld: An alias is not where the change expects it; nothing was changed.
            UsageError: It names a version that does not exist.
            Fault: MLflow does not say what was written.
        """
        self._changes.apply(change)

    def recover(self) -> Change | None:
        """Finish a change that was cut short; None: there was none."""
        if codec.INTENT not in self._snapshot().tags:
            return None
        return self._changes.recover()

    def last_change(self) -> str | None:
        """The key of the change that was carried out last; None: there was none."""
        return self._snapshot().tags.get(codec.LAST_CHANGE)

    def history(self) -> tuple[Event, ...]:
        """All events, oldest first."""
        return self._history.events()

    def since(self, at: str) -> tuple[Event, ...]:
        """The events from a time on (UTC, ISO 8601), in no order; what was before is not read."""
        return tuple(self._history.since(at))

    def parents(self) -> dict[int, int | None]:
        """The parent of each version, of those that were removed, too."""
        return self._versions.parents()

    def aliases(self) -> dict[str, int]:
        """All aliases as MLflow has them now, those of others, too."""
        return self._changes.model()[1]

    def size(self, number: int) -> int:
        """How many bytes MLflow keeps of a version, with the files of its run.

        Raises:
            Fault: The store of the artifacts refuses to say.
        """
        return self._remover.size(number)

    def elsewhere(self, version: Version) -> str | None:
        """Which other registered model has a version with the same files; None: none has."""
        return self._remover.elsewhere(version.run_id)

    def removing(self) -> tuple[Version, ...]:
        """The versions whose removal was cut short: `remove` finishes it."""
        return self._remover.marked()

    def remove(self, reasons: Mapping[int, str], command: str, by: str) -> Removal:
        """Remove versions with all their files; what they were stays in the history.

        Killed at any moment and called again, it goes on from there. A version that has an alias
        stays, also one that gets it while this runs. The caller holds the model's lock.

        Args:
            reasons: Why each version is removed, by its number.
            command: Which command removes them, for the history and for later messages.
            by: Who acts.
        """
        return self._remover.remove(reasons, command, by)

    def remove_leftovers(self, learned: Set[str]) -> None:
        """Remove the files of learning steps that were killed before there was a version.

        The caller holds the model's lock.

        Args:
            learned: Only of steps that learned from one of these experiences.
        """
        self._remover.remove_leftovers(learned)

    def _snapshot(self) -> quick.Snapshot:
        snapshot = quick.snapshot(self.client.database, self.name)
        return snapshot if snapshot is not None else self._asked()

    def _asked(self) -> quick.Snapshot:
        """Read the snapshot with MLflow's client."""
        try:
            model = self.client.call("get_registered_model", self.name)
        except Missing:
            return quick.Snapshot()
        aliases = {alias: int(n) for alias, n in model.aliases.items() if alias in codec.ALIASES}
        rows = {}
        for number in sorted(set(aliases.values())):
            try:
                raw = self.client.call("get_model_version", self.name, str(number))
            except Missing as error:
                raise Corrupt(
                    f"an alias of the model {self.name} is on v{number}, which does not exist",
                    hint="perdure rollback --to VERSION",
                ) from error
            rows[number] = quick.Row(number, raw.run_id or "", raw.creation_timestamp, raw.tags)
        return quick.Snapshot(dict(model.tags), aliases, rows)

    # Below the line that `perdure status` never crosses: these modules take longer to import.

    @cached_property
    def _versions(self) -> Versions:
        from perdure.tasks.registry import moved
        from perdure.tasks.registry.experiments import Experiments
        from perdure.tasks.registry.versions import Versions

        moved.adopt(self.workspace)
        return Versions(self.workspace, self.client, Experiments(self.workspace, self.client))

    @cached_property
    def _history(self) -> History:
        from perdure.tasks.registry.history import History

        return History(self.client, self._versions.experiments)

    @cached_property
    def _changes(self) -> Changes:
        from perdure.tasks.registry.changes import Changes

        return Changes(self.client, self._versions, self._history)

    @cached_property
    def _remover(self) -> Remover:
        from perdure.tasks.registry.removal import Remover

        return Remover(self._versions, self._changes)
