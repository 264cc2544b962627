"""The registry: MLflow's model registry and runs, and the only importer of MLflow's client.

```
registered model   its name is `model.name`
  aliases          champion, challenger; contender, contender-2, anchor
  tags perdure.…   held.<experience>, champion_since, challenger_since, events (their number),
                   intent (a change under way), last_change, aliases (where the last change left
                   champion and challenger), tournament (entrants and their evidence)
  versions         one learner each; tags perdure.…: learning_key, parent, experience, verdict,
                   reasons, weights_sha256, state_sha256, cursor, data_git, data_dvc, code,
                   strategy, replaced
experiment <model>          one run per learning step
experiment <model>/history  one run per event
```
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure.config import Workspace
from perdure.errors import Corrupt
from perdure.records import (
    Change,
    DataRevision,
    Evaluation,
    Event,
    Registered,
    Trained,
    Verdict,
    Version,
)
from perdure.tasks.registry import codec, quick
from perdure.tasks.registry.client import Client, Missing, sqlite_path, tracking_uri

if TYPE_CHECKING:
    from perdure.tasks.registry.changes import Changes
    from perdure.tasks.registry.history import History
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
        """
        snapshot = self._snapshot()
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
        *,
        learning_key: str,
        parent: int | None,
        experience: str,
        weights_sha256: str,
        state_sha256: str,
        cursor: tuple[str, ...],
        data: DataRevision,
        code: str | None,
        strategy: tuple[str, ...],
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
            learning_key: The identity of the learning step.
            parent: The version that it went on from.
            experience: The experience learned.
            weights_sha256: Digest of the weights.
            state_sha256: Digest of the rest of the learner.
            cursor: The experiences learned, in order.
            data: The state of the data.
            code: The workspace's git revision.
            strategy: Names of the strategies.
            evaluation: The numbers that the gates saw.
            trained: What the training did.
            verdict: What the gates said; None: not judged yet (`judge`, or a `Change`).
            figures: PNG files by what they show; logged under their file names, in `figures`.
            profile: A folder with a profile of the training; its files are logged in `profile`.

        Raises:
            Corrupt: The folder is not what its manifest says.
        """
        return self._versions.register(
            folder,
            learning_key=learning_key,
            parent=parent,
            experience=experience,
            weights_sha256=weights_sha256,
            state_sha256=state_sha256,
            cursor=cursor,
            data=data,
            code=code,
            strategy=strategy,
            verdict=verdict,
            evaluation=evaluation,
            trained=trained,
            figures=figures or {},
            profile=profile,
        )

    def download(self, version: Version) -> Path:
        """The version folder on this machine, checked; where it lies here already, no copy.

        Nobody may change it.

        Raises:
            Corrupt: A file is missing or changed.
        """
        return self._versions.folder(version)

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
        return codec.whole_verdict(self._versions.raw(number).tags)

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

    def _snapshot(self) -> quick.Snapshot:
        path = sqlite_path(self.client.uri)
        snapshot = quick.snapshot(path, self.name) if path is not None else None
        return snapshot if snapshot is not None else self._asked()

    def _asked(self) -> quick.Snapshot:
        """The same from MLflow's client."""
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
