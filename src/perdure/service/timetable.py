"""`[schedule]` as Prefect knows it, and in words."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from prefect.client.schemas.schedules import (
    SCHEDULE_TYPES,
    CronSchedule,
    IntervalSchedule,
    RRuleSchedule,
)
from pydantic import ValidationError

from perdure.config import CONFIG_NAME, RetrainingSchedule, timetables
from perdure.errors import ConfigError


def timetable(wanted: RetrainingSchedule, path: str = CONFIG_NAME) -> SCHEDULE_TYPES | None:
    """`[schedule]` as Prefect knows it; None: there is none.

    Raises:
        ConfigError: It is none that Prefect knows.
    """
    zone = wanted.timezone
    try:
        if wanted.cron is not None:
            return CronSchedule(cron=wanted.cron, timezone=zone)
        if wanted.rrule is not None:
            return RRuleSchedule(rrule=timetables.with_start(wanted.rrule), timezone=zone)
        if wanted.interval is not None:
            anchor = datetime(*timetables.EPOCH, tzinfo=ZoneInfo(zone))
            every = timedelta(seconds=wanted.interval)
            return IntervalSchedule(interval=every, anchor_date=anchor, timezone=zone)
    except (ValidationError, ValueError) as error:
        key = "cron" if wanted.cron is not None else "rrule" if wanted.rrule else "interval"
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise ConfigError(path, [f"schedule.{key} = {getattr(wanted, key)!r}: {reason}"]) from error
    return None


def in_words(one: SCHEDULE_TYPES | None) -> str | None:
    """A timetable for people."""
    if isinstance(one, CronSchedule):
        return f"{one.cron} ({one.timezone})"
    if isinstance(one, RRuleSchedule):
        return f"{one.rrule.split(chr(10))[-1]} ({one.timezone})"
    if isinstance(one, IntervalSchedule):
        return f"every {one.interval} ({one.timezone})"
    return None
