"""Files as people have them: each read right, with a word on how, or refused with what it is."""

from __future__ import annotations

import bz2
import datetime as dt
import gzip
import io
import json
import lzma
import sqlite3
import tarfile
import uuid
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import perdure
from perdure.errors import DataRefused
from perdure.reading import values
from perdure.tasks.tables import arrow_reader, packing
from perdure.tasks.tables.check import check
from perdure.tasks.tables.content import content_sha256
from perdure.tasks.tables.pictures import holds_images
from perdure.tasks.tables.read import read, read_file, read_table
from perdure.tasks.tables.schema import parse
from perdure.tasks.tables.table import Known, Table

GOOD = "a,b\n1,x\n2,y\n"
PICKLE = b"\x80\x04K\x01."
WANTED = {"a": ["1", "2"], "b": ["x", "y"]}


def written(tmp_path: Path, content: bytes | str, name: str = "file.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def texts(found: Table) -> dict[str, list[str]]:
    """Every value as text, so that files of all kinds compare."""
    frame = found.frame
    return {
        name: ["" if t is None else t for t in values.as_text(frame[name])]
        for name in frame.columns
    }


def zstandard(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(content)
    return bytes(sink.getvalue().to_pybytes())


def archive(**members: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in members.items():
            made.writestr(name.replace("__", "/").replace("_", "."), content)
    return out.getvalue()


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        info = tarfile.TarInfo("a.csv")
        info.size = len(GOOD)
        made.addfile(info, io.BytesIO(GOOD.encode()))
    return out.getvalue()


def sqlite(tmp_path: Path) -> bytes:
    connection = sqlite3.connect(tmp_path / "made.db")
    connection.execute("CREATE TABLE t (a, b)")
    connection.commit()
    connection.close()
    return (tmp_path / "made.db").read_bytes()


SEMICOLONS = "the fields are separated by semicolons"
READ: list[tuple[str, str, bytes | str, tuple[str, ...]]] = [
    ("commas", "f.csv", GOOD, ()),
    ("semicolons", "f.csv", GOOD.replace(",", ";"), (SEMICOLONS,)),
    ("tabs", "f.tsv", GOOD.replace(",", "\t"), ("the fields are separated by tabs",)),
    ("bars", "f.txt", GOOD.replace(",", "|"), ("the fields are separated by vertical bars",)),
    ("sep line", "f.csv", "sep=;\r\na;b\r\n1;x\r\n2;y\r\n", (SEMICOLONS,)),
    ("sep line with commas", "f.csv", '"sep=,"\n' + GOOD, ()),
    ("comments", "f.csv", "# of a sensor\n\n#two\n" + GOOD,
     ("2 comment lines before the header skipped",)),
    ("utf-16", "f.csv", GOOD.encode("utf-16"), ("the encoding is UTF-16",)),
    ("utf-16, big end first", "f.csv", b"\xfe\xff" + GOOD.encode("utf-16-be"),
     ("the encoding is UTF-16",)),
    ("utf-32", "f.csv", GOOD.encode("utf-32"), ("the encoding is UTF-32",)),
    ("excel's unicode text", "f.txt", GOOD.replace(",", "\t").encode("utf-16"),
     ("the encoding is UTF-16", "the fields are separated by tabs")),
    ("gzip", "f.csv.gz", gzip.compress(GOOD.encode()), ()),
    ("gzip in two parts", "f.csv", gzip.compress(b"a,b\n1,") + gzip.compress(b"x\n2,y\n"), ()),
    ("bzip2", "f.csv.bz2", bz2.compress(GOOD.encode()), ()),
    ("xz", "f.csv.xz", lzma.compress(GOOD.encode()), ()),
    ("zstandard", "f.csv.zst", zstandard(GOOD.encode()), ()),
    ("pandas index", "f.csv", ",a,b\n0,1,x\n1,2,y\n",
     ("left out: column 1, which has no name and numbers the rows: an index, as pandas writes it "
      "without index=False",)),
    ("shuffled index of R", "f.csv", '"","a","b"\n"7","1","x"\n"2","2","y"\n', ("left out",)),
    ("empty last column", "f.csv", "a,b,\n1,x,\n2,y,\n",
     ("left out: column 3, which has no name and no values",)),
    ("names with blanks", "f.csv", " a ,b\n1,x\n2,y\n",
     ("blanks around the name of 1 column were removed: ' a '",)),
    ("blanks after commas", "f.csv", "a, b\n1, x\n2, y\n",
     ("blanks after the separators were removed: one follows each of them",)),
    ("blanks before quotes", "f.csv", '"a", "b"\n"1", "x"\n"2", "y"\n',
     ("blanks after the separators were removed: one follows each of them",)),
    ("json lines", "f.jsonl", '{"a": 1, "b": "x"}\n{"b": "y", "a": 2}\n', ()),
    ("json lines by content", "f.txt", '\n{"a": 1, "b": "x"}\n\n{"b": "y", "a": 2}\n', ()),
    ("json array", "f.json", '[{"a": 1, "b": "x"},\n {"a": 2, "b": "y"}]', ()),
    ("json lines in gzip", "f.jsonl.gz",
     gzip.compress(b'{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n'), ()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "notes"), [one[1:] for one in READ],
                         ids=[one[0] for one in READ])  # fmt: skip
def test_what_is_read(
    tmp_path: Path, name: str, content: bytes | str, notes: tuple[str, ...]
) -> None:
    found = read_file(written(tmp_path, content, name))
    assert texts(found) == WANTED
    assert len(found.notes) == len(notes), found.notes
    assert all(one.startswith(word) for one, word in zip(found.notes, notes, strict=True))
    assert found.frame.index.name == "row"


REFUSED: list[tuple[str, str, bytes | str, str]] = [
    ("xlsx", "f.xlsx", archive(xl__workbook_xml="<x/>"), "is an Excel workbook\n.*CSV UTF-8"),
    ("ods", "f.ods", archive(mimetype="", content_xml=""), "is an OpenDocument file"),
    ("zip of tables", "f.zip", archive(a_csv=GOOD, b_csv=GOOD, c_csv=GOOD),
     r"is a ZIP archive with a.csv, b.csv and 1 more in it; a table is one file\n"
     r".*unzip f.zip -d f, then --data f/a.csv, or perdure ingest f"),
    ("cut-off zip", "f.zip", archive(a_csv=GOOD)[:-9], "no whole one: it was cut off or damaged"),
    ("xls", "f.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "Excel workbook of the old"),
    ("pickle", "f.pkl", PICKLE, "is a pickle, which may run code"),
    ("pickle in gzip", "f.pkl.gz", gzip.compress(PICKLE),
     "is a pickle.* compressed with gzip\n.*to_parquet"),
    ("hdf5", "f.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "is an HDF5 file"),
    ("orc", "f.orc", b"ORC\x00" + bytes(99), "is an ORC file\n.*read_orc"),
    ("avro", "f.avro", b"Obj\x01" + bytes(99), "is an Avro file"),
    ("npy", "f.npy", b"\x93NUMPY\x01\x00", "is a NumPy array"),
    ("tar in gzip", "f.tar.gz", gzip.compress(tar()), r"is a tar archive.*\n.*tar -xf f.tar.gz"),
    ("arrow stream", "f.arrows", b"\xff\xff\xff\xff\x00\x00", "is an Arrow stream"),
    ("image", "f.png", b"\x89PNG\r\n\x1a\n", "is an image"),
    ("html", "f.csv", "<!DOCTYPE html>\n<html>", "is HTML, a web page"),
    ("xml", "f.xml", "<?xml version='1.0'?><a/>", "is XML"),
    ("arff", "f.arff", "% of\n@relation x\n@data\n1,2\n", "is an ARFF file"),
    ("git lfs", "f.csv", "version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    ("two separators", "f.csv", "a;b|c\n1;2|3\n",
     r"line 1: it is not certain whether semicolons or vertical bars separate.*\n.*sep=;"),
    ("an odd sep line", "f.csv", "sep=x\na\n", "line 1: sep=x is not a separator that is known"),
    ("blanks as separators", "f.csv", "temp load\n1.5 3\n2.5 4\n", "separated by blanks"),
    ("names that become equal", "f.csv", "a, a\n1,2\n", "more than one column named 'a', without"),
    ("names of rows", "f.csv", ",a\nMazda,1\n",
     "column 1 has no name, and holds.*'Mazda'\n.*index="),
    ("only an index", "f.csv", ",\n0,\n1,\n", "no column|column 1"),
    ("comments alone", "f.csv", "# a\n# b\n", "has a header but no rows"),
    ("utf-16 without a mark", "f.csv", GOOD.encode("utf-16-le"),
     r"seems to be UTF-16LE without.*\n.*iconv -f UTF-16LE"),
    ("utf-16, cut off", "f.csv", (GOOD + "3,z").encode("utf-16")[:-1], "line 4.*was cut off"),
    ("utf-8, cut off in a letter", "f.csv", "a,b\n1,é".encode()[:-1],
     "line 2, character 3: the file ends inside a character of UTF-8: it was cut off"),
    ("two encodings", "f.csv", "a,b\n1,é\n2,".encode() + b"\xe9\n", "line 3.*two encodings"),
    ("windows-1252", "f.csv", b"a,b\n1,5 \x80\n",
     "line 2, character 5 is not UTF-8: byte 0x80; it seems to be Windows-1252, in which this is "
     "'€'\n.*iconv -f WINDOWS-1252 -t UTF-8 f.csv > utf8-f.csv"),
    ("cyrillic", "f.csv", "a,b\n1,привет\n".encode("cp1251"), "do not show its encoding"),
    ("gzip, cut off", "f.csv.gz", gzip.compress(GOOD.encode())[:-9], "was cut off: the end of its"),
    ("bzip2, cut off", "f.csv.bz2", bz2.compress(GOOD.encode())[:-3], "was cut off"),
    ("xz, cut off", "f.csv.xz", lzma.compress(GOOD.encode())[:-3], "was cut off"),
    ("zstandard, cut off", "f.csv.zst", zstandard(GOOD.encode() * 9)[:-3], "was cut off"),
    ("gzip, damaged", "f.csv.gz", gzip.compress(GOOD.encode())[:-8] + bytes(8), "is damaged"),
    ("gzip of nothing", "f.csv.gz", gzip.compress(b""), "is empty"),
    ("parquet in gzip", "f.gz", gzip.compress(b"PAR1"),
     "is Parquet compressed with gzip\n.*unpack"),
    ("json, cut off", "f.jsonl", '{"a": 1}\n{"a": ', "line 2, character 7 is no JSON"),
    ("json over lines", "f.json", '{\n  "a": 1\n}\n', "line 1.*no JSON.*\n.*several lines"),
    ("json array, cut off", "f.json", '[{"a": 1},\n{"a"', "line 2, character 5 is no JSON"),
    ("json of columns", "f.json", '{"a": {"0": 1}, "b": {"0": 2}}', "one JSON object of lists"),
    ("json without records", "f.jsonl", "[1, 2]\n", "record 1 is a single value and no record"),
    ("json lists", "f.jsonl", '{"a": 1}\n[1]\n', "line 2 is a list and no record"),
    ("json, no rows", "f.json", "[]", "has no records"),
    ("json, a key twice", "f.jsonl", '{"a": 1, "a": 2}\n',
     "line 1: a record has 'a' more than once"),
    ("json, too deep", "f.jsonl", '{"a": ' + "[" * 99_999, "too deep"),
    ("json, half a character", "f.jsonl", '{"a": "\\ud800"}\n', "'a' has half a character"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), [one[1:] for one in REFUSED],
                         ids=[one[0] for one in REFUSED])  # fmt: skip
def test_what_is_refused(tmp_path: Path, name: str, content: bytes | str, message: str) -> None:
    with pytest.raises(DataRefused, match=message):
        read_table(written(tmp_path, content, name))


def test_an_sqlite_database_and_arrays_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match=r"is an SQLite database\n.*sqlite3 -csv"):
        read_table(written(tmp_path, sqlite(tmp_path), "f.db"))
    np.savez(tmp_path / "f.npz", x=np.zeros(3))
    with pytest.raises(DataRefused, match=r"NumPy arrays \(.npz\)"):
        read_table(tmp_path / "f.npz")


def test_a_folder_of_tables_is_refused_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for name in ("1.csv", "2.csv"):
        written(tmp_path / "many", GOOD, name)
    with pytest.raises(DataRefused, match=r"with 1.csv, 2.csv in it.*\n.*--data .*many/1.csv"):
        read_table(tmp_path / "many")
    assert not holds_images(tmp_path / "many")
    assert not holds_images(written(tmp_path, archive(a_csv=GOOD), "f.zip"))
    assert not holds_images(written(tmp_path, archive(xl__workbook_xml=""), "f.xlsx"))
    assert holds_images(written(tmp_path, archive(cat__a_png="", notes_txt=""), "g.zip"))
    written(tmp_path / "many", "no table", "README.md")
    assert not holds_images(tmp_path / "many")
    (tmp_path / "many" / "cat").mkdir()
    assert holds_images(tmp_path / "many")


@pytest.mark.parametrize(
    "word", ["ORC,b", "FEA1,FEA2", "Obj,b", "BZh9,b", "PK,b", "Rar!,b", "#id,b"]
)
def test_headers_that_begin_like_another_kind_are_csv(tmp_path: Path, word: str) -> None:
    found = read_table(written(tmp_path, f"{word}\n1,x\n2,y\n"))
    assert list(found.columns) == word.split(",")


# --- Lines and rows ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("# of\n\na,b\n1,2\n\n3\n", r"row 3 \(line 6\) has 1 field, the header has 2"),
        ('a,b\n"1\n\n",2\n3\n', r"row 2 \(line 5\) has 1 field"),
        ('a,b\r\n"1\r\n\r\n",2\r\n3\r\n', r"row 2 \(line 5\) has 1 field"),
        ('a,b\r"1\r",2\r3\r', r"row 2 \(line 4\) has 1 field"),
        ('sep=,\na,b\n1,2\n3,"4\n5,6\n7,8\n', "line 4 to 6: unexpected end of data"),
        ('# of\na,b\n1,2\n3,"4"x\n', "line 4: .*expected after"),
        ("\n\na,a\n1,2\n", "line 3 has more than one column named 'a'"),
        ("a;b\n1;2\n3\n", r"row 2 \(line 3\).*\n.*a semicolon inside a value"),
    ],
)
def test_lines_are_those_of_the_file(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(content.encode())
    with pytest.raises(DataRefused, match=message):
        read_table(path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("lines", [1, 700, 150_000])
def test_a_wrong_byte_is_found_in_its_line(tmp_path: Path, end: str, lines: int) -> None:
    content = ("a,b" + end + f"1,22222222{end}" * lines + "x,").encode() + b"ab\xe9\n"
    with pytest.raises(
        DataRefused, match=rf"line {lines + 2}, character 5 is not UTF-8: byte 0xe9"
    ):
        read_table(written(tmp_path, content))


def test_a_sample_that_ends_inside_a_quoted_field_is_no_fault(tmp_path: Path) -> None:
    inside = "\n".join(["x,y;z"] * 500)
    found = read_file(written(tmp_path, f'a;b\n1;2\n3;"{inside}"\n'))
    assert found.frame["b"].tolist() == ["2", inside]


# --- Headers and comments ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("# Station 7, Berlin\ntemp,load\n1,2\n", ["temp", "load"]),
        ("#id,load\n1,2\n", ["#id", "load"]),
        ("# temp,load\n1,2\n", ["# temp", "load"]),
        ("# made\n#id;load\n1;2\n", ["#id", "load"]),
        ("#id,word\nx,y\n", ["#id", "word"]),
        ("#id,load\nx,n/a\ny,3\n", ["#id", "load"]),
        ("# a comment\none\n1\n", ["one"]),
        ("temp, C;load\n1,5;3\n2;4\n", ["temp, C", "load"]),
        ("only\n1;2\n", ["only"]),
        ("a,b|c\n1,2\n", ["a", "b|c"]),
    ],
)
def test_which_line_is_the_header(tmp_path: Path, content: str, names: list[str]) -> None:
    assert list(read_table(written(tmp_path, content)).columns) == names


def test_the_schema_knows_which_line_is_the_header(tmp_path: Path) -> None:
    path = written(tmp_path, "#name,val\nx,low\ny,3\n")
    assert list(read_table(path).columns) == ["x", "low"]
    known = Known(frozenset({"#name", "val"}))
    assert list(read_file(path, known).frame.columns) == ["#name", "val"]


def test_an_index_in_a_later_file_is_left_out_as_well(tmp_path: Path) -> None:
    for content in (",a\n0,5\n", ",a\n1000,5\n1001,6\n", ",a\n0,5\n1,6\n0,7\n1,8\n"):
        found = read_file(written(tmp_path, content))
        assert list(found.frame.columns) == ["a"]
        assert "an index" in found.notes[0]
    for content in (",a\n3,5\n3,6\n", ",a\n007,5\n", ",a\n1.5,5\n", "a,\n1,0\n2,1\n"):
        with pytest.raises(DataRefused, match="has no name, and holds"):
            read_file(written(tmp_path, content))


SPACED = """
[columns.temp]
kind = "number"
[columns.site]
kind = "category"
categories = ["{east}"]
[target]
name = "fault"
task = "classification"
classes = ["no", "yes"]
"""


def test_blanks_stay_where_the_schema_was_made_of_them(tmp_path: Path) -> None:
    path = written(tmp_path, "temp,site,fault\n1, east, no\n2, east, yes\n")
    new = read(path, parse(SPACED.format(east="east")))
    assert new.frame["site"].tolist() == ["east", "east"]
    old = read(path, parse(SPACED.format(east=" east")))
    assert old.frame["site"].tolist() == [" east", " east"]
    assert old.notes == ()


def test_blanks_that_are_part_of_values_stay(tmp_path: Path) -> None:
    found = read_file(written(tmp_path, "a,b\n1, x\n2,y\n"))
    assert found.frame["b"].tolist() == [" x", "y"]
    assert found.notes == ()


# --- Compression ---------------------------------------------------------------------------------


def test_a_decompression_bomb_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(b"a,b\n" + b"1,2\n" * 500_000)
    monkeypatch.setattr(packing, "FREE_BYTES", 2**20)
    with pytest.raises(DataRefused, match="unpacks to more than 1 MiB; the most is 200 times"):
        read_table(written(tmp_path, bomb))
    monkeypatch.setattr(packing, "MOST_RATIO", 10_000)
    assert len(read_table(tmp_path / "file.csv")) == 500_000
    monkeypatch.setattr(packing, "MOST_UNPACKED_BYTES", 2**20)
    with pytest.raises(DataRefused, match="unpacks to more than 1 MiB"):
        read_table(tmp_path / "file.csv")


def test_a_line_without_end_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LONGEST_LINE", 2**20)
    path = written(tmp_path, gzip.compress(b"a,b\n" + b"1" * 3 * 2**20))
    with pytest.raises(DataRefused, match="a line of more than 1 MiB"):
        read_table(path)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard])
