"""`evaluation/evaluation.json` of a version folder: the numbers that the gates saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perdure import manifest
from perdure.errors import Corrupt
from perdure.records import Evaluation
from perdure.records.shape import fitted

NAME = "evaluation/evaluation.json"


def read(folder: Path) -> dict[str, Any]:
    """`records.Evaluation` as JSON; what a later Perdure added is left out.

    Args:
        folder: A version folder.

    Raises:
        Corrupt: The file is missing or changed, or has something else in it.
    """
    try:
        value: dict[str, Any] = fitted(manifest.json_in(folder, NAME), Evaluation)
        matrix = value["matrix"]
        count = len(matrix["experiences"])
        if [len(row) for row in matrix["values"]] != [count] * count:
            raise ValueError(f"matrix has other rows or columns than its {count} experiences")
        if value["metric"] not in value["candidate"]["average"]:
            raise ValueError(f"candidate.average has no {value['metric']!r:.60}")
    except ValueError as error:
        raise Corrupt(
            f"{folder / NAME} is no evaluation: {error}",
            hint="perdure rollback --to VERSION chooses a version that is whole",
        ) from error
    return value
