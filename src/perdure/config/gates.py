"""`[gates]` of `perdure.toml`: what a candidate must reach."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from perdure import expressions
from perdure.config.training import Name, Section

MARGINS = {"new_margin": 0.10, "past_margin": 0.02}
"""By default; of a metric in the unit of the target, times what a constant prediction reaches."""
IN_TARGET_UNIT = frozenset({"mae", "rmse"})
"""Metrics whose size depends on the unit of the target: 0.02 of a price in cents is nothing."""


class SliceConfig(Section):
    """Rows on which a candidate is compared with the champion by themselves."""

    where: Annotated[str, Field(min_length=1)]
    """A condition on the raw columns; see `perdure.expressions`."""
    name: Name | None = None
    """By default the condition."""
    margin: Annotated[float, Field(ge=0)] | None = None
    """At most this much worse than the champion; by default as `past_margin`, or as that is by
    default where it is `false`."""

    @field_validator("where")
    @classmethod
    def _is_a_condition(cls, value: str) -> str:
        expressions.parse(value)
        return value

    @property
    def title(self) -> str:
        """How the slice is named in messages."""
        return self.name or self.where


class OwnGateConfig(Section):
    """A gate of the user's own."""

    factory: Annotated[str, Field(pattern=r"^.+:\w+$")]
    """`package.module:function`, or `path/to/file.py:function`."""
    name: Name | None = None
    """By default the function's name."""

    @property
    def title(self) -> str:
        """How the gate is named in messages."""
        return self.name or self.factory.rpartition(":")[2]


class GatesConfig(Section):
    """What a candidate must reach. Margins are in units of the metric; `false` turns a gate off."""

    floor: float | Literal["baseline", False] = "baseline"
    """Least average metric; `baseline` is what always predicting the most frequent class
    (or the mean) would reach on the same rows."""
    new_margin: Annotated[float, Field(ge=0)] | Literal[False] | None = None
    """On the new experience, at most this much worse than the champion; None: `MARGINS`."""
    past_margin: Annotated[float, Field(ge=0)] | Literal[False] | None = None
    """On all earlier experiences, at most this much worse than the champion; None: `MARGINS`."""
    past_half_life: Annotated[float, Field(gt=0)] | Literal[False] = 10.0
    """Experiences after which a row of an earlier one counts half; `false`: all count the same."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """For each gate by itself: how sure harm must be before it refuses."""
    undecided: Literal["pass", "hold", "wait"] = "pass"
    """What becomes of a version of which the rows show neither harm nor its absence."""
    slices: Annotated[tuple[SliceConfig, ...], Field(strict=False)] = ()
    lost: Annotated[float, Field(ge=0, le=1)] | Literal[False] = False
    """Largest share of the rows that the champion has right and the candidate wrong."""
    calibration_margin: Annotated[float, Field(ge=0, le=1)] | Literal[False] = False
    """At most this much more expected calibration error than the champion."""
    own: Annotated[tuple[OwnGateConfig, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> GatesConfig:
        for key, names in (
            ("slices", [one.title for one in self.slices]),
            ("own", [one.title for one in self.own]),
        ):
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"gates.{key}: {twice!r} is there twice; give each its own name")
        return self
