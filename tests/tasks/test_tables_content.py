"""Names made of content: pinned for ever, and lawful."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.errors import DataRefused
from perdure.tasks.tables.check import check
from perdure.tasks.tables.content import content_sha256, distinct_rows, row_keys
from perdure.tasks.tables.read import read_table
from perdure.tasks.tables.schema import parse
from perdure.tasks.tables.splitting import splits

GOLDEN = pd.DataFrame(
    {
        "n": [0.0, -0.0, np.nan, 1.5, -1e300],
        "c": pd.Series(["N", "N", None, "Ö", ""], dtype=object),
        "y": [0, 1, 1, 0, 7],
    }
)


def oracle(row: dict[str, float | str | None]) -> int:
    """The formula in whole numbers, one row at a time."""
    most = 2**64

    def mix(z: int) -> int:
        z = (z + 0x9E3779B97F4A7C15) % most
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % most
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % most
        return z ^ (z >> 31)

    def word(text: str) -> int:
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")

    total = 0
    for name, value in row.items():
        if isinstance(value, float):
            bits = struct.unpack("<Q", struct.pack("<d", value))[0] if value else 0
            bits = 0x7FF8 << 48 if value != value else bits
        else:
            bits = int.from_bytes(b"missing!", "big") if value is None else word(value)
        total += mix((bits + mix(word(name))) % most)
    return mix(total % most)


def test_keys_are_those_of_the_formula() -> None:
    expected = [oracle({"n": n, "c": c}) for n, c in zip(GOLDEN["n"], GOLDEN["c"], strict=True)]
    assert row_keys(GOLDEN, ["n", "c"]).tolist() == expected


def test_golden_values() -> None:
    """Changing any of these puts rows of every workspace on other sides: do not."""
    assert row_keys(GOLDEN, ["n", "c"]).tolist() == KEYS
    assert row_keys(GOLDEN, ["n"]).tolist() == KEYS_N
    assert splits(row_keys(GOLDEN, ["n", "c"]), 0.4, 0.3).tolist() == SIDES
    assert content_sha256(GOLDEN) == CONTENT


KEYS = [
    6542944641394244868,
    6542944641394244868,
    13661504890575242913,
    2584354689849933086,
    6930610527633058752,
]
KEYS_N = [
    6810504650718037083,
    6810504650718037083,
    16773432097875232156,
    13214091428517698226,
    847680408131333534,
]
SIDES = ["test", "test", "train", "test", "test"]
CONTENT = "793cf5418676246b0b0f6dc3191b2ff35928c2471cd6b3294ee663adda2ae2bc"

words = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=6))
numbers = st.floats(width=64)
tables = st.lists(st.tuples(numbers, words, st.integers(0, 3)), min_size=1, max_size=20)


def frame_of(rows: list[tuple[float, str | None, int]]) -> pd.DataFrame:
    n, c, y = zip(*rows, strict=True)
    return pd.DataFrame({"n": np.array(n), "c": pd.Series(c, dtype=object), "y": np.array(y)})


@settings(max_examples=100, deadline=None)
@given(tables, tables, st.randoms(use_true_random=False))
def test_a_row_has_its_key_in_any_table(
    rows: list[tuple[float, str | None, int]],
    others: list[tuple[float, str | None, int]],
    rng: object,
) -> None:
    alone = row_keys(frame_of(rows), ["n", "c"])
    among = row_keys(frame_of(others + rows), ["c", "n"])
    np.testing.assert_array_equal(alone, among[len(others) :])
    turned = row_keys(frame_of(rows[::-1])[["c", "y", "n"]], ["n", "c"])
    np.testing.assert_array_equal(alone, turned[::-1])
    assert splits(alone, 0.2, 0.1).tolist() == splits(among, 0.2, 0.1).tolist()[len(others) :]


def test_the_target_has_no_part_in_the_key() -> None:
    changed = GOLDEN.assign(y=9)
    np.testing.assert_array_equal(row_keys(GOLDEN, ["n", "c"]), row_keys(changed, ["n", "c"]))


def test_columns_are_told_apart() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [2.0, 1.0]})
    one, other = row_keys(frame, ["a", "b"])
    assert one != other
    assert row_keys(frame[["a"]], ["a"])[0] != row_keys(frame[["b"]], ["b"])[1]


def test_keys_do_not_collide_and_shares_are_right() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": np.arange(100_000.0), "b": rng.integers(0, 2, 100_000) * 1.0})
    keys = row_keys(frame, ["a", "b"])
    assert len(np.unique(keys)) == len(keys)
    found = pd.Series(splits(keys, 0.2, 0.1)).value_counts(normalize=True)
    # Standard errors are below 0.0015.
    assert found["test"] == pytest.approx(0.2, abs=0.006)
    assert found["validation"] == pytest.approx(0.1, abs=0.006)
    assert found["train"] == pytest.approx(0.7, abs=0.006)


def test_more_test_rows_never_turn_a_test_row_into_a_training_row() -> None:
    keys = row_keys(pd.DataFrame({"a": np.arange(1000.0)}), ["a"])
    small, large = splits(keys, 0.1, 0.1), splits(keys, 0.3, 0.1)
    assert (large[small == "test"] == "test").all()
    assert set(splits(keys, 0.2, 0.0)) == {"train", "test"}


def test_a_missing_column_is_refused() -> None:
    with pytest.raises(DataRefused, match="missing columns: x, z"):
        row_keys(GOLDEN, ["n", "x", "z"])


def test_distinct_rows_are_those_of_the_features() -> None:
    assert distinct_rows(GOLDEN, ["n", "c"]) == 4
    assert distinct_rows(GOLDEN.assign(y=range(5)), ["c"]) == 4
    assert distinct_rows(GOLDEN[:0], ["n"]) == 0


def test_content_depends_on_values_names_and_order_of_rows() -> None:
    base = content_sha256(GOLDEN)
    assert content_sha256(GOLDEN[["y", "c", "n"]]) == base
    assert content_sha256(GOLDEN.set_axis([3, 1, 4, 1, 5])) == base
    different = [
        GOLDEN.iloc[::-1],
        GOLDEN.iloc[:-1],
        GOLDEN.rename(columns={"c": "d"}),
        GOLDEN.assign(n=1.0),
        GOLDEN.assign(c=pd.Series(["N", "N", "", "Ö", ""], dtype=object)),
        GOLDEN.assign(c=pd.Series(["NN", "", None, "Ö", ""], dtype=object)),
        GOLDEN.assign(y=GOLDEN["y"].astype(float)),
    ]
    assert len({base, *map(content_sha256, different)}) == 1 + len(different)


def test_content_does_not_depend_on_the_file(tmp_path: Path) -> None:
    schema = parse("""
