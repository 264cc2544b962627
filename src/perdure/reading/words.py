"""What the values of a column mean as words of a category, and as labels of a class.

A word is known again however it is written: case, spaces around it, Unicode's form, `7.0` for `7`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perdure.reading import arrow_text, values

if TYPE_CHECKING:
    import pandas as pd

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


def as_words(
    column: pd.Series[Any], known: Sequence[str] = (), *, truth: bool = False
) -> values.Objects:
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


def _each(column: pd.Series[Any], find: Callable[[str, bool], str]) -> values.Objects:
    """The word of each value, found once for each distinct one."""
    import pandas as pd

    dtype = column.dtype
    numeric = dtype.kind in "iuf" and not isinstance(dtype, pd.CategoricalDtype)
    if (texts := values.arrow_of(column)) is not None:
        codes, words = arrow_text.distinct(texts)
        return _taken([find(word, False) or None if word else None for word in words], codes)
    if numeric and isinstance(dtype, np.dtype) and dtype.itemsize <= 8:
        raw = column.to_numpy()
        # By their bits: -0.0 and 0.0 are different texts.
        whole = raw if dtype.kind in "iu" else raw.view(f"i{dtype.itemsize}")
        bits, codes = np.unique(whole, return_inverse=True)
        found = values.as_text(pd.Series(bits if dtype.kind in "iu" else bits.view(dtype)))
        return _taken([find(text, True) or None if text is not None else None for text in found],
                      codes)  # fmt: skip
    written = values.as_text(column)
    typed = np.full(len(written), True) if numeric else values.has_type(column)
    out = np.empty(len(written), dtype=object)
    known: dict[tuple[str, bool], str] = {}
    flags: Iterable[Any] = [False] * len(written) if typed is None else typed.tolist()
    for row, (text, number) in enumerate(zip(written.tolist(), flags, strict=True)):
        if text is None:
            continue
        if (word := known.get((text, number))) is None:
            word = known[text, number] = find(text, number)
        out[row] = word or None
    return out


def _taken(words: Sequence[str | None], codes: NDArray[np.int64]) -> values.Objects:
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
) -> tuple[values.Objects, values.Mask]:
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
    if (quick := values.arrow_of(column)) is not None:
        import pandas as pd

        codes, rest = arrow_text.distinct(quick)
        labels, none = as_labels(pd.Series(rest, dtype=object), kind, known)
        return labels[codes], none[codes]
    texts = values.as_text(column)
    out = texts.copy()
    if kind is bool:
        words = {"True": True, "False": False}
        out[:] = [None if t is None else words.get(_truth(t, False)) for t in texts]
    else:
        stripped = values.bare(texts)
        fits = values.matches(stripped, values.INTEGER)
        out[:] = [
            int(t.partition(".")[0]) if fit else None for t, fit in zip(stripped, fits, strict=True)
        ]
        texts = texts.copy()
        texts[values.stands_for_missing(stripped)] = None
    wrong = np.array([t is not None and o is None for t, o in zip(texts, out, strict=True)])
    return out, wrong.astype(bool)