def test_compressed_and_cut_anywhere_is_refused(tmp_path: Path, pack: Any) -> None:
    whole = pack(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(3000)))
    assert len(read_table(written(tmp_path, whole))) == 3000
    for kept in (*range(1, 20), len(whole) // 2, *range(len(whole) - 12, len(whole))):
        with pytest.raises(DataRefused):
            read_table(written(tmp_path, whole[:kept]))


# --- JSON ----------------------------------------------------------------------------------------


def test_json_values_are_as_they_would_be_in_a_csv(tmp_path: Path) -> None:
    lines = [
        '{"n": 1.10, "i": 12345678901234567890, "b": true, "s": "NA", "x": null, "l": [1.5, -2]}',
        '{"n": 1e3, "i": -0, "b": false, "s": "", "d": {"k": [1]}, "l": []}',
        '{"n": NaN, "i": 3, "late": "x"}',
    ]
    found = read_file(written(tmp_path, "\n".join(lines), "f.jsonl"))
    assert found.frame.drop(columns=["l", "d"]).to_dict("list") == {
        "n": ["1.10", "1e3", ""],
        "i": ["12345678901234567890", "-0", "3"],
        "b": ["True", "False", ""],
        "s": ["NA", "", ""],
        "x": ["", "", ""],
        "late": ["", "", "x"],
    }
    assert found.frame["l"].tolist() == [[1.5, -2], [], None]
    assert found.frame["d"].tolist() == [None, {"k": [1]}, None]


def test_json_is_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.tasks.tables.json_reader.CHUNK", 2)
    rows: list[dict[str, Any]] = [{"a": 1}, {"a": 2}, {"b": "x"}, {"a": [4]}, {"a": 5, "b": "y"}]
    path = written(tmp_path, "\n".join(map(json.dumps, rows)), "f.jsonl")
    found = texts(read_file(path))
    assert found == {"a": ["1", "2", "", "[4]", "5"], "b": ["", "", "x", "", "y"]}


# --- Types of Arrow ------------------------------------------------------------------------------

ARROW: dict[str, tuple[pa.Array, list[str]]] = {
    "date": (pa.array([dt.date(2020, 1, 2), None]), ["2020-01-02", ""]),
    "date64": (pa.array([dt.date(2020, 1, 2), None], pa.date64()), ["2020-01-02", ""]),
    "zoned": (pa.array([0, None], pa.timestamp("s", "Europe/Berlin")),
              ["1970-01-01 01:00:00+01:00", ""]),
    "far": (pa.array([2**50, None], pa.timestamp("s")), ["35680317-09-25 18:57:04", ""]),
    "time": (pa.array([1, None], pa.time64("ns")), ["00:00:00.000000001", ""]),
    "duration": (pa.array([90, None], pa.duration("s")), ["0 days 00:01:30", ""]),
    "decimal": (pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)), ["1.50", ""]),
    "truth": (pa.array([True, None]), ["True", ""]),
    "nothing": (pa.nulls(2), ["", ""]),
    "integers": (pa.array([2**60 + 1, None]), [str(2**60 + 1), ""]),
    "unsigned": (pa.array([2**64 - 1, None], pa.uint64()), [str(2**64 - 1), ""]),
    "halves": (pa.array([1.5, None], pa.float16()), ["1.5", ""]),
    "dictionary": (pa.array(["x", None]).dictionary_encode(), ["x", ""]),
    "dictionary with doubles": (
        pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["x", "x"])), ["x", "x"]),
    "dictionary of numbers": (
        pa.DictionaryArray.from_arrays(pa.array([1, None]), pa.array([7, 2**60 + 1])),
        [str(2**60 + 1), ""]),
    "runs": (pa.RunEndEncodedArray.from_arrays([1, 2], pa.array(["a", None])), ["a", ""]),
    "view": (pa.array(["a", None], pa.string_view()), ["a", ""]),
    "bytes": (pa.array([b"a", None]), ["b'a'", ""]),
    "list": (pa.array([[1, 2], None]), ["[1, 2]", ""]),
    "fixed list": (pa.array([[1.5, 2], None], pa.list_(pa.float64(), 2)), ["[1.5, 2.0]", ""]),
    "list of lists": (pa.array([[[1, 2]], None]), ["[[1, 2]]", ""]),
    "struct": (pa.array([{"a": 1, "b": [2]}, None]), ["{'a': 1, 'b': [2]}", ""]),
    "map": (pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())), ["[('k', 1)]", ""]),
    "uuid": (pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([uuid.UUID(int=5).bytes, None], pa.binary(16))),
        [str(uuid.UUID(int=5)), ""]),
    "bool8": (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None], pa.int8())),
              ["1", ""]),
}  # fmt: skip


