"""Which side a row is on: pinned for ever, and the same for all that the model sees as equal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from perdure.errors import Fault
from perdure.strategies.features.columns import Column, FeatureSpec
from perdure.strategies.features.encoding import encode
from perdure.tasks.tables import check, read, schema, splitting
from perdure.tasks.tables.content import row_keys
from perdure.tasks.tables.splitting import split_keys, splits

MOST = 2**64


class SplitMix64:
    """The generator as it is published: Steele, Lea and Flood 2014."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def next(self) -> int:
        self.state = z = (self.state + 0x9E3779B97F4A7C15) % MOST
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % MOST
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % MOST
        return z ^ (z >> 31)


def split_one_by_one(keys: list[int]) -> list[int]:
    """The rule, a row at a time."""
    frequent = {key for key in keys if keys.count(key) > 2 and keys.count(key) > len(keys) / 100}
    streams = {key: SplitMix64(key) for key in frequent}
    return [streams[key].next() if key in frequent else key for key in keys]


def keys_of(values: list[int]) -> NDArray[np.uint64]:
    return row_keys(pd.DataFrame({"a": np.array(values, dtype=float)}), ["a"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=60), st.integers(0, 400))
def test_frequent_rows_are_split_by_the_sequence_of_their_key(
    values: list[int], others: int
) -> None:
    keys = keys_of(values + list(range(100, 100 + others)))
    assert split_keys(keys).tolist() == split_one_by_one(keys.tolist())


def test_golden_split() -> None:
    """Changing any of these puts rows of workspaces on other sides: do not."""
    keys = np.array([1234567, 7, 1234567, 1234567, 7, 1], dtype=np.uint64)
    assert split_keys(keys).tolist() == [*SPLIT_KEYS[:1], 7, *SPLIT_KEYS[1:], 7, 1]


SPLIT_KEYS = [6457827717110365317, 3203168211198807973, 9817491932198370423]
"""Published test vector of SplitMix64 with the seed 1234567 (rosettacode.org)."""


def test_the_rule_of_frequent_rows() -> None:
    """More than twice, and more than a hundredth of the rows."""

    def frequent(times: int, rows: int) -> bool:
        keys = keys_of([0] * times + list(range(1, rows - times + 1)))
        assert len(keys) == rows
        found = split_keys(keys)
        assert (found[times:] == keys[times:]).all()
        changed = found[:times] != keys[:times]
        assert changed.all() or not changed.any()
        return bool(changed.all())

    assert [frequent(times, 10) for times in (1, 2, 3, 10)] == [False, False, True, True]
    assert [frequent(times, 1000) for times in (10, 11)] == [False, True]
    assert [frequent(times, 1099) for times in (10, 11)] == [False, True]
    assert [frequent(times, 1100) for times in (11, 12)] == [False, True]


def test_each_side_has_its_share_of_every_frequent_row() -> None:
    keys = keys_of([value for _ in range(1000) for value in range(12)])
    found = splits(split_keys(keys), 0.2, 0.1).reshape(1000, 12)
    for share, side in ((0.2, "test"), (0.1, "validation"), (0.7, "train")):
        # Five standard errors of the share of one row's thousand occurrences, at most 0.0145.
        assert (found == side).mean(axis=0) == pytest.approx(share, abs=0.073)
        assert (found == side).mean() == pytest.approx(share, abs=0.021)


def test_an_occurrence_has_its_side_whatever_comes_after_and_between() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 5, 300).tolist()
    keys = keys_of(values)
    longer = keys_of(values + rng.integers(0, 8, 200).tolist())
    np.testing.assert_array_equal(split_keys(longer)[:300], split_keys(keys))
    among = np.insert(keys, np.arange(0, 300, 3), keys_of(list(range(100, 200))))
    found = split_keys(among)
    np.testing.assert_array_equal(found[np.isin(among, keys)], split_keys(keys))


NUMBER = Column("a", "number")


