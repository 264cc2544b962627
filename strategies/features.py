"""Features: raw columns to one tensor, and the modules that take it to a prediction.

The front of `columns` (which columns, which vocabulary) and `modules` (what is computed).
"""

from __future__ import annotations

from perdure.strategies.columns import (
    Array,
    Column,
    Columns,
    FeatureSpec,
    encode,
    encode_target,
)
from perdure.strategies.modules import Network, Output, Prepare

__all__ = [
    "Array",
    "Column",
    "Columns",
    "FeatureSpec",
    "Network",
    "Output",
    "Prepare",
    "encode",
    "encode_target",
]