def feather(tmp_path: Path, table: pa.Table, name: str = "f.feather") -> Path:
    with pa.OSFile(str(tmp_path / name), "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
        out.write_table(table)
    return tmp_path / name


@pytest.mark.parametrize("kind", ARROW)
def test_types_of_arrow(tmp_path: Path, kind: str) -> None:
    column, wanted = ARROW[kind]
    found = read_file(feather(tmp_path, pa.table({"i": [1, 2], "c": column})))
    assert texts(found) == {"i": ["1", "2"], "c": wanted}
    assert list(found.frame.index) == [1, 2]


def test_types_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    union = pa.UnionArray.from_sparse(
        pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]
    )
    place = pa.array([0, None], pa.timestamp("us", "Foo/Bar"))
    for column in (union, place):
        with pytest.raises(DataRefused, match=r"column 'c' is of type .*, which cannot be read"):
            read_table(feather(tmp_path, pa.table({"i": [1, 2], "c": column})))


KINDS = st.recursive(
    st.sampled_from(
        [pa.null(), pa.bool_(), pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(),
         pa.string(), pa.large_string(), pa.binary(), pa.binary(2), pa.date32(), pa.date64(),
         pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.timestamp("s", "+05:30"),
         pa.timestamp("ms", "Asia/Tokyo"), pa.time32("s"), pa.time64("ns"), pa.duration("ns"),
         pa.duration("s"), pa.month_day_nano_interval(), pa.decimal128(9, 2), pa.decimal256(50, 5)]
    ),
    lambda inner: st.one_of(
        inner.map(pa.list_),
        inner.map(pa.large_list),
        st.lists(inner, min_size=1, max_size=2).map(
            lambda kinds: pa.struct([(f"f{i}", kind) for i, kind in enumerate(kinds)])
        ),
        inner.map(lambda kind: pa.map_(pa.string(), kind)),
    ),
    max_leaves=3,
)  # fmt: skip


