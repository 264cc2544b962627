"""The history: one small MLflow run per event, so that appending costs the same for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from perdure import escaping
from perdure.records import Action, Event, to_json
from perdure.tasks.registry import quick
from perdure.tasks.registry.client import Client
from perdure.tasks.registry.codec import (
    EVENTS,
    NONE,
    PREFIX,
    dumps,
    event,
    milliseconds,
    split,
)
from perdure.tasks.registry.experiments import Experiments

PAGE = 1000
EVENT, SEQUENCE = PREFIX + "event", PREFIX + "seq"


class History:
    """The events of one registered model, in MLflow's experiment `<model>/history`."""

    def __init__(self, client: Client, experiments: Experiments) -> None:
        self.client = client
        self.experiments = experiments

    def known(self, change: str) -> bool:
        """Whether the first event of a change is written."""
        experiment = self.experiments.find(self.experiments.history)
        return experiment is not None and self._run(experiment, identity(change, 0)) is not None

    def append(
        self, change: str, index: int, sequence: int, happened: Event, *, fresh: bool = False
    ) -> None:
        """Write one event of a change; one that is written already is not written again.

        Args:
            change: The key of the change that it belongs to.
            index: Its place among the events of the change.
            sequence: Its place among all events.
            happened: The event.
            fresh: It cannot be written already, so there is nothing to look for.
        """
        experiment = self.experiments.ensure(self.experiments.history)
        at = milliseconds(happened.at)
        run = None if fresh else self._run(experiment, identity(change, index))
        if run is None:
            run = self.client.call(
                "create_run",
                experiment,
                start_time=at,
                run_name=title(happened),
                tags=_tags(change, index, sequence, happened),
            )
        if run.info.status != "FINISHED":
            self.client.call("set_terminated", run.info.run_id, "FINISHED", end_time=at)

    def events(self) -> tuple[Event, ...]:
        """All events, oldest first."""
        tagged = quick.all_tagged(self.client.database, self.experiments.history, EVENT)
        found = {
            tags[EVENT]: (int(tags[SEQUENCE]), event(tags))
            for tags in (self._tagged() if tagged is None else tagged)
        }
        return tuple(happened for _, happened in sorted(found.values(), key=lambda pair: pair[0]))

    def _tagged(self) -> Iterator[Mapping[str, str]]:
        """The tags of each event."""
        experiment = self.experiments.find(self.experiments.history)
        for run in () if experiment is None else self._runs(experiment):
            if EVENT in run.data.tags:
                yield run.data.tags

    def numbered(self, sequence: int) -> Event | None:
        """One event by its place among all, from 0; None: there is none."""
        experiment = self.experiments.find(self.experiments.history)
        if experiment is None:
            return None
        wanted = f"tags.`{SEQUENCE}` = '{sequence}'"
        runs = self.client.call("search_runs", [experiment], wanted, max_results=1)
        return event(runs[0].data.tags) if runs else None

    def of(self, action: Action, version: int) -> Event | None:
        """The latest event with an action on a version; None: there is none."""
        experiment = self.experiments.find(self.experiments.history)
        if experiment is None:
            return None
        wanted = f"tags.`{PREFIX}action` = '{action}' AND tags.`{PREFIX}version` = '{version}'"
        newest = ["attributes.start_time DESC"]
        runs = self.client.call("search_runs", [experiment], wanted, max_results=1, order_by=newest)
        return event(runs[0].data.tags) if runs else None

    def since(self, at: str) -> Iterator[Event]:
        """The events from a time on, in no order; what was before is not read."""
        experiment = self.experiments.find(self.experiments.history)
        if experiment is not None:
            wanted = f"attributes.start_time >= {milliseconds(at)}"
            for run in self._runs(experiment, wanted):
                if EVENT in run.data.tags:
                    yield event(run.data.tags)

    def count(self, tags: dict[str, str]) -> int:
        """Number of events so far, from the registered model's tags."""
        return int(tags.get(EVENTS, "0"))

    def _run(self, experiment: str, key: str) -> Any:
        runs = self.client.call(
            "search_runs", [experiment], f"tags.`{EVENT}` = '{key}'", max_results=1
        )
        return runs[0] if runs else None

    def _runs(self, experiment: str, wanted: str = "") -> Iterator[Any]:
        token = None
        while True:
            page = self.client.call(
                "search_runs",
                [experiment],
                wanted,
                max_results=PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return


def identity(change: str, index: int) -> str:
    """The identity of an event: safe inside a filter, whatever the change's key is."""
    return f"{hashlib.sha256(change.encode()).hexdigest()[:32]}-{index}"


def title(happened: Event) -> str:
    """`promoted v12`, or `held 000013-1a2b3c4d`."""
    subject = f"v{happened.version}" if happened.version is not None else happened.experience
    return f"{happened.action} {subject or ''}".strip()


def sentence(happened: Event) -> str:
    """An event in words, as Markdown, for MLflow's page of its run."""
    parts = [f"**{escaping.markdown(title(happened))}**"]
    if happened.replaced is not None:
        parts.append(f"in place of v{happened.replaced}")
    if happened.version is not None and happened.experience:
        parts.append(f"(experience {escaping.markdown_code(happened.experience)})")
    if happened.by:
        parts.append(f"by {escaping.markdown(happened.by)}")
    reason = escaping.markdown(happened.reason) if happened.reason else ""
    return " ".join(parts) + (f"\n\n{reason}" if reason else "")


def _tags(change: str, index: int, sequence: int, happened: Event) -> dict[str, str]:
    fields = {
        PREFIX + name: (NONE if value is None else str(value))[:5000]
        for name, value in to_json(happened).items()
    }
    return {
        **fields,
        **split(PREFIX + "record", dumps(happened)),
        EVENT: identity(change, index),
        SEQUENCE: str(sequence),
        PREFIX + "change": change[:5000],
        "mlflow.user": happened.by or "perdure",
        "mlflow.source.name": "perdure",
        "mlflow.note.content": sentence(happened)[:5000],
    }
