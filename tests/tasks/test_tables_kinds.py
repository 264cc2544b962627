"""Texts and sequences in tables: told apart, checked item by item, written and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from perdure.errors import ConfigError, DataRefused, UsageError
from perdure.tasks.tables.check import Checked, check
from perdure.tasks.tables.content import content_sha256
from perdure.tasks.tables.read import read_table
from perdure.tasks.tables.schema import (
    Schema,
    SequenceColumn,
    TextColumn,
    infer,
    parse,
    render,
)

ROWS = 60
WORDS = ["one", "two", "three", "four", "five", "six", "seven"]


def texts(rows: int = ROWS, most: int = 20, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [f"{' '.join(rng.choice(WORDS, rng.integers(4, most)))} {n}." for n in range(rows)]


def series(rows: int = ROWS, most: int = 30, seed: int = 0) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=rng.integers(2, most)).round(3).tolist() for _ in range(rows)]


def table(folder: Path, form: str = "csv", **columns: Any) -> pd.DataFrame:
    """As it is read from a file."""
    columns.setdefault("label", ["no", "yes"] * (ROWS // 2))
    path = folder / f"table.{form}"
    frame = pd.DataFrame(columns)
    frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path)
    return read_table(path)


def whole(found: Schema) -> Any:
    ((name, column),) = [(n, c) for n, c in found.columns.items() if c.kind != "ignore"]
    return name, column


def test_the_only_free_text_is_what_is_learned_from(tmp_path: Path) -> None:
    frame = table(tmp_path, id=range(ROWS), day=["2024-01-02 10:11"] * ROWS, review=texts())
    found = infer(frame, "label")
    name, column = whole(found)
    assert (name, found.kind) == ("review", "text")
    assert column == TextColumn(length=24)
    (feature,) = found.feature_spec().columns
    assert (feature.length, feature.vocabulary, feature.tokenizer, feature.width) == (
        24, 8192, "words", 64,
    )  # fmt: skip
    assert parse(render(found)) == found


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_only_numbers_in_order_are_what_is_learned_from(form: str, tmp_path: Path) -> None:
    given: list[Any] = series()
    if form == "csv":
        given = [" ".join(map(str, one)) for one in given]
    found = infer(table(tmp_path, form, sensor=given), "label")
    name, column = whole(found)
    assert (name, found.kind) == ("sensor", "sequence")
    assert column.length == 32
    assert (column.min, column.max) == (None, None)
    assert not column.nullable
    assert parse(render(found)) == found


def test_sequences_of_one_length_have_that_length(tmp_path: Path) -> None:
    frame = table(tmp_path, sensor=["1 2 3"] * ROWS)
    frame["sensor"] = [f"{n} {n + 1} 7" for n in range(ROWS)]
    assert whole(infer(frame, "label"))[1].length == 3


def test_beside_numbers_text_stays_ignored_and_the_file_says_how_to_choose(
    tmp_path: Path,
) -> None:
    frame = table(tmp_path, price=np.random.default_rng(0).normal(size=ROWS), review=texts())
    found = infer(frame, "label")
    assert found.kind == "table"
    assert found.columns["review"].kind == "ignore"
    assert 'kind = "text"' in render(found)
    asked = infer(frame, "label", kind="text")
    assert whole(asked)[0] == "review"
    assert asked.columns["price"].kind == "ignore"


def test_of_two_texts_one_must_be_named(tmp_path: Path) -> None:
    frame = table(tmp_path, title=texts(seed=1), review=texts())
    with pytest.raises(DataRefused, match="could be learned from alone: title, review"):
        infer(frame, "label")
    with pytest.raises(UsageError, match="2 columns look like text: title, review"):
        infer(frame, "label", kind="text")
    assert whole(infer(frame, "label", kind="text", column="title"))[0] == "title"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"kind": "text", "column": "nothing"}, "no column 'nothing'"),
        ({"kind": "text", "column": "label"}, "is the target"),
        ({"kind": "sequence"}, "0 columns look like numbers in order; say which"),
        ({"kind": "sequence", "column": "review"}, "'review' is not numbers in order"),
        ({"kind": "text", "column": "price"}, None),
    ],
)
def test_what_was_asked_for_must_be_there(
    more: dict[str, Any], message: str | None, tmp_path: Path
) -> None:
    frame = table(tmp_path, "csv", price=[f"item {n}" for n in range(ROWS)], review=texts())
    if message is None:  # short, but text: whoever asks for it gets it
        assert whole(infer(frame, "label", **more))[0] == "price"
        return
    with pytest.raises(UsageError, match=message):
        infer(frame, "label", **more)


def test_names_and_dates_are_no_free_text(tmp_path: Path) -> None:
    for given in (
        [f"user-{n}" for n in range(ROWS)],
        [f"2024-01-{n:02d} 10:00:00 x" for n in range(ROWS)],
    ):
        with pytest.raises(DataRefused, match=r"nothing to learn from$"):
            infer(table(tmp_path, only=given), "label")


SCHEMA = '[target]\nname = "label"\ntask = "classification"\nclasses = ["no", "yes"]\n'


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ('[columns.t]\nkind="text"\n[columns.a]\nkind="number"', "columns.a.kind = 'number': t"),
        ('[columns.t]\nkind="sequence"\nlength=3\n[columns.s]\nkind="text"', "columns.s.kind"),
        ('[columns.i]\nkind="image"\nheight=3\nwidth=3\n[columns.a]\nkind="ignore"', "a: images"),
        ('[columns.i]\nkind="image"\nheight=3\nwidth=3\nchannels=2', "columns.i.channels"),
        ('[columns.i]\nkind="image"\nheight=0\nwidth=3', "columns.i.height"),
        ('[columns.s]\nkind="sequence"', "columns.s.length: is required"),
        ('[columns.s]\nkind="sequence"\nlength=3\nmin=2\nmax=1', "min = 2.0 is above max"),
        ('[columns.t]\nkind="text"\ntokenizer="bytes"\nvocabulary=300', "there are 256 bytes"),
        ('[columns.t]\nkind="text"\ntokenizer="gpt"', "columns.t.tokenizer"),
    ],
)  # fmt: skip
def test_a_wrong_schema_is_refused_with_its_key(columns: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(SCHEMA + columns)
    assert message in str(refused.value)


def test_bytes_need_no_vocabulary() -> None:
    found = parse(SCHEMA + '[columns.t]\nkind="text"\ntokenizer="bytes"')
    assert found.feature_spec().columns[0].vocabulary == 256
    assert parse(render(found)) == found


def checked(frame: pd.DataFrame, column: TextColumn | SequenceColumn, **more: Any) -> Checked:
    schema = parse(SCHEMA + '[columns.x]\nkind="text"')
    alone = {"columns": {"x": column}, "max_bad_share": 1.0}
    return check(frame, schema.model_copy(update=alone), **more)


LABELS = ["no", "yes"] * 5


def test_an_empty_text_is_refused_unless_it_may_be_missing() -> None:
    given = [*texts(6), "", "  \n", None, "NA"]
    frame = pd.DataFrame({"x": given, "label": LABELS}, index=pd.RangeIndex(1, 11, name="row"))
    found = checked(frame, TextColumn())
    assert found.refused[["row", "reason"]].to_numpy().tolist() == [
        [7, "x is missing"], [8, "x is missing"], [9, "x is missing"],
    ]  # fmt: skip
    assert found.accepted["x"].tolist() == [*given[:6], "NA"]
    may = checked(frame, TextColumn(nullable=True))
    assert may.accepted["x"].tolist() == [*given[:6], None, None, None, "NA"]


BAD_SEQUENCES: list[tuple[Any, str]] = [
    ("1 2 x", "x = '1 2 x' is no list of numbers: item 3 is 'x', no number"),
    ("1 99 2", "x has item 2 = 99, above the maximum 10"),
    ("[3, -7.5]", "x has item 2 = -7.5, below the minimum -2"),
    ("", "x is missing"),
    ("[]", "x is missing"),
    ("1,,2", "x = '1,,2' is no list of numbers: item 2 is missing"),
]


def test_each_unparsable_sequence_is_one_refused_row_with_the_item() -> None:
    given = ["1 2 3", "4", *(value for value, _ in BAD_SEQUENCES), "-2;10", "0"]
    frame = pd.DataFrame({"x": given, "label": LABELS}, index=pd.RangeIndex(1, 11, name="row"))
    found = checked(frame, SequenceColumn(length=4, min=-2.0, max=10.0))
    reasons = list(zip(found.refused["row"], found.refused["reason"], strict=True))
    assert reasons == [(row, result) for row, (_, result) in enumerate(BAD_SEQUENCES, start=3)]
    assert found.refused["column"].tolist() == ["x"] * len(BAD_SEQUENCES)
    assert [one.tolist() for one in found.accepted["x"]] == [[1, 2, 3], [4], [-2, 10], [0]]
    assert found.accepted["label"].tolist() == ["no", "yes", "no", "yes"]
    assert found.bad_rows["x"].tolist() == [value for value, _ in BAD_SEQUENCES]
    assert any("is no list of numbers: item 3" in line for line in found.summary)
    assert any("(and 1 more such)" in line for line in found.summary)


def test_lists_of_parquet_are_checked_likewise(tmp_path: Path) -> None:
    given = [[1.0, 2.0], [1.0, np.nan], [], None, [3.0, 99.0], list(range(2000)), *[[5.0]] * 4]
    path = tmp_path / "t.parquet"
    pd.DataFrame({"x": given, "label": LABELS}).to_parquet(path)
    found = checked(read_table(path), SequenceColumn(length=4, max=10.0), min_rows=1)
    assert found.refused["reason"].tolist() == [
        "x = '[1.0, nan]' is no list of numbers: item 2 is missing",
        "x is missing",
        "x is missing",
        "x has item 2 = 99, above the maximum 10",
        "x has item 12 = 11, above the maximum 10",
    ]
    # In full, for the quarantine: pandas would write the beginning and the end.
    assert found.bad_rows["x"].tolist()[-1] == str([float(n) for n in range(2000)])
    assert [one.tolist() for one in found.accepted["x"]] == [[1, 2], *[[5]] * 4]


def test_the_same_sequences_from_any_file_are_the_same_content(tmp_path: Path) -> None:
    found = []
    for form, given in (
        ("csv", [" ".join(map(str, one)) for one in series()]),
        ("csv", [str(one) for one in series()]),
        ("parquet", series()),
    ):
        frame = table(tmp_path, form, x=given)
        found.append(content_sha256(checked(frame, SequenceColumn(length=8)).accepted))
    assert len(set(found)) == 1


def test_a_long_text_is_read_whole(tmp_path: Path) -> None:
    long = " ".join(WORDS * 30_000)
    frame = table(tmp_path, x=[long, *texts(ROWS - 1)])
    assert len(long) > 131_072  # where the csv module gives up by default
    assert checked(frame, TextColumn()).accepted["x"][0] == long
