"""Which side of the split a row is on: a hash of what the model sees of it.

For ever: which rows a workspace's models were tested on hangs on the exact results, and tests pin
their values. A change takes a new form (`FORM`); the form stands in each experience file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perdure.errors import Fault
from perdure.reading import values, words
from perdure.strategies.features import items
from perdure.tasks.tables import content
from perdure.tasks.tables.content import Keys

if TYPE_CHECKING:
    import pandas as pd

    from perdure.strategies.features.columns import Column

FORM = 3
"""The newest form of the split, which new workspaces get; see `split_keys` and `seen`."""
FREQUENT_TIMES = 2
"""A frequent row occurs more often than this in its experience,"""
FREQUENT_PERCENT = 1
"""and is more than this share of the experience's rows, in percent."""


def keys(frame: pd.DataFrame, columns: Sequence[Column], form: int = FORM) -> Keys:
    """The keys by which the rows of one experience are split: `splits` takes them.

    Args:
        frame: All rows of one experience, as `check` gives them.
        columns: What the model sees.
        form: The form of the split, as the experience's file says. 1: by the values themselves,
            every row by its own key (Perdure 0.1.0). 2: likewise, but frequent rows one by one.
            3: by what the model sees of the values (`seen`), and frequent rows one by one.

    Returns:
        uint64 (rows,).

    Raises:
        Fault: The form is not known: a newer Perdure wrote the file.
        DataRefused: A column is not there.
    """
    if not 1 <= form <= FORM:
        raise Fault(
            f"the rows of this experience are split in form {form}; "
            f"this Perdure knows the forms 1 to {FORM}",
            hint="pip install --upgrade perdure",
        )
    if form < 3:
        own = content.row_keys(frame, [column.name for column in columns])
    else:
        content.check_columns(frame, [column.name for column in columns])
        own = content.keys_of(
            ((column.name, seen(frame, column)) for column in columns), len(frame)
        )
    return own if form == 1 else split_keys(own)


def seen(frame: pd.DataFrame, column: Column) -> pd.Series[Any]:
    """The values of a column in the one form in which all that the model sees as equal are equal.

    Numbers as what the shortest text of the nearest float32 means, so that 0.1 is 0.1 in any width;
    words by `words.folding`; texts as the codes of the tokens that are seen, int32 in one bytes;
    of sequences the numbers that are seen, likewise, and a missing one as an empty one. Times and
    pixels stay. What a learner's statistics make equal (numbers beyond ten standard deviations,
    words that its list does not have) stays apart: the side of a row must not depend on a learner.

    Args:
        frame: Rows as `check` gives them.
        column: A column that the model sees.

    Returns:
        (rows,), the index as it was.
    """
    import pandas as pd

    given = frame[column.name]
    return pd.Series(_seen(given, column), index=given.index, copy=False)


def _seen(given: pd.Series[Any], column: Column) -> NDArray[Any]:
    import pandas as pd

    if column.kind == "number":
        return _nearest(given.to_numpy(np.float64))
    if column.kind == "category":
        codes, distinct = pd.factorize(given.to_numpy(dtype=object), use_na_sentinel=True)
        return _objects([*(words.folding(str(word)) for word in distinct), None])[codes]
    if column.kind == "text":
        return _objects([_tokens(value, column) for value in given.tolist()])
    if column.kind == "sequence":
        found = [np.empty(0) if v is None else v[-column.length :] for v in given.tolist()]
        ends = np.cumsum([len(value) for value in found])
        return _objects(np.split(_nearest(np.concatenate(found)), ends[:-1]) if found else [])
    return given.to_numpy()


def _nearest(numbers: NDArray[Any]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        return values.shortest(numbers.astype(np.float32))


def _tokens(value: str | None, column: Column) -> bytes:
    if value is None:
        return b""
    found = items.codes(value, column.tokenizer, column.vocabulary, column.length)
    return np.array(found, dtype="<i4").tobytes()


def _objects(found: list[Any]) -> NDArray[np.object_]:
    return np.fromiter(found, dtype=object, count=len(found))


def split_keys(own: Keys) -> Keys:
    """Give each occurrence of a frequent row a key of its own, and every other row its own key.

    A row is *frequent* in an experience of N rows where its key occurs n times there,
    n > 2 and n > N / 100. Its occurrence i = 0, 1, 2 …, counted in the order of the rows, is split
    by `mix(key + i·γ)` modulo 2⁶⁴, γ = 0x9E3779B97F4A7C15: number i of SplitMix64's sequence with
    the key as its seed. So:

    - A row that is frequent in no experience is in one split for ever, in all of them.
    - A frequent row is in all splits, each with its share. Occurrence i has the same split in
      every experience in which the row is frequent.
    - The same rows in the same order are always split in the same way, on every machine.

    Args:
        own: uint64 (rows,), of all rows of one experience, as `content.row_keys` gives them.

    Returns:
        uint64 (rows,).
    """
    if not len(own):
        return own
    _, codes, counts = np.unique(own, return_inverse=True, return_counts=True)
    frequent = (counts > FREQUENT_TIMES) & (100 * counts > FREQUENT_PERCENT * len(own))
    ordinals = np.empty(len(own), dtype=np.uint64)
    firsts = np.repeat(np.cumsum(counts) - counts, counts)
    ordinals[np.argsort(codes, kind="stable")] = np.arange(len(own)) - firsts
    return np.where(frequent[codes], content.mix(own + ordinals * content.GOLDEN), own)


def splits(keys: Keys, test: float, validation: float) -> NDArray[np.str_]:
    """Return the split of each row: the upper 53 bits of its split key as a fraction of [0, 1).

    Below `test` it is a test row, below `test + validation` one of validation, else it trains.

    Args:
        keys: uint64 (rows,).
        test: Share of test rows.
        validation: Share of validation rows.

    Returns:
        (rows,) of "test", "validation" or "train".
    """
    fraction = (keys >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.select(
        [fraction < test, fraction < test + validation], ["test", "validation"], default="train"
    )
