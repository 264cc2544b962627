"""Files of every kind through `init`, `ingest` and the inbox: what is read, and what is noted."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.conftest import Cli
from tests.promises import kit

SEMICOLONS = "the fields are separated by semicolons"


def frame(number: int) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(kit.table(number)), keep_default_na=False, dtype=str)


def test_files_of_every_kind_through_the_inbox(cli: Cli, tmp_path: Path) -> None:
    data, root = tmp_path / "first.csv", tmp_path / "workspace"
    data.write_text(kit.table(1, 120).replace(",", ";"))
    result = cli("init", root, "--data", data, "--target", "kind", "--name", kit.MODEL)
    assert result.code == 0, result.err
    assert f"  {SEMICOLONS}\n" in result.out
    inbox = root / "inbox"
    frame(2).to_csv(inbox / "2.csv")
    (inbox / "3.csv.gz").write_bytes(gzip.compress(kit.table(3).encode()))
    frame(4).to_json(inbox / "4.jsonl", orient="records", lines=True)
    frame(5).to_feather(inbox / "5.feather")
    (inbox / "6.csv").write_bytes(("# of a sensor\n" + kit.table(6)).encode("utf-16"))
    frame(2).to_parquet(inbox / "7.parquet")
    with zipfile.ZipFile(inbox / "8.zip", "w") as made:
        made.writestr("in.csv", kit.table(8))
    (inbox / "9.csv").write_bytes(b"a;b\xe9\n")
    (inbox / "99.csv").write_text(kit.table(99).replace(",", ";") + "1;2\n")
    result = cli("ingest", "--json", "-w", root)
    assert result.code == 3
    files = {one["file"]: one for one in result.json["files"]}
    outcomes = [one["outcome"] for one in files.values()]
    assert outcomes == ["ingested"] * 5 + ["known"] + ["quarantined"] * 3
    assert files["7.parquet"]["experience"] == files["2.csv"]["experience"]
    assert {name: one["notes"] for name, one in files.items() if one["notes"]} == {
        "2.csv": [
            "left out: column 1, which has no name and numbers the rows: an index, as pandas "
            "writes it without index=False"
        ],
        "6.csv": ["the encoding is UTF-16", "1 comment line before the header skipped"],
    }
    assert all("unzip 8.zip -d 8" in reason for reason in files["8.zip"]["reasons"])
    [wrong] = files["9.csv"]["reasons"]
    assert wrong.startswith("9.csv, line 1, character 4 is not UTF-8: byte 0xe9; it seems to be")
    assert "→ iconv -f WINDOWS-1252 -t UTF-8 9.csv" in wrong
    [cut] = files["99.csv"]["reasons"]
    assert cut.startswith("99.csv, row 61 (line 62) has 2 fields, the header has 4 → the file was")
    assert [path.name for path in inbox.iterdir()] == [".gitkeep"]


def test_what_is_refused_whole_has_its_notes_as_well(cli: Cli, tmp_path: Path) -> None:
    root = kit.make(tmp_path / "small")
    path = tmp_path / "other.csv"
    path.write_text("x;y\n1;2\n")
    [file] = cli("ingest", path, "--json", "-w", root).json["files"]
    assert (file["outcome"], file["notes"]) == ("quarantined", [SEMICOLONS])
    shown = cli("schema", "--diff", path, "-w", root)
    assert "missing" in shown.out


@pytest.mark.parametrize("kind", ["folder", "archive", "workbook"])
def test_init_refuses_what_is_more_than_one_table(cli: Cli, tmp_path: Path, kind: str) -> None:
    data = tmp_path / "many"
    if kind == "folder":
        data.mkdir()
        (data / "1.csv").write_text(kit.table(1))
    else:
        with zipfile.ZipFile(data, "w") as made:
            made.writestr("1.csv" if kind == "archive" else "xl/workbook.xml", kit.table(1))
    result = cli("init", tmp_path / "w", "--data", data, "--target", "kind")
    assert result.code == 3
    wanted = {"folder": "is a folder with 1.csv in it", "archive": "is a ZIP archive with 1.csv in"}
    assert wanted.get(kind, "is an Excel workbook") in result.err
    assert not (tmp_path / "w").exists()


def test_a_workspace_begun_with_json_lines(cli: Cli, tmp_path: Path) -> None:
    data, root = tmp_path / "first.jsonl", tmp_path / "w"
    data.write_text("\n".join(json.dumps(row) for row in frame(1).to_dict("records")))
    assert cli("init", root, "--data", data, "--target", "kind").code == 0
    (tmp_path / "same.csv").write_text(kit.table(1))
    [file] = cli("ingest", tmp_path / "same.csv", "--json", "-w", root).json["files"]
    assert file["outcome"] == "known"
