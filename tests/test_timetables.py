"""`[schedule]`: what is no timetable is found when `perdure.toml` is read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from perdure import config
from perdure.config import timetables
from perdure.errors import ConfigError
from perdure.service.timetable import timetable

PLAIN = '[model]\nname = "small"\n[data]\ntarget = "kind"\ntask = "classification"\n'

CRON = [
    "0 3 * * *", "*/5 * * * *", "0 3 * * MON-FRI", "0 3 * * 7", "0 3 L * *", "0 3 29 2 *",
    "0 3 * * 1#2", "0 3 * JAN,jul *", "@daily", "@hourly",
]  # fmt: skip
NO_CRON = {
    "every monday": "has 2 fields, not five",
    "": "has 0 fields, not five",
    "0 0 3 * * *": "has 6 fields, not five",
    "0 25 * * *": "the hour '25' is wrong",
    "61 * * * *": "the minute '61' is wrong",
    "0 3 32 * *": "the day of month '32' is wrong",
    "0 3 30 2 *": "the day of month '30' is wrong",
    "0 3 * 13 *": "the month '13' is wrong",
    "0 3 * * XYZ": "the day of week 'XYZ' is wrong",
    "0 3 15W * *": "a day of the form 15W",
    "@sometimes": "has 1 field, not five",
}
RRULES = [
    "FREQ=WEEKLY;BYDAY=MO;BYHOUR=3;BYMINUTE=0;BYSECOND=0",
    "RRULE:FREQ=DAILY;BYHOUR=3",
    "DTSTART:20250101T000000\nRRULE:FREQ=DAILY;INTERVAL=10",
    "FREQ=DAILY;UNTIL=20200301T000000",
]
NO_RRULE = {
    "FREQ=NEVER": "invalid 'FREQ': NEVER",
    "weekly": "no recurrence rule",
    "": "it is empty",
    "BYDAY=MO": "cannot be read",
    "FREQ=WEEKLY;BYDAY=XX": "invalid 'BYDAY'",
    "FREQ=DAILY;BYHOUR=25": "hour must be in 0..23",
    "FREQ=DAILY;INTERVAL=0": "INTERVAL must be a whole number from 1",
    "FREQ=DAILY;INTERVAL=-2": "INTERVAL must be a whole number from 1",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30": "no day fits it",
}


def read(key: str, value: str) -> config.Config:
    return config.parse(f"{PLAIN}[schedule]\n{key} = {json.dumps(value)}\n")


@pytest.mark.parametrize(("key", "value"), [("cron", one) for one in CRON]
                         + [("rrule", one) for one in RRULES])  # fmt: skip
def test_what_the_file_may_have_prefect_knows(key: str, value: str) -> None:
    wanted = read(key, value).schedule
    assert wanted.is_set
    made = timetable(wanted)
    assert made is not None
    assert value in getattr(made, key)


@pytest.mark.parametrize(
    ("key", "example", "value", "why"),
    [
        *(("cron", timetables.CRON_EXAMPLE, *one) for one in NO_CRON.items()),
        *(("rrule", timetables.RRULE_EXAMPLE, *one) for one in NO_RRULE.items()),
    ],
)
def test_a_bad_one_is_found_when_the_file_is_read(
    key: str, example: str, value: str, why: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(key, value)
    [fault] = caught.value.faults
    assert fault.startswith(f"schedule.{key} = {value!r}: ")
    assert why in fault
    assert fault.endswith(f"as in {example}")


@pytest.mark.parametrize(
    ("key", "example"),
    [("cron", timetables.CRON_EXAMPLE), ("rrule", timetables.RRULE_EXAMPLE)],
)
def test_the_example_of_the_message_can_be_copied(key: str, example: str) -> None:
    assert read(key, example.split('"')[1]).schedule.is_set


def test_a_bad_schedule_is_reported_beside_other_faults(tmp_path: Path) -> None:
    text = f'{PLAIN}[schedule]\ncron = "0 25 * * *"\n[training]\nepochs = 0\n'
    (tmp_path / "perdure.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.read(tmp_path)
    assert [fault.partition(" =")[0] for fault in caught.value.faults] == [
        "training.epochs", "schedule.cron",
    ]  # fmt: skip


FRIDAY = datetime(2026, 3, 27, 12, 0, tzinfo=UTC)
"""Two days before summer time begins in Berlin."""


@pytest.mark.parametrize(
    ("settings", "when"),
    [
        ('cron = "0 3 * * MON"', "2026-03-30T03:00:00+00:00"),
        ('cron = "@daily"\ntimezone = "Asia/Tokyo"', "2026-03-28T00:00:00+09:00"),
        ('cron = "30 3 * * SUN"\ntimezone = "Europe/Berlin"', "2026-03-29T03:30:00+02:00"),
        ('interval = "6h"', "2026-03-27T18:00:00+00:00"),
        ('rrule = "FREQ=WEEKLY;BYDAY=MO;BYHOUR=3"\ntimezone = "Europe/Berlin"',
         "2026-03-30T03:00:00+02:00"),
        ('rrule = "DTSTART:20260101T000000Z\\nRRULE:FREQ=MONTHLY"', "2026-04-01T00:00:00+00:00"),
        ('rrule = "FREQ=DAILY;UNTIL=20200301T000000"', None),
        ('timezone = "Asia/Tokyo"', None),
    ],
)  # fmt: skip
def test_the_next_time(settings: str, when: str | None) -> None:
    found = config.parse(f"{PLAIN}[schedule]\n{settings}\n").schedule.following(FRIDAY)
    assert (found and found.isoformat()) == when
