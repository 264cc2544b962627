"""A change of several writes: written down first, then carried out, then checked.

The intent holds everything that the change will write, times included. So a process that finishes
an intent that was cut short writes what the first one would have written, and what is
written already stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from perdure.errors import Corrupt, Fault, LockHeld
from perdure.records import Change, Held, Verdict, Version
from perdure.tasks.registry import codec, pages, quick
from perdure.tasks.registry.client import Client, Missing
from perdure.tasks.registry.history import History
from perdure.tasks.registry.versions import Versions, as_version


@dataclass(frozen=True)
class Intent:
    """A change, with what it found when it began."""

    change: Change
    at: str
    """UTC; the time that aliases stand where they do since."""
    before: Mapping[str, int | None]
    """The aliases as they were."""
    first: int
    """Number of events in the history before."""


class Changes:
    """Carries changes out on one registered model."""

    def __init__(self, client: Client, versions: Versions, history: History) -> None:
        self.client = client
        self.versions = versions
        self.history = history
        self.name = versions.name

    def apply(self, change: Change) -> None:
        """See `Registry.apply`."""
        tags, aliases = self.model()
        if codec.INTENT in tags:
            self._recover(tags, aliases)
            tags, aliases = self.model()
        if not tags:
            self.versions.ensure_model()
            tags, aliases = self.model()
        if tags.get(codec.LAST_CHANGE) == change.key or (
            change.events and self.history.known(change.key)
        ):
            return
        check_expected(change, aliases)
        known = change.expects_tournament
        if known is not None and codec.tournament_in(tags).digest() != known:
            raise LockHeld(
                f"another process wrote evidence to the model {self.name} meanwhile; nothing was "
                "changed",
                hint="perdure status, then try again",
            )
        targets = {*change.replaced, *change.verdicts, *change.aliases.values()} - {None}
        for number in sorted(int(target) for target in targets if target is not None):
            self.versions.get(number)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        # Of an alias that was moved in MLflow the record says where it stood before.
        before = {**aliases, **(codec.recorded(tags) or {})}
        intent = Intent(
            change=change,
            at=change.events[0].at if change.events else now,
            before={alias: before.get(alias) for alias in change.aliases},
            first=self.history.count(tags),
        )
        text = codec.dumps(intent)
        for tag, value in codec.split(codec.INTENT, text).items():
            self.client.call("set_registered_model_tag", self.name, tag, value)
        # MLflow has no compare-and-swap. Two machines that begin in the same instant are
        # separated here: the later writer's intent stands, and the other one gives way.
        tags, aliases = self.model()
        if codec.join(codec.INTENT, tags) != text:
            raise LockHeld(
                f"another process began to change the model {self.name} at the same time",
                hint="perdure status, then try again",
            )
        self._carry_out(intent, tags, fresh=True)

    def recover(self) -> Change | None:
        """See `Registry.recover`."""
        return self._recover(*self.model())

    def _recover(self, tags: Mapping[str, str], aliases: Mapping[str, int]) -> Change | None:
        """Finish the intent that stands in the tags of the model, if there is one."""
        text = codec.join(codec.INTENT, tags)
        if text is None:
            return None
        try:
            value = json.loads(text)
            intent = Intent(
                change=codec.change(value["change"]),
                at=value["at"],
                before=value["before"],
                first=value["first"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(
                f"the intent of the model {self.name} is unreadable: {error}",
                hint=f"look at the tag {codec.INTENT} on MLflow's page of the model",
            ) from error
        # A person who moved an alias in MLflow meanwhile has decided; the rest is finished.
        ends = {a: {target, intent.before.get(a)} for a, target in intent.change.aliases.items()}
        kept = {a: t for a, t in intent.change.aliases.items() if aliases.get(a) in ends[a]}
        intent = replace(intent, change=replace(intent.change, aliases=kept))
        self._carry_out(intent, tags, fresh=False)
        return intent.change

    def judge(self, number: int, verdict: Verdict) -> Version:
        """See `Registry.judge`."""
        row = self.versions.row(number)
        version = as_version(row)
        tags = codec.verdict_tags(verdict)
        description = pages.version_description(
            version.experience,
            version.strategy,
            len(version.cursor),
            version.parent,
            verdict,
            pages.part_before(row.description),
        )
        missing = {tag: value for tag, value in tags.items() if row.tags.get(tag) != value}
        for tag, value in missing.items():
            # The run first: what the version has, its run has, even if this is killed in between.
            if version.run_id:
                self.client.call("set_tag", version.run_id, tag, value)
            self.client.call("set_model_version_tag", self.name, str(number), tag, value)
        if row.description != description:
            self.client.call("update_model_version", self.name, str(number), description)
        elif not missing:  # it was registered with this verdict
            return version
        return self.versions.get(number)

    def model(self) -> tuple[dict[str, str], dict[str, int]]:
        """Tags and aliases of the registered model; both empty where there is none yet.

        From the SQLite file where that is known: MLflow's client reads all versions, too.
        """
        found = quick.model(self.client.database, self.name)
        if found is not None:
            return found
        try:
            model: Any = self.client.call("get_registered_model", self.name)
        except Missing:
            return {}, {}
        return dict(model.tags), {alias: int(n) for alias, n in model.aliases.items()}

    def _carry_out(self, intent: Intent, found: Mapping[str, str], *, fresh: bool) -> None:
        """Write everything that an intent says.

        Args:
            intent: As it stands in the registry.
            found: The model's tags, with the intent.
            fresh: It was written just now, so none of its events can be there.
        """
        change = intent.change
        for number, before in change.replaced.items():
            value = codec.NONE if before is None else str(before)
            tag = codec.PREFIX + "replaced"
            self.client.call("set_model_version_tag", self.name, str(number), tag, value)
        for number, verdict in change.verdicts.items():
            self.judge(number, verdict)
        for held in change.hold:
            for tag, value in codec.split(codec.HELD + held.id, codec.dumps(held)).items():
                self.client.call("set_registered_model_tag", self.name, tag, value)
        for experience in change.release:
            self._forget(codec.HELD + experience, found)
        if change.tournament is not None:
            text = codec.dumps(change.tournament)
            for tag, value in codec.split(codec.TOURNAMENT, text).items():
                self.client.call("set_registered_model_tag", self.name, tag, value)
        for alias, target in change.aliases.items():
            self._move(alias, target, intent)
        tags, aliases = self._check(change)
        self._record(change, tags, aliases)
        for index, event in enumerate(change.events):
            self.history.append(change.key, index, intent.first + index, event, fresh=fresh)
        if change.events:
            count = str(intent.first + len(change.events))
            self.client.call("set_registered_model_tag", self.name, codec.EVENTS, count)
        self.client.call("set_registered_model_tag", self.name, codec.LAST_CHANGE, change.key)
        self._forget(codec.INTENT, found)

    def _record(self, change: Change, tags: Mapping[str, str], aliases: Mapping[str, int]) -> None:
        """Note where champion and challenger stand, to recognise a later move in MLflow."""
        now = {alias: aliases.get(alias) for alias in codec.LINE}
        known = {**now, **(codec.recorded(tags) or {}), **change.recorded}
        known |= {alias: to for alias, to in change.aliases.items() if alias in codec.LINE}
        if (text := codec.dumps(known)) != tags.get(codec.RECORDED):
            self.client.call("set_registered_model_tag", self.name, codec.RECORDED, text)

    def _move(self, alias: str, target: int | None, intent: Intent) -> None:
        if target is None:
            self.client.call("delete_registered_model_alias", self.name, alias)
            if alias in codec.LINE:
                self.client.call("delete_registered_model_tag", self.name, codec.since(alias))
            return
        self.client.call("set_registered_model_alias", self.name, alias, str(target))
        if alias in codec.LINE and intent.before.get(alias) != target:
            tag = codec.since(alias)
            self.client.call("set_registered_model_tag", self.name, tag, intent.at)

    def _forget(self, name: str, tags: Mapping[str, str]) -> None:
        """Delete a tag with all its parts, the head first: without it the rest means nothing."""
        for tag in list(codec.names(name, tags)):
            self.client.call("delete_registered_model_tag", self.name, tag)

    def _check(self, change: Change) -> tuple[dict[str, str], dict[str, int]]:
        """Read back what was written; returns the tags and aliases that were found."""
        tags, aliases = self.model()
        faults = [
            f"alias {alias} is on {_v(aliases.get(alias))}, not {_v(target)}"
            for alias, target in change.aliases.items()
            if aliases.get(alias) != target
        ]
        held: dict[str, Held] = codec.held(tags)
        faults += [f"{h.id} is not held" for h in change.hold if held.get(h.id) != h]
        faults += [f"{name} is still held" for name in change.release if name in held]
        if change.tournament is not None and codec.tournament_in(tags) != change.tournament:
            faults.append("the tournament is not what was written")
        for number in sorted({*change.replaced, *change.verdicts}):
            version = self.versions.get(number)
            if number in change.replaced and version.replaced != change.replaced[number]:
                faults.append(f"v{number} does not say what it replaced")
            verdict = change.verdicts.get(number)
            if verdict is not None and (
                version.verdict != verdict.answer or version.reasons != verdict.refusals
            ):
                faults.append(f"v{number} does not have its verdict")
        if faults:
            raise Fault(
                f"MLflow does not say what was written to the model {self.name}: "
                f"{'; '.join(faults)}",
                hint="another program may write to it; perdure status finishes the change",
            )
        return tags, aliases


def check_expected(change: Change, aliases: Mapping[str, int]) -> None:
    """Refuse a change that was decided on aliases which have moved since.

    Raises:
        LockHeld: Naming each alias.
    """
    moved = [
        f"{alias} is now {_v(aliases.get(alias))}, not {_v(expected)}"
        for alias, expected in change.expects.items()
        if aliases.get(alias) != expected
    ]
    if moved:
        raise LockHeld(
            f"another process changed the model meanwhile: {'; '.join(moved)}; nothing was changed",
            hint="perdure status, then try again",
        )


def _v(number: int | None) -> str:
    return "nothing" if number is None else f"v{number}"
