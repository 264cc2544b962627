"""What the values of a column mean: as numbers, as words, as times, as labels.

The same value gives the same result whether it stood in a CSV as text or came with a type, of
whatever width: 0.1 of a float32 is 0.1, and 1.0 is the word `1` where that is a known word.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
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
_INTEGER = r"^[+-]?\d{1,18}(\.0*)?$"
_TIME = r"\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?"
_OFFSET = r" ?(Z|[+-]\d{2}(:?\d{2})?)"
ISO_TIME = rf"^\d{{4}}-\d{{2}}-\d{{2}}([T ]{_TIME}({_OFFSET})?)?$"
"""A date, perhaps with a time of day, perhaps with an offset from UTC."""
WITH_OFFSET = rf"^.*{_TIME}{_OFFSET}$"
_WHOLE = re.compile(r"([+-]?\d+)\.0+", re.ASCII)
_MOMENT = re.compile(
    r"(\d{4}-\d{2}-\d{2})[t ](\d{2}:\d{2})(?::(\d{2})(?:[.,](\d+))?)?(z|[+-]\d{2}:\d{2})?", re.ASCII
)
"""A date and a time of day, in lower case: day, hour and minute, second, fraction, offset."""
TRUTH = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1", "1.0"), "True"),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0", "0.0"), "False"),
}
"""Spellings of the truth values of a column that holds such, in lower case."""


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
        typed = _typed(column)
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


def _typed(column: pd.Series[Any]) -> Mask | None:
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


def as_words(column: pd.Series[Any], known: Sequence[str] = (), *, truth: bool = False) -> Objects:
    """Every value as a word of a category, (rows,) of str | None.

    A word that is not known, and is written like just one that is (`folding`), is that one. A whole
    number with a type is the word that is written `7`, `7.0` or, where one known word alone has
    such zeros, `007`.

    Args:
        column: Text, or any type.
        known: The known words; none yet: every text is a word as it is, without spaces around it.
        truth: The words are truth values: see `TRUTH`.
    """
    find = _truth if truth else finder(known)
    return _each(column, find)


def _each(column: pd.Series[Any], find: Callable[[str, bool], str]) -> Objects:
    """The word of each value, found once for each distinct one."""
    import pandas as pd

    dtype = column.dtype
    numeric = dtype.kind in "iuf" and not isinstance(dtype, pd.CategoricalDtype)
    if (texts := arrow_of(column)) is not None:
        codes, words = arrow_text.distinct(texts)
        return _taken([find(word, False) or None if word else None for word in words], codes)
    if numeric and isinstance(dtype, np.dtype) and dtype.itemsize <= 8:
        raw = column.to_numpy()
        # By their bits: -0.0 and 0.0 are different texts.
        whole = raw if dtype.kind in "iu" else raw.view(f"i{dtype.itemsize}")
        bits, codes = np.unique(whole, return_inverse=True)
        found = as_text(pd.Series(bits if dtype.kind in "iu" else bits.view(dtype)))
        return _taken([find(text, True) or None if text is not None else None for text in found],
                      codes)  # fmt: skip
    values = as_text(column)
    typed = np.full(len(values), True) if numeric else _typed(column)
    out = np.empty(len(values), dtype=object)
    known: dict[tuple[str, bool], str] = {}
    flags: Iterable[Any] = [False] * len(values) if typed is None else typed.tolist()
    for row, (text, number) in enumerate(zip(values.tolist(), flags, strict=True)):
        if text is None:
            continue
        if (word := known.get((text, number))) is None:
            word = known[text, number] = find(text, number)
        out[row] = word or None
    return out


def _taken(words: Sequence[str | None], codes: NDArray[np.int64]) -> Objects:
    """(rows,): the word with each code."""
    found = np.empty(len(words), dtype=object)
    found[:] = words
    return np.asarray(found[codes], dtype=object)


def _truth(text: str, _typed: bool) -> str:
    return TRUTH.get(text.strip().lower(), text)


def finder(known: Sequence[str]) -> Callable[[str, bool], str]:
    """The known word that a text means; the text itself, without spaces around it, where none is.

    The second argument of what is returned says whether the text is that of a number with a type.
    """
    exact = frozenset(known)
    folded = _unique((folding(word), word) for word in known)
    whole = _unique((word.lstrip("0") or "0", word) for word in known if word.isdigit())

    def find(text: str, typed: bool) -> str:
        if text in exact:
            return text
        if typed:
            short = text.removesuffix(".0")
            if short in exact:
                return short
            if f"{short}.0" in exact:
                return f"{short}.0"
            return whole.get(short, short)
        return folded.get(folding(text), text.strip())

    return find


def folding(text: str) -> str:
    """What is equal in all ways to write a word.

    Without case and without spaces around it, in Unicode's composed form; a whole number without
    the zeros of its fraction, which a gap in its column gives it; a time without its `T` and zeros
    at its end, and midnight as the date alone.
    """
    folded = unicodedata.normalize("NFC", text.strip().casefold())
    if whole := _WHOLE.fullmatch(folded):
        return whole[1]
    return _moment(*moment.groups("")) if (moment := _MOMENT.fullmatch(folded)) else folded


def _moment(day: str, minute: str, second: str, fraction: str, offset: str) -> str:
    fraction = fraction.rstrip("0")
    time = f"{minute}:{second or '00'}" + (f".{fraction}" if fraction else "")
    if time == "00:00:00" and not offset:
        return day
    return f"{day} {time}{'+00:00' if offset == 'z' else offset}"


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Of keys that stand for one word alone."""
    found: dict[str, str | None] = {}
    for key, word in pairs:
        found[key] = word if key not in found else None
    return {key: word for key, word in found.items() if word is not None}


def as_labels(
    column: pd.Series[Any], kind: type, known: Sequence[Any] = ()
) -> tuple[Objects, Mask]:
    """Every value as a label of type int, str or bool.

    Whole numbers may be written `1.0`; truth values as in `TRUTH`; text as `as_words` has it.

    Args:
        column: Text, or any type.
        kind: Of the labels.
        known: The known labels, where they are text.

    Returns:
        (rows,) of label | None, None where there is none or it is not of that type; and where
        it is not of that type.
    """
    if kind is str:
        return as_words(column, known), np.zeros(len(column), dtype=bool)
    if (quick := arrow_of(column)) is not None:
        import pandas as pd

        codes, rest = arrow_text.distinct(quick)
        labels, none = as_labels(pd.Series(rest, dtype=object), kind, known)
        return labels[codes], none[codes]
    texts = as_text(column)
    out = texts.copy()
    if kind is bool:
        words = {"True": True, "False": False}
        out[:] = [None if t is None else words.get(_truth(t, False)) for t in texts]
    else:
        stripped = bare(texts)
        fits = matches(stripped, _INTEGER)
        out[:] = [
            int(t.partition(".")[0]) if fit else None for t, fit in zip(stripped, fits, strict=True)
        ]
        texts = texts.copy()
        texts[stands_for_missing(stripped)] = None
    wrong = np.array([t is not None and o is None for t, o in zip(texts, out, strict=True)])
    return out, wrong.astype(bool)


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
