"""Features: raw columns to one tensor, and the modules that take it to a prediction.

The front of `columns` (which columns, which vocabulary), `encoding` (their values as tensors)
and `modules` (what is computed).
"""

from __future__ import annotations

from perdure.strategies.columns import (
    Array,
    Column,
    Columns,
    FeatureSpec,
)
from perdure.strategies.encoding import encode, encode_target
from perdure.strategies.modules import Inputs, Network, Output, Prepare, rows_at_once

__all__ = [
    "Array",
    "Column",
    "Columns",
    "FeatureSpec",
    "Inputs",
    "Network",
    "Output",
    "Prepare",
    "encode",
    "encode_target",
    "rows_at_once",
]
