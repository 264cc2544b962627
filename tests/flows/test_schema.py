"""`perdure schema`: shown, compared with a file, changed; and the doctor on inferred limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure import config
from perdure.errors import UsageError
from perdure.flows import doctor
from perdure.flows import schema as flows
from perdure.flows.ingest import ingest
from perdure.flows.retrain import retrain
from perdure.records import Check
from perdure.tasks.tables.schema import ClassTarget, load
from tests.promises import kit
from tests.tasks import old_schemas


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return kit.make(tmp_path / "workspace")


@pytest.fixture
def old(workspace: Path) -> Path:
    """With the schema that the version before wrote, as its first in git."""
    (workspace / "schema.toml").write_text(old_schemas.CLASSES)
    kit.git(workspace, "commit", "--quiet", "--all", "--amend", "-m", "perdure init")
    # Its history has no other: the orphan has one commit, as `init` made it.
    kit.git(workspace, "checkout", "--quiet", "--orphan", "made")
    kit.git(workspace, "commit", "--quiet", "--all", "-m", "perdure init: model small")
    return workspace


def new_file(root: Path) -> Path:
    head, *rows = kit.few(2).splitlines()
    lines = [
        f"{head},shift",
        *(f"{row},{'day' if i % 3 else 'night'}" for i, row in enumerate(rows)),
    ]
    path = root.parent / "new.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def looked(root: Path) -> Check:
    (found,) = [one for one in doctor.examine(str(root)) if one.name == "schema"]
    return found


def test_it_is_shown_and_compared_and_nothing_changes(workspace: Path) -> None:
    before = (workspace / "schema.toml").read_bytes()
    shown = flows.show(str(workspace))
    assert [(c.name, c.kind, c.rule) for c in shown.columns] == [
        ("a", "number", None),
        ("b", "number", None),
        ("colour", "category", "2 words, others as unseen"),
    ]  # fmt: skip
    assert (shown.classes, shown.new_classes, shown.min_class_rows) == (("no", "yes"), "allow", 10)
    found = flows.diff(str(workspace), str(new_file(workspace)))
    assert [(one.what, one.rows, one.values) for one in found.differences] == [
        ("new class", 6, ("maybe",)), ("new column", 60, ("day", "night")),
    ]  # fmt: skip
    assert (workspace / "schema.toml").read_bytes() == before
    with pytest.raises(UsageError, match="does not exist"):
        flows.diff(str(workspace), "nowhere.csv")


def test_what_is_new_is_taken_and_learned_from(workspace: Path) -> None:
    path = new_file(workspace)
    retrain.fn(str(workspace))
    result = flows.accept(str(workspace), str(path))
    assert [one.taken for one in result.differences] == [True, True]
    assert '+classes = ["no", "yes", "maybe"]' in result.diff.splitlines()
    assert "+[columns.shift]" in result.diff.splitlines()
    assert kit.git(workspace, "status", "--porcelain").splitlines() == [" M schema.toml"]
    (one,) = ingest.fn(str(workspace), [str(path)]).files
    assert (one.rows, one.refused_rows, one.notes) == (60, 0, ())
    (learned,) = retrain.fn(str(workspace)).learned
    assert learned.promoted
    again = flows.accept(str(workspace), str(path))
    assert (again.differences, again.diff) == ((), "")


def test_an_old_workspace_goes_on_as_it_was_and_the_doctor_says_how_to_lift(old: Path) -> None:
    kit.arrive(old, "far.csv", kit.table(2).replace("\n", "\n99,0.1,red,no\n", 1))
    (one,) = ingest.fn(str(old)).files
    assert (one.rows, one.refused_rows) == (60, 1)
    assert one.reasons == ("row 1: a = 99 is above the maximum 47.1",)
    kit.arrive(old, "few.csv", kit.few(3, 12))
    (one,) = ingest.fn(str(old)).files
    assert (one.rows, one.refused_rows, one.notes) == (48, 12, ())
    retrain.fn(str(old))

    check = looked(old)
    assert (check.ok, check.mend) == (True, "perdure schema --lift")
    assert "range of a; range of b; new classes are refused" in check.detail
    assert flows.show(str(old)).inferred[:2] == ("range of a", "range of b")

    lifted = flows.lift(str(old))
    assert "-max = 47.1" in lifted.diff.splitlines()
    target = load(config.read(old).schema).target
    assert isinstance(target, ClassTarget)
    assert (target.new_classes, target.min_class_rows) == ("allow", 10)
    assert looked(old).mend is None
    assert flows.lift(str(old)).diff == ""
    kit.arrive(old, "more.csv", kit.few(4, 12).replace("\n", "\n99,0.1,red,no\n", 1))
    (one,) = ingest.fn(str(old)).files
    assert (one.rows, one.refused_rows) == (61, 0)
    assert [done.promoted for done in retrain.fn(str(old)).learned] == [True]


def test_a_schema_that_is_wrong_is_told_by_the_doctor(workspace: Path) -> None:
    path = workspace / "schema.toml"
    path.write_text(path.read_text().replace('kind = "number"', 'kind = "numbers"', 1))
    check = looked(workspace)
    assert not check.ok
    assert "columns.a.kind = 'numbers'" in check.detail
