"""The demo's data: daily weather, behind this repository's `data.dvc`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import perdure
from perdure import config
from perdure.cli.console import err
from perdure.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

TARGET = "rain"
PRESSURE = "sea_level_pressure_mb"
YEAR = 365
"""Rows; the record has no dates, and some days are missing."""
FIRST = 10
"""Years in the first experience."""
ARRIVING = 10
"""Years that arrive one by one after it."""
SPARE = 2
"""Years after these, for the faulty files."""
CHANGED = 6
"""Years after these, in which the target means the opposite; two in each file."""


def record() -> pd.DataFrame:
    """The whole record, in order of time; fetched from its DVC remote where it is missing.

    Raises:
        UsageError: Perdure is not installed from a clone of its repository.
    """
    import pandas as pd

    from perdure.tasks import data_versions

    repository = Path(perdure.__file__).resolve().parents[2]
    if not (repository / "data.dvc").exists():
        raise UsageError(
            "the demo's data is in Perdure's repository", hint="clone it, then: make demo"
        )
    path = repository / "data" / "weather.parquet"
    if not path.exists():
        err.print("Fetching the sample data behind data.dvc …")
        data_versions.pull(config.read(repository))
    return pd.read_parquet(path)


def years(whole: pd.DataFrame) -> list[pd.DataFrame]:
    """All years of the demo: those that are learned, the spare ones, and the changed ones."""
    count = FIRST + ARRIVING + SPARE + CHANGED
    return [whole.iloc[i * YEAR : (i + 1) * YEAR] for i in range(count)]


def flipped(year: pd.DataFrame) -> pd.DataFrame:
    """The year with the opposite label on every day."""
    return year.assign(**{TARGET: 1 - year[TARGET]})


def in_pascals(year: pd.DataFrame) -> pd.DataFrame:
    """The year with the pressure in another unit: 1 mb is 100 Pa."""
    return year.assign(**{PRESSURE: year[PRESSURE] * 100})
