"""A workspace that version 0.1.0 made goes on as it is.

`workspace-0.1.0.tar.gz` was made by the code before decisions by evidence (commit fb66be5): three
experiences of `tests/promises/kit.py`, two learned and one refused by `past_margin`, a fourth one
pending; its schema has the limits that were inferred then.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from perdure import config
from perdure.flows import doctor, measuring, status
from perdure.flows.evaluate import evaluate
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from perdure.tasks import experiences
from perdure.tasks.tables import content, schema, splitting
from tests.promises import kit

ARCHIVE = Path(__file__).with_name("workspace-0.1.0.tar.gz")


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Path]:
    """The old workspace, in another folder than it was made in."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    yield tmp_path / "workspace"
    shutil.rmtree(tmp_path / "workspace")


def test_it_is_shown_learned_from_and_rolled_back(old: Path) -> None:
    before = status.status(str(old))
    assert before["champion"]["version"] == before["challenger"]["version"] == 2
    assert before["tournament"] == []
    assert before["moved_in_mlflow"] == []
    [held], [pending] = before["held"], before["pending"]
    assert held["reasons"][0].startswith("past: accuracy")
    for number in (1, 2, 3):
        shown = status.show(str(old), number)
        assert shown["verdict"] == ("refused" if number == 3 else "passed")
        assert shown["metrics"]["candidate"]["average"]["accuracy"] > 0

    # Its refusal was one by the margins of then; judged now, version 2 is still fine.
    assert evaluate.fn(str(old), version=2).verdict.passed
    [learned] = retrain.fn(str(old)).learned
    assert (learned.experience, learned.version, learned.promoted) == (pending, 4, True)
    now = status.status(str(old))
    assert [one["version"] for one in now["tournament"] if one["role"] == "anchor"] == [4]
    assert [one["id"] for one in now["held"]] == [held["id"]]

    # What has evidence to give goes on with the next experience.
    kit.ingest(old, kit.table(6))
    first, *_ = retrain.fn(str(old)).learned
    assert first.arrival is not None
    assert {one.role for one in first.arrival.standings} == {"anchor", "predecessor"}
    assert rollback.fn(str(old), to=2).version == 2
    assert kit.learners(old)[0]["weights"] == before["champion"]["weights_sha256"]


def test_equal_rows_stay_on_one_side(old: Path) -> None:
    """Its rows are split as they were: each by its own key, also the frequent ones that arrive."""
    ws = config.read(old)
    kit.ingest(old, kit.table(8) + "1.5,0.5,red,yes\n" * 40)
    *earlier, newest = experiences.list_experiences(ws)
    assert len(earlier) == 4
    assert [one.split for one in (*earlier, newest)] == [1] * 5
    assert [one.distinct_rows for one in (*earlier, newest)] == [None] * 4 + [61]
    facts = json.loads(pq.read_metadata(newest.path).metadata[b"perdure"])
    assert "split" not in facts
    spec = schema.load(ws.schema).feature_spec()
    rows = measuring.split_rows(ws, spec, newest)
    assert len(set(rows.splits[60:])) == 1
    own = content.row_keys(rows.frame, [column.name for column in spec.columns])
    assert rows.keys.tolist() == own.tolist()
    # By the form of new workspaces the forty rows are on all sides.
    newer = measuring.split_rows(ws, spec, dataclasses.replace(newest, split=splitting.FORM))
    assert set(newer.splits[60:]) == {"train", "validation", "test"}


def test_its_schema_means_what_it_says(old: Path) -> None:
    far = kit.table(5).replace("\n", "\n900,0.1,green,yes\n", 1)
    kit.ingest(old, far, kit.table(7, labels=("no", "maybe")))
    refused = [one["reason"] for one in status.status(str(old))["quarantined"]]
    assert len(refused) == 2
    assert any("above the maximum" in reason for reason in refused)
    assert any("is not one of the classes" in reason for reason in refused)
    [schema] = [check for check in doctor.examine(str(old)) if check.name == "schema"]
    assert schema.mend is not None
    assert "perdure schema --lift" in schema.mend
