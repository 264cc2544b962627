"""One migration: what is looked at before, the copy, and what is compared after."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from perdure import config
from perdure.config import Workspace
from perdure.errors import Corrupt, Fault, UsageError
from perdure.records import Version
from perdure.secrets import without_secrets
from perdure.tasks.registry import Registry, artifacts, codec, removed
from perdure.tasks.registry.client import Missing, sqlite_path
from perdure.tasks.registry.migrating.ends import COPY_OF, End
from perdure.tasks.registry.migrating.models import ModelCopies
from perdure.tasks.registry.migrating.runs import RunCopies
from perdure.tasks.registry.migrating.versions import VersionCopies

_MARKS = {codec.COPYING, codec.COPIED}


@dataclass(frozen=True)
class Plan:
    """What is to be copied."""

    source: str
    """Address, without a password; the same of `target`."""
    target: str
    versions: tuple[int, ...]
    size: int
    """Bytes of the versions' files, with those of their runs."""
    runs: int
    """Of learning steps, those of removed versions too, and that of the model's life."""
    events: int
    goes_on: bool
    """Whether an earlier call was killed: this one goes on with its copy."""
    own_file: bool
    """Whether the target is the file in the workspace, which needs no setting."""


class Migration:
    """A migration of one model's registry.

    Args:
        workspace: Whose registry is copied; nothing in it is changed.
        uri: The tracking URI of the other MLflow, as `tracking.uri` has it.

    Raises:
        UsageError: This is no address of another MLflow.
    """

    def __init__(self, workspace: Workspace, uri: str) -> None:
        if "://" not in uri:
            raise UsageError(
                f"{without_secrets(uri)} is no address of MLflow",
                hint="such as http://mlflow.example.org:5000 or sqlite:////srv/mlflow/weather.db",
            )
        tracking = workspace.config.tracking.model_copy(update={"uri": uri})
        there = workspace.config.model_copy(update={"tracking": tracking})
        self.source = End(workspace)
        self.target = End(config.Workspace(workspace.root, there))
        self.name = workspace.config.model.name
        if self.source.client.uri.rstrip("/") == self.target.client.uri.rstrip("/"):
            raise UsageError(
                f"{without_secrets(uri)} is where the registry of {self.name} is; nothing was "
                "changed",
                hint="perdure status",
            )

    def plan(self) -> Plan:
        """Look at both sides, and change nothing.

        Raises:
            UsageError: There is nothing to copy; or the target has a model, or experiments, of
                that name.
            Fault: A change of the model or a removal of a version was cut short, or a version was
                registered by something else.
        """
        self._check_source()
        goes_on = self._look_at_target()
        registry = Registry(self.source.workspace)
        numbers = sorted(self._versions)
        return Plan(
            source=without_secrets(self.source.client.uri),
            target=without_secrets(self.target.client.uri),
            versions=tuple(numbers),
            size=sum(registry.size(number) for number in numbers),
            runs=sum(1 for _ in self.source.runs(self._learning)),
            events=len(registry.history()),
            goes_on=goes_on,
            own_file=sqlite_path(self.target.client.uri)
            == self.source.workspace.state / "mlflow.db",
        )

    def copy(self, by: str) -> None:
        """Copy everything, compare it, and take the mark off. Needs the model's lock.

        Killed anywhere and called again, it goes on from there.

        Args:
            by: Who acts.

        Raises:
            Corrupt: A version's files are not those that were registered, or a copy differs.
        """
        mark = self._begin(by)
        source, target = self.source, self.target
        learning = target.experiments.ensure(target.experiments.learning)
        runs, models = RunCopies(source, target), ModelCopies(source, target)
        runs.begin(self._learning, learning)
        if (history := source.experiments.find(source.experiments.history)) is not None:
            runs.begin(history, target.experiments.ensure(target.experiments.history))
        ours = {str(artifacts.model_of(raw)): self._ours(raw) for raw in self._versions.values()}
        models.copy(self._learning, learning, runs.ids, ours)
        runs.finish(models.ids, models.points)
        copies = VersionCopies(target, learning)
        highest = self._highest()
        copies.copy(self._versions, highest, int(mark.get("numbered", 0)), runs.ids, models.ids)
        self._mark({**mark, "numbered": highest})
        copies.remove_placeholders()
        self._model()
        if faults := list(self._faults()):
            raise Corrupt(
                f"the copy is not the same: {'; '.join(faults[:5])}",
                hint="the same command again; the source is as it was",
            )
        done = {name: mark[name] for name in ("source", "from", "at", "by")}
        target.client.call("set_registered_model_tag", self.name, codec.COPIED, codec.dumps(done))
        target.client.call("delete_registered_model_tag", self.name, codec.COPYING)

    @cached_property
    def _learning(self) -> str:
        found = self.source.experiments.find(self.source.experiments.learning)
        if found is None:
            raise UsageError(
                f"nothing is registered of the model {self.name} yet: there is nothing to migrate",
                hint="set tracking.uri in perdure.toml, then perdure retrain",
            )
        return found

    @cached_property
    def _identity(self) -> str:
        """Which registry this is, wherever it lies: MLflow's ids and times of its experiments."""
        found = []
        for name in (self.source.experiments.learning, self.source.experiments.history):
            one = self.source.client.call("get_experiment_by_name", name)
            found.append("" if one is None else f"{one.experiment_id} {one.creation_time}")
        return hashlib.sha256("\n".join([self.name, *found]).encode()).hexdigest()[:32]

    @cached_property
    def _versions(self) -> dict[int, Any]:
        return {int(one.version): one for one in self.source.versions()}

    def _ours(self, raw: Any) -> Version:
        return codec.version(int(raw.version), raw.run_id, raw.creation_timestamp, raw.tags)

    def _check_source(self) -> None:
        self._learning  # noqa: B018 (it raises)
        tags, _ = self._state(self.source)
        if codec.INTENT in tags:
            raise Fault(
                f"a change of the model {self.name} was cut short; nothing was copied",
                hint="perdure retrain finishes it",
            )
        if codec.COPYING in tags:
            raise Fault(
                f"the model {self.name} is itself an unfinished copy; nothing was copied",
                hint="perdure migrate of the workspace that it is a copy of",
            )
        for number, raw in sorted(self._versions.items()):
            if codec.REMOVED in raw.tags:
                raise Fault(
                    f"the removal of version {number} was cut short; nothing was copied",
                    hint="perdure prune --yes finishes it",
                )
            if codec.KEY not in raw.tags or artifacts.model_of(raw) is None:
                raise Fault(
                    f"version {number} of the model {self.name} was registered by something else; "
                    "nothing was copied",
                    hint=f"delete version {number} in MLflow, or move the model by hand",
                )

    def _look_at_target(self) -> bool:
        """Whether there is the unfinished copy of an earlier call.

        Raises:
            UsageError: There is something else of that name.
        """
        path = sqlite_path(self.target.client.uri)
        if path is not None and not path.exists():
            return False
        where = without_secrets(self.target.client.uri)
        try:
            tags = self.target.client.call("get_registered_model", self.name).tags
        except Missing:
            for name in (self.target.experiments.learning, self.target.experiments.history):
                found = self.target.client.call("get_experiment_by_name", name)
                if found is not None and next(self.target.runs(found.experiment_id), None):
                    raise UsageError(
                        f"{where} has an experiment {name} already, with runs; nothing was copied",
                        hint="choose another server, or delete or rename it there",
                    ) from None
            return False
        mark = json.loads(tags.get(codec.COPYING, "{}"))
        if mark.get("source") == self._identity:
            return True
        done = json.loads(tags.get(codec.COPIED, "{}"))
        if not mark and done.get("source") == self._identity:
            raise UsageError(
                f"{where} has the whole copy of the model {self.name} already, of {done['at']}",
                hint="set tracking.uri in perdure.toml, or delete the model there to copy again",
            )
        raise UsageError(
            f"{where} has a model {self.name} already; nothing was copied",
            hint="choose another server, or delete or rename the model there",
        )

    def _begin(self, by: str) -> dict[str, Any]:
        """Make the registered model with its mark, before anything else; the mark."""
        if self._look_at_target():
            tags, _ = self._state(self.target)
            return dict(json.loads(tags[codec.COPYING]))
        mark = {
            "source": self._identity,
            "from": without_secrets(self.source.client.uri),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "by": by,
        }
        self.target.client.call(
            "create_registered_model", self.name, tags={codec.COPYING: codec.dumps(mark)}
        )
        return mark

    def _mark(self, mark: dict[str, Any]) -> None:
        text = codec.dumps(mark)
        self.target.client.call("set_registered_model_tag", self.name, codec.COPYING, text)

    def _highest(self) -> int:
        """The highest number of a version that there ever was."""
        gone = removed.parents(self.source.client, self.source.experiments)
        named = {
            number
            for event in Registry(self.source.workspace).history()
            for number in (event.version, event.replaced)
            if number is not None
        }
        return max({0, *self._versions, *gone, *named})

    def _model(self) -> None:
        """Description, tags and aliases of the registered model; the aliases last."""
        call = self.target.client.call
        before = self.source.client.call("get_registered_model", self.name)
        now = self.target.client.call("get_registered_model", self.name)
        if (now.description or "") != (before.description or ""):
            call("update_registered_model", self.name, before.description or "")
        for name, value in before.tags.items():
            if name not in _MARKS and now.tags.get(name) != value:
                call("set_registered_model_tag", self.name, name, value)
        for name in now.tags.keys() - before.tags.keys() - _MARKS:
            call("delete_registered_model_tag", self.name, name)
        for alias in now.aliases.keys() - before.aliases.keys():
            call("delete_registered_model_alias", self.name, alias)
        for alias, number in before.aliases.items():
            if str(now.aliases.get(alias)) != str(number):
                call("set_registered_model_alias", self.name, alias, str(number))

    def _state(self, end: End) -> tuple[dict[str, str], dict[str, int]]:
        try:
            model = end.client.call("get_registered_model", self.name)
        except Missing:
            return {}, {}
        return dict(model.tags), {alias: int(n) for alias, n in model.aliases.items()}

    def _faults(self) -> Iterator[str]:
        """What the two registries say differently."""
        (tags, aliases), (copied, others) = self._state(self.source), self._state(self.target)
        if _without_marks(tags) != _without_marks(copied):
            yield "the tags of the model"
        if aliases != others:
            yield f"the aliases are {others}, not {aliases}"
        here, there = Registry(self.source.workspace), Registry(self.target.workspace)
        one, other = (
            {v.version: replace(v, run_id="") for v in registry.versions()}
            for registry in (here, there)
        )
        for number in sorted({*one, *other}):
            if one.get(number) != other.get(number):
                yield f"version {number}"
        if here.history() != there.history():
            yield "the history"
        originals = {raw.run_id for raw in self._versions.values()}
        runs = {
            run.info.run_id: run.data.tags.get(COPY_OF)
            for run in self.target.runs(
                str(self.target.experiments.find(self.target.experiments.learning))
            )
        }
        for raw in self.target.versions():
            if raw.run_id and runs.get(raw.run_id) not in originals:
                yield f"the run of version {raw.version}"


def _without_marks(tags: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if name not in _MARKS}