def value(kind: pa.DataType, n: int) -> Any:
    """Some value of a type, or None."""
    if n % 4 == 3 or pa.types.is_null(kind):
        return None
    if pa.types.is_map(kind):
        return [(f"k{i}", value(kind.item_type, n + i)) for i in range(n % 3)]
    if pa.types.is_struct(kind):
        return {one.name: value(one.type, n + i) for i, one in enumerate(kind)}
    if pa.types.is_nested(kind):
        return [value(kind.value_type, n + i) for i in range(n % 3)]
    if pa.types.is_decimal(kind):
        return Decimal(n)
    if pa.types.is_boolean(kind):
        return n % 2 == 0
    if pa.types.is_floating(kind):
        return [0.5, float("nan"), float("inf")][n % 3]
    if pa.types.is_date(kind):
        return dt.date(1970, 1, 1 + n)
    if pa.types.is_interval(kind):
        return pa.MonthDayNano([n, n, n])
    if pa.types.is_fixed_size_binary(kind):
        return b"ab"
    if pa.types.is_binary(kind):
        return b"\xff\x00"[: n % 3]
    return "é" * n if pa.types.is_string(kind) or pa.types.is_large_string(kind) else n


def column(kind: pa.DataType, begin: int) -> pa.Array:
    """Five values of a type; none but missing ones where Arrow cannot make them of Python's."""
    made = [value(kind, begin + i) for i in range(5)]
    if pa.types.is_temporal(kind) and not (pa.types.is_date(kind) or pa.types.is_interval(kind)):
        return pa.array(made, pa.int32() if kind.bit_width == 32 else pa.int64()).view(kind)
    try:
        return pa.array(made, kind)
    except (pa.ArrowException, TypeError, ValueError):
        return pa.nulls(5, kind)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(kind=KINDS, begin=st.integers(0, 3))
