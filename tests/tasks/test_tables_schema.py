"""The schema: what is inferred, that the file says it all, and that its faults are all told."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.config import DataConfig
from perdure.errors import ConfigError, DataRefused, UsageError
from perdure.tasks.tables.schema import (
    CategoryColumn,
    ClassTarget,
    IgnoredColumn,
    NumberColumn,
    Schema,
    ValueTarget,
    infer,
    load,
    parse,
    render,
)

ROWS = 200


def table(**columns: object) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    base: dict[str, object] = {"x": rng.normal(size=ROWS), "y": ["no", "yes"] * (ROWS // 2)}
    return pd.DataFrame({**base, **columns})


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([f"{i / 7:.3f}" for i in range(ROWS)], "number"),
        (["1.5", "oops", *["2"] * (ROWS - 2)], "number"),
        ([i % 37 for i in range(ROWS)], "number"),
        (list(range(0, 2 * ROWS, 2)), "ignore"),
        ([(i * 77) % 200 for i in range(ROWS)], "ignore"),
        (["N", "E"] * (ROWS // 2), "category"),
        ([True, False] * (ROWS // 2), "category"),
        (["TRUE", "false"] * (ROWS // 2), "category"),
        ([f"name {i}" for i in range(ROWS)], "ignore"),
        (list(range(1, ROWS + 1)), "ignore"),
        (["2024-01-31"] * ROWS, "time"),
        (["2024-01-31T10:00:00Z"] * ROWS, "time"),
        (pd.date_range("2024-01-01", periods=ROWS), "time"),
        ([""] * ROWS, "ignore"),
        ([None] * ROWS, "ignore"),
        ([[1, 2]] * ROWS, "ignore"),
        ([math.inf] * ROWS, "ignore"),
    ],
)
def test_kinds_are_inferred(values: object, kind: str) -> None:
    assert infer(table(c=values), "y").columns["c"].kind == kind


def test_no_limit_is_inferred() -> None:
    """The form of the data is inferred, not the state of the world on the first day."""
    numbers = np.linspace(0.0, 1.0, ROWS)
    schema = infer(table(c=numbers, d=["N", "E"] * 100, y=numbers * 7), "y")
    assert schema.columns["c"] == NumberColumn()
    assert schema.columns["d"] == CategoryColumn(categories=("E", "N"), unseen="allow")
    assert schema.target == ValueTarget(name="y")
    assert schema.extra_columns == "ignore"
    of = infer(table(), "y").target
    assert of == ClassTarget(
        name="y", classes=("no", "yes"), new_classes="allow", min_class_rows=10
    )


def test_truth_values_are_a_type_and_stay_one() -> None:
    schema = infer(table(c=["TRUE", "false"] * 100, y=[True, False] * 100), "y")
    assert schema.columns["c"] == CategoryColumn(categories=("False", "True"), unseen="refuse")
    assert schema.target == ClassTarget(name="y", classes=(False, True), new_classes="refuse")


def test_keys_that_are_absent_mean_what_they_meant() -> None:
    """A file of an older version, or a short one by hand."""
    text = '[target]\nname = "y"\ntask = "classification"\nclasses = [0, 1]\n'
    schema = parse(text + '[columns.a]\nkind = "number"\n')
    assert schema.extra_columns == "refuse"
    assert schema.target == ClassTarget(
        name="y", classes=(0, 1), new_classes="refuse", min_class_rows=1
    )
    # The hash that experiences of older versions name their schema by.
    assert schema.sha256.startswith("888db2b33bc710dc")


def test_missing_values_make_a_column_nullable() -> None:
    schema = infer(table(c=["1", ""] * 100, d=["N", None] * 100, e=["N", "S"] * 100), "y")
    assert isinstance(c := schema.columns["c"], NumberColumn)
    assert isinstance(d := schema.columns["d"], CategoryColumn)
    assert isinstance(e := schema.columns["e"], CategoryColumn)
    assert (c.nullable, d.nullable, e.nullable) == (True, True, False)


@pytest.mark.parametrize(
    ("values", "target"),
    [
        (["0", "1"] * 100, ClassTarget(name="y", classes=(0, 1))),
        (["0.0", "1.0"] * 100, ClassTarget(name="y", classes=(0, 1))),
        ([0, 1] * 100, ClassTarget(name="y", classes=(0, 1))),
        ([0.0, 1.0] * 100, ClassTarget(name="y", classes=(0, 1))),
        ([10, 9, 100, 1] * 50, ClassTarget(name="y", classes=(1, 9, 10, 100))),
        (["b", "a"] * 100, ClassTarget(name="y", classes=("a", "b"))),
        ([True, False] * 100, ClassTarget(name="y", classes=(False, True))),
        (["True", "False"] * 100, ClassTarget(name="y", classes=(False, True))),
        (["1", "x", *["0"] * 198], ClassTarget(name="y", classes=(0, 1))),
    ],
)
def test_classes_are_inferred_in_the_users_type(values: list[object], target: ClassTarget) -> None:
    schema = infer(table(y=values), "y")
    assert isinstance(schema.target, ClassTarget)
    assert schema.target.classes == target.classes
    assert [type(c) for c in schema.target.classes] == [type(c) for c in target.classes]


def test_the_task_is_inferred_or_said() -> None:
    assert infer(table(y=list(range(21)) * 9 + [0] * 11), "y").task == "regression"
    assert infer(table(y=np.linspace(0, 1, ROWS)), "y").task == "regression"
    assert infer(table(y=list(range(20)) * 10), "y").task == "classification"
    assert infer(table(y=list(range(20)) * 10), "y", "regression").task == "regression"
    target = infer(table(y=[0.5, 1.5] * 100), "y", "classification").target
    assert isinstance(target, ClassTarget)
    assert target.classes == ("0.5", "1.5")


def test_a_target_that_cannot_be_learned_is_refused() -> None:
    with pytest.raises(UsageError, match="no column 'z'; it has x, y"):
        infer(table(), "z")
    with pytest.raises(DataRefused, match="only one class"):
        infer(table(y=["a"] * ROWS), "y")
    with pytest.raises(DataRefused, match="no values"):
        infer(table(y=[None] * ROWS), "y")
    with pytest.raises(DataRefused, match="only one value"):
        infer(table(y=[2.0] * ROWS), "y", "regression")
    with pytest.raises(UsageError, match="is not a number"):
        infer(table(), "y", "regression")
    frame = pd.DataFrame({"x": np.arange(1200) % 7, "y": np.arange(1200) * 2})
    with pytest.raises(UsageError, match="1200 classes"):
        infer(frame, "y", "classification")
    with pytest.raises(DataRefused, match="nothing to learn from"):
        infer(pd.DataFrame({"y": [0, 1]}), "y")


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def ranges(draw: st.DrawFn) -> dict[str, float | None]:
    low, high = sorted([draw(finite), draw(finite)])
    return {"min": draw(st.sampled_from([low, None])), "max": draw(st.sampled_from([high, None]))}


columns = st.one_of(
    st.builds(lambda r, n: NumberColumn(nullable=n, **r), ranges(), st.booleans()),
    st.builds(
        CategoryColumn,
        nullable=st.booleans(),
        unseen=st.sampled_from(["allow", "refuse"]),
        categories=st.lists(names, min_size=1, max_size=5, unique=True).map(tuple),
    ),
)
classes = st.one_of(
    st.lists(names, min_size=2, max_size=5, unique=True).map(tuple),
    st.lists(st.integers(-(10**17), 10**17), min_size=2, max_size=5, unique=True).map(tuple),
    st.just((False, True)),
)
targets = st.one_of(
    st.builds(
        ClassTarget,
        name=names,
        classes=classes,
        new_classes=st.sampled_from(["allow", "refuse"]),
        min_class_rows=st.integers(1, 20),
    ),
    st.builds(lambda n, r: ValueTarget(name=n, **r), names, ranges()),
)
schemas = st.builds(
    Schema,
    on_bad_row=st.sampled_from(["rows", "file"]),
    max_bad_share=st.floats(0, 1),
    extra_columns=st.sampled_from(["refuse", "ignore"]),
    target=targets,
    columns=st.dictionaries(names, columns, min_size=1, max_size=4),
).filter(lambda schema: schema.target.name not in schema.columns)


@settings(max_examples=150, deadline=None)
@given(schemas)
def test_what_is_written_is_what_is_read(schema: Schema) -> None:
    read = parse(render(schema))
    assert read == schema
    assert read.names == schema.names  # the order of columns too
    assert read.sha256 == schema.sha256


def test_comments_say_how_to_change_each_rule() -> None:
    text = render(infer(table(c=["N", "E"] * 100), "y"))
    for word in (
        "min_class_rows = 10",
        "write min = NUMBER",
        'unseen = "allow"',
        'on_bad_row = "rows"',
        "max_bad_share",
    ):
        assert word in text


def test_the_hash_is_of_the_meaning(tmp_path: Path) -> None:
    text = render(infer(table(c=["N", "E"] * 100), "y"))
    same = "# a word\n" + text.replace("\n\n", "\n\n\n")
    assert parse(same).sha256 == parse(text).sha256
    assert parse(text.replace("0.5", "0.4")).sha256 != parse(text).sha256


def test_every_fault_is_told_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "schema.toml"
    path.write_text("""
