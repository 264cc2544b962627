"""Perdure keeps a model in production learning, and lets you take it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure import proxies, telemetry

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd

telemetry.switch_off()
proxies.spare_this_machine()

__version__ = "0.1.0"


def read_table(path: str | PathLike[str]) -> pd.DataFrame:
    """Read a file as `perdure ingest` reads it, for a served model to predict from.

    Takes CSV, JSON lines, Parquet and Feather. No word is taken for a missing value, where
    `pandas.read_csv` makes one of `NA`, `None` and others.

    Args:
        path: The file.

    Returns:
        The columns in the file's order, text as it stands there.

    Raises:
        DataRefused: The file cannot be read as a table, or has no rows.
    """
    from pathlib import Path

    from perdure.tasks.tables import read  # pandas is not loaded before it is needed

    return read.read_table(Path(path))