def test_no_type_of_arrow_is_a_traceback(tmp_path: Path, kind: pa.DataType, begin: int) -> None:
    table = pa.table({"c": column(kind, begin), "y": range(5)})
    try:
        found = read_file(feather(tmp_path, table))
    except DataRefused as refusal:
        if "'c' is of type" not in refusal.message:
            raise
        return
    assert len(values.as_text(found.frame["c"])) == 5
    values.as_numbers(found.frame["c"])


def test_feather_is_read_as_parquet_is(tmp_path: Path) -> None:
    frame = pd.DataFrame({"i": [1, 2**60], "s": ["x", None], "f": [0.5, None]})
    frame.to_feather(tmp_path / "f.feather")
    frame.to_parquet(tmp_path / "f.parquet")
    one, other = (read_table(tmp_path / f"f.{kind}") for kind in ("feather", "parquet"))
    pd.testing.assert_frame_equal(one, other)
    whole = (tmp_path / "f.feather").read_bytes()
    for kept in (1, 6, 8, len(whole) // 2, len(whole) - 1):
        with pytest.raises(DataRefused):
            read_table(written(tmp_path, whole[:kept], "f.feather"))


def test_feather_with_wrong_offsets_is_refused(tmp_path: Path) -> None:
    offsets = pa.py_buffer(np.array([0, 2**30, 4], dtype=np.int32).tobytes())
    column = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"abcd"))
    with pytest.raises(DataRefused, match="as Feather"):
        read_table(feather(tmp_path, pa.table({"c": column})))


