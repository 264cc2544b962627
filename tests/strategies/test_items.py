"""Texts as codes and sequences as numbers: for ever the same, and refused with the place."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.strategies.features import items


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Good, don't go!", ["good", ",", "don't", "go", "!"]),
        ("  \n\t ", []),
        ("ÄRGER 2nd snake_case", ["ärger", "2nd", "snake_case"]),
        ("東京タワー is high", ["東", "京", "タ", "ワ", "ー", "is", "high"]),
        ("हिन्दी भाषा।", ["हिन्दी", "भाषा", "।"]),
        ("cafe\u0301", ["caf\u00e9"]),
    ],
)
def test_words_are_lower_case_words_and_marks(text: str, expected: list[str]) -> None:
    assert items.words(text) == expected


def test_codes_are_pinned() -> None:
    # These are for ever: a learner's embedding belongs to them.
    assert items.codes("Good, don't go!", "words", 8192, 8) == [1800, 1031, 3405, 1333, 6720]
    assert items.codes("aé", "bytes", 256, 8) == [98, 196, 170]


@given(st.text(max_size=40), st.integers(1, 1000), st.integers(1, 20))
def test_a_code_is_the_blake2b_of_its_word(text: str, vocabulary: int, length: int) -> None:
    found = items.codes(text, "words", vocabulary, length)
    assert len(found) == min(length, items.tokens(text, "words"))
    for word, code in zip(items.words(text), found, strict=False):
        number = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        assert code == 1 + number % vocabulary
        assert not any(character.isspace() for character in word)


@given(st.text(max_size=40), st.integers(1, 60))
def test_bytes_are_those_of_utf_8(text: str, length: int) -> None:
    expected = [1 + byte for byte in text.encode()][:length]
    assert items.codes(text, "bytes", 256, length) == expected


@given(st.text(max_size=40))
def test_every_character_but_spaces_is_in_some_word(text: str) -> None:
    normal = unicodedata.normalize("NFC", text.lower())
    assert "".join(items.words(text)) == "".join(c for c in normal if not c.isspace())


@pytest.mark.parametrize(
    "value",
    ["1.5 2 -3e1", "[1.5, 2, -3e1]", " 1.5;2 ; -3e1 ", "(1.5,2,-30)", [1.5, 2, -30],
     np.array([1.5, 2, -30]), (1.5, np.int32(2), np.float32(-30))],
)  # fmt: skip
def test_numbers_in_order_are_read_however_they_are_written(value: Any) -> None:
    found = items.numbers(value)
    assert found.dtype == np.float64
    assert found.tolist() == [1.5, 2.0, -30.0]


@pytest.mark.parametrize("value", ["", "[]", [], np.array([])])
def test_no_numbers_are_an_empty_sequence(value: Any) -> None:
    assert items.numbers(value).shape == (0,)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("1 2 x", "item 3 is 'x', no number"),
        ("1,,2", "item 2 is missing"),
        ("1;2;", "item 3 is missing"),
        ("[1, 2", r"item 1 is '\[1', no number"),
        ("1 nan", "item 2 is 'nan', no number"),
        ("1e999 2", "item 1 is inf"),
        ("1_000", "item 1 is '1_000', no number"),
        ([1.0, None], "item 2 is missing"),
        ([1.0, float("nan")], "item 2 is missing"),
        ([1.0, True], "item 2 is True, no number"),
        (["1"], "item 1 is '1', no number"),
        ([10**400], "beyond the range of float64"),
        ([[1.0], [2.0]], "has 2 dimensions"),
        (3.0, "is no list of numbers"),
        (b"12", "is no list of numbers"),
    ],
)
def test_what_is_no_list_of_numbers_is_refused_with_the_item(value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        items.numbers(value)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_written_as_text_are_the_same_numbers(values: list[float]) -> None:
    for between in (" ", ", ", ";"):
        found = items.numbers(between.join(map(repr, values)))
        np.testing.assert_array_equal(found, np.array(values))
