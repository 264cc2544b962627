"""What is no table that is read here: what it is, and how to make it one."""

from __future__ import annotations

import re
import shlex
import zipfile
from collections.abc import Sequence
from pathlib import Path

from perdure.errors import DataRefused
from perdure.tasks.tables.packing import Source

TABLES = (".csv", ".tsv", ".tab", ".txt", ".parquet", ".pq", ".feather", ".arrow", ".json",
          ".jsonl", ".ndjson")  # fmt: skip
"""Suffixes of files of tables, of which a folder or an archive is not one of images."""
PACKED = (".gz", ".bz2", ".xz", ".zst")
_OFFICE = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_SHEET = "save the sheet as CSV UTF-8, or pandas.read_excel({file}).to_parquet({parquet})"
_PANDAS = "where it was made: {made}.to_parquet({parquet})"
_AGAIN = "write it as Parquet or CSV"
_UNPACK = "unpack it: {unpack}, then perdure ingest {folder}"

# Letters alone might begin a CSV: each of these holds a byte that no header of a CSV has.
_BINARY: tuple[tuple[bytes, str, str], ...] = (
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook of the old kind (.xls)", _SHEET),
    (
        rb"SQLite format 3\x00",
        "an SQLite database",
        'sqlite3 -csv -header {quoted} "SELECT * FROM TABLE" > {csv}',
    ),
    (rb"\x80[\x02-\x05](?s:.)", "a pickle, which may run code when it is read: it is never read "
     "here", _PANDAS.format(made="frame", parquet="{parquet}")),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file", "pandas.read_hdf({file}, KEY).to_parquet({parquet})"),
    (rb"ORC(?s:.*)\x00", "an ORC file", "pandas.read_orc({file}).to_parquet({parquet})"),
    (rb"Obj\x01", "an Avro file", _AGAIN),
    (rb"\x93NUMPY", "a NumPy array (.npy), which has no names of columns",
     "pandas.DataFrame(numpy.load({file}), columns=[…]).to_parquet({parquet})"),
    (rb"\xff\xff\xff\xff", "an Arrow stream, which does not show where it was cut off",
     "write it as an Arrow file (pyarrow.feather.write_feather)"),
    (rb"FEA1(?s:.*)\x00", "a Feather file of version 1",
     "pyarrow.feather.write_feather(table, path) writes version 2"),
    (rb"(?s:.{257})ustar(?s:.*)\x00", "a tar archive", _UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (rb"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (rb"\x04\x22\x4d\x18", "compressed with LZ4", "unpack it, or compress it with gzip"),
    (rb"\x1f[\x9d\xa0]", "compressed with compress (.Z)", "unpack it, or compress it with gzip"),
    (rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a", "an image, which is binary and no table",
     "images arrive as a folder of folders, one for each class"),
    (rb"X\n\x00|RDX[23]\nX\n", "R data (.rds, .RData)",
     'write.csv(data, "data.csv", row.names = FALSE) in R'),
    (rb"<stata_dta>|[\x71-\x77][\x01\x02]\x01\x00", "a Stata file",
     "pandas.read_stata({file}).to_parquet({parquet})"),
    (rb"\$FL[23]@", "an SPSS file", "pandas.read_spss({file}).to_parquet({parquet})"),
    (rb"\x00{12}\xc2\xea\x81\x60", "a SAS file", "pandas.read_sas({file}).to_parquet({parquet})"),
)  # fmt: skip
_TEXT: tuple[tuple[bytes, str, str], ...] = (
    (rb"%PDF-", "a PDF document", _AGAIN),
    (rb"(?i)\s*(<!doctype html|<html)", "HTML, a web page, and not the file that it may have led "
     "to", "download the file itself"),
    (rb"(?i)\s*<\?xml", "XML", "pandas.read_xml({file}).to_parquet({parquet})"),
    (rb"(?i)(\s*%[^\n]*\n)*\s*@relation\s", "an ARFF file",
     "pandas.DataFrame(scipy.io.arff.loadarff({file})[0]).to_csv({csv}, index=False)"),
    (rb"version https://git-lfs\.github\.com/spec/", "a pointer of Git LFS, not the file itself",
     "git lfs pull"),
)  # fmt: skip


def refuse_foreign(source: Source) -> None:
    """Refuse a file that is of a known kind, and no table that is read here.

    Raises:
        DataRefused: It is; with what it is, and what to do.
    """
    if source.head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        _refuse_zip(source)
    for magic, what, hint in (*_BINARY, *_TEXT):
        if re.match(magic, source.head):
            raise _refusal(source, what, hint)


def _refusal(source: Source, what: str, hint: str) -> DataRefused:
    plain = Path(source.name)
    for _ in range(2 if source.packing else 1):
        plain = plain.with_suffix("") if plain.suffix else plain
    quoted = shlex.quote(source.name)
    tool = {"a tar archive": f"tar -xf {quoted}", "a RAR archive": f"unrar x {quoted}"}
    inside = f" compressed with {source.packing}" if source.packing else ""
    return DataRefused(
        f"{source.name} is {what}{inside}",
        hint=hint.format(
            file=repr(source.name),
            quoted=quoted,
            parquet=repr(f"{plain}.parquet"),
            csv=shlex.quote(f"{plain}.csv"),
            unpack=tool.get(what, f"7z x {quoted}"),
            folder="FOLDER",
        ),
    )


def _refuse_zip(source: Source) -> None:
    if source.packing is not None:
        raise DataRefused(
            f"{source.name} is a ZIP archive compressed with {source.packing}",
            hint="unpack both, and ingest the files in it",
        )
    members = _members(source.path)
    if members is None:
        raise DataRefused(
            f"{source.name} begins as a ZIP archive and is no whole one: it was cut off or damaged",
            hint="copy it again, whole",
        )
    if any(name.startswith("xl/") for name in members):
        raise _refusal(source, "an Excel workbook", _SHEET)
    if "content.xml" in members and "mimetype" in members:
        raise _refusal(source, "an OpenDocument file", _SHEET)
    if members and all(name.endswith(".npy") for name in members):
        raise DataRefused(
            f"{source.name} holds NumPy arrays (.npz): of images where the schema is one of "
            "images, and no table",
            hint=f"write a table as Parquet; of images: perdure init DIR --data {source.name} "
            "--kind image",
        )
    if "data.pkl" in {name.rpartition("/")[2] for name in members}:
        raise DataRefused(f"{source.name} holds pickled PyTorch data, which is never read here")
    tables = [name for name in members if _is_table(name)]
    stem = Path(source.name).stem
    place = Path(stem, tables[0]) if tables else Path(stem, "FILE")
    data, folder = shlex.quote(str(place)), shlex.quote(str(place.parent))
    raise DataRefused(
        f"{source.name} is a ZIP archive{_some(tables or members)}; a table is one file",
        hint=f"unzip {shlex.quote(source.name)} -d {shlex.quote(stem)}, then --data {data}, or "
        f"perdure ingest {folder}",
    )


def refuse_folder(folder: Path) -> None:
    """Refuse a folder where a file is wanted.

    Raises:
        DataRefused: Always; with the command that ingests its files one by one.
    """
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    tables = [name for name in names if _is_table(name)]
    raise DataRefused(
        f"{folder} is a folder{_some(tables)}; a table is one file",
        hint=f"perdure init DIR --data {shlex.quote(str(folder / tables[0]))} --target COLUMN, "
        f"then perdure ingest {shlex.quote(str(folder))}"
        if tables
        else "perdure ingest FILE...",
    )


def holds_tables(path: Path) -> bool:
    """Whether a folder or a ZIP archive holds tables, or is a workbook, and so no images.

    Images lie in folders inside; of a file beside the others there, one is enough.
    """
    if path.is_dir():
        entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
        names = [entry.name for entry in entries]
        flat = not any(entry.is_dir() for entry in entries)
    else:
        names = _members(path) or []
        flat = not any("/" in name for name in names)
        if any(name.startswith("xl/") for name in names) or "content.xml" in names:
            return True
    tables = [_is_table(name) or name.lower().endswith(_OFFICE) for name in names]
    return bool(names) and (any(tables) if flat else all(tables))


def _members(path: Path) -> list[str] | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return None
    return [n for n in names if not n.endswith("/") and not n.startswith("__MACOSX/")]


def _is_table(name: str) -> bool:
    bare = name.lower()
    for suffix in PACKED:
        bare = bare.removesuffix(suffix)
    return bare.endswith(TABLES)


def _some(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f" with {', '.join(names[:2])}{more} in it"
