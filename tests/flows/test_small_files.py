"""Files with fewer rows than `data.min_rows` wait, and are joined until they make an experience."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from perdure import config
from perdure.errors import Corrupt
from perdure.flows.ingest import ingest
from perdure.flows.retrain import retrain
from perdure.orchestration import engine
from perdure.records import Experience, Ingested
from perdure.tasks import experiences
from perdure.tasks.tables.content import content_sha256
from tests.promises import kit


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.make(tmp_path_factory.mktemp("small") / "workspace")


@pytest.fixture
def workspace(template: Path, tmp_path: Path) -> Path:
    """With one experience of 120 rows, pending, and the default of 30 rows."""
    return Path(shutil.copytree(template, tmp_path / "workspace", symlinks=True))


def bring(root: Path, name: str, text: str) -> Ingested:
    kit.arrive(root, name, text)
    (one,) = ingest.fn(str(root)).files
    return one


def small(number: int, rows: int = 12) -> str:
    return kit.table(number, rows)


def known(root: Path) -> tuple[Experience, ...]:
    return experiences.list_experiences(config.read(root))


def waiting(root: Path) -> list[tuple[str, int]]:
    ws = config.read(root)
    found = experiences.waiting_files(ws, experiences.list_experiences(ws))
    return [(one.file.name, one.file.rows) for one in found]


def parts(one: Experience) -> list[tuple[str, int]]:
    return [(file.name, file.rows) for file in one.files]


def rows(root: Path, one: Experience) -> pd.DataFrame:
    return experiences.read_experience(config.read(root), one.id, content_sha256)


def values(*texts: str) -> list[float]:
    """Column `b` of tables, one after the other."""
    return [float(line.split(",")[1]) for text in texts for line in text.splitlines()[1:]]


def setting(root: Path, line: str, instead: str = "") -> None:
    """Add a line to `[data]`."""
    path = root / "perdure.toml"
    text = path.read_text().replace(f"{instead}\n\n" if instead else "", "")
    path.write_text(text.replace("[training]", f"{line}\n\n[training]", 1))
    kit.git(root, "commit", "--quiet", "--all", "-m", f"test: {line}")


def test_files_wait_until_they_make_an_experience(workspace: Path) -> None:
    one = bring(workspace, "monday.csv", small(2))
    assert (one.outcome, one.experience, one.rows, one.refused_rows) == ("waiting", None, 12, 0)
    assert one.notes == ("12 rows wait; 30 make an experience (data.min_rows)",)
    two = bring(workspace, "tuesday.csv", small(3))
    assert two.outcome == "waiting"
    assert two.notes == (
        "12 rows wait with 12 of earlier files; 30 make an experience (data.min_rows)",
    )
    assert len(known(workspace)) == 1
    assert waiting(workspace) == [("monday.csv", 12), ("tuesday.csv", 12)]
    assert kit.picture(workspace)["changed"] == []

    three = bring(workspace, "wednesday.csv", small(4))
    assert (three.outcome, three.rows, three.joined_rows) == ("ingested", 36, 24)
    assert three.notes == ("24 rows of 2 files that waited joined: monday.csv, tuesday.csv",)
    assert [(one.file, one.rows) for one in three.files] == [
        ("monday.csv", 12), ("tuesday.csv", 12), ("wednesday.csv", 12),
    ]  # fmt: skip
    _, made = known(workspace)
    assert made.id == three.experience
    assert parts(made) == [("monday.csv", 12), ("tuesday.csv", 12), ("wednesday.csv", 12)]
    assert made.source == "monday.csv, tuesday.csv, wednesday.csv"
    assert rows(workspace, made)["b"].tolist() == values(small(2), small(3), small(4))
    assert (made.split, made.distinct_rows, three.distinct_rows) == (3, 36, 36)
    # Nothing waits twice, and DVC has it all.
    assert waiting(workspace) == []
    assert list((workspace / "data" / "waiting").iterdir()) == []
    versioned = kit.picture(workspace)["versioned"]
    assert sorted(versioned) == sorted(f"experiences/{e.id}.parquet" for e in known(workspace))


def test_a_retraining_learns_what_has_joined_and_not_what_waits(workspace: Path) -> None:
    assert len(retrain.fn(str(workspace)).learned) == 1
    kit.arrive(workspace, "1.csv", small(2))
    ingest.fn(str(workspace))
    assert retrain.fn(str(workspace)).learned == ()
    kit.arrive(workspace, "2.csv", small(3, 20))
    ingest.fn(str(workspace))
    assert [one.experience for one in retrain.fn(str(workspace)).learned] == [
        known(workspace)[1].id
    ]


def test_a_large_file_takes_along_what_waits(workspace: Path) -> None:
    bring(workspace, "small.csv", small(2))
    one = bring(workspace, "large.csv", kit.table(3))
    assert (one.rows, one.joined_rows) == (72, 12)
    assert parts(known(workspace)[1]) == [("small.csv", 12), ("large.csv", 60)]
    # A file to which nothing is joined is written as ever: an experience of one file.
    alone = bring(workspace, "alone.csv", kit.table(4))
    assert alone.experience is not None
    assert parts(known(workspace)[2]) == [("alone.csv", 60)]
    assert (
        experiences.folder.facts_of(known(workspace)[2].path)
        .keys()
        .isdisjoint({"files", "form", "joined"})
    )


def test_the_same_file_again_is_known(workspace: Path) -> None:
    bring(workspace, "1.csv", small(2))
    again = bring(workspace, "again.csv", small(2))
    assert (again.outcome, again.experience, again.notes) == ("known", None, ())
    assert waiting(workspace) == [("1.csv", 12)]
    bring(workspace, "2.csv", small(3, 20))
    for number, count in ((2, 12), (3, 20)):
        late = bring(workspace, f"late-{number}.csv", small(number, count))
        assert (late.outcome, late.experience) == ("known", known(workspace)[1].id)
    assert len(known(workspace)) == 2


def test_files_of_one_call_are_joined_in_their_order(workspace: Path) -> None:
    for number in range(2, 9):
        kit.arrive(workspace, f"{number}.csv", small(number))
    found = ingest.fn(str(workspace)).files
    assert [one.outcome for one in found] == ["joined", "joined", "ingested"] * 2 + ["waiting"]
    first, second = known(workspace)[1:]
    assert [one.experience for one in found] == [first.id] * 3 + [second.id] * 3 + [None]
    assert [one.rows - one.joined_rows for one in found] == [12] * 7
    assert [e.rows for e in known(workspace)] == [120, 36, 36]
    assert waiting(workspace) == [("8.csv", 12)]


def test_refused_rows_go_to_quarantine_and_the_others_wait(workspace: Path) -> None:
    text = small(2).replace("\n", "\nmuch,", 1).replace("much,", "much", 1)
    one = bring(workspace, "1.csv", text)
    assert (one.outcome, one.rows, one.refused_rows) == ("waiting", 11, 1)
    (record,) = experiences.list_quarantined(config.read(workspace))
    assert (record.file, record.rows) == ("1.csv", 1)
    again = bring(workspace, "1.csv", text)
    assert (again.outcome, again.refused_rows) == ("known", 1)
    assert len(experiences.list_quarantined(config.read(workspace))) == 1
    assert bring(workspace, "2.csv", small(3, 20)).rows == 31


def test_a_file_of_which_all_is_refused_does_not_wait(workspace: Path) -> None:
    kit.edit_schema(workspace, "max_bad_share = 0.5", "max_bad_share = 1.0")
    text = "a,b,colour,kind\nmuch,1.0,red,yes\nmore,2.0,red,no\n"
    one = bring(workspace, "1.csv", text)
    assert (one.outcome, one.reasons[0]) == ("quarantined", "no row is accepted")
    assert waiting(workspace) == []


def test_a_strict_file_with_a_bad_row_is_refused_whole_and_another_waits(workspace: Path) -> None:
    kit.edit_schema(workspace, 'on_bad_row = "rows"', 'on_bad_row = "file"')
    text = small(2).replace("\n", "\nmuch", 1)
    assert bring(workspace, "1.csv", text).outcome == "quarantined"
    assert bring(workspace, "2.csv", small(2)).outcome == "waiting"
    assert waiting(workspace) == [("2.csv", 12)]


def test_without_joining_a_small_file_is_refused(workspace: Path) -> None:
    bring(workspace, "1.csv", small(2))
    setting(workspace, "join = false")
    one = bring(workspace, "2.csv", small(3))
    assert (one.outcome, one.reasons) == (
        "quarantined",
        ("12 rows are accepted; the least is data.min_rows = 30",),
    )
    # What waited before stays where it is, and joins when joining is on again.
    assert bring(workspace, "3.csv", kit.table(4)).rows == 60
    assert waiting(workspace) == [("1.csv", 12)]
    setting(workspace, "join = true", instead="join = false")
    assert bring(workspace, "2.csv", small(3, 20)).rows == 32


def test_a_smaller_number_makes_an_experience_of_what_waits(workspace: Path) -> None:
    bring(workspace, "1.csv", small(2))
    bring(workspace, "2.csv", small(3))
    setting(workspace, "min_rows = 20")
    (one,) = ingest.fn(str(workspace)).files
    assert (one.file, one.outcome, one.rows, one.joined_rows) == ("2.csv", "ingested", 24, 12)
    assert parts(known(workspace)[1]) == [("1.csv", 12), ("2.csv", 12)]
    assert ingest.fn(str(workspace)).files == ()
    assert kit.picture(workspace)["changed"] == []


def test_rows_of_another_form_do_not_join(workspace: Path) -> None:
    bring(workspace, "1.csv", small(2))
    column = '[columns.a]\nkind = "number"\nnullable = true'
    kit.edit_schema(workspace, column, '[columns.a]\nkind = "ignore"')
    one = bring(workspace, "2.csv", small(3, 20))
    assert (one.outcome, one.rows) == ("waiting", 20)
    assert one.notes == (
        "20 rows wait; 30 make an experience (data.min_rows)",
        "12 rows of 1 earlier file do not join: the columns of the schema have changed since; "
        "they wait for the schema as it was",
    )
    assert bring(workspace, "3.csv", kit.table(4)).rows == 80
    assert waiting(workspace) == [("1.csv", 12)]
    kit.edit_schema(workspace, '[columns.a]\nkind = "ignore"', column)
    assert bring(workspace, "4.csv", small(5, 20)).rows == 32


def test_an_ignored_column_that_came_later_is_missing_in_what_waited(workspace: Path) -> None:
    bring(workspace, "1.csv", small(2))
    kit.edit_schema(workspace, "[columns.a]", '[columns.note]\nkind = "ignore"\n\n[columns.a]')
    head, *lines = small(3, 20).splitlines()
    text = "\n".join([f"note,{head}", *(f"well,{line}" for line in lines)]) + "\n"
    one = bring(workspace, "2.csv", text)
    assert one.outcome == "ingested"
    notes = rows(workspace, known(workspace)[1])["note"].tolist()
    assert notes == [None] * 12 + ["well"] * 20


def test_rows_of_a_new_class_are_gathered_over_files_that_wait(workspace: Path) -> None:
    """Six rows are set aside from a file that waits itself; with the next file there are ten."""
    one = bring(workspace, "1.csv", "\n".join(kit.few(2, 6).splitlines()[:15]) + "\n")
    assert (one.outcome, one.rows, one.refused_rows) == ("waiting", 8, 6)
    two = bring(workspace, "2.csv", "\n".join(kit.few(3, 6).splitlines()[:11]) + "\n")
    assert (two.outcome, two.rows, two.refused_rows) == ("waiting", 10, 0)
    assert two.notes[0] == (
        "new class 'maybe': 6 rows, with 6 rows set aside from earlier files, let in"
    )
    # It is a class like any other from here on, though no experience has it yet.
    three = bring(workspace, "3.csv", "\n".join(kit.few(4, 1).splitlines()[:14]) + "\n")
    assert (three.outcome, three.rows, three.refused_rows) == ("ingested", 8 + 10 + 13 + 6, 0)
    made = known(workspace)[1]
    assert parts(made) == [("1.csv", 8), ("2.csv", 10), ("3.csv", 13)]
    assert [(one.label, one.rows) for one in made.joined] == [("maybe", 6)]
    assert made.classes == ("maybe",)
    found = [value for _, value in kit.rows_of(workspace, "maybe")]
    assert len(found) == len(set(found)) == 13
    for number, text in ((1, kit.few(2, 6)), (2, kit.few(3, 6))):
        lines = text.splitlines()[: {1: 15, 2: 11}[number]]
        again = bring(workspace, f"again-{number}.csv", "\n".join(lines) + "\n")
        assert (again.outcome, again.experience) == ("known", made.id)


def test_rows_set_aside_join_after_the_file_that_brought_them_has_joined(workspace: Path) -> None:
    bring(workspace, "1.csv", "\n".join(kit.few(2, 6).splitlines()[:15]) + "\n")
    bring(workspace, "2.csv", kit.table(3))
    assert kit.rows_of(workspace, "maybe") == []
    assert bring(workspace, "3.csv", kit.few(4, 6)).joined_rows == 6
    assert len({value for _, value in kit.rows_of(workspace, "maybe")}) == 12


def test_damaged_rows_are_not_joined(workspace: Path) -> None:
    import pyarrow.parquet as pq

    bring(workspace, "1.csv", small(2))
    (path,) = (workspace / "data" / "waiting").iterdir()
    path.chmod(0o644)
    pq.write_table(pq.read_table(path).slice(0, 5), path)
    kit.arrive(workspace, "2.csv", kit.table(3))
    with pytest.raises(Corrupt, match="its rows are not those that were written"):
        ingest.fn(str(workspace))
    path.write_bytes(b"")
    with pytest.raises(Corrupt, match="is damaged"):
        ingest.fn(str(workspace))
    assert (workspace / "inbox" / "2.csv").exists()


def test_a_regression_waits_too(tmp_path: Path) -> None:
    from perdure.flows.initialise import initialise

    lines = kit.table(1, 120).splitlines()[1:]
    number = [f"{line.rsplit(',', 2)[0]},{i}.5" for i, line in enumerate(lines)]
    first = tmp_path / "first.csv"
    first.write_text("\n".join(["a,b,y", *number[:60]]) + "\n")
    initialise(tmp_path / "workspace", first, "y", name="small")
    for start in (60, 80):
        kit.arrive(tmp_path / "workspace", f"{start}.csv",
                   "\n".join(["a,b,y", *number[start : start + 20]]) + "\n")  # fmt: skip
    found = ingest.fn(str(tmp_path / "workspace")).files
    assert [(one.outcome, one.rows) for one in found] == [("joined", 20), ("ingested", 40)]


def test_the_first_file_may_wait(tmp_path: Path) -> None:
    from perdure.flows.initialise import initialise

    first = tmp_path / "first.csv"
    first.write_text(small(1, 20))
    root = tmp_path / "workspace"
    assert initialise(root, first, "kind", name="small").first.outcome == "waiting"
    assert known(root) == ()
    one = bring(root, "2.csv", small(2))
    assert (one.outcome, one.experience and one.experience[:6]) == ("ingested", "000001")
    assert parts(known(root)[0]) == [("first.csv", 20), ("2.csv", 12)]


def test_what_waits_starts_no_retraining_and_what_has_joined_does(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event that starts one is sent for experiences alone."""
    from perdure.orchestration import events

    sent: list[int] = []
    monkeypatch.setattr(engine, "is_of_its_own", lambda: True)
    monkeypatch.setattr(events, "emit", lambda _name, _ws, value: sent.append(value["files"]))
    bring(workspace, "1.csv", small(2))
    assert sent == []
    bring(workspace, "2.csv", small(3, 20))
    assert sent == [1]


def test_a_run_of_the_clock_takes_small_files_and_learns_when_they_have_joined(
    workspace: Path,
) -> None:
    long_ago = 1_000_000_000
    retrain.fn(str(workspace))
    for number, count, learned in ((2, 12, 0), (3, 20, 1)):
        path = kit.arrive(workspace, f"{number}.csv", small(number, count))
        os.utime(path, (long_ago, long_ago))
        assert len(retrain.fn(str(workspace), inbox=True).learned) == learned
        assert not path.exists()
