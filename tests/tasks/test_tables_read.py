"""Files of every kind: read right, or refused with a word, never a traceback."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.errors import DataRefused
from perdure.tasks.tables.csv_reader import LONGEST_FIELD
from perdure.tasks.tables.read import read_table

GOOD = "a,b\n1,x\n2,y\n"


def written(tmp_path: Path, content: bytes, name: str = "file.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        GOOD.encode(),
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.replace("\n", "\r").encode(),
        GOOD.rstrip("\n").encode(),
        b'"a","b"\n"1","x"\n"2","y"\n',
    ],
    ids=["plain", "bom", "crlf", "cr", "no last line end", "quoted"],
)
def test_the_same_table_however_it_is_written(tmp_path: Path, content: bytes) -> None:
    frame = read_table(written(tmp_path, content))
    assert frame.to_dict("list") == {"a": ["1", "2"], "b": ["x", "y"]}
    assert list(frame.index) == [1, 2]
    assert frame.index.name == "row"


def test_quoted_line_ends_and_commas_stay(tmp_path: Path) -> None:
    frame = read_table(written(tmp_path, b'a,b\n"1\n2","x,y"\n'))
    assert frame.to_dict("list") == {"a": ["1\n2"], "b": ["x,y"]}


def test_blank_lines_are_skipped_but_counted(tmp_path: Path) -> None:
    frame = read_table(written(tmp_path, b"a,b\n1,x\n\n2,y\n\n"))
    assert list(frame.index) == [1, 3]


def test_words_for_missing_stay_words(tmp_path: Path) -> None:
    frame = read_table(written(tmp_path, b"a,b\nNA,\nnull,None\n"))
    assert frame.to_dict("list") == {"a": ["NA", "null"], "b": ["", "None"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n", "no header"),
        (b"a,b\n", "no rows"),
        (b"a,b", "no rows"),
        (b"a,b\n\n\n", "no rows"),
        (b"a,a\n1,2\n", "more than one column named 'a'"),
        (b"a,\n1,2\n", "column 2 has no name, and holds values such as '2'"),
        (b"a,b\n1,2\n3\n", r"row 2 \(line 3\) has 1 field, the header has 2"),
        (b"a,b\n1,2,3\n", r"row 1 \(line 2\) has 3 fields, the header has 2"),
        (b'a,b\n1,"2\n3,4\n', "unexpected end"),
        (b'a,b\n1,"2"x\n', "expected after"),
        (b"a,b\n1,\xe9\n", "line 2, character 3 is not UTF-8: byte 0xe9"),
        (bytes(range(256)) * 20, "binary"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "binary"),
        (b"PAR1 and then nothing of the sort", "as Parquet"),
        (b"a\n" + b"x" * (LONGEST_FIELD + 1) + b"\n", "field larger than"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataRefused, match=message):
        read_table(written(tmp_path, content))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    for name, result in {
        "folder.csv": "is a folder",
        "link.csv": "link to nothing",
        "loop.csv": "loop.csv",
        "pipe.csv": "not a regular file",
        "none.csv": "does not exist",
        "nul\0.csv": "nul",
        "x" * 300: "cannot be read",
    }.items():
        with pytest.raises(DataRefused, match=result):
            read_table(tmp_path / name)


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(written(tmp_path, GOOD.encode()))
    assert len(read_table(tmp_path / "link.csv")) == 2


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    frame = pd.DataFrame({"i": [1, 2**60], "f": [0.5, None], "s": ["x", None], "b": [True, False]})
    frame.to_parquet(tmp_path / "file.parquet")
    found = read_table(tmp_path / "file.parquet")
    assert list(found["i"]) == [1, 2**60]
    assert list(found.index) == [1, 2]
    assert found["b"].dtype == bool
    # Known by its first bytes, whatever it is called.
    (tmp_path / "file.parquet").rename(tmp_path / "file.csv")
    assert len(read_table(tmp_path / "file.csv")) == 2


def test_an_unnamed_index_of_pandas_is_no_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2, 3]}, index=[5, 7, 6])
    frame.to_parquet(tmp_path / "file.parquet")
    assert list(read_table(tmp_path / "file.parquet").columns) == ["a"]


def test_parquet_without_rows_or_columns_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"a": []}).to_parquet(tmp_path / "rows.parquet")
    pd.DataFrame(index=[3, 4]).to_parquet(tmp_path / "columns.parquet")
    for name in ("rows", "columns"):
        with pytest.raises(DataRefused, match="has"):
            read_table(tmp_path / f"{name}.parquet")


def test_parquet_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    pd.DataFrame({"a": range(1000), "b": ["x"] * 1000}).to_parquet(path)
    whole = path.read_bytes()
    for kept in (1, 3, 4, 8, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(DataRefused):
            read_table(path)


def test_chunks_are_joined_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.tasks.tables.csv_reader.CHUNK", 3)
    rows = "".join(f"{i},{i * i}\n" for i in range(10))
    frame = read_table(written(tmp_path, f"a,b\n{rows}".encode()))
    assert list(frame["b"]) == [str(i * i) for i in range(10)]


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.binary(max_size=60), st.text('ab,"\n\r;\t\ufeff\x00é1', max_size=40).map(str.encode)
    )
)
def test_any_bytes_are_a_table_or_are_refused(tmp_path: Path, content: bytes) -> None:
    try:
        frame = read_table(written(tmp_path, content))
    except DataRefused:
        return
    assert len(frame) > 0
    assert len(frame.columns) > 0
