"""The data folder: whole files, in order, told apart by content; and the quarantine."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perdure.config import Workspace, parse
from perdure.errors import Corrupt, Fault, UsageError
from perdure.records import Quarantined
from perdure.records.data import Joined, SourceFile
from perdure.tasks import experiences
from perdure.tasks.experiences import folder
from perdure.tasks.tables.content import content_sha256

FRAME = pd.DataFrame(
    {
        "n": [1.5, np.nan, -0.25],
        "c": pd.Series(["N", None, "Ö\n"], dtype=object),
        "y": [0, 1, 1],
    }
)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    text = '[model]\nname = "m"\n[data]\ntarget = "y"\ntask = "classification"\n'
    root = tmp_path / "ws"
    root.mkdir()
    return Workspace(root, parse(text))


def file(frame: pd.DataFrame = FRAME, name: str = "jan.csv") -> SourceFile:
    return SourceFile(name, content_sha256(frame), len(frame))


def add(ws: Workspace, number: int, frame: pd.DataFrame = FRAME) -> str:
    sha256 = content_sha256(frame)
    return experiences.write_experience(ws, number, frame, sha256, [file(frame)], "5c4e").id


def test_what_is_written_is_what_is_read(ws: Workspace) -> None:
    added = add(ws, 1)
    (found,) = experiences.list_experiences(ws)
    assert found.id == added == f"000001-{found.sha256[:8]}"
    assert (found.number, found.rows, found.source) == (1, 3, "jan.csv")
    assert found.path == ws.experiences / f"{added}.parquet"
    frame = experiences.read_experience(ws, added, content_sha256)
    pd.testing.assert_frame_equal(frame, FRAME)
    assert frame["c"].dtype == object
    assert frame["c"][1] is None


def test_the_form_of_the_split_stands_in_the_file(ws: Workspace) -> None:
    old = add(ws, 1)
    sha256 = content_sha256(FRAME)
    joined = [Joined("0" * 64, 1, 1)]
    new = experiences.write_experience(
        ws, 2, FRAME, sha256, [file()], "5c4e", joined=joined, split=2, distinct_rows=3
    )
    assert experiences.list_experiences(ws)[1] == new
    assert (new.split, new.distinct_rows) == (2, 3)
    before = experiences.recorded(ws, old)
    assert before is not None
    assert (before.split, before.distinct_rows) == (1, None)
    fewer = FRAME[:2]
    path = folder.rewrite(ws, new, fewer, content_sha256(fewer), [file(fewer)], ())
    written = experiences.recorded(ws, path.stem)
    assert written is not None
    # How many rows are distinct was a number of all three.
    assert (written.split, written.rows, written.distinct_rows) == (2, 2, None)
    path.write_bytes(b"")
    assert experiences.recorded(ws, path.stem) is None
    assert experiences.recorded(ws, "000009-00000000") is None


def test_files_of_an_experience_stand_in_its_footer(ws: Workspace) -> None:
    files = [
        SourceFile(f"{number}.csv", f"{number}" * 64, 1, (("fog", 2),) if number == 2 else ())
        for number in range(1, 6)
    ]
    assert folder.source_of(files[:3]) == "1.csv, 2.csv, 3.csv"
    assert folder.source_of(files) == "5.csv and 4 earlier"
    frame = FRAME.iloc[[0, 1, 2, 0, 1]].reset_index(drop=True)
    sha256 = content_sha256(frame)
    made = experiences.write_experience(ws, 1, frame, sha256, files, "5c4e", form="f")
    assert made.files == tuple(files)
    assert made.source == "5.csv and 4 earlier"
    for one in files:
        assert experiences.find([made], one.content) == made
    assert experiences.find([made], "6" * 64) is None


def test_what_waits_is_written_once_and_in_order(ws: Workspace) -> None:
    sha256 = content_sha256(FRAME)
    for number, name in ((2, "b.csv"), (1, "a.csv")):
        one = SourceFile(name, f"{number}" * 64, 3)
        experiences.write_waiting(ws, ws.waiting, number, FRAME, sha256, one, "f", ("fog",))
    first, second = experiences.waiting_files(ws, ())
    assert (first.file.name, second.file.name) == ("a.csv", "b.csv")
    assert (first.number, first.form, first.classes) == (1, "f", ("fog",))
    pd.testing.assert_frame_equal(experiences.read_waiting(first, content_sha256), FRAME)
    assert experiences.next_place((first, second)) == 3
    # It waits until an experience names it, whether its own file is still there or not.
    made = experiences.write_experience(
        ws, 2, FRAME.assign(n=1.0), content_sha256(FRAME.assign(n=1.0)),
        [SourceFile("c.csv", "3" * 64, 0), second.file], "5c4e", form="f",
    )  # fmt: skip
    assert experiences.waiting_files(ws, [made]) == (first,)
    experiences.clear_joined(ws)
    assert [path.name[:6] for path in ws.waiting.iterdir()] == ["000001"]
    (ws.waiting / f"000003-{'4' * 8}.parquet").write_bytes(first.path.read_bytes())
    with pytest.raises(Corrupt, match="its name is not that of 11111111"):
        experiences.waiting_files(ws, ())


def test_images_and_sequences_come_back_as_they_were(ws: Workspace) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "image": pd.Series([rng.bytes(48) for _ in range(300)], dtype=object),
            "series": pd.Series([rng.normal(size=n % 4) for n in range(300)], dtype=object),
            "text": pd.Series(["a", None, "b"] * 100, dtype=object),
            "y": [0, 1, 1] * 100,
        }
    )
    frame.loc[7, "series"] = None
    added = add(ws, 1, frame)
    found = experiences.read_experience(ws, added, content_sha256)
    assert found["image"].tolist() == frame["image"].tolist()
    for was, now in zip(frame["series"], found["series"], strict=True):
        if was is None:
            assert now is None
        else:
            np.testing.assert_array_equal(now, was)
            assert now.dtype == np.float64
    assert found["text"].tolist() == frame["text"].tolist()
    before = (ws.experiences / f"{added}.parquet").read_bytes()
    add(ws, 1, found)
    assert (ws.experiences / f"{added}.parquet").read_bytes() == before


def test_images_are_written_in_groups_that_fit_into_memory(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr("perdure.tasks.experiences.folder.LEAST_GROUP", 1)
    monkeypatch.setattr("perdure.tasks.experiences.folder.GROUP_BYTES", 100)
    frame = pd.DataFrame({"image": pd.Series([bytes(40)] * 10, dtype=object), "y": range(10)})
    file = pq.ParquetFile(ws.experiences / f"{add(ws, 1, frame)}.parquet")
    assert file.num_row_groups == 5
    assert str(file.schema_arrow.field("image").type) == "fixed_size_binary[40]"


@pytest.mark.parametrize("labels", [[True, False, True], ["a", "b", "a"], [0.5, 1.5, 2.5]])
def test_labels_keep_their_type(ws: Workspace, labels: list[object]) -> None:
    frame = FRAME.assign(y=pd.Series(labels, dtype=object).infer_objects())
    if isinstance(labels[0], str):
        frame["y"] = pd.Series(labels, dtype=object)
    added = add(ws, 1, frame)
    pd.testing.assert_frame_equal(experiences.read_experience(ws, added, content_sha256), frame)


def test_the_same_arguments_give_the_same_bytes(ws: Workspace) -> None:
    path = ws.experiences / f"{add(ws, 1)}.parquet"
    before = path.read_bytes()
    path.unlink()
    add(ws, 1)
    assert path.read_bytes() == before


def test_they_are_listed_in_order_and_found_by_content(ws: Workspace) -> None:
    assert experiences.list_experiences(ws) == ()
    frames = {n: FRAME.assign(n=float(n)) for n in (2, 10, 1, 1_000_000)}
    for number, frame in frames.items():
        add(ws, number, frame)
    (ws.experiences / ".DS_Store").touch()
    (ws.experiences / "000003-abc.parquet.tmp").touch()
    known = experiences.list_experiences(ws)
    assert [e.number for e in known] == [1, 2, 10, 1_000_000]
    assert experiences.next_number(known) == 1_000_001
    assert experiences.next_number(()) == 1
    assert experiences.find(known, content_sha256(frames[10])) == known[2]
    assert experiences.find(known, "0" * 64) is None


def test_the_same_number_twice_is_refused(ws: Workspace) -> None:
    add(ws, 1)
    add(ws, 1, FRAME.assign(n=1.0))
    with pytest.raises(Corrupt, match="have the number 1"):
        experiences.list_experiences(ws)


def test_damage_is_noticed(ws: Workspace) -> None:
    added = add(ws, 1)
    path = ws.experiences / f"{added}.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Corrupt, match="damaged"):
        experiences.list_experiences(ws)
    # A change that leaves the file readable: other rows under the same name and metadata.
    path.unlink()
    other = FRAME.assign(n=0.0)
    experiences.write_experience(ws, 1, other, content_sha256(FRAME), [file()], "5c4e")
    assert len(experiences.list_experiences(ws)) == 1
    with pytest.raises(Corrupt, match="sha256"):
        experiences.read_experience(ws, added, content_sha256)
    path.rename(ws.experiences / "000001-00000000.parquet")
    with pytest.raises(Corrupt, match="damaged"):
        experiences.list_experiences(ws)


@pytest.mark.parametrize("unknown", ["000009-00000000", "../../secret", "", "x" * 400])
def test_unknown_experiences_are_told(ws: Workspace, unknown: str) -> None:
    with pytest.raises(UsageError, match="no experience"):
        experiences.read_experience(ws, unknown, content_sha256)


def test_a_failed_write_leaves_nothing(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Fault, match="No space left"):
        add(ws, 1)
    assert experiences.list_experiences(ws) == ()
    assert list((ws.state / "tmp").iterdir()) == []


def test_killed_while_writing_the_file_is_whole_or_not_there(ws: Workspace) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "import pandas as pd\n"
        "from perdure.config import Workspace, parse\n"
        "from perdure.records.data import SourceFile\n"
        "from perdure.tasks import experiences\n"
        "ws = Workspace(Path(sys.argv[1]), parse(sys.argv[2]))\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "frame, file = pd.DataFrame({'y': [0]}), SourceFile('s', '0' * 64, 1)\n"
        "experiences.write_experience(ws, 1, frame, '0' * 64, [file], 'h')\n"
    )
    config = '[model]\nname="m"\n[data]\ntarget="y"\ntask="classification"'
    done = subprocess.run([sys.executable, "-c", script, str(ws.root), config], check=False)
    assert done.returncode == -signal.SIGKILL
    assert experiences.list_experiences(ws) == ()
    add(ws, 1)
    assert len(experiences.list_experiences(ws)) == 1


def test_what_is_being_added_is_not_committed(ws: Workspace) -> None:
    one, two = add(ws, 1), add(ws, 2, FRAME.assign(n=1.0))
    assert experiences.unfinished(ws) is None
    experiences.begin(ws, [two, "000003-00000000"])
    assert experiences.unfinished(ws) == (two, "000003-00000000")
    assert [e.id for e in experiences.committed(ws)] == [one]
    experiences.done(ws)
    experiences.done(ws)
    assert [e.id for e in experiences.committed(ws)] == [one, two]
    experiences.begin(ws, [])
    assert experiences.unfinished(ws) == ()
    (ws.state / "ingesting.json").write_text("{")
    with pytest.raises(Corrupt):
        experiences.committed(ws)


def read_csv(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_a_whole_file_goes_to_quarantine(ws: Workspace) -> None:
    path = ws.root / "Bad file.csv"
    path.write_bytes(b"a;b\n\xff\n")
    record = experiences.quarantine(ws, path, ["first reason", "second"])
    assert (record.file, record.reason, record.rows) == ("Bad file.csv", "first reason", 0)
    assert record.folder is not None
    folder = ws.root / record.folder
    assert folder.parent == ws.quarantine
    assert (folder / "original.csv").read_bytes() == path.read_bytes()
    assert read_csv(folder / "reasons.csv") == [
        ["row", "column", "value", "reason"],
        ["", "", "", "first reason"],
        ["", "", "", "second"],
    ]
    facts = json.loads((folder / "record.json").read_text())
    assert facts["reasons"] == ["first reason", "second"]
    assert facts["whole"] is True
    # What was found in its rows comes after why it is refused whole.
    findings = pd.DataFrame(
        {"row": [2], "column": ["a"], "value": [None], "reason": ["a is missing"]}
    )
    both = experiences.quarantine(ws, path, ["half the rows"], findings)
    assert both.folder is not None
    assert read_csv(ws.root / both.folder / "reasons.csv")[1:] == [
        ["", "", "", "half the rows"],
        ["2", "a", "", "a is missing"],
    ]
    shutil.rmtree(ws.root / both.folder)
    assert folder.name == f"{facts['sha256'][:8]}-Bad_file.csv"
    assert experiences.list_quarantined(ws) == (record,)
    assert path.exists()


def test_refused_rows_go_to_quarantine(ws: Workspace) -> None:
    path = ws.root / "reasons.csv"
    path.write_text("a,b\n1,x\nabc,y\n")
    bad = pd.DataFrame({"a": ["abc"], "b": ["y"]}, index=pd.Index([2], name="row"))
    refused = pd.DataFrame(
        {"row": [2], "column": ["a"], "value": ["abc"], "reason": ["a = 'abc' is not a number"]}
    )
    record = experiences.quarantine(ws, path, ["1 row"], refused, bad)
    assert record.rows == 1
    assert record.folder is not None
    folder = ws.root / record.folder
    assert read_csv(folder / "rows.csv") == [["row", "a", "b"], ["2", "abc", "y"]]
    assert read_csv(folder / "reasons.csv")[1] == ["2", "a", "abc", "a = 'abc' is not a number"]
    assert sorted(p.name for p in folder.iterdir()) == ["reasons.csv", "record.json", "rows.csv"]


def test_the_same_refusal_twice_is_one(ws: Workspace) -> None:
    path = ws.root / "bad.csv"
    path.write_text("x")
    first = experiences.quarantine(ws, path, ["reason"])
    assert experiences.quarantine(ws, path, ["reason"]) == first
    renamed = path.rename(ws.root / "again.csv")
    assert experiences.quarantine(ws, renamed, ["reason"]) == first
    # For another reason it is another refusal, and nothing is overwritten.
    renamed.rename(path)
    second = experiences.quarantine(ws, path, ["another"])
    assert second.folder != first.folder
    path.write_text("y")
    experiences.quarantine(ws, path, ["reason"])
    records = experiences.list_quarantined(ws)
    assert len(records) == 3
    assert records[:2] == (first, second)
    assert all(isinstance(record, Quarantined) for record in records)


@pytest.mark.parametrize(
    "name",
    ["..", "...", ".hidden", "-rf", "a\nb.csv", "a\tb\x1b[31m.csv", "é" * 100 + ".csv",
     "x" * 250 + ".csv", "数据.csv", "a b;$(c).csv", "record.json", "CON.csv", "x.csv" + "y" * 200,
     os.fsdecode(b"\xff\xfe.csv")],
)  # fmt: skip
def test_names_do_no_harm(ws: Workspace, name: str) -> None:
    safe = experiences.safe_name(name)
    assert 0 < len(safe) <= 80
    assert set(safe) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert safe[0] not in ".-"
    (ws.root / "inbox").mkdir()
    path = ws.root / "inbox" / name
    if name not in ("..", "..."):
        path.write_text("x")
    record = experiences.quarantine(ws, path, ["reason"])
    assert record.folder is not None
    assert (ws.root / record.folder).parent == ws.quarantine
    assert record.file.isprintable()
    assert record.file.encode()
    assert experiences.list_quarantined(ws) == (record,)
    assert list((ws.state / "tmp").iterdir()) == []


def test_links_and_folders_are_not_moved_or_followed_into(ws: Workspace) -> None:
    outside = ws.root.parent / "outside.csv"
    outside.write_text("precious")
    folder = ws.root.parent / "folder"
    (folder / "deep").mkdir(parents=True)
    for name, target in {"link.csv": outside, "dir.csv": folder, "none.csv": folder / "0"}.items():
        (ws.root / name).symlink_to(target)
        experiences.quarantine(ws, ws.root / name, ["reason"])
    assert outside.read_text() == "precious"
    assert (folder / "deep").is_dir()
    kept = sorted(p.name for p in ws.quarantine.glob("*/original*"))
    assert kept == ["original.csv"]
    assert not any(p.is_symlink() for p in ws.quarantine.rglob("*"))
    assert len(experiences.list_quarantined(ws)) == 3


def unzipped(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_refused_folder_is_kept_whole_in_one_file(ws: Workspace) -> None:
    secret = ws.root.parent / "secret"
    secret.write_text("secret")
    folder = ws.root / "images"
    for name in ("b/1.png", "a/2.png"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(name)
    (folder / "a" / "link.png").symlink_to(secret)
    record = experiences.quarantine(ws, folder, ["no class"])
    assert record.folder is not None
    place = ws.root / record.folder
    assert sorted(p.name for p in place.iterdir()) == ["original.zip", "reasons.csv", "record.json"]
    assert unzipped(place / "original.zip") == {
        "a/2.png": b"a/2.png",
        "a/link.png": b"a link to " + os.fsencode(secret) + b"\n",
        "b/1.png": b"b/1.png",
    }
    assert folder.is_dir()
    assert experiences.quarantine(ws, folder, ["no class"]) == record
    (folder / "b" / "1.png").write_text("b/2.png")
    assert experiences.quarantine(ws, folder, ["no class"]) != record


def test_the_files_of_refused_rows_are_kept_by_name(ws: Workspace) -> None:
    folder = ws.root / "images"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"1")
    rows = pd.DataFrame({"image": ["a/1.png"]}, index=pd.Index([3], name="row"))
    files = [("a/1.png", b"1"), ("../../up.png", b"2"), ("/root.png", b"3")]
    record = experiences.quarantine(ws, folder, ["bad"], bad_rows=rows, files=files)
    assert record.folder is not None
    place = ws.root / record.folder
    assert unzipped(place / "rows.zip") == {"a/1.png": b"1", "up.png": b"2", "root.png": b"3"}
    assert (place / "rows.csv").read_text() == "row,image\n3,a/1.png\n"
    assert not (place / "original.zip").exists()
    whole = experiences.quarantine(ws, folder, ["all"], bad_rows=rows, files=None)
    assert whole.folder is not None
    assert unzipped(ws.root / whole.folder / "original.zip") == {"1.png": b"1"}
    assert (ws.root / whole.folder / "rows.csv").exists()


def test_a_damaged_record_is_told(ws: Workspace) -> None:
    path = ws.root / "bad.csv"
    path.write_text("x")
    record = experiences.quarantine(ws, path, ["reason"])
    assert record.folder is not None
    (ws.root / record.folder / "record.json").write_text("{}")
    with pytest.raises(Corrupt, match=r"record\.json"):
        experiences.list_quarantined(ws)
