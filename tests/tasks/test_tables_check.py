"""The check: canonical form, and a reason for every refusal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.errors import DataRefused
from perdure.tasks.tables.check import Checked, check
from perdure.tasks.tables.content import content_sha256
from perdure.tasks.tables.read import read_table
from perdure.tasks.tables.schema import Schema, infer, parse, render

SCHEMA = parse("""
[target]
name = "y"
task = "classification"
classes = [0, 1]
[columns.t]
kind = "number"
min = -10
max = 50
[columns.n]
kind = "number"
nullable = true
[columns.w]
kind = "category"
categories = ["N", "E"]
unseen = "refuse"
[columns.v]
kind = "category"
categories = ["a"]
nullable = true
[columns.flag]
kind = "category"
categories = ["False", "True"]
unseen = "refuse"
[columns.note]
kind = "ignore"
""")
GOOD = {"t": "20.5", "n": "", "w": "N", "v": "new", "flag": "TRUE", "note": "", "y": "1"}


def rows(*changes: dict[str, str]) -> pd.DataFrame:
    frame = pd.DataFrame([GOOD | change for change in changes], dtype="str")
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
    return frame


def found(checked: Checked) -> list[tuple[int, str, str | None, str]]:
    return list(checked.refused.itertuples(index=False, name=None))


def test_the_canonical_form() -> None:
    checked = check(rows({}, {"n": "-0", "v": "", "note": "hm", "y": "0.0"}), SCHEMA)
    frame = checked.accepted
    assert list(frame.columns) == list(SCHEMA.names)
    assert [frame[c].dtype for c in ("t", "n", "y")] == [np.float64, np.float64, np.int64]
    assert all(frame[c].dtype == object for c in ("w", "v", "flag", "note"))
    assert frame["v"].tolist() == ["new", None]
    assert frame["note"].tolist() == [None, "hm"]
    assert frame["flag"].tolist() == ["True", "True"]
    assert np.isnan(frame["n"][0])
    assert not np.signbit(frame["n"][1])
    assert frame["y"].tolist() == [1, 0]
    assert (checked.whole, checked.refused_rows, checked.rows) == ((), 0, 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"t": "abc"}, "t = 'abc' is not a number"),
        ({"t": "1_000"}, "t = '1_000' is not a number"),
        ({"t": "0x1F"}, "t = '0x1F' is not a number"),
        ({"t": "True"}, "t = 'True' is not a number"),
        ({"t": "51"}, "t = 51 is above the maximum 50"),
        ({"t": "-11"}, "t = -11 is below the minimum -10"),
        ({"t": "inf"}, "t = inf is not finite"),
        ({"t": "1e999"}, "t = 1e999 is not finite"),
        ({"t": "9" * 400}, f"t = {'9' * 60}… is not finite"),
        ({"t": ""}, "t is missing"),
        ({"t": "NaN"}, "t is missing"),
        ({"w": "S"}, "w = 'S' is not one of 'N', 'E'"),
        ({"w": ""}, "w is missing"),
        ({"flag": "perhaps"}, "flag = 'perhaps' is not one of 'False', 'True'"),
        ({"y": ""}, "y is missing"),
        ({"y": "2"}, "y = '2' is not one of the classes 0, 1"),
        ({"y": "1.5"}, "y = '1.5' is not one of the classes 0, 1"),
        ({"y": "9" * 5000}, f"y = '{'9' * 60}…' is not one of the classes 0, 1"),
    ],
)
def test_each_rule_refuses_its_row_alone(change: dict[str, str], reason: str) -> None:
    checked = check(rows({}, change, {}), SCHEMA)
    ((column, value),) = change.items()
    ((row, found_column, found_value, found_reason),) = found(checked)
    assert (row, found_column, found_reason) == (2, column, reason)
    assert (found_value or "") in (value, "")
    assert checked.whole == ()
    assert len(checked.accepted) == 2
    assert checked.bad_rows.loc[2].to_dict() == GOOD | change


def test_every_finding_of_a_row_is_told_and_summed_up() -> None:
    checked = check(rows({}, {"t": "abc", "y": ""}, {}, {"t": "x"}, {}), SCHEMA)
    assert [(row, column) for row, column, *_ in found(checked)] == [(2, "t"), (2, "y"), (4, "t")]
    assert checked.refused_rows == 2
    assert checked.summary == (
        "row 2: t = 'abc' is not a number (and 1 more such)",
        "row 2: y is missing",
    )


def test_a_file_with_other_columns_is_refused_whole() -> None:
    checked = check(rows({}).rename(columns={"note": "notes"}), SCHEMA)
    assert checked.whole == (
        "missing column 'note' (is it 'notes'?)",
        "extra column 'notes', which the schema does not list",
    )
    assert checked.accepted.empty
    assert checked.refused_rows == 1


def test_extra_columns_may_be_ignored() -> None:
    loose = SCHEMA.model_copy(update={"extra_columns": "ignore"})
    checked = check(rows({}).assign(more="1"), loose)
    assert checked.whole == ()
    assert "more" not in checked.accepted
    assert check(rows({}).drop(columns="t").assign(more="1"), loose).whole == (
        "missing column 't'",
        "columns that the schema does not list: 'more'",
    )


def test_doubled_columns_are_refused() -> None:
    frame = rows({})
    assert (
        "2 columns are named 't'" in check(pd.concat([frame, frame[["t"]]], axis=1), SCHEMA).whole
    )


@pytest.mark.parametrize(
    ("update", "min_rows", "message"),
    [
        ({"on_bad_row": "file"}, 1, 'on_bad_row = "file"'),
        ({"max_bad_share": 0.2}, 1, r"1 of 4 rows are refused \(25%\); .* = 20%"),
        ({}, 4, "3 rows are accepted; the least is data.min_rows = 4"),
    ],
)
def test_too_much_is_refused_whole(update: dict[str, object], min_rows: int, message: str) -> None:
    frame = rows({}, {"t": "abc"}, {}, {})
    assert check(frame, SCHEMA, 3).whole == ()
    checked = check(frame, SCHEMA.model_copy(update=update), min_rows)
    assert len(checked.whole) == 1
    assert pd.Series(checked.whole).str.contains(message).all()
    assert checked.accepted.empty
    assert len(checked.refused) == 1  # the rows' reasons are kept all the same


def test_labels_have_the_users_type() -> None:
    base = '[columns.x]\nkind="number"\n[target]\nname="y"\ntask='
    for task, value, label, dtype in (
        ('"classification"\nclasses=["b","a"]', "a", "a", object),
        ('"classification"\nclasses=[1,7]', "7", 7, np.int64),
        ('"classification"\nclasses=[true,false]', "false", False, np.bool_),
        ('"regression"', "7", 7.0, np.float64),
    ):
        accepted = check(pd.DataFrame({"x": ["1"], "y": [value]}), parse(base + task)).accepted
        assert accepted["y"].dtype == dtype
        assert accepted["y"].tolist() == [label]
        assert isinstance(accepted["y"].tolist()[0], type(label))


def test_typed_columns_are_checked_like_text(tmp_path: Path) -> None:
    typed = pd.DataFrame(
        {
            "t": [1, 2, 99],
            "n": [0.1, None, 3.0],
            "w": pd.Categorical(["N", "E", "N"]),
            "v": ["a", None, "b"],
            "flag": [True, False, True],
            "note": pd.Series([pd.Timestamp("2024-01-01"), None, pd.Timestamp("2024-01-03")]),
            "y": [0, 1, None],
        }
    )
    typed.to_parquet(tmp_path / "t.parquet")
    typed.to_csv(tmp_path / "t.csv", index=False)
    one, other = (check(read_table(tmp_path / f"t.{s}"), SCHEMA) for s in ("parquet", "csv"))
    assert [r[:2] + r[3:] for r in found(one)] == [r[:2] + r[3:] for r in found(other)]
    assert len(found(one)) == 2
    pd.testing.assert_frame_equal(one.accepted, other.accepted)
    assert content_sha256(one.accepted) == content_sha256(other.accepted)


def test_numbers_are_read_to_the_last_bit() -> None:
    texts = ["0.1", "1e-7", "2.2250738585072011e-308", "9007199254740993", "0.30000000000000004"]
    schema = parse('[columns.x]\nkind="number"\n[target]\nname="y"\ntask="regression"')
    frame = pd.DataFrame({"x": texts, "y": [f" +{t} " for t in texts]})
    accepted = check(frame, schema).accepted
    assert accepted["x"].tolist() == accepted["y"].tolist() == [float(t) for t in texts]


def test_a_number_far_outside_the_first_file_is_accepted_unless_a_person_wrote_a_limit() -> None:
    rng = np.random.default_rng(1)
    first = pd.DataFrame({"pressure": rng.normal(1016.0, 7.0, 400), "y": [0, 1] * 200})
    first.index = pd.RangeIndex(1, 401, name="row")
    schema: Schema = infer(first, "y")
    later = first.copy()
    later.loc[35, "pressure"] = 5503.8
    assert check(later, schema).refused_rows == 0
    text = render(schema).replace(
        '[columns.pressure]\nkind = "number"\n', '[columns.pressure]\nkind = "number"\nmax = 2000\n'
    )
    limited = check(later, parse(text))
    assert found(limited) == [
        (35, "pressure", "5503.8", "pressure = 5503.8 is above the maximum 2000")
    ]


NEW = SCHEMA.model_copy(
    update={
        "target": SCHEMA.target.model_copy(
            update={"classes": ("no", "yes"), "new_classes": "allow", "min_class_rows": 3}
        )
    }
)
"""With text classes, of which a new one needs three rows."""


def classes(*labels: str) -> pd.DataFrame:
    return rows(*({"y": label, "n": str(i)} for i, label in enumerate(labels)))


def test_a_new_class_with_enough_rows_is_let_in_and_named() -> None:
    checked = check(classes("no", "fog", "yes", "fog", "fog"), NEW)
    assert checked.refused_rows == 0
    assert checked.new == ("fog",)
    assert checked.notes == (
        "column 'v': none of its words is in the schema's list ('new'); the model sees them all "
        "alike, as unseen, and learns nothing from the column",
        "new class 'fog': 3 rows, let in",
    )


def test_a_new_class_with_too_few_rows_is_set_aside_beside_what_it_resembles() -> None:
    checked = check(classes("no", "yes", "Yess", "yes", "mist", "Yess"), NEW)
    assert [(row, reason) for row, _, _, reason in found(checked)] == [
        (3, "y = 'Yess' is a new class with 2 rows in this file; the least is 3 "
            "(a typing error for 'yes'?)"),
        (5, "y = 'mist' is a new class with 1 row in this file; the least is 3"),
        (6, "y = 'Yess' is a new class with 2 rows in this file; the least is 3 "
            "(a typing error for 'yes'?)"),
    ]  # fmt: skip
    assert checked.accepted["y"].tolist() == ["no", "yes", "yes"]
    assert checked.aside["y"].tolist() == ["Yess", "mist", "Yess"]
    assert checked.offered["n"].tolist() == [0, 1, 2, 3, 4, 5]
    assert "2 rows gathered so far; it comes in at target.min_class_rows = 3" in checked.notes[1]


def test_rows_of_earlier_files_count_and_known_classes_need_none() -> None:
    frame = classes("no", "yes", "fog", "mist", "rain")
    checked = check(frame, NEW, known={"mist"}, gathered={"fog": 2, "rain": 1})
    assert checked.new == ("fog", "mist")
    assert checked.aside["y"].tolist() == ["rain"]
    assert "new class 'fog': 1 row, with 2 rows set aside from earlier files, let in" in (
        checked.notes
    )
    # The reason depends on the file alone, so that the same file is set aside once.
    assert checked.summary == check(frame.drop(index=[3, 4]), NEW).summary


def test_a_row_that_breaks_another_rule_does_not_count_for_its_class() -> None:
    frame = classes("no", "fog", "fog", "fog", "yes", "yes")
    frame.loc[2, "t"] = "abc"
    checked = check(frame, NEW)
    assert len(checked.aside) == 2
    assert checked.refused_rows == 3


def test_words_that_the_schema_does_not_list_are_counted() -> None:
    frame = rows({}, {"v": "a"}, {"v": "b"}, {"v": ""})
    assert check(frame, SCHEMA).notes == (
        "column 'v': 2 of 4 rows have words that the schema does not list ('new', 'b'); the model "
        "sees them all alike, as unseen",
    )
    assert check(rows({"v": "a"}, {"v": ""}), SCHEMA).notes == ()


def test_a_column_that_is_left_out_is_named() -> None:
    loose = SCHEMA.model_copy(update={"extra_columns": "ignore"})
    checked = check(rows({"v": "a"}).assign(more="1"), loose)
    assert checked.notes == (
        "left out: column 'more', which the schema does not list (perdure schema --diff FILE)",
    )


cells = st.one_of(
    st.sampled_from(["", "1", "2.5", "-0", "inf", "nan", "True", "N", "2024-01-01", "9" * 30]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=12))
def test_no_table_is_too_odd(rows: list[tuple[str, str, str]]) -> None:
    frame = pd.DataFrame(rows, columns=["a", "b", "y"], dtype="str")
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
    try:
        schema = infer(frame, "y")
    except DataRefused:
        return
    for asked in (schema, SCHEMA, parse(render(schema))):
        checked = check(frame, asked)
        # Nothing is dropped in silence: every row is accepted, or refused with a reason.
        if not checked.whole:
            assert len(checked.accepted) + checked.refused_rows == len(frame)
        assert set(checked.refused["row"]) == set(checked.bad_rows.index)
        assert len(content_sha256(checked.accepted)) == 64