max_bad_share = 2.0
spare = 1
[target]
name = "y"
task = "classification"
classes = [1]
[columns."a b"]
kind = "number"
unseen = "allow"
[columns.b]
kind = "number"
min = 3
max = 2
[columns.c]
kind = "words"
[columns.d]
nullable = true
[columns.e]
kind = "category"
categories = ["a", "a"]
[columns.f]
kind = "number"
min = inf
max = "9"
[columns.y]
kind = "ignore"
""")
    data = DataConfig(target="z", task="regression")
    with pytest.raises(ConfigError) as error:
        load(path, data)
    keys = {fault.split(":")[0].split(" = ")[0] for fault in error.value.faults}
    assert keys == {
        "max_bad_share", "spare", "target.classes", 'columns."a b".unseen', "columns.b",
        "columns.c.kind", "columns.d.kind", "columns.e", "columns.f.min", "columns.f.max",
        "columns.y", "target.name", "target.task",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "not valid TOML"),
        ("a = " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("", "target: is required"),
        ("target = 3\ncolumns = 4", "columns"),
        ('[target]\nname="y"\ntask="x"\n[columns.a]\nkind="number"', "target.task = 'x'"),
        ('[target]\nname="y"\ntask="regression"\n[columns.a]\nkind="ignore"', "all are ignored"),
        ('[target]\nname="y"\ntask="classification"\nclasses=[1,"a"]\n[columns.a]\nkind="number"',
         "all text, all whole numbers"),
        ('[target]\nname="y"\ntask="classification"\nclasses=[1,1]\n[columns.a]\nkind="number"',
         "more than once"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(text)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="git checkout"):
        load(tmp_path / "schema.toml")


def test_the_feature_spec_leaves_out_what_is_ignored() -> None:
    spec = infer(table(c=["N", "E"] * 100, note=[f"n{i}" for i in range(ROWS)]), "y").feature_spec()
    assert [(c.name, c.kind, c.categories) for c in spec.columns] == [
        ("x", "number", ()),
        ("c", "category", ("E", "N")),
    ]
    assert (spec.target, spec.task, spec.labels) == ("y", "classification", ("no", "yes"))
    assert isinstance(IgnoredColumn(), IgnoredColumn)
