"""Rows of a new class are set aside while they are few, and join as soon as there are enough."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from perdure import config
from perdure.errors import Corrupt
from perdure.flows.ingest import ingest
from perdure.flows.retrain import retrain
from perdure.records import Ingested
from perdure.tasks import experiences, packaging
from tests.promises import kit
from tests.service.clones import Clones


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """With one experience of 120 rows, pending, and the schema that init writes."""
    return kit.make(tmp_path / "workspace")


def bring(root: Path, name: str, text: str) -> Ingested:
    kit.arrive(root, name, text)
    (one,) = ingest.fn(str(root)).files
    return one


def test_rows_of_several_files_join_the_one_in_which_there_are_enough(workspace: Path) -> None:
    first = bring(workspace, "1.csv", kit.few(2))
    assert (first.outcome, first.rows, first.refused_rows, first.refused_share) == (
        "ingested", 54, 6, 0.1,
    )  # fmt: skip
    assert (
        "kind = 'maybe' is a new class with 6 rows in this file; the least is 10"
        in (first.reasons[0])
    )
    assert any("6 rows gathered so far" in note for note in first.notes)
    second = bring(workspace, "2.csv", kit.few(3))
    assert (second.rows, second.refused_rows, second.joined_rows) == (66, 0, 6)
    assert second.notes == (
        "new class 'maybe': 6 rows, with 6 rows set aside from earlier files, let in",
    )
    assert len({value for _, value in kit.rows_of(workspace, "maybe")}) == 12
    # From now on it is a class like any other, however few rows a file has of it.
    third = bring(workspace, "3.csv", kit.few(4, 1))
    assert (third.rows, third.refused_rows, third.joined_rows, third.notes) == (60, 0, 0, ())
    assert len(kit.rows_of(workspace, "maybe")) == 13
    retrain.fn(str(workspace))
    registry = kit.registry(workspace)
    served = packaging.labels_in(registry.download(registry.read().champion))
    assert served == ("no", "yes", "maybe")


def test_a_file_that_arrives_again_is_known_whatever_was_let_in_meanwhile(workspace: Path) -> None:
    bring(workspace, "1.csv", kit.few(2))
    again = bring(workspace, "again.csv", kit.few(2))
    assert (again.outcome, again.joined_rows) == ("known", 0)
    assert kit.rows_of(workspace, "maybe") == []  # twelve rows arrived, and six are there
    bring(workspace, "2.csv", kit.few(3))
    for number in (2, 3):
        assert bring(workspace, f"{number}-late.csv", kit.few(number)).outcome == "known"
    assert len(kit.rows_of(workspace, "maybe")) == 12
    assert len(experiences.list_quarantined(config.read(workspace))) == 1


def test_a_class_that_a_person_lists_comes_in_with_the_next_file(workspace: Path) -> None:
    bring(workspace, "1.csv", kit.few(2))
    kit.edit_schema(workspace, 'classes = ["no", "yes"]', 'classes = ["no", "yes", "maybe"]')
    one = bring(workspace, "2.csv", kit.table(3))
    assert (one.rows, one.joined_rows) == (66, 6)
    assert one.notes == ("rows set aside from earlier files joined: 6 of 'maybe'",)
    assert bring(workspace, "3.csv", kit.table(4)).joined_rows == 0


def test_a_smaller_number_lets_in_what_waits(workspace: Path) -> None:
    bring(workspace, "1.csv", kit.few(2))
    kit.edit_schema(workspace, "min_class_rows = 10", "min_class_rows = 5")
    assert bring(workspace, "2.csv", kit.table(3)).joined_rows == 6


def test_classes_are_gathered_each_by_itself(workspace: Path) -> None:
    bring(workspace, "1.csv", kit.few(2).replace("maybe", "mabye", 1))
    one = bring(workspace, "2.csv", kit.few(3))
    assert one.joined_rows == 5
    assert kit.rows_of(workspace, "mabye") == []
    late = bring(workspace, "3.csv", kit.few(4, 1).replace("maybe", "mabye"))
    assert "(a typing error for 'maybe'?)" in late.reasons[0]
    assert any("2 rows gathered so far" in note for note in late.notes)


def test_rows_of_another_form_do_not_join(workspace: Path) -> None:
    """Where a person has changed the columns meanwhile; the rows stay in quarantine."""
    bring(workspace, "1.csv", kit.few(2))
    kit.edit_schema(
        workspace, '[columns.a]\nkind = "number"\nnullable = true', '[columns.a]\nkind = "ignore"'
    )
    one = bring(workspace, "2.csv", kit.few(3))
    assert (one.refused_rows, one.joined_rows) == (6, 0)
    (folder, _) = experiences.list_quarantined(config.read(workspace))
    assert folder.folder is not None
    assert len(pd.read_csv(workspace / folder.folder / "rows.csv")) == 6


def test_a_strict_file_is_refused_whole_and_nothing_is_gathered(workspace: Path) -> None:
    kit.edit_schema(workspace, 'on_bad_row = "rows"', 'on_bad_row = "file"')
    assert bring(workspace, "1.csv", kit.few(2)).outcome == "quarantined"
    one = bring(workspace, "2.csv", kit.few(3, 9))
    assert one.outcome == "quarantined"
    assert bring(workspace, "3.csv", kit.few(4, 10)).joined_rows == 0


def test_damaged_rows_are_not_joined(workspace: Path) -> None:
    bring(workspace, "1.csv", kit.few(2))
    (path,) = (workspace / "data" / "quarantine").glob("*/aside-*.parquet")
    table = pq.read_table(path)
    path.chmod(0o644)
    pq.write_table(table.slice(0, 5), path)
    kit.arrive(workspace, "2.csv", kit.few(3))
    with pytest.raises(Corrupt, match="has 5 rows of the class 'maybe', not 6"):
        ingest.fn(str(workspace))


def test_experiences_of_an_older_version_say_which_classes_there_are(workspace: Path) -> None:
    """Their footers name no classes: the column of the target does."""
    bring(workspace, "1.csv", kit.few(2, 12))
    (_, path) = sorted((workspace / "data" / "experiences").iterdir())
    table = pq.read_table(path)
    facts = json.loads(table.schema.metadata[b"perdure"])
    assert facts.pop("classes") == ["maybe"]
    path.chmod(0o644)
    pq.write_table(table.replace_schema_metadata({b"perdure": json.dumps(facts).encode()}), path)
    one = bring(workspace, "2.csv", kit.few(3, 2))
    assert (one.rows, one.refused_rows) == (60, 0)
    # And the class that nobody has is still a new one.
    assert bring(workspace, "3.csv", kit.few(4, 2).replace("maybe", "rare")).refused_rows == 2


def test_two_clones_gather_together(tmp_path: Path) -> None:
    both = Clones(tmp_path / "shared")
    ingest.fn(str(both.root("b")))
    assert bring(both.root("a"), "1.csv", kit.few(2)).refused_rows == 6
    one = bring(both.root("b"), "2.csv", kit.few(3))
    assert (one.rows, one.joined_rows) == (66, 6)
    ingest.fn(str(both.root("a")))
    assert len({value for _, value in kit.rows_of(both.root("a"), "maybe")}) == 12
    assert both.left("a") == both.left("b") == []
