"""What values mean: the same from text and from types, of whatever width."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.reading import rules, values, words
from perdure.reading.formats import NumberFormat, TimeFormat
from perdure.reading.rules import Rules


def column(*given: Any, dtype: Any = object) -> pd.Series[Any]:
    made: pd.Series[Any] = pd.Series(list(given), dtype=dtype)
    return made


@pytest.mark.parametrize(
    ("form", "texts", "expected"),
    [
        (NumberFormat(","), ["12,5", "-3", "+0,25", ",5"], [12.5, -3, 0.25, 0.5]),
        (NumberFormat(",", "."), ["1.234,5", "12.345.678", "1234,5"], [1234.5, 12345678, 1234.5]),
        (NumberFormat(".", ","), ["1,234.5", "999", "-1,000"], [1234.5, 999, -1000]),
        (NumberFormat(",", " "), ["1 234,5", "1\u202f234,5", "1\u00a0234"], [1234.5, 1234.5, 1234]),
        (NumberFormat(".", "'"), ["1'234.5", "1\u2019234"], [1234.5, 1234]),
        (NumberFormat(unit="%"), ["45.0%", "45 %", "45", "-1%"], [45, 45, 45, -1]),
        (NumberFormat(unit="$"), ["$5", "-$5", "$-5", "$ 5"], [5, -5, -5, 5]),
        (NumberFormat(",", ".", "€"), ["1.234,50 €", "€ 3"], [1234.5, 3]),
        (NumberFormat(unit="km/h"), ["7 km/h", "1e3km/h"], [7, 1000]),
        (NumberFormat(), ["\u22125", " 5 ", "1e-3", "5.", ".5"], [-5, 5, 0.001, 5, 0.5]),
    ],
)
def test_numbers_in_a_format(form: NumberFormat, texts: list[str], expected: list[float]) -> None:
    numbers, wrong = values.as_numbers(column(*texts), form)
    assert numbers.tolist() == expected
    assert not wrong.any()
    # A number with a type needs no format, whether it is alone or among text.
    typed, _ = values.as_numbers(column(*expected), form)
    mixed, _ = values.as_numbers(column(expected[0], *texts[1:]), form)
    assert typed.tolist() == mixed.tolist() == expected


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (NumberFormat(","), "12.5"),
        (NumberFormat(), "12,5"),
        (NumberFormat(".", ","), "1,23"),
        (NumberFormat(".", ","), "1234,567"),
        (NumberFormat(unit="%"), "5 kg"),
        (NumberFormat(unit="$"), "--5"),
        (NumberFormat(missing=("?",)), "??"),
        (NumberFormat(), "0x10"),
        (NumberFormat(), "1_000"),
        (NumberFormat(), "True"),
    ],
)
def test_what_does_not_fit_the_format_is_no_number(form: NumberFormat, text: str) -> None:
    numbers, wrong = values.as_numbers(column(text, "1"), form)
    assert wrong.tolist() == [True, False]
    assert np.isnan(numbers[0])


def test_missing_numbers_and_infinite_ones() -> None:
    form = NumberFormat(unit="%", missing=("?", "n.d."))
    numbers, wrong = values.as_numbers(column("?", "n.d.", "", None, "NA", " null ", "inf"), form)
    assert not wrong.any()
    assert np.isnan(numbers[:6]).all()
    assert np.isinf(numbers[6])


@pytest.mark.parametrize("dtype", ["float32", "float64", "Float32", "Float64", object])
def test_a_number_of_any_width_is_the_one_that_its_text_says(dtype: Any) -> None:
    given = [0.1, 1e-7, 3.0, 16777217.0 if dtype in ("float64", "Float64", object) else 16777216.0]
    numbers, _ = values.as_numbers(pd.Series(given, dtype=dtype))
    assert numbers.tolist() == given


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_float32_is_as_a_csv_of_it(numbers: list[float]) -> None:
    typed = pd.Series(np.array(numbers, dtype=np.float32))
    text = pd.Series([str(one) for one in np.array(numbers, dtype=np.float32)], dtype=object)
    for kind in (values.as_numbers, lambda given: (words.as_words(given), None)):
        one, other = kind(typed)[0], kind(text)[0]
        if one.dtype == np.float64:
            assert one.tolist() == other.tolist()


WORDS = ("1", "007", "Oslo", "NA", "2.5", "yes", "café")


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (1, "1"),
        (1.0, "1"),
        (np.float32(1.0), "1"),
        (np.int8(1), "1"),
        (7, "007"),
        (7.0, "007"),
        (2.5, "2.5"),
        ("oslo", "Oslo"),
        (" Oslo ", "Oslo"),
        ("OSLO", "Oslo"),
        ("NA", "NA"),
        ("CAFÉ", "café"),
        ("Rome", "Rome"),
        (" Rome", "Rome"),
        ("7", "7"),
        ("1.0", "1"),
        (8, "8"),
        ("", None),
        ("  ", None),
        (None, None),
        (float("nan"), None),
        (pd.NA, None),
    ],
)
def test_the_word_that_a_value_means(value: Any, word: str | None) -> None:
    assert words.as_words(column(value, "Oslo"), WORDS).tolist() == [word, "Oslo"]


def test_words_that_differ_by_case_alone_are_two_where_both_are_known() -> None:
    assert words.as_words(column("a", "A", " a", " A"), ("a", "A")).tolist() == [
        "a", "A", "a", "A",
    ]  # fmt: skip


def test_whole_numbers_of_a_float_column_are_words() -> None:
    """So pandas has a column of whole numbers of which one is missing."""
    given = pd.Series([1.0, np.nan, 7.0])
    assert words.as_words(given, WORDS).tolist() == ["1", None, "007"]
    assert words.as_words(pd.Series([1, pd.NA], dtype="Int64"), WORDS).tolist() == ["1", None]
    assert words.as_words(pd.Series(["1", "x"], dtype="category"), WORDS).tolist() == ["1", "x"]


@pytest.mark.parametrize(
    "value", [True, "True", "TRUE", " true", "t", "yes", "Y", "on", 1, 1.0, "1", np.True_]
)
def test_truth_in_every_spelling(value: Any) -> None:
    known = ("False", "True")
    assert words.as_words(column(value), known, truth=True).tolist() == ["True"]
    labels, wrong = words.as_labels(column(value), bool)
    assert labels.tolist() == [True]
    assert not wrong.any()


def test_what_is_no_truth_value_stays_what_it_is() -> None:
    found = words.as_words(column("perhaps", 2, None), ("False", "True"), truth=True)
    assert found.tolist() == ["perhaps", "2", None]
    labels, wrong = words.as_labels(column("perhaps", None), bool)
    assert labels.tolist() == [None, None]
    assert wrong.tolist() == [True, False]


def seconds(*given: int) -> float:
    moment = datetime.datetime(*given, tzinfo=datetime.UTC)  # type: ignore[misc, arg-type]
    return moment.timestamp()


@pytest.mark.parametrize(
    ("value", "form", "expected"),
    [
        ("2024-06-01", TimeFormat(), seconds(2024, 6, 1)),
        ("2024-06-01 12:30", TimeFormat(), seconds(2024, 6, 1, 12, 30)),
        ("2024-06-01T12:30:15.5", TimeFormat(), seconds(2024, 6, 1, 12, 30, 15) + 0.5),
        ("2024-06-01T12:30:00Z", TimeFormat(), seconds(2024, 6, 1, 12, 30)),
        ("2024-06-01T12:30:00+02:00", TimeFormat(), seconds(2024, 6, 1, 10, 30)),
        ("2024-06-01T12:30:00+02:00", TimeFormat(zone="Europe/Berlin"),
         seconds(2024, 6, 1, 12, 30)),
        ("2024-06-01 12:30", TimeFormat(zone="Europe/Berlin"), seconds(2024, 6, 1, 12, 30)),
        ("01.06.2024", TimeFormat("%d.%m.%Y"), seconds(2024, 6, 1)),
        ("6/1/2024 3:05 PM", TimeFormat("%m/%d/%Y %I:%M %p"), seconds(2024, 6, 1, 15, 5)),
        ("1717243200", TimeFormat("unix"), 1717243200.0),
        (1717243200, TimeFormat("unix"), 1717243200.0),
        (datetime.datetime(2024, 6, 1, 12), TimeFormat(), seconds(2024, 6, 1, 12)),
        (datetime.date(2024, 6, 1), TimeFormat(), seconds(2024, 6, 1)),
        (pd.Timestamp("2024-06-01 12:00", tz="America/New_York"), TimeFormat(),
         seconds(2024, 6, 1, 16)),
        ("1949-01-01", TimeFormat(), seconds(1949, 1, 1)),
    ],
)  # fmt: skip
def test_times(value: Any, form: TimeFormat, expected: float) -> None:
    found, wrong = values.as_times(column(value, None), form)
    assert found[0] == expected
    assert np.isnan(found[1])
    assert not wrong.any()


def test_times_of_typed_columns_are_those_of_their_text() -> None:
    text = ["2024-03-31 00:30", "2024-10-27 01:30", "2024-06-01 12:00"]
    expected = values.as_times(column(*text), TimeFormat())[0].tolist()
    plain = pd.Series(pd.to_datetime(text))
    for typed in (plain, plain.astype("datetime64[s]"), plain.dt.tz_localize("UTC")):
        found, wrong = values.as_times(typed, TimeFormat())
        assert found.tolist() == expected
        assert not wrong.any()


@pytest.mark.parametrize("text", ["2024", "2024-13-01", "12:30", "yesterday", "2024-06-01 x", "5"])
def test_what_is_no_time(text: str) -> None:
    found, wrong = values.as_times(column(text, "2024-06-01"), TimeFormat())
    assert wrong.tolist() == [True, False]
    assert np.isnan(found[0])


@pytest.mark.parametrize("form", [TimeFormat(), TimeFormat("%d.%m.%Y %H:%M"), TimeFormat("unix")])
@given(st.lists(st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2200, 1, 1))))
@settings(max_examples=30)
def test_times_written_are_read_again(form: TimeFormat, moments: list[datetime.datetime]) -> None:
    whole = [m.replace(second=0, microsecond=0) for m in moments]
    given = np.array([m.replace(tzinfo=datetime.UTC).timestamp() for m in whole])
    texts = values.times_as_text(given, form)
    found, wrong = values.as_times(pd.Series(texts, dtype=object), form)
    assert found.tolist() == given.tolist()
    assert not wrong.any()


def test_rules_in_order_each_value_once() -> None:
    numbers = np.array([np.nan, np.inf, -5.0, 50.0, 5.0, np.nan])
    wrong = np.array([False, False, False, False, False, True])
    found = list(rules.broken(numbers, wrong, Rules(False, 0.0, 10.0)))
    assert [(rows.nonzero()[0].tolist(), what) for rows, what in found] == [
        ([0], "is missing"),
        ([1], "is not finite"),
        ([2], "is below the minimum 0"),
        ([3], "is above the maximum 10"),
    ]
    given = np.array(["a", None, "c"], dtype=object)
    none = np.zeros(3, dtype=bool)
    [(rows, what)] = rules.broken(given, none, Rules(words=("a", "b")))
    assert (rows.tolist(), what) == ([False, False, True], "is not one of 'a', 'b'")
    assert Rules.from_json(Rules(False, None, 2.5, ("a",)).to_json()) == Rules(
        False, None, 2.5, ("a",)
    )


def test_sentences() -> None:
    assert rules.sentence("t", None, rules.MISSING, numeric=True) == "t is missing"
    assert rules.sentence("t", "5", "is x", numeric=True) == "t = 5 is x"
    assert rules.sentence("t", "5", "is x", numeric=False) == "t = '5' is x"
    assert rules.sentence("t", "much", "is x", numeric=True) == "t = 'much' is x"
    long = rules.sentence("t", "9" * 100, "is x", numeric=False)
    assert long == f"t = '{'9' * 60}…' is x"
