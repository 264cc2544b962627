"""Changes to a schema's text: what a file has that is new, and limits of an older version."""

from __future__ import annotations

import tomllib

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.errors import UsageError
from perdure.records.schema import Difference
from perdure.tasks.tables.check import check
from perdure.tasks.tables.edit import Editor
from perdure.tasks.tables.schema import (
    CategoryColumn,
    ClassTarget,
    IgnoredColumn,
    accepted,
    differences,
    inferred,
    lifted,
    parse,
    render,
)
from tests.tasks import old_schemas
from tests.tasks.test_tables_schema import schemas

HAND = """\
# Mine: agreed with the plant on Monday.
extra_columns = "ignore"

[target]
name = "fault"   # from the log
task = "classification"
classes = [
    "no",    # the usual
    "yes"
]
new_classes = "allow"
min_class_rows = 5

[columns.temp]
kind = "number"
max = 100  # the sensor breaks above it
[columns."load, kW"]
kind = "number"
[columns.site]
kind = "category"
categories = ["east", "it's \\"west\\""]
[columns.flag]
kind = "category"
unseen = "refuse"
categories = ["False", "True"]
"""


def table(*rows: tuple[object, ...]) -> pd.DataFrame:
    """The columns of HAND, and one that it does not list."""
    names = ["temp", "load, kW", "site", "flag", "shift", "fault"]
    frame = pd.DataFrame([[str(cell) for cell in row] for row in rows], columns=names)
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
    return frame


NEWS = table(
    (20, 1, "east", "true", "night", "no"),
    (120, "", "south", "TRUE", "day", "yse"),
    (130, 3, "south", "maybe", "day", "broken"),
    ("hot", 4, "north", "false", "day", "broken"),
)


def test_what_a_file_has_that_the_schema_does_not() -> None:
    found = differences(NEWS.drop(columns="flag"), parse(HAND))
    assert found == (
        Difference("wrong type", "temp", 1, "number", ("hot",)),
        Difference("outside limits", "temp", 2, "to 100", ("120", "130")),
        Difference("missing values", "load, kW", 1, "number"),
        Difference("new words", "site", 3, "category", ("south", "north")),
        Difference("new column", "shift", 4, "category", ("day", "night")),
        Difference("new class", "fault", 2, "class", ("broken",)),
        Difference(
            "new class", "fault", 1, "class", ("yse",), None, "perhaps a typing error for 'yes'"
        ),
        Difference("missing column", "flag", 4),
    )
    assert differences(NEWS.iloc[:1].drop(columns="shift"), parse(HAND)) == ()


def test_what_is_new_is_taken_and_every_line_of_a_persons_stays() -> None:
    schema = parse(HAND)
    found = differences(NEWS, schema)
    text, result = accepted(HAND, "schema.toml", schema, NEWS, found, learned=False)
    new = parse(text)
    assert isinstance(new.target, ClassTarget)
    assert new.target.classes == ("no", "yes", "broken", "yse")
    assert new.columns["load, kW"].nullable  # type: ignore[union-attr]  # it is a number
    site = new.columns["site"]
    assert isinstance(site, CategoryColumn)
    assert site.categories == ("east", 'it\'s "west"', "north", "south")
    assert new.columns["shift"] == IgnoredColumn()
    assert new.columns["temp"] == schema.columns["temp"]
    for line in HAND.splitlines():
        if line.strip() not in ('"yes"', 'categories = ["east", "it\'s \\"west\\""]'):
            assert line in text.splitlines(), line
    assert {one.what: one.taken for one in result} == {
        "wrong type": False,
        "outside limits": False,
        "missing values": True,
        "new words": False,  # the last is of truth values
        "new column": True,
        "new class": True,
    }
    assert check(NEWS.iloc[:1], new).refused_rows == 0


def test_a_learner_keeps_its_inputs() -> None:
    schema = parse(HAND)
    found = differences(NEWS, schema)
    text, result = accepted(HAND, "schema.toml", schema, NEWS, found, learned=True)
    assert parse(text).features == schema.features
    assert parse(text).columns["site"] == schema.columns["site"]
    (words, _) = [one for one in result if one.what == "new words"]
    assert words.taken is False
    assert words.note is not None
    assert 'let through, as unseen = "allow"' in words.note


def test_where_nothing_is_new_nothing_changes() -> None:
    schema = parse(HAND)
    frame = NEWS.iloc[:1].drop(columns="shift")
    assert accepted(HAND, "schema.toml", schema, frame, (), learned=False) == (HAND, ())