def test_blanks_around_the_names_of_parquet(tmp_path: Path) -> None:
    pd.DataFrame({" a": [1], "b": ["x"]}).to_parquet(tmp_path / "f.parquet")
    found = read_file(tmp_path / "f.parquet")
    assert list(found.frame.columns) == ["a", "b"]
    assert found.notes == ("blanks around the name of 1 column were removed: ' a'",)
    pd.DataFrame({"a": [1, 2]}, index=[5, 3]).to_parquet(tmp_path / "g.parquet")
    assert "an index" in read_file(tmp_path / "g.parquet").notes[0]


# --- The same table ------------------------------------------------------------------------------

SCHEMA = parse("""
[columns.n]
kind = "number"
nullable = true
[columns.i]
kind = "number"
[columns.w]
kind = "category"
nullable = true
categories = ["NA", "None", "x"]
[columns.t]
kind = "category"
categories = ["False", "True"]
[target]
name = "y"
task = "classification"
classes = ["no", "yes"]
""")
ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
        st.integers(-(2**53), 2**53),
        st.sampled_from(["NA", "None", "x", None, "é;,|\t", 'say "a"\nb']),
        st.booleans(),
        st.sampled_from(["no", "yes"]),
    ),
    min_size=1,
    max_size=6,
)


def all_formats(folder: Path, rows: list[Any]) -> list[Path]:
    names = ["n", "i", "w", "t", "y"]
    frame = pd.DataFrame(rows, columns=names, dtype=object)
    frame = frame.astype({"n": "float64", "i": "int64", "t": bool})
    for name, mark in {"c.csv": ",", "s.csv": ";", "t.tsv": "\t", "b.txt": "|"}.items():
        frame.to_csv(folder / name, index=False, sep=mark)
    frame.to_csv(folder / "index.csv")
    frame.to_csv(folder / "c.csv.gz", index=False)
    frame.to_csv(folder / "w.csv", index=False, encoding="utf-16")
    written(folder, "# of\n" + (folder / "c.csv").read_text(), "comment.csv")
    records = [dict(zip(names, row, strict=True)) for row in rows]
    written(folder, "\n".join(map(json.dumps, records)), "r.jsonl")
    written(folder, json.dumps(records), "r.json")
    frame.to_parquet(folder / "p.parquet")
    frame.astype({"w": "category"}).to_feather(folder / "f.feather")
    return sorted(folder.iterdir())


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ROWS)
def test_the_same_table_is_the_same_experience_in_every_format(
    tmp_path: Path, rows: list[Any]
) -> None:
    paths = all_formats(tmp_path, rows)
    assert len(paths) == 12
    found = {}
    for path in paths:
        checked = check(read(path, SCHEMA).frame, SCHEMA)
        assert (checked.whole, checked.refused_rows) == ((), 0), path.name
        found[path.name] = content_sha256(checked.accepted)
    assert len(set(found.values())) == 1, found


# --- The public name -----------------------------------------------------------------------------


def test_a_latin_1_letter_far_down_is_found(tmp_path: Path) -> None:
    rows = [f"{i},east,{'yes' if i % 3 else 'no'}" for i in range(4000)]
    rows[2999] = "2999,café,no"  # line 3001, after the header
    path = written(tmp_path, "\n".join(["load,site,fault", *rows]).encode("latin-1"))
    result = r"line 3001, character 9 is not UTF-8: byte 0xe9; .* Latin-1 or .* this is 'é'"
    with pytest.raises(DataRefused, match=result):
        read_table(path)


def test_the_public_reader_reads_as_the_door_does(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b\n1,NA\n2,None\n")
    assert perdure.read_table(path)["b"].tolist() == ["NA", "None"]
    assert perdure.read_table(str(path)).equals(read_table(path))


def test_constants_are_what_arrow_writes(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.to_feather(tmp_path / "f")
    frame.to_parquet(tmp_path / "p")
    assert (tmp_path / "f").read_bytes().startswith(arrow_reader.FEATHER)
    assert (tmp_path / "p").read_bytes().startswith(arrow_reader.PARQUET)
