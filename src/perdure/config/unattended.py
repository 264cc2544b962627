"""`[schedule]`, `[trigger]`, `[[notify]]`, `[resources]` and `[shared]` of `perdure.toml`.

What a workspace does unattended: `perdure up` and `perdure deploy` read it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import Field, field_validator, model_validator

from perdure.config import timetables
from perdure.config.durations import Duration, Memory
from perdure.config.training import Section

Occasion = Literal["promoted", "waiting", "refused", "held", "rolled back", "crashed"]
OCCASIONS: tuple[Occasion, ...] = (
    "promoted", "waiting", "refused", "held", "rolled back", "crashed",
)  # fmt: skip
"""What a notice may be sent of."""

MOST_PER_GPU = 16
"""So many shares a GPU has at most."""

MOST_PROCESSES = 64
"""So many processes learn an experience together at most."""


class RetrainingSchedule(Section):
    """When retraining runs by the clock: one of `cron`, `interval`, `rrule`, or none."""

    cron: str | None = None
    """Five fields, as in `"0 3 * * *"`, or a name such as `"@daily"`."""
    interval: Annotated[Duration, Field(ge=60)] | None = None
    rrule: str | None = None
    """A recurrence rule of iCalendar (RFC 5545), as in `"FREQ=WEEKLY;BYDAY=MO;BYHOUR=3"`."""
    timezone: str = "UTC"
    """A name of the IANA database, as in `"Europe/Berlin"`."""

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError('must be a time zone such as "UTC" or "Europe/Berlin"')
        return value

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, value: str | None) -> str | None:
        return None if value is None else timetables.check_cron(value)

    @field_validator("rrule")
    @classmethod
    def _is_rrule(cls, value: str | None) -> str | None:
        return None if value is None else timetables.check_rrule(value)

    @property
    def is_set(self) -> bool:
        """Whether there is a schedule at all."""
        return any(one is not None for one in (self.cron, self.interval, self.rrule))

    def following(self, after: datetime) -> datetime | None:
        """The next time, in its time zone; None: there is no schedule, or no time any more."""
        return timetables.following(
            cron=self.cron,
            interval=self.interval,
            rrule=self.rrule,
            timezone=self.timezone,
            after=after,
        )

    @model_validator(mode="after")
    def _at_most_one(self) -> RetrainingSchedule:
        found = [name for name in ("cron", "interval", "rrule") if getattr(self, name) is not None]
        if len(found) > 1:
            raise ValueError(f"{' and '.join(found)} are both set; choose one")
        return self


class TriggerConfig(Section):
    """When new data starts a retraining."""

    debounce: Duration = 10.0
    """No file must have arrived or grown for so long."""
    max_wait: Duration = 600.0
    """The longest that a file or an experience waits, however many follow it or few there are."""
    min_rows: Annotated[int, Field(ge=0)] = 0
    """Fewer pending rows do not start a retraining before `max_wait`."""
    folders: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Folders elsewhere that are polled, by URL, as fsspec reads them: `"s3://bucket/new"`."""
    poll: Annotated[Duration, Field(ge=1)] = 60.0
    """How often they are looked at."""

    @model_validator(mode="after")
    def _in_order(self) -> TriggerConfig:
        if self.max_wait < self.debounce:
            raise ValueError(
                f"max_wait = {self.max_wait:g} s is shorter than debounce = {self.debounce:g} s"
            )
        return self


class NoticeConfig(Section):
    """A receiver of notices, and which: a notification block of Prefect's, or an address."""

    kind: Literal["slack", "webhook", "email"] | None = None
    url: str | None = None
    """With `kind`; `"env:NAME"` reads the environment variable NAME, for addresses are secrets."""
    block: str | None = None
    """A notification block that is kept in Prefect, as in `"slack-webhook/team"`."""
    on: Annotated[tuple[Occasion, ...], Field(min_length=1, strict=False)] = OCCASIONS

    @model_validator(mode="after")
    def _one_address(self) -> NoticeConfig:
        if (self.block is None) == (self.kind is None) or (self.kind is None) != (self.url is None):
            raise ValueError("needs either block, or kind and url")
        return self


class ResourcesConfig(Section):
    """How much of a machine a run may take, and which work pool it runs in."""

    pool: Literal["cpu", "gpu"] = "cpu"
    """The work pool of retraining and evaluation; everything else runs in `cpu`."""
    per_gpu: Annotated[int, Field(ge=1, le=MOST_PER_GPU)] = 1
    """So many flow runs, those of other models too, may have a GPU at a time."""
    processes: Annotated[int, Field(ge=1, le=MOST_PROCESSES)] | Literal["gpus"] = 1
    """So many processes of this machine learn an experience together, each a part of every batch;
    `"gpus"`: one for each GPU that is visible."""
    nice: Annotated[int, Field(ge=0, le=19)] = 10
    """Niceness: with 19 it has the CPU time that no other process wants."""
    memory: Memory | None = None
    """Memory of one run, beside what an accelerator has, and what the forkserver has imported."""


class SharedConfig(Section):
    """What several machines have in common beside the DVC remote and MLflow."""

    git_remote: str | None = None
    """The git remote that data is pulled from before, and pushed to after, as in `"origin"`."""