@pytest.mark.parametrize(
    "text",
    [
        'target = {name = "y", task = "classification", classes = ["a", "b"]}\n'
        '[columns.x]\nkind = "number"\n',
        'target.name = "y"\ntarget.task = "classification"\ntarget.classes = ["a", "b"]\n'
        'columns.x = {kind = "number"}\n',
    ],
)
def test_a_layout_that_cannot_be_edited_changes_nothing(text: str) -> None:
    schema = parse(text)
    frame = pd.DataFrame({"x": ["1", ""], "y": ["a", "c"]}, index=[1, 2])
    found = differences(frame, schema)
    assert len(found) == 2
    with pytest.raises(UsageError, match="nothing was changed"):
        accepted(text, "schema.toml", schema, frame, found, learned=False)


@settings(max_examples=30, deadline=None)
@given(schemas, st.sampled_from(["allow", "refuse"]))
def test_any_rendered_schema_can_be_edited(schema: object, word: str) -> None:
    text = render(schema)  # type: ignore[arg-type]  # a Schema, from another module's strategy
    editor = Editor(text)
    editor.set((), "extra_columns", '"ignore"')
    target = parse(text).target
    if isinstance(target, ClassTarget):
        editor.set(("target",), "new_classes", f'"{word}"')
    for name in parse(text).columns:
        editor.set(("columns", name), "nullable", "true")
        editor.remove(("columns", name), "max")
    found = tomllib.loads("\n".join(editor.lines))
    assert found["extra_columns"] == "ignore"
    assert isinstance(target, ClassTarget) <= (found["target"].get("new_classes") == word)
    assert {column.get("nullable") for column in found["columns"].values()} == {True}
    assert not any("max" in column for column in found["columns"].values())


# ------------------------------------------------------------------ limits of an older version


def old_rows(*changes: dict[str, str], **more: str) -> pd.DataFrame:
    good = {"a": "1", "b": "2", "colour": "red", "kind": "no", **more}
    frame = pd.DataFrame([good | change for change in changes])
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
    return frame


def test_an_old_schema_goes_on_to_mean_what_it_says() -> None:
    schema = parse(old_schemas.CLASSES)
    changes: tuple[dict[str, str], ...] = (
        {},
        {"a": "48"},
        {"b": "-30"},
        {"kind": "maybe"},
        {"colour": "blue"},
        {},
        {},
        {},
    )
    checked = check(old_rows(*changes), schema)
    assert checked.refused["reason"].tolist() == [
        "a = 48 is above the maximum 47.1",
        "b = -30 is below the minimum -27.6",
        "kind = 'maybe' is not one of the classes 'no', 'yes'",
    ]
    assert len(checked.accepted) == 5
    assert check(old_rows({}, more="1"), schema).whole == (
        "extra column 'more', which the schema does not list",
    )
    numbers = parse(old_schemas.NUMBERS)
    frame = pd.DataFrame({"s": ["1 2 3", "1 99", "1 2"], "y": ["1", "2", "30"]}, index=[1, 2, 3])
    assert check(frame, numbers, 0).refused["reason"].tolist() == [
        "s has item 2 = 99, above the maximum 23.8",
        "y = 30 is above the maximum 24.4",
    ]


def test_the_limits_of_an_older_version_are_lifted_and_nothing_else() -> None:
    mine = old_schemas.CLASSES + "# mine\n"
    schema = parse(mine)
    found = inferred(mine, schema, parse(old_schemas.CLASSES))
    assert found.in_words() == (
        "range of a", "range of b", "new classes are refused",
        "a file with another column is refused whole",
    )  # fmt: skip
    text = lifted(mine, "schema.toml", schema, found)
    new = parse(text)
    assert text.endswith("# mine\n")
    assert "six times" not in text
    assert not inferred(text, new, parse(old_schemas.CLASSES))
    frame = old_rows({}, {"a": "48"}, {"b": "-3e9"}, more="1")
    assert check(frame, new).refused_rows == 0
    target = ClassTarget(name="kind", classes=("no", "yes"), new_classes="allow", min_class_rows=10)
    assert new.target == target

    schema = parse(old_schemas.NUMBERS)
    found = inferred(old_schemas.NUMBERS, schema, None)
    assert (found.columns, found.target, found.new_classes) == (("s",), True, False)
    text = lifted(old_schemas.NUMBERS, "schema.toml", schema, found)
    assert "min =" not in text.replace("min = NUMBER", "")
    assert parse(text).columns["s"] == schema.columns["s"].model_copy(
        update={"min": None, "max": None}
    )


def test_a_limit_that_a_person_moved_since_is_that_persons() -> None:
    mine = old_schemas.CLASSES.replace("max = 47.1", "max = 40").replace(
        'extra_columns = "refuse"', 'extra_columns = "ignore"'
    )
    found = inferred(mine, parse(mine), parse(old_schemas.CLASSES))
    assert (found.columns, found.extra_columns) == (("b",), False)
    assert "max = 40\n" in lifted(mine, "schema.toml", parse(mine), found)


def test_a_file_that_no_older_version_wrote_has_no_inferred_limits() -> None:
    assert not inferred(HAND, parse(HAND), None)
    new = render(parse(HAND))
    assert not inferred(new, parse(new), None)
