"""What the values of a column mean: as numbers, as times, as texts.

The same value gives the same result whether it stood in a CSV as text or came with a type, of
whatever width: 0.1 of a float32 is 0.1, and 1.0 is the word `1` where that is a known word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perdure.reading import arrow_text
from perdure.reading.formats import ISO, PLAIN, UNIX, NumberFormat, TimeFormat

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Objects = NDArray[np.object_]
Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]

MISSING_NUMBERS = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "<na>"})
"""What stands for a missing number or time in text, in any case. (A category is missing only where
the field is empty: `NA` may be Namibia.)"""
NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"
_INFINITE = r"^(?i)[+-]?inf(inity)?$"
INTEGER = r"^[+-]?\d{1,18}(\.0*)?$"
_TIME = r"\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?"
_OFFSET = r" ?(Z|[+-]\d{2}(:?\d{2})?)"
ISO_TIME = rf"^\d{{4}}-\d{{2}}-\d{{2}}([T ]{_TIME}({_OFFSET})?)?$"
"""A date, perhaps with a time of day, perhaps with an offset from UTC."""
WITH_OFFSET = rf"^.*{_TIME}{_OFFSET}$"


def arrow_of(column: pd.Series[Any]) -> pa.Array | None:
    """A column of pandas' text as Arrow has it, without a copy; None: it may hold other values."""
    import pandas as pd
    import pyarrow as pa

    if not isinstance(column.dtype, pd.StringDtype):
        return None
    found = pa.array(column)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def as_text(column: pd.Series[Any]) -> Objects:
    """Every value as it would stand in a CSV; None where there is none, (rows,) of str | None."""
    import pandas as pd

    if (texts := arrow_of(column)) is not None:
        return arrow_text.objects(texts)
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    out = np.empty(len(column), dtype=object)
    if _narrow(column):
        column = pd.Series(shortest(column.to_numpy(dtype=np.float32, na_value=np.nan)))
    out[:] = [_text(value) for value in column.tolist()]
    return out


def first_text(column: pd.Series[Any]) -> str | None:
    """The first value as `as_text` has it; None: there is none."""
    if (texts := arrow_of(column)) is not None:
        return arrow_text.first(texts)
    if column.dtype.kind in "iuf":
        column = column[column.notna()].head(1)
    return next((text for text in as_text(column) if text is not None), None)


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    if hasattr(value, "__len__"):  # of bytes and lists: as Python shows them, and none is missing
        return str(value.tolist() if isinstance(value, np.ndarray) else value)
    if value is None or type(value).__name__ in {"NAType", "NaTType"} or value != value:
        return None
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, datetime):  # each by itself, whatever the others of its column are
        return str(value).removesuffix(" 00:00:00")
    return str(value)


def as_numbers(column: pd.Series[Any], form: NumberFormat = PLAIN) -> tuple[Numbers, Mask]:
    """Every value as a number.

    Args:
        column: Text, or numbers of any type.
        form: How numbers are written in text.

    Returns:
        float64 (rows,), NaN where there is none or it is no number; and where it is no number.
        Infinities stay.
    """
    import pandas as pd

    if column.dtype.kind in "iuf" and not isinstance(column.dtype, pd.CategoricalDtype):
        if _narrow(column):
            narrow = column.to_numpy(dtype=np.float32, na_value=np.nan)
            return shortest(narrow), np.zeros(len(column), dtype=bool)
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
        return numbers, np.zeros(len(column), dtype=bool)
    quick = arrow_of(column) if form == PLAIN else None
    if quick is not None:
        return _of_texts(quick)
    texts = bare(as_text(column))
    missing = stands_for_missing(texts, form.missing)
    if form != PLAIN:
        given, texts = texts, _plain(texts, form)
        typed = has_type(column)
        if typed is not None:  # a number among text needs no format
            texts[typed] = given[typed]
    fits = matches(texts, NUMBER) | matches(texts, _INFINITE)
    texts[~fits] = "nan"
    return texts.astype(np.float64), ~fits & ~missing


def _of_texts(texts: pa.Array) -> tuple[Numbers, Mask]:
    """`as_numbers` of text in the plain format; value by value where it is no number at once."""
    import pandas as pd

    numbers, other = arrow_text.numbers(texts, NUMBER)
    wrong = np.zeros(len(numbers), dtype=bool)
    if other.any():
        codes, rest = arrow_text.distinct(texts.filter(other))
        found, no_number = as_numbers(pd.Series(rest, dtype=object))
        numbers[other], wrong[other] = found[codes], no_number[codes]
    return numbers, wrong


def _narrow(column: pd.Series[Any]) -> bool:
    """Whether a column has floats of less than 64 bits."""
    return column.dtype.kind == "f" and getattr(column.dtype, "itemsize", 8) < 8


