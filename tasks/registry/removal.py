"""Removing versions: their files go, and what they were stays in the history.

For each version, in this order; killed anywhere, the next call goes on from there, by the mark:

1. look at the aliases: a version that has one stays
2. the mark, a tag of the version: from now on no command finds it. Then the same of its learning
   run, where it stays
3. look at the aliases again: one that a person set meanwhile wins, and the mark is taken off
4. the files, in MLflow's store and on this machine
5. the event of the history
6. the logged model and the version itself

The learning run stays, with parameters, metrics and tags: they are the figures of the history.
MLflow never gives a number twice.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Set
from contextlib import suppress
from typing import Any

from perdure.errors import Fault, Unreachable
from perdure.records import Change, Event, Version
from perdure.records.removal import Removal
from perdure.tasks.registry import artifacts, codec
from perdure.tasks.registry.changes import Changes
from perdure.tasks.registry.client import Missing
from perdure.tasks.registry.versions import Versions, as_version

PAGE = 1000


class Remover:
    """Removes versions of one registered model."""

    def __init__(self, versions: Versions, changes: Changes) -> None:
        self.versions = versions
        self.changes = changes
        self.client = versions.client
        self.name = versions.name

    def remove(self, reasons: Mapping[int, str], command: str, by: str) -> Removal:
        """See `Registry.remove`."""
        removed: dict[int, int] = {}
        kept: dict[int, str] = {}
        left: dict[int, str] = {}
        for number, reason in reasons.items():
            try:
                raw = self.client.call("get_model_version", self.name, str(number))
            except Missing:  # another machine removed it meanwhile
                continue
            mark = raw.tags.get(codec.REMOVED)
            why = self._named(number)
            if why is None:
                mark = mark or codec.removal(command, reason, by)
                self._mark(raw, mark)
                why = self._named(number)
            if why is not None:
                kept[number] = why
                self._unmark(raw)
                continue
            assert mark is not None
            try:
                size = self._files(raw)
            except Unreachable:
                raise
            except Fault as error:
                left[number] = error.message
                continue
            if why := self._named(number):
                # Its files are gone. The alias is left for the person who set it to see.
                left[number] = why
                continue
            self._end(raw, mark)
            removed[number] = size
        return Removal(removed, kept, left)

    def remove_leftovers(self, learned: Set[str]) -> None:
        """See `Registry.remove_leftovers`."""
        experiment = self.versions.experiments.find(self.versions.experiments.learning)
        known = {row.run_id for row in self.versions.rows()}
        token = None
        while experiment is not None:
            page = self.client.call("search_runs", [experiment], max_results=PAGE, page_token=token)
            for run in page:
                if run.info.run_id not in known and codec.KEY in run.data.tags:
                    cursor = codec.version(0, "", 0, run.data.tags).cursor
                    if not learned.isdisjoint(cursor):
                        self._leftover(experiment, run.info)
            token = page.token
            if not token:
                break

    def _leftover(self, experiment: str, run: Any) -> None:
        wanted = f"source_run_id = '{run.run_id}'"
        models = self.client.call("search_logged_models", [experiment], filter_string=wanted)
        owners = [(one.artifact_location, one.model_id) for one in models]
        for address, owner in (*owners, (run.artifact_uri, run.run_id)):
            if artifacts.is_folder_of(str(address), str(owner)):
                artifacts.remove(self.client, str(address))

    def marked(self) -> tuple[Version, ...]:
        """See `Registry.removing`."""
        found = [as_version(row) for row in self.versions.rows() if codec.REMOVED in row.tags]
        return tuple(sorted(found, key=lambda one: one.version))

    def size(self, number: int) -> int:
        """See `Registry.size`."""
        raw = self.client.call("get_model_version", self.name, str(number))
        found = artifacts.addresses(self.client, raw)
        return sum(artifacts.size(self.client, address) for address in found)

    def elsewhere(self, run_id: str) -> str | None:
        """See `Registry.elsewhere`."""
        if not run_id:
            return None
        for raw in self.client.call("search_model_versions", f"run_id = '{run_id}'"):
            if raw.name != self.name:
                return f"version {raw.version} of the model {raw.name}"
        return None

    def _named(self, number: int) -> str | None:
        """Which alias a version has, read anew; None: it has none."""
        _, aliases = self.changes.model()
        found = sorted(alias for alias, at in aliases.items() if at == number)
        return f"it has the alias {', '.join(found)}" if found else None

    def _mark(self, raw: Any, mark: str) -> None:
        self.client.call("set_model_version_tag", self.name, str(raw.version), codec.REMOVED, mark)
        if raw.run_id:
            with suppress(Missing):  # a person deleted the run
                self.client.call("set_tag", raw.run_id, codec.NUMBER, str(raw.version))
                self.client.call("set_tag", raw.run_id, codec.REMOVED, mark)

    def _unmark(self, raw: Any) -> None:
        """Take the mark off, if there is one; from the version last, by which it is found."""
        now = self.client.call("get_model_version", self.name, str(raw.version))
        if codec.REMOVED not in now.tags:
            return
        if raw.run_id:
            for tag in (codec.REMOVED, codec.NUMBER):
                with suppress(Missing):
                    self.client.call("delete_tag", raw.run_id, tag)
        self.client.call("delete_model_version_tag", self.name, str(raw.version), codec.REMOVED)

    def _files(self, raw: Any) -> int:
        """Remove the files of a version; returns how many bytes they were."""
        total = 0
        for address in artifacts.addresses(self.client, raw):
            total += artifacts.size(self.client, address)
            artifacts.remove(self.client, address)
        for folder in self.versions.downloaded(int(raw.version)):
            shutil.rmtree(folder, ignore_errors=True)
        return total

    def _end(self, raw: Any, mark: str) -> None:
        value = json.loads(mark)
        number = int(raw.version)
        event = Event(
            at=value["at"],
            action="removed",
            version=number,
            experience=raw.tags.get(codec.PREFIX + "experience"),
            reason=f"by {value['command']}: {value['reason']}",
            by=value["by"],
        )
        key = f"removed-{number}-{raw.tags.get(codec.KEY, '')[:16]}"
        self.changes.apply(Change(key=key, events=(event,)))
        model_id = artifacts.model_of(raw)
        if model_id is not None:
            with suppress(Missing):
                self.client.call("delete_logged_model", model_id)
        with suppress(Missing):
            self.client.call("delete_model_version", self.name, str(number))
