"""Timetables of `[schedule]`: whether Prefect knows them, and when the next time is.

Libraries are imported where they are needed: most commands need none, for most workspaces have no
schedule.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

EPOCH = (2020, 1, 1)
"""Intervals are counted from midnight of this day in the schedule's time zone."""
RRULE_START = "20200101T000000"
"""Where a recurrence rule begins that does not say so."""
CRON_NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
CRON_FIELDS = ("minute", "hour", "day of month", "month", "day of week")
CRON_EXAMPLE = '"0 3 * * MON-FRI" (3:00 on weekdays)'
RRULE_EXAMPLE = '"FREQ=WEEKLY;BYDAY=MO;BYHOUR=3;BYMINUTE=0;BYSECOND=0" (Mondays at 3:00)'

_TRIED = re.compile(r"FREQ=(YEARLY|MONTHLY|WEEKLY)\b")
_STANDS_STILL = re.compile(r"INTERVAL=(-\d+|0+)(?!\d)")


def check_cron(text: str) -> str:
    """The text of a cron line that Prefect knows, and that comes to pass.

    Raises:
        ValueError: It is none; the message ends with an example.
    """
    try:
        _cron(text, datetime(*EPOCH))
    except ValueError as error:
        raise ValueError(f"{error}; {', '.join(CRON_FIELDS)}, as in {CRON_EXAMPLE}") from None
    return text


def check_rrule(text: str) -> str:
    """The text of a recurrence rule of RFC 5545 that Prefect knows, and that comes to pass.

    A rule without a day, such as the 31st of February, is found where it counts in weeks, months
    or years: to see that a daily one has none would take minutes.

    Raises:
        ValueError: It is none; the message ends with an example.
    """
    try:
        if _STANDS_STILL.search(text.upper()):
            raise ValueError("INTERVAL must be a whole number from 1")
        rule = _rrule(text)
        if _TRIED.search(text.upper()) and next(iter(rule), None) is None:
            raise ValueError("no day fits it")
    except Exception as error:  # noqa: BLE001 - dateutil raises IndexError, TypeError and others
        reason = str(error) if isinstance(error, ValueError) else "cannot be read"
        raise ValueError(f"no recurrence rule: {reason}; write one as in {RRULE_EXAMPLE}") from None
    return text


def with_start(rrule: str) -> str:
    """A recurrence rule that says where it begins.

    Prefect's server would add the start, and then the rule differed from what we know.
    """
    begun = "DTSTART" in rrule.upper()
    return rrule if begun else f"DTSTART:{RRULE_START}\n{rrule}"


def following(
    *, cron: str | None, interval: float | None, rrule: str | None, timezone: str, after: datetime
) -> datetime | None:
    """The next time of a schedule, in its time zone; None: there is none any more.

    Args:
        cron: As `check_cron` takes it.
        interval: Seconds.
        rrule: As `check_rrule` takes it.
        timezone: A name of the IANA database.
        after: The time from which on; with a time zone.
    """
    zone = ZoneInfo(timezone)
    here = after.astimezone(zone)
    if cron is not None:
        found: datetime | None = next(_cron(cron, here), None)
        return found
    if rrule is not None:
        rule: Any = _rrule(rrule)
        try:
            found = rule.after(here.replace(tzinfo=None))
        except TypeError:  # its start has a time zone
            found = rule.after(here)
        if found is None:
            return None
        return found.replace(tzinfo=zone) if found.tzinfo is None else found.astimezone(zone)
    if interval is not None:
        start = datetime(*EPOCH, tzinfo=zone)
        passed = (here - start).total_seconds() // interval
        return (start.astimezone(ZoneInfo("UTC")) + timedelta(seconds=(passed + 1) * interval)
                ).astimezone(zone)  # fmt: skip
    return None


def _cron(text: str, after: datetime) -> Any:
    """The times of a cron line, one after the other.

    Raises:
        ValueError: It is no cron line, or one that Prefect does not know.
    """
    from cronsim import CronSim, CronSimError

    fields = CRON_NAMES.get(text.strip().lower(), text).split()
    if len(fields) != len(CRON_FIELDS):
        raise ValueError(f"has {len(fields)} field{'' if len(fields) == 1 else 's'}, not five")
    # cronsim knows these two; Prefect does not.
    if "W" in fields[2].upper() or "L" in fields[4].upper():
        raise ValueError("a day of the form 15W or 5L is not known")
    try:
        times = CronSim(" ".join(fields), after)
        next(times)
    except CronSimError as error:
        name = str(error).removeprefix("Bad ").replace("-", " ")
        place = CRON_FIELDS.index(name) if name in CRON_FIELDS else None
        shown = "" if place is None else f" {fields[place]!r}"
        raise ValueError(f"the {name}{shown} is wrong") from None
    except StopIteration:
        raise ValueError("no day fits it") from None
    return CronSim(" ".join(fields), after)


def _rrule(text: str) -> Any:
    from dateutil.rrule import rrulestr

    if not text.strip():
        raise ValueError("it is empty")
    return rrulestr(with_start(text))