def shortest(numbers: NDArray[np.float32]) -> Numbers:
    """Numbers of 32 bits as those of 64 that the shortest text of each means: 0.1 is 0.1."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pc.cast(pa.array(numbers), pa.string())  # ten times as quick as numpy's
    return np.asarray(pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False))


def has_type(column: pd.Series[Any]) -> Mask | None:
    """Where a column of objects holds numbers with a type; None: nowhere."""
    if column.dtype != object:
        return None
    found = np.array(
        [
            isinstance(value, (int, float, np.number)) and value == value
            for value in column.tolist()
        ],
        dtype=bool,
    )
    return found if found.any() else None


def _plain(texts: Objects, form: NumberFormat) -> Objects:
    """Numbers of a format in the usual one; what does not fit becomes what is no number."""
    import pyarrow.compute as pc

    found = arrow(texts)
    fits = pc.match_substring_regex(found, form.pattern)
    digits = pc.replace_substring_regex(found, form.pattern, r"\1\2\3")
    if form.grouping:
        digits = pc.replace_substring(digits, form.grouping, "")
    if form.decimal != ".":
        digits = pc.replace_substring(digits, form.decimal, ".")
    out = np.empty(len(texts), dtype=object)
    out[:] = pc.if_else(pc.fill_null(fits, False), digits, "no number").to_pylist()
    infinite = matches(texts, _INFINITE)
    out[infinite] = texts[infinite]
    return out


def bare_text(column: pd.Series[Any]) -> Objects:
    """`bare` of `as_text`."""
    texts = arrow_of(column)
    if texts is not None and arrow_text.are_bare(texts):
        return arrow_text.objects(texts)
    return bare(as_text(column))


def bare_counts(column: pd.Series[Any]) -> Counter[str]:
    """How often each text of `bare_text` is there, in the order in which they appear first."""
    texts = arrow_of(column)
    if texts is None:
        return Counter(text for text in bare_text(column) if text is not None)
    found: Counter[str] = Counter()
    raw = arrow_text.counts(texts)
    for text, times in zip(bare(np.array([*raw, None], dtype=object)), raw.values(), strict=False):
        found[text] += times
    return found


def bare(texts: Objects) -> Objects:
    """Texts without spaces around them, with plain minus signs and plain spaces; None stays."""
    odd = str.maketrans({"\u2212": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2019": "'"})
    out = np.empty(len(texts), dtype=object)
    out[:] = [
        None if t is None else (t if t.isascii() else t.translate(odd)).strip() for t in texts
    ]
    return out


def stands_for_missing(texts: Objects, marks: Collection[str] = ()) -> Mask:
    """Where there is no value, or a word or a mark that says so; texts as `bare` gives them."""
    if marks:
        return np.array(
            [t is None or t.lower() in MISSING_NUMBERS or t in marks for t in texts], dtype=bool
        )
    return arrow_text.missing(arrow(texts))


def as_times(column: pd.Series[Any], form: TimeFormat) -> tuple[Numbers, Mask]:
    """Every value as a time: seconds since 1970 on the clock of the format's zone.

    Args:
        column: Text, or dates and times of any type.
        form: How they are written, and their zone.

    Returns:
        float64 (rows,), NaN where there is none or it is no time; and where it is no time.
    """
    import pandas as pd

    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert(form.zone).dt.tz_localize(None)
    if column.dtype.kind == "M":
        return _seconds(column), np.zeros(len(column), dtype=bool)
    if form.format == UNIX:
        numbers, wrong = as_numbers(column)
        times = pd.to_datetime(pd.Series(numbers), unit="s", utc=True, errors="coerce")
        found = _seconds(times.dt.tz_convert(form.zone).dt.tz_localize(None))
        return found, wrong | (np.isnan(found) & ~np.isnan(numbers))
    texts = bare_text(column)
    missing = stands_for_missing(texts)
    out = np.full(len(texts), np.nan)
    if form.format == ISO:
        zoned = matches(texts, WITH_OFFSET)
        fits = matches(texts, ISO_TIME)
        for which, has_offset in ((fits & ~zoned, False), (fits & zoned, True)):
            if which.any():
                chosen = [str(text).replace(",", ".") for text in texts[which]]
                times = pd.Series(
                    pd.to_datetime(chosen, format="ISO8601", utc=has_offset, errors="coerce")
                )
                if has_offset:
                    times = times.dt.tz_convert(form.zone).dt.tz_localize(None)
                out[which] = _seconds(times)
    else:
        times = pd.Series(
            pd.to_datetime(pd.Series(texts, dtype=object), format=form.format, errors="coerce")
        )
        if isinstance(times.dtype, pd.DatetimeTZDtype):
            times = times.dt.tz_convert(form.zone).dt.tz_localize(None)
        out = _seconds(times)
    return out, np.isnan(out) & ~missing


def _seconds(times: pd.Series[Any]) -> Numbers:
    """Seconds since 1970 of times without a zone; NaN where there is none."""
    gone = times.isna().to_numpy()
    out = times.to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6
    out[gone] = np.nan
    return np.asarray(out, dtype=np.float64)


def times_as_text(seconds: Numbers, form: TimeFormat) -> Objects:
    """Times, as `as_times` gives them, as text that it reads, (rows,) of str | None."""
    import pandas as pd

    times = pd.Series(pd.to_datetime(pd.Series(seconds), unit="s"))
    out = np.empty(len(times), dtype=object)
    if form.format == UNIX:
        zoned = times.dt.tz_localize(form.zone, ambiguous="NaT", nonexistent="NaT")
        out[:] = [None if pd.isna(one) else str(one.timestamp()) for one in zoned]
    else:
        written = "%Y-%m-%dT%H:%M:%S" if form.format == ISO else form.format
        out[:] = [None if pd.isna(one) else one.strftime(written) for one in times]
    return out


def as_texts(column: pd.Series[Any]) -> Objects:
    """Every value as text, (rows,) of str | None; None also where there are spaces alone."""
    out = as_text(column)
    out[:] = [None if text is None or not text.strip() else text for text in out]
    return out


def matches(texts: Objects, pattern: str) -> Mask:
    """Where a text matches an RE2 pattern; missing ones do not."""
    import pyarrow.compute as pc

    found = pc.match_substring_regex(arrow(texts), pattern)
    return np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False), dtype=bool)


def arrow(texts: Objects) -> pa.Array:
    """Texts as Arrow has them."""
    import pyarrow as pa

    return pa.array(texts, pa.large_string())


def is_number(text: str) -> bool:
    """Whether a text is a number, infinities included."""
    return bool(matches(np.array([text.strip()], dtype=object), f"{NUMBER}|{_INFINITE}").all())
