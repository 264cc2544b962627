"""What is read for a whole column at once is what is read value by value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perdure.errors import DataRefused
from perdure.reading import values, words
from perdure.reading.formats import PLAIN, NumberFormat, TimeFormat
from perdure.tasks.tables import content, guess, plain_csv, read

ODD = (
    "", " ", "NA", "n/a", " null ", "None", "<NA>", "nan", "inf", "-Infinity", "0", "007", "-0",
    "-0.0", "1.", ".5", "+1", "1e5", "1E-400", "1e999", "1,5", "1,234", "1.234,5", "12 kg", "7%",
    "\u22123", "1\u00a0000", "yes", "Yes ", "TRUE", "t", "red", " red", "Rouge\u0301", "Roug\u00e9",
    "7", "7.0", "2024-01-05", "2024-01-05T10:00", "05.01.2024", "\x1c1", "1\x1f", "\u2003a", "a\nb",
    "0x10", "\u0661", "\U0001d7cf",
)  # fmt: skip
TEXTS = st.lists(
    st.sampled_from(ODD)
    | st.none()
    | st.integers(-(10**18), 10**18).map(str)
    | st.floats(allow_nan=False).map(repr)
    | st.decimals(allow_nan=False, allow_infinity=False, places=4).map(str)
    | st.text(max_size=6),
    min_size=1,
    max_size=30,
)


def pair(texts: list[str | None]) -> tuple[pd.Series[Any], pd.Series[Any]]:
    """The same column as pandas' text, and as objects, which are read value by value."""
    quick, slow = pd.Series(texts, dtype="str"), pd.Series(texts, dtype=object)
    assert values.arrow_of(quick) is not None
    assert values.arrow_of(slow) is None
    return quick, slow


def same(found: Any, expected: Any) -> None:
    if isinstance(expected, tuple):
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, np.ndarray) and expected.dtype == np.float64:
        assert found.dtype == np.float64
        assert (np.isnan(found) == np.isnan(expected)).all()
        assert (found + 0.0).tobytes() == (expected + 0.0).tobytes() or np.array_equal(
            found, expected, equal_nan=True
        )
    elif isinstance(expected, np.ndarray):
        assert found.tolist() == expected.tolist()
    else:
        assert found == expected


@settings(max_examples=300)
@given(TEXTS)
@example(["1", "2", ""])
@example(["1.5", "NA", None, "2e3"])
@example(["007", "8"])
def test_text(texts: list[str | None]) -> None:
    quick, slow = pair(texts)
    german = NumberFormat(",", ".", "kg", ("-",))
    for function in (
        values.as_text,
        values.bare_text,
        values.bare_counts,
        values.first_text,
        values.as_numbers,
        lambda c: values.as_numbers(c, german),
        words.as_words,
        lambda c: words.as_words(c, ("red", "7", "Rougé")),
        lambda c: words.as_words(c, ("False", "True"), truth=True),
        lambda c: words.as_labels(c, int),
        lambda c: words.as_labels(c, bool),
        lambda c: words.as_labels(c, str, ("red", "yes")),
        lambda c: values.as_times(c, TimeFormat()),
        lambda c: values.stands_for_missing(values.bare_text(c)),
        guess.numbers,
        lambda c: guess.numbers(c, True),
        guess.times,
    ):
        same(function(quick), function(slow))
    assert list(values.bare_counts(quick)) == list(values.bare_counts(slow)), "their order too"
    first = values.as_text(slow)
    expected = next((text for text in first if text is not None), None)
    assert values.first_text(quick) == expected


@given(
    st.lists(st.floats(), min_size=1, max_size=30),
    st.sampled_from(["f8", "f4", "f2", "i8", "u1", np.longdouble]),
)
def test_words_of_numbers(numbers: list[float], kind: str) -> None:
    with np.errstate(all="ignore"):
        typed = np.array(numbers).astype(kind)
    column = pd.Series(typed)
    one_by_one = [words.as_words(column.iloc[[row]], ("7", "-0"))[0] for row in range(len(typed))]
    assert words.as_words(column, ("7", "-0")).tolist() == one_by_one


@given(st.lists(st.none() | st.text(max_size=4), min_size=1, max_size=20))
def test_the_bytes_of_words(texts: list[str | None]) -> None:
    encoded = [None if word is None else word.encode() for word in texts]
    sizes = np.array([-1 if word is None else len(word) for word in encoded], dtype="<i8")
    expected = sizes.tobytes(), b"".join(word for word in encoded if word is not None)
    assert content._utf8(pd.Series(texts, dtype=object)) == expected
    assert content._utf8(pd.Series(["x", *texts], dtype=object).iloc[1:]) == expected


CELLS = st.sampled_from(["1", "2.5", "", "a", " b", "é", "NA", "#", "x y", "'", "\t", "\ufeff"])


@settings(max_examples=200)
@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(
            st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=8
        )
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.sampled_from(["", "\ufeff", "# a comment\n", "\n", "sep=,\n"]),
    st.sampled_from([None, '"', "\0", "\x85", "1,2,3,4,5", "\n\n", "\r", "\udcff"]),
)
def test_a_csv_file(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[str]],
    end: str,
    ends: bool,
    before: str,
    fault: str | None,
) -> None:
    head = [f"c{place}" for place in range(len(rows[0]))]
    lines = [",".join(row) for row in [head, *rows]]
    if fault is not None:
        lines.insert(len(lines) // 2 + 1, fault)
    text = before + end.join(lines) + end * ends
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_csv, "read", lambda *_: None)
        expected = _read(path)
    assert _read(path) == expected


def _read(path: Path) -> Any:
    try:
        table = read.read_file(path)
    except DataRefused as refusal:
        return refusal.message, refusal.hint
    return table.frame.to_dict(), table.frame.index.tolist(), table.notes


def test_a_file_is_read_at_once_across_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from perdure.tasks.tables.csv_layout import Layout
    from perdure.tasks.tables.packing import source

    monkeypatch.setattr(plain_csv, "BLOCK", 64)
    plain = Layout(",", 0, False, ())
    for end in ("\n", "\r\n"):
        path = tmp_path / f"{len(end)}.csv"
        lines = ["a,b", *(f"{row},{'x' * (row % 7)}" for row in range(200))]
        path.write_bytes((end.join(lines) + end).encode())
        found = plain_csv.read(source(path), "utf-8", plain, 2, 99)
        assert found is not None
        assert found.column("0").to_pylist() == [str(row) for row in range(200)]
        for size in range(60, 70):  # a blank line where one block ends
            path.write_bytes(b"a,b" + end.encode() + b"1," + b"x" * size + end.encode() * 2 + b"2,")
            assert plain_csv.read(source(path), "utf-8", plain, 2, 99) is None
    path.write_bytes(b"a,b\n1," + b"x" * 50 + b"\n")
    assert plain_csv.read(source(path), "utf-8", plain, 2, 49) is None
    path.write_bytes(b"a,b\n1,2\r3,4\n")
    assert plain_csv.read(source(path), "utf-8", plain, 2, 99) is None


def test_the_plain_format_is_the_default() -> None:
    assert NumberFormat() == PLAIN
