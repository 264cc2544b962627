"""Texts as codes, and sequences as numbers: what needs neither torch nor fitting.

For ever: a learner's embedding belongs to these codes, so a change would need a tokenizer of
another name. Tests pin values.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Tokenizer = Literal["words", "bytes"]

PADDING = 0
"""The code of a place without a token."""
BYTES = 256
"""Vocabulary of the tokenizer `bytes`."""

# Han and kana are written without spaces: each sign is a word of its own.
_SIGN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Marks of Hebrew, Arabic and Indic letters, which Python's \w leaves out.
_MARK = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u0670\u0900-\u0963\u0966-\u0eff"
_LETTERS = rf"(?:[^\W{_SIGN}]|[{_MARK}])+"
# Such a sign; or a word, perhaps with apostrophes inside; or any other sign that is no space.
_WORD = re.compile(rf"[{_SIGN}]|{_LETTERS}(?:['’]{_LETTERS})*|[^\w\s]")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_BETWEEN = re.compile(r"\s*[,;]\s*|\s+")
_LONGEST_SHOWN = 40


def words(text: str) -> list[str]:
    """The words of a text, in lower case, and its punctuation marks, in order."""
    return _WORD.findall(unicodedata.normalize("NFC", text.lower()))


def tokens(text: str, tokenizer: Tokenizer) -> int:
    """How many tokens a text has."""
    return len(words(text)) if tokenizer == "words" else len(text.encode())


def bucket(word: str, buckets: int) -> int:
    """The code of a category's word: its 64-bit BLAKE2b modulo `buckets`, from 0."""
    return (
        int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little") % buckets
    )


def codes(text: str, tokenizer: Tokenizer, vocabulary: int, length: int) -> list[int]:
    """The codes of a text's first tokens.

    `words`: 1 + (64-bit BLAKE2b of the word) modulo `vocabulary`: hashing needs no list of
    words and no word is unknown, at the price that two words may share a code (Weinberger et
    al. 2009, "Feature Hashing for Large Scale Multitask Learning",
    https://arxiv.org/abs/0902.2206). `bytes`: 1 + the byte of UTF-8.

    Returns:
        At most `length` numbers from 1 to `vocabulary`.
    """
    if tokenizer == "bytes":
        # Four bytes, at most, to a character: no long text is encoded whole for its beginning.
        return [1 + byte for byte in text[:length].encode("utf-8", "replace")[:length]]
    return [1 + _hashed(word) % vocabulary for word in words(text)[:length]]


@lru_cache(maxsize=2**16)
def _hashed(word: str) -> int:
    encoded = word.encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "little")


def numbers(value: Any) -> npt.NDArray[np.float64]:
    """A sequence as it stands in a table: numbers in order.

    Args:
        value: An array or list of numbers, or text such as `1.5 2 3`, `[1.5, 2, 3]` and
            `1.5;2;3`.

    Returns:
        float64 (items,).

    Raises:
        ValueError: It is something else, or an item is missing or not finite; says which.
    """
    if isinstance(value, str):
        return _finite(_parsed(value))
    if isinstance(value, bytes) or not hasattr(value, "__len__"):
        raise ValueError("is no list of numbers")
    array = np.asarray(value, dtype=object) if not isinstance(value, np.ndarray) else value
    if array.ndim != 1:
        raise ValueError(f"has {array.ndim} dimensions; a sequence has one")
    if array.dtype.kind in "iuf":
        return _finite(array.astype(np.float64))
    for place, item in enumerate(array.tolist(), start=1):
        if isinstance(item, bool) or not isinstance(item, (int, float, np.integer, np.floating)):
            what = "is missing" if item is None else f"is {_short(repr(item))}, no number"
            raise ValueError(f"item {place} {what}")
    try:
        return _finite(np.array([float(item) for item in array.tolist()], dtype=np.float64))
    except OverflowError as error:
        raise ValueError("has a number beyond the range of float64") from error


def _parsed(text: str) -> npt.NDArray[np.float64]:
    inner = text.strip()
    if inner[:1] in {"[", "("} and inner[-1:] == {"[": "]", "(": ")"}[inner[0]]:
        inner = inner[1:-1].strip()
    items = _BETWEEN.split(inner) if inner else []
    for place, item in enumerate(items, start=1):
        if not _NUMBER.fullmatch(item):
            what = f"is {_short(repr(item))}, no number" if item else "is missing"
            raise ValueError(f"item {place} {what}")
    return np.array(items, dtype=np.float64)


def _finite(array: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    wrong = np.flatnonzero(~np.isfinite(array))
    if wrong.size:
        place = int(wrong[0])
        what = "is missing" if np.isnan(array[place]) else f"is {array[place]}"
        raise ValueError(f"item {place + 1} {what}")
    return array + 0.0  # one zero


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
