"""The state of the registered model, and its new events: cheap to read again and again.

On SQLite a look takes milliseconds, on a server one request; events are read one by one, only
the new ones, however long the history is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from perdure.config import Workspace
from perdure.records import Event
from perdure.tasks.registry import codec, quick
from perdure.tasks.registry.client import Client, Missing, tracking_uri
from perdure.tasks.registry.experiments import Experiments
from perdure.tasks.registry.history import SEQUENCE, History


@dataclass(frozen=True)
class RegistryState:
    """A registered model at one moment."""

    events: int
    """How many there are in the history."""
    champion: int | None
    changing: bool
    """A change is under way, or was killed; `recover` finishes it."""
    tags: Mapping[str, str]
    challenger: int | None = None
    challenger_since: str | None = None
    moved: bool = False
    """A person moved champion or challenger in MLflow, and the history does not say so yet."""


class StateReader:
    """Reads the registered model of a workspace, for what runs beside a retraining.

    Every method may raise `Unreachable`: MLflow does not answer.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.name = workspace.config.model.name
        self.client = Client(tracking_uri(workspace))
        self.history = History(self.client, Experiments(workspace, self.client))

    @property
    def shared(self) -> bool:
        """Whether other machines, or other workspaces, may look at the same registry."""
        path = self.client.database
        return path is None or not path.is_relative_to(self.workspace.root)

    def read(self) -> RegistryState | None:
        """Return the state of the model; None: there is none yet."""
        found = quick.snapshot(self.client.database, self.name)
        tags, aliases = (found.tags, found.aliases) if found is not None else self._asked()
        if not tags and not aliases:
            return None
        recorded, changing = codec.recorded(tags), codec.INTENT in tags
        return RegistryState(
            events=int(tags.get(codec.EVENTS, "0")),
            champion=aliases.get("champion"),
            changing=changing,
            tags=tags,
            challenger=aliases.get("challenger"),
            challenger_since=tags.get(codec.since("challenger")),
            moved=recorded is not None
            and not changing
            and any(aliases.get(alias) != number for alias, number in recorded.items()),
        )

    def versions(self) -> tuple[int, ...]:
        """The numbers of all versions that Perdure wrote, oldest first."""
        found = quick.numbers(self.client.database, self.name, codec.KEY, codec.REMOVED)
        if found is None:
            from perdure.tasks.registry import Registry

            found = [one.version for one in Registry(self.workspace).versions()]
        return tuple(found)

    def events(self, first: int, last: int) -> tuple[Event, ...]:
        """The events with these numbers, from 0, the last one left out; in order."""
        numbers = range(first, last)
        name, wanted = self.history.experiments.history, [str(number) for number in numbers]
        # MLflow would stay in the memory of a process that lives for months.
        rows = quick.tagged(self.client.database, name, SEQUENCE, wanted)
        if rows is not None:
            return tuple(codec.event(tags) for tags in rows)
        found = (self.history.numbered(number) for number in numbers)
        return tuple(event for event in found if event is not None)

    def note(self, name: str, value: str) -> None:
        """Write a tag of the model, for other machines to read."""
        self.client.call("set_registered_model_tag", self.name, codec.PREFIX + name, value)

    def noted(self, state: RegistryState, name: str) -> str | None:
        """What such a tag says; None: it is not there."""
        return state.tags.get(codec.PREFIX + name)

    def _asked(self) -> tuple[dict[str, str], dict[str, int]]:
        try:
            model = self.client.call("get_registered_model", self.name)
        except Missing:
            return {}, {}
        return dict(model.tags), {alias: int(number) for alias, number in model.aliases.items()}