def test_each_form_by_its_rule_and_a_newer_one_is_refused() -> None:
    frame = pd.DataFrame({"a": [1 / 3] * 50})
    own = row_keys(frame, ["a"])
    assert splitting.keys(frame, [NUMBER], 1).tolist() == own.tolist()
    assert splitting.keys(frame, [NUMBER], 2).tolist() == split_keys(own).tolist()
    seen = row_keys(pd.DataFrame({"a": [0.33333334] * 50}), ["a"])  # the nearest float32
    assert splitting.keys(frame, [NUMBER], 3).tolist() == split_keys(seen).tolist()
    assert len(splitting.keys(frame[:0], [NUMBER])) == 0
    with pytest.raises(Fault, match="split in form 4; this Perdure knows the forms 1 to 3"):
        splitting.keys(frame, [NUMBER], 4)


KINDS: dict[str, tuple[Column, list[Any]]] = {
    "number": (NUMBER, [0.1, -0.0, np.nan]),
    "time": (Column("a", "time", sees=("day",)), [1.7e9 + 1, 0.0, np.nan]),
    "category": (Column("a", "category", categories=("N",)), [" N\u0308 ", "7.0", None]),
    "text": (
        Column("a", "text", length=2, vocabulary=100, width=2),
        ["One two, three", "", None],
    ),
    "bytes": (
        Column("a", "text", length=2, vocabulary=256, width=2, tokenizer="bytes"),
        ["One", "", None],
    ),
    "image": (Column("a", "image", shape=(1, 3, 1)), [b"\x00\x01\xff", b"\x00\x00\x00", None]),
    "sequence": (
        Column("a", "sequence", length=2),
        [np.array([9.0, 0.1, -0.0]), np.array([]), None],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_golden_keys_of_what_is_seen(kind: str) -> None:
    """Changing any of these puts rows of workspaces on other sides: do not."""
    column, given = KINDS[kind]
    assert splitting.keys(frame_of(given), [column]).tolist() == GOLDEN[kind]


def frame_of(given: list[Any]) -> pd.DataFrame:
    """One column, as `check` gives it."""
    plain = all(isinstance(value, float) for value in given)
    return pd.DataFrame({"a": pd.Series(given, dtype=float if plain else object)})


GOLDEN = {
    "number": [3187973886774266117, 3823663796688778480, 300391319746753061],
    "time": [16713641530865823295, 3823663796688778480, 300391319746753061],
    "category": [14237511806485177985, 7624386411815224245, 4212071224948176029],
    "text": [1185822620733253296, 2101060837828131290, 2101060837828131290],
    "bytes": [18372441529550532040, 2101060837828131290, 2101060837828131290],
    "image": [16159472951242772028, 16513746157325792250, 4212071224948176029],
    "sequence": [5330216025244646129, 2101060837828131290, 2101060837828131290],
}

ALPHABET = st.text(st.sampled_from("aAéÉe\u0301 \t\r\n.,ßſ東"), max_size=6)
SERIES = st.lists(st.sampled_from([0.1, float(np.float32(0.1)), -0.0, 0.0, 7.0]), max_size=4)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(["text", "bytes", "sequence"]))
def test_what_gives_the_network_the_same_input_is_on_the_same_side(
    data: st.DataObject, kind: str
) -> None:
    column = KINDS[kind][0]
    one: st.SearchStrategy[Any] = SERIES.map(np.array) if kind == "sequence" else ALPHABET
    given = data.draw(st.lists(st.none() | one, min_size=2, max_size=8))
    raw = encode(FeatureSpec((column,), "y", "regression"), {"a": frame_of(given)["a"].to_numpy()})
    inputs = [row.tobytes() for row in raw.numpy().astype(np.float32)]
    keys = splitting.keys(frame_of(given), [column]).tolist()
    for place, key in enumerate(keys):
        same = [other for other, seen in zip(keys, inputs, strict=True) if seen == inputs[place]]
        if len(same) < 3:  # or else it is frequent, and each occurrence has a key of its own
            assert set(same) == {key}


def test_words_are_on_one_side_however_they_are_written() -> None:
    column = Column("a", "category", categories=("Köln",))
    for group in (
        ["Köln", " köln", "KO\u0308LN\n"],
        ["7", "7.0", "7.00 "],
        ["2024-05-01", "2024-05-01 00:00:00", "2024-05-01T00:00:00.000", "2024-05-01 00:00"],
        ["2024-05-01 10:00:00.5", "2024-05-01T10:00:00.500000"],
        ["2024-05-01 10:00:00+00:00", "2024-05-01T10:00:00Z", "2024-05-01t10:00z"],
    ):
        assert len(set(splitting.seen(frame_of(group), column))) == 1
    apart = ["7", "07", "7.5", "v7.0", "2024-05-01 10:00", "2024-05-01 10:01", "2024-05-02"]
    assert len(set(splitting.seen(frame_of(apart), column))) == len(apart)


SCHEMA = schema.parse("""
[target]
name = "y"
task = "regression"
[columns.x]
kind = "number"
nullable = true
[columns.code]
kind = "category"
nullable = true
categories = ["1", "2"]
[columns.day]
kind = "category"
nullable = true
categories = ["2024-05-01"]
[columns.city]
kind = "category"
nullable = true
categories = ["Köln"]
""")


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """A frame with its types: numbers of any precision, codes with gaps, times, words."""
    size = draw(st.integers(1, 12))

    def many(one: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(one, min_size=size, max_size=size))

    times = [pd.Timestamp("2024-05-01"), pd.Timestamp("2024-05-01 10:00"), pd.NaT]
    words = ["Köln", "KO\u0308LN", " köln ", "Ulm", "ULM", None]
    floats = st.floats(-1e30, 1e30).filter(lambda value: value == 0 or abs(value) > 1e-30)
    return pd.DataFrame(
        {
            "x": pd.Series(many(st.none() | floats), dtype=float),
            "code": pd.array(many(st.sampled_from([1, 2, 300, None])), dtype="Int64"),
            "day": pd.Series(many(st.sampled_from(times)), dtype="datetime64[us]"),
            "city": pd.Series(many(st.sampled_from(words)), dtype=object),
            "y": np.arange(float(size)),
        }
    )


def files(frame: pd.DataFrame, folder: Path) -> Iterator[Path]:
    """The same rows in every format, with types of every width."""
    dtypes: dict[str, dict[str, Any]] = {
        "wide": {},
        "narrow": {"x": "float32"},
        "gaps": {"code": "float64"},
        "objects": {"code": object, "day": object},
        "categories": {"code": "category", "day": "category", "city": "category"},
        "nanoseconds": {"x": "Float32", "day": "datetime64[ns]"},
    }
    for name, dtype in dtypes.items():
        typed = frame.astype(dtype)
        typed.to_csv(folder / f"{name}.csv", index=False)
        typed.to_parquet(folder / f"{name}.parquet", index=False)
        typed.to_feather(folder / f"{name}.feather")
        typed.to_json(
            folder / f"{name}.jsonl", orient="records", lines=True, date_format="iso",
            double_precision=15,
        )  # fmt: skip
    yield from sorted(folder.iterdir())


@settings(max_examples=20, deadline=None)
@given(tables())
def test_every_file_and_every_type_gives_the_same_sides(
    tmp_path_factory: pytest.TempPathFactory, frame: pd.DataFrame
) -> None:
    columns = SCHEMA.feature_spec().columns
    found = {}
    for path in files(frame, tmp_path_factory.mktemp("files")):
        checked = check.check(read.read(path, SCHEMA).frame, SCHEMA)
        assert not len(checked.refused), (path.name, checked.summary)
        found[path.name] = splitting.keys(checked.accepted, columns).tolist()
    first = found["wide.csv"]
    assert {name: keys for name, keys in found.items() if keys != first} == {}
