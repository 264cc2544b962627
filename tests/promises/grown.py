"""A workspace that has learned five experiences, and a record of what its training saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from perdure import config
from perdure.flows.retrain import retrain
from perdure.strategies.features.columns import Column
from perdure.strategies.training import engine
from perdure.tasks import experiences
from perdure.tasks.tables import content, splitting
from tests.promises import kit

ROWS, SIZE, BUDGET, WINDOW = 150, 40, 100, 3
COLUMNS = (Column("a", "number"), Column("b", "number"), Column("colour", "category"))
SHARED = 60
"""Rows of the first experience that come again in the second, with the other label."""


@dataclass
class Grown:
    """The workspace, and by experience: the keys of the rows trained on, and files read."""

    root: Path
    trained: dict[str, set[int]] = field(default_factory=dict)
    watched: dict[str, set[int]] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    reads_per_step: list[list[str]] = field(default_factory=list)


def grow(root: Path) -> Grown:
    """Learn five experiences, one retraining each."""
    kit.make(
        root,
        rows=ROWS,
        strategies=f'[{{ name = "replay", size = {SIZE} }}]',
        more=f"[evaluation]\nmax_rows = {BUDGET}\nwindow = {WINDOW}\n",
    )
    grown = Grown(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "learn", _recording(grown))
        patch.setattr(experiences, "read_experience", _reading(grown))
        texts = [second(), *(kit.table(number, ROWS) for number in (3, 4, 5))]
        for text in (None, *texts):
            if text is not None:
                kit.ingest(root, text)
            grown.read = []
            retrain.fn(str(root))
            grown.reads_per_step.append(grown.read)
    return grown


def second() -> str:
    """New rows, and rows of the first experience with their labels turned round."""
    head, *new = kit.table(2, ROWS - SHARED).splitlines()
    again = kit.turned(1, ROWS).splitlines()[1 : SHARED + 1]
    return "\n".join([head, *new, *again]) + "\n"


def keys(columns: Mapping[str, Any] | pd.DataFrame) -> list[int]:
    """Of each row by what the model sees of it, however often the row is there."""
    frame = pd.DataFrame({column.name: columns[column.name] for column in COLUMNS})
    seen = ((column.name, splitting.seen(frame, column)) for column in COLUMNS)
    return [int(key) for key in content.keys_of(seen, len(frame))]


def side_of(root: Path, found: set[int]) -> dict[int, str]:
    """Which side each row lies on, by its key alone."""
    data = config.read(root).config.data
    ordered = sorted(found)
    sides = splitting.splits(np.array(ordered, dtype=np.uint64), data.test, data.validation)
    return dict(zip(ordered, map(str, sides), strict=True))


def _recording(grown: Grown) -> Any:
    learn = engine.learn

    def recorded(
        learner: Any, experience: str, columns: Any, target: Any, watched: Any, *more: Any
    ) -> Any:
        grown.trained[experience] = set(keys(columns))
        grown.watched[experience] = set(keys(watched))
        return learn(learner, experience, columns, target, watched, *more)

    return recorded


def _reading(grown: Grown) -> Any:
    read = experiences.read_experience

    def recorded(ws: Any, experience: str, digest: Any) -> Any:
        grown.read.append(experience)
        return read(ws, experience, digest)

    return recorded
