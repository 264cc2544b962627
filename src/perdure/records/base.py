"""Types that the records share, and their JSON form."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

Metrics = Mapping[str, float]
"""Metric name to value, in the metric's own unit."""

Action = Literal[
    "promoted", "rolled back", "refused", "forced", "held", "released", "quarantined",
    "let go", "pinned", "unpinned", "moved", "drifted", "metric fell", "removed", "forgot",
]  # fmt: skip
"""What an event of the history says happened to a version or an experience."""


IN_MLFLOW = "MLflow"
"""In the history, who moved an alias that no change of Perdure's moved."""


def to_json(value: Any) -> Any:
    """A record as plain JSON values: dataclasses to dicts, tuples to lists, paths to text.

    JSON has no word for not-a-number: it becomes `null`.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value