[columns.n]
kind = "number"
nullable = true
[columns.c]
kind = "category"
nullable = true
categories = ["N"]
[target]
name = "y"
task = "classification"
classes = [0, 1, 7]
""")
    frame = GOLDEN.assign(c=pd.Series(["N", "N", None, "Ö", "a,b\nc"], dtype=object))
    frame.to_csv(tmp_path / "1.csv", index=False)
    frame[["y", "c", "n"]].to_csv(tmp_path / "2.csv", index=False, lineterminator="\r\n")
    frame.to_parquet(tmp_path / "3.parquet", row_group_size=2)
    frame.astype({"y": "int8"}).to_parquet(tmp_path / "4.parquet", compression="gzip")
    hashes = set()
    for path in sorted(tmp_path.iterdir()):
        checked = check(read_table(path), schema)
        assert (checked.whole, checked.refused_rows) == ((), 0)
        hashes.add(content_sha256(checked.accepted))
    assert len(hashes) == 1


KINDS = pd.DataFrame(
    {
        "image": pd.Series([b"\x00\x01\xff", b"", None], dtype=object),
        "series": pd.Series([np.array([1.5, -0.0]), np.array([]), None], dtype=object),
    }
)


def test_golden_values_of_images_and_sequences() -> None:
    """Changing any of these puts rows of every workspace on other sides: do not."""
    assert row_keys(KINDS, ["image"]).tolist() == KEYS_IMAGE
    assert row_keys(KINDS, ["series"]).tolist() == KEYS_SERIES
    assert content_sha256(KINDS) == CONTENT_KINDS


def test_keys_of_images_and_sequences_are_those_of_the_formula() -> None:
    most = 2**64

    def mix(z: int) -> int:
        z = (z + 0x9E3779B97F4A7C15) % most
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % most
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % most
        return z ^ (z >> 31)

    def hashed(data: bytes) -> int:
        return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")

    missing = int.from_bytes(b"missing!", "big")
    for name, values in (
        ("image", [hashed(b"\x00\x01\xff"), hashed(b""), missing]),
        ("series", [hashed(struct.pack("<dd", 1.5, 0.0)), hashed(b""), missing]),
    ):
        salt = mix(hashed(name.encode()))
        expected = [mix(mix((value + salt) % most)) for value in values]
        assert row_keys(KINDS, [name]).tolist() == expected


def test_content_of_images_and_sequences_is_that_of_the_formula() -> None:
    digest = hashlib.sha256(b"perdure table 1\n")
    digest.update(struct.pack("<q", 5) + b"imagex" + struct.pack("<qqqq", 3, 3, 0, -1))
    digest.update(b"\x00\x01\xff")
    digest.update(struct.pack("<q", 6) + b"seriesl" + struct.pack("<qqqq", 3, 2, 0, -1))
    digest.update(struct.pack("<dd", 1.5, 0.0))
    assert content_sha256(KINDS) == digest.hexdigest()


def test_one_pixel_and_one_number_make_another_table() -> None:
    for name, value in (("image", b"\x00\x02\xff"), ("series", np.array([1.5, 1e-300]))):
        changed = KINDS.copy()
        changed[name] = pd.Series([value, *KINDS[name][1:]], dtype=object)
        assert content_sha256(changed) != content_sha256(KINDS)
        assert row_keys(changed, [name])[0] != row_keys(KINDS, [name])[0]
        assert (row_keys(changed, [name])[1:] == row_keys(KINDS, [name])[1:]).all()


KEYS_IMAGE = [14782510131118525701, 2114951487724282669, 1886710645373337137]
KEYS_SERIES = [8745854419694056645, 18092827818166439604, 1580791265105262856]
CONTENT_KINDS = "7fbc6ce8f256fc053d6fad8d88bfea397c75d4c13c58859ac860f23e3c0e5c85"
