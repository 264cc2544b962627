"""Which one column is a text or a sequence, where there is nothing else to learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from perdure.errors import UsageError
from perdure.reading import values
from perdure.strategies.features import items
from perdure.tasks.tables import sequences
from perdure.tasks.tables.columns import SequenceColumn, TextColumn

if TYPE_CHECKING:
    import pandas as pd

MOSTLY = 0.95
"""A column is what this share of its values is; the others will be refused, row by row."""
_DATED = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$"
FEW_WORDS = 3
"""Words of half the values, at least: shorter ones are names."""
TOKENS_OF_MOST = 0.95
"""The share of the first values that are seen whole."""
MOST_TOKENS, MOST_NUMBERS = 512, 1024
"""That `init` lets the model see of a value; set `length` for more."""


def candidates(frame: pd.DataFrame, names: list[str]) -> dict[str, TextColumn | SequenceColumn]:
    """The columns, of these, that are free text or numbers in order."""
    found = {name: sequence(frame[name]) or text(frame[name]) for name in names}
    return {name: column for name, column in found.items() if column is not None}


def chosen(
    frame: pd.DataFrame, names: list[str], kind: str, column: str | None
) -> tuple[str, TextColumn | SequenceColumn]:
    """The column that a person asked for by its kind, and perhaps by its name.

    Raises:
        UsageError: There is none, or several, or the named one is none.
    """
    fits = text if kind == "text" else sequence
    found = {name: fits(frame[name], asked=True) for name in ([column] if column else names)}
    if column is None:
        found = {n: one for n, one in found.items() if one is not None and fits(frame[n])}
    good = [(name, one) for name, one in found.items() if one is not None]
    if len(good) == 1:
        return good[0]
    what = "text" if kind == "text" else "numbers in order"
    if column is not None:
        raise UsageError(f"column {column!r} is not {what}", hint=f"--kind {kind} --column NAME")
    listed = f": {', '.join(name for name, _ in good)}" if good else ""
    raise UsageError(
        f"{len(good)} columns look like {what}{listed}; say which",
        hint=f"--kind {kind} --column NAME",
    )


def text(column: pd.Series[Any], asked: bool = False) -> TextColumn | None:
    """Free text: values of several words; when it was asked for, any text."""
    if column.dtype.kind in "iufbmM":
        return None
    texts = values.as_texts(column)
    present = [value for value in texts if value is not None]
    if not present or any(hasattr(v, "__len__") and not isinstance(v, str) for v in column):
        return None
    counts = np.array([items.tokens(value, "words") for value in present])
    spaced = np.array([any(c.isspace() for c in value.strip()) for value in present])
    dated = values.matches(texts, _DATED).sum() >= MOSTLY * len(present)
    free = np.median(counts) >= FEW_WORDS and spaced.mean() >= 0.5 and not dated
    if not free and not asked:
        return None
    length = _length(counts, MOST_TOKENS)
    return TextColumn(nullable=len(present) < len(texts), length=length)


def sequence(column: pd.Series[Any], asked: bool = False) -> SequenceColumn | None:
    """Numbers in order: lists, or text of such; when it was asked for, also of one number each."""
    if column.dtype.kind in "iufbmM":
        return None
    found, wrong = sequences.as_sequences(column)
    present = [value for value in found if value is not None]
    if not present or wrong.sum() > (1 - MOSTLY) * (len(present) + wrong.sum()):
        return None
    counts = np.array([len(value) for value in present])
    if np.median(counts) < 2 and not asked:
        return None
    return SequenceColumn(
        nullable=bool(len(present) + wrong.sum() < len(column)),
        length=_length(counts, MOST_NUMBERS),
    )


def _length(counts: np.ndarray[Any, Any], most: int) -> int:
    """That sees most values whole: a multiple of 8, from 8 to `most`; of equal ones their own."""
    needed = int(np.quantile(counts, TOKENS_OF_MOST, method="higher"))
    if counts.min() == counts.max():
        return max(1, min(most, needed))
    return max(8, min(most, -(-needed // 8) * 8))
