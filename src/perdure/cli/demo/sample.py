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
YEAR = 365
"""Rows; the record has no dates, and some days are missing."""
FIRST = 10
"""Years in the first experience."""
ARRIVING = 10
"""Years that arrive one by one."""


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
    """The years that the demo learns, and one to spare."""
    return [whole.iloc[i * YEAR : (i + 1) * YEAR] for i in range(FIRST + ARRIVING + 1)]
