"""What the deployments of a workspace are: the same in Prefect's server and in prefect.yaml."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from prefect import Flow
from prefect.client.schemas.schedules import (
    CronSchedule,
    IntervalSchedule,
    RRuleSchedule,
)
from prefect.utilities.callables import parameter_schema
from pydantic import ValidationError

from perdure import __version__
from perdure.config import CONFIG_NAME, RetrainingSchedule, Workspace
from perdure.errors import ConfigError
from perdure.flows.service import names
from perdure.flows.service.names import Name, Pool

Timetable = CronSchedule | IntervalSchedule | RRuleSchedule

EPOCH = (2020, 1, 1)
"""Intervals are counted from midnight of this day in the schedule's time zone."""

RRULE_START = "20200101T000000"


@dataclass(frozen=True)
class Field:
    """How one parameter stands in Prefect's form."""

    name: str
    title: str
    minimum: int | None = None


FORMS: dict[Name, tuple[Field, ...]] = {
    "ingest": (Field("paths", "Files"), Field("settled", "Leave what has just changed")),
    "retrain": (
        Field("inbox", "Ingest the inbox first"),
        Field("min_rows", "Least pending rows", minimum=0),
        Field("profile", "Profile the training"),
    ),
    "evaluate": (Field("version", "Version", minimum=1),),
    "rollback": (
        Field("to", "Back to version", minimum=1),
        Field("reason", "Reason"),
        Field("keep_data", "Keep the data pending"),
    ),
    "promote": (
        Field("version", "Version", minimum=1),
        Field("reason", "Reason"),
        Field("force", "Force, against the gates"),
    ),
    "approve": (Field("version", "Version", minimum=1),),
}
"""The parameters that people fill in, in this order; the workspace is the worker's."""

PARAMETERS: dict[Name, dict[str, Any]] = {"retrain": {"inbox": True, "min_rows": 0}}
"""Defaults of the deployments, where they differ from the flows'."""

LIMITS: dict[Name, str] = {
    "retrain": "CANCEL_NEW",
    "rollback": "CANCEL_NEW",
    "promote": "CANCEL_NEW",
    # What somebody asked for by its path must not be dropped.
    "ingest": "ENQUEUE",
}
"""One run at a time of each, and what becomes of the second; evaluation changes nothing, and of
approvals each waits for its own version."""

GRACE_S = 60
"""How long a slot stays taken by a run that was killed, at most (Prefect's least)."""


@dataclass(frozen=True)
class Spec:
    """One deployment."""

    name: Name
    flow: Flow[..., Any]
    deployment: str
    pool: Pool
    queue: str
    description: str
    tags: list[str]
    parameters: dict[str, Any]
    schema: dict[str, Any]
    collision: str | None
    """What becomes of a second run; None: any number may run."""
    timetable: Timetable | None = None
    version: str = field(default=__version__)

    @property
    def full_name(self) -> str:
        """Flow and deployment, as in `retrain/weather`."""
        return f"{self.flow.name}/{self.deployment}"

    @property
    def entrypoint(self) -> str:
        """The flow, as a module path."""
        return f"perdure.flows.{self.name}.{self.name}"


def specs(ws: Workspace) -> tuple[Spec, ...]:
    """The deployments of a workspace.

    Raises:
        ConfigError: `[schedule]` is none that Prefect knows.
    """
    config = ws.config
    model = config.model.name
    heavy = {"retrain", "evaluate"}
    return tuple(
        Spec(
            name=name,
            flow=(flow := _flow(name)),
            deployment=names.deployment(model),
            pool=config.resources.pool if name in heavy else "cpu",
            queue=names.queue(model),
            description=_description(flow),
            tags=names.tags(model),
            parameters={"workspace": ".", **PARAMETERS.get(name, {})},
            schema=form(name, flow),
            collision=LIMITS.get(name),
            timetable=timetable(config.schedule, str(ws.root / CONFIG_NAME))
            if name == "retrain"
            else None,
        )
        for name in names.NAMES
    )


def _flow(name: Name) -> Flow[..., Any]:
    found = getattr(importlib.import_module(f"perdure.flows.{name}"), name)
    assert isinstance(found, Flow)
    return found


def _description(flow: Flow[..., Any]) -> str:
    """The flow's docstring without its sections for programmers."""
    text = inspect.getdoc(flow.fn) or ""
    return text.split("\n\nArgs:")[0].split("\n\nRaises:")[0]


def form(name: Name, flow: Flow[..., Any]) -> dict[str, Any]:
    """The JSON schema of a flow's parameters, as Prefect's page asks for them."""
    known = parameter_schema(flow).model_dump(mode="json")
    asked: dict[str, Any] = {}
    for position, one in enumerate(FORMS[name]):
        about = dict(known["properties"][one.name])
        about |= {"title": one.title, "position": position}
        about["description"] = " ".join(str(about.get("description", "")).split())
        if one.minimum is not None:
            for choice in about.get("anyOf", [about]):
                if choice.get("type") == "integer":
                    choice["minimum"] = one.minimum
        about |= {"default": d} if (d := PARAMETERS.get(name, {}).get(one.name)) is not None else {}
        asked[one.name] = about
    required = [one for one in known.get("required", []) if one in asked]
    return {
        "title": "Parameters",
        "type": "object",
        "properties": asked,
        "required": required,
        "definitions": {},
    }


def timetable(wanted: RetrainingSchedule, path: str = CONFIG_NAME) -> Timetable | None:
    """`[schedule]` as Prefect knows it.

    Raises:
        ConfigError: It is none that Prefect knows.
    """
    zone = wanted.timezone
    try:
        if wanted.cron is not None:
            return CronSchedule(cron=wanted.cron, timezone=zone)
        if wanted.rrule is not None:
            # Prefect's server would add the start, and then it differed from what we know.
            begun = "DTSTART" in wanted.rrule.upper()
            rule = wanted.rrule if begun else f"DTSTART:{RRULE_START}\n{wanted.rrule}"
            return RRuleSchedule(rrule=rule, timezone=zone)
        if wanted.interval is not None:
            anchor = datetime(*EPOCH, tzinfo=ZoneInfo(zone))
            every = timedelta(seconds=wanted.interval)
            return IntervalSchedule(interval=every, anchor_date=anchor, timezone=zone)
    except (ValidationError, ValueError) as error:
        key = "cron" if wanted.cron is not None else "rrule" if wanted.rrule else "interval"
        value = getattr(wanted, key)
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise ConfigError(path, [f"schedule.{key} = {value!r}: {said}"]) from error
    return None


def in_words(one: Timetable | None) -> str | None:
    """A timetable for people."""
    if one is None:
        return None
    if isinstance(one, CronSchedule):
        return f"{one.cron} ({one.timezone})"
    if isinstance(one, RRuleSchedule):
        return f"{one.rrule.split(chr(10))[-1]} ({one.timezone})"
    return f"every {one.interval} ({one.timezone})"
