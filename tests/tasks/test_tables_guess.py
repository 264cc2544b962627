"""Which formats are certain, which are asked for, and what is left out of a first file."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from perdure.errors import UsageError
from perdure.reading.formats import NumberFormat, TimeFormat
from perdure.tasks.tables import guess
from perdure.tasks.tables.definition import ClassTarget, ValueTarget
from perdure.tasks.tables.infer import ColumnKind, Examined, examine

ROWS = 120
NUMBERS = [round(value, 2) for value in np.random.default_rng(0).uniform(-900, 9_000, ROWS)]


def frame(**columns: Any) -> pd.DataFrame:
    base = {"x": [f"{i * 0.37 % 7:.2f}" for i in range(ROWS)], "y": ["no", "yes"] * (ROWS // 2)}
    return pd.DataFrame({**base, **columns})


def german(value: float) -> str:
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


WRITTEN = {
    "plain": ([f"{v}" for v in NUMBERS], NumberFormat()),
    "comma": ([f"{v:.2f}".replace(".", ",") for v in NUMBERS], NumberFormat(",")),
    "german": (list(map(german, NUMBERS)), NumberFormat(",", ".")),
    "english": ([f"{v:,.2f}" for v in NUMBERS], NumberFormat(".", ",")),
    "swiss": ([f"{v:,.2f}".replace(",", "'") for v in NUMBERS], NumberFormat(".", "'")),
    "french": ([german(v).replace(".", "\u202f") for v in NUMBERS], NumberFormat(",", " ")),
    "grouped": ([f"{int(v):,}" for v in NUMBERS], NumberFormat(".", ",")),
    "per cent": ([f"{v}%" for v in NUMBERS], NumberFormat(unit="%")),
    "euro": ([f"{german(v)} €" for v in NUMBERS], NumberFormat(",", ".", "€")),
    "dollar": ([f"${v:,.2f}".replace("$-", "-$") for v in NUMBERS], NumberFormat(".", ",", "$")),
    "unit": ([f"{v} kg" for v in NUMBERS], NumberFormat(unit="kg")),
    "own unit": ([f"{v:.0f} boxes" for v in NUMBERS], NumberFormat(unit="boxes")),
    "mark": (["?" if i % 9 == 0 else f"{v}" for i, v in enumerate(NUMBERS)],
             NumberFormat(missing=("?",))),
    "exponents": ([f"{v:e}" for v in NUMBERS], NumberFormat()),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_a_format_of_the_whole_column_is_certain(name: str) -> None:
    texts, form = WRITTEN[name]
    found = guess.numbers(pd.Series(texts, dtype=object))
    assert found == guess.Guess(form, True)
    made = examine(frame(v=texts), "y").schema.columns["v"]
    assert made.kind == "number"


@pytest.mark.parametrize(
    "texts",
    [
        [f"A{i % 30}" for i in range(ROWS)],
        [f"{i % 30}A" for i in range(ROWS)],
        [f"{i % 3}-{i % 4}" for i in range(ROWS)],
        ["01067", "80331", "20095", "04109"] * 30,
        [f"10.0.{i % 3}.{i % 4}" for i in range(ROWS)],
        ["red", "green", "12"] * 40,
        [f"v{i % 4}.{i % 3}" for i in range(ROWS)],
        ["S", "M", "L", "XL"] * 30,
    ],
)
def test_words_with_digits_are_words(texts: list[str]) -> None:
    found = guess.numbers(pd.Series(texts, dtype=object))
    assert found is None or not found.certain
    assert examine(frame(v=texts), "y").schema.columns["v"].kind == "category"


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["1,234", "2,345", "9,876"] * 40, "'1,234' may be 1234 or 1.234"),
        (["1.5", "2,5"] * 60, "numbers with points and numbers with commas"),
        ([*["low", "n.d."] * 10, *[str(v) for v in NUMBERS[:100]]], "other text such as"),
    ],
)
def test_what_is_not_certain_is_left_out_with_a_way(texts: list[str], why: str) -> None:
    given = frame(v=texts)
    left = found(examine(given, "y"), "v")
    assert (left.learned, left.hint) == (False, "--number v")
    assert why in left.detail
    assert left.sample == texts[0]
    asked = examine(given, "y", kinds={"v": "number"})
    assert found(asked, "v").learned


def found(examined: Examined, name: str) -> Any:
    [one] = [one for one in examined.columns if one.name == name]
    return one


DAYS = pd.date_range("2024-01-01", periods=ROWS, freq="31h")


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("%Y-%m-%d", TimeFormat()),
        ("%Y-%m-%d %H:%M:%S", TimeFormat()),
        ("%Y-%m-%dT%H:%M:%SZ", TimeFormat()),
        ("%d.%m.%Y", TimeFormat("%d.%m.%Y")),
        ("%m/%d/%Y", TimeFormat("%m/%d/%Y")),
        ("%d/%m/%Y %H:%M", TimeFormat("%d/%m/%Y %H:%M")),
        ("%Y/%m/%d", TimeFormat("%Y/%m/%d")),
        ("%d %b %Y", TimeFormat("%d %b %Y")),
        ("%m/%d/%Y %I:%M %p", TimeFormat("%m/%d/%Y %I:%M %p")),
    ],
)
def test_dates_and_times_are_found(written: str, form: TimeFormat) -> None:
    texts = list(DAYS.strftime(written))
    assert guess.times(pd.Series(texts, dtype=object)) == form
    made = examine(frame(when=texts), "y").schema.columns["when"]
    assert made.kind == "time"
    clock = "%H" in written or "%I" in written
    assert made.sees == (
        ("elapsed", "year", "week", "day") if clock else ("elapsed", "year", "week")
    )


def test_a_day_that_may_be_a_month_is_asked_for() -> None:
    texts = [f"{1 + i % 12:02}/{1 + i % 11:02}/2024" for i in range(ROWS)]
    left = found(examine(frame(when=texts), "y"), "when")
    assert (left.learned, left.hint) == (False, "--time when")
    assert "day or month" in left.detail
    assert found(examine(frame(when=texts), "y", kinds={"when": "time"}), "when").learned


@pytest.mark.parametrize(
    ("name", "numbers", "why"),
    [
        ("row", range(ROWS), "counts the rows"),
        ("order", range(5, 5 + 3 * ROWS, 3), "only grows"),
        ("n", [(i * 7) % ROWS for i in range(ROWS)], "counts the rows, in another order"),
        ("customer_id", random.Random(0).sample(range(10**6), ROWS), "as an id has"),
        ("userId", random.Random(0).sample(range(10**6), ROWS), "as an id has"),
    ],
)
def test_ids_and_counters_are_left_out(name: str, numbers: Sequence[int], why: str) -> None:
    for given in (list(numbers), list(map(str, numbers))):
        left = found(examine(frame(**{name: given}), "y"), name)
        assert (left.learned, left.hint) == (False, f"--number {name}")
        assert why in left.detail


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("price", random.Random(0).sample(range(10**6), ROWS)),
        ("grid", [i % 40 for i in range(ROWS)]),
        ("paid", [0.5 * i for i in range(ROWS)]),
        ("rid", [i % 40 for i in range(ROWS)]),
    ],
)
def test_numbers_that_say_something_stay(name: str, numbers: list[float]) -> None:
    assert found(examine(frame(**{name: numbers}), "y"), name).learned


def test_words_by_how_often_they_come() -> None:
    rng = random.Random(0)
    rows = 4_000
    base = {"y": ["no", "yes"] * (rows // 2)}
    kinds = {
        "few": [f"w{rng.randrange(9)}" for _ in range(rows)],
        "many": [f"w{rng.randrange(600)}" for _ in range(rows)],
        "names": [f"w{i}" for i in range(rows)],
        "prose": [f"this is a sentence {i} of words" for i in range(rows)],
    }
    examined = examine(pd.DataFrame({**kinds, **base}), "y")
    columns = examined.schema.columns
    assert {name: columns[name].kind for name in kinds} == {
        "few": "category",
        "many": "category",
        "names": "ignore",
        "prose": "ignore",
    }
    assert getattr(columns["many"], "buckets", 0) == 1024
    assert "free text" in found(examined, "prose").detail
    assert "another word" in found(examined, "names").detail


def test_spellings_of_one_class() -> None:
    given = frame(y=["yes", "no"] * 54 + ["YES", "Yes ", "no ", " no"] * 3)
    examined = examine(given, "y")
    target = examined.schema.target
    assert isinstance(target, ClassTarget)
    assert target.classes == ("no", "yes")
    assert sorted(examined.notes) == [
        "'YES' (3 rows) is read as 'yes'",
        "'Yes' (3 rows) is read as 'yes'",
    ]


def test_spellings_that_are_both_frequent_are_two_classes() -> None:
    examined = examine(frame(y=["a", "A", "b"] * 40), "y")
    target = examined.schema.target
    assert isinstance(target, ClassTarget)
    assert target.classes == ("A", "a", "b")
    [note] = examined.notes
    assert "are one word written in two ways" in note


def test_a_target_in_a_format() -> None:
    texts = [german(value) for value in NUMBERS]
    examined = examine(frame(y=texts), "y")
    target = examined.schema.target
    assert isinstance(target, ValueTarget)
    assert target.format == NumberFormat(",", ".")
    assert examined.notes == ("target y: decimal comma, thousands with points",)


def test_a_target_that_may_be_a_number_or_a_class_is_asked_for() -> None:
    given = frame(y=[f"{1 + i % 9},{100 + i}" for i in range(ROWS)])
    with pytest.raises(UsageError, match="may be a number or a class") as refused:
        examine(given, "y")
    assert refused.value.hint == "--number y or --task classification"
    kinds: dict[str, ColumnKind] = {"y": "number"}
    assert examine(given, "y", kinds=kinds).schema.task == "regression"
    assert examine(given, "y", "classification").schema.task == "classification"


def test_what_a_person_says_of_a_column() -> None:
    given = frame(order=range(5, 5 + 3 * ROWS, 3), code=[i % 5 for i in range(ROWS)])
    kinds: dict[str, ColumnKind] = {"order": "number", "code": "category", "x": "ignore"}
    columns = examine(given, "y", kinds=kinds).schema.columns
    assert [columns[name].kind for name in ("order", "code", "x")] == [
        "number",
        "category",
        "ignore",
    ]
    with pytest.raises(UsageError, match="'x' holds no dates"):
        examine(given, "y", kinds={"x": "time"})
    with pytest.raises(UsageError, match="no column 'z'"):
        examine(given, "y", kinds={"z": "number"})
