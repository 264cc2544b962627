"""Promise 6. What a retraining holds and reads is bounded by the configuration."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from perdure import config
from perdure.flows.pending import pending
from perdure.tasks import evaluation, packaging
from perdure.tasks.experiences import folder
from tests.promises import kit
from tests.promises.grown import BUDGET, WINDOW, Grown


def test_each_retraining_reads_the_new_experience_alone(grown: Grown) -> None:
    assert len(grown.reads_per_step) == 5
    for number, read in enumerate(grown.reads_per_step, 1):
        assert {one[:6] for one in read} == {f"{number:06d}"}


def test_the_learner_stops_growing_once_its_memory_is_full(grown: Grown) -> None:
    registry = kit.registry(grown.root)
    sizes = []
    for version in registry.versions():
        folder = registry.download(version) / packaging.LEARNER
        sizes.append(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()))
    assert len(sizes) == 5
    # The cursor: an id of 15 characters an experience, and a hash and a count or two.
    assert all(later - earlier < 64 for earlier, later in pairwise(sizes))
    assert sizes[0] > 2000


def test_what_mlflow_keeps_of_a_version_does_not_grow(grown: Grown) -> None:
    versions = kit.registry(grown.root).versions()
    with closing(sqlite3.connect(grown.root / ".perdure" / "mlflow.db")) as database:
        metrics = [
            database.execute(
                "SELECT count(*) FROM metrics WHERE run_uuid = ? AND key NOT LIKE '%loss'",
                (one.run_id,),
            ).fetchone()[0]
            for one in versions
        ]
        text = "SELECT sum(length(value)) FROM tags WHERE run_uuid = ? AND key = 'perdure.cursor'"
        cursors = [database.execute(text, (one.run_id,)).fetchone()[0] for one in versions]
    assert metrics[0] < metrics[2] == metrics[3] == metrics[4]  # the first one has no champion
    assert [later - earlier for earlier, later in pairwise(cursors)] == [9] * 4


def test_only_what_is_pending_is_opened(grown: Grown, monkeypatch: pytest.MonkeyPatch) -> None:
    ws, now = config.read(grown.root), kit.registry(grown.root).read()
    opened: list[str] = []
    of_file = folder.of_file

    def recorded(path: Path) -> Any:
        opened.append(path.stem)
        return of_file(path)

    monkeypatch.setattr(folder, "of_file", recorded)
    assert pending(ws, now) == ()
    assert opened == []
    assert now.challenger is not None
    older = replace(now, challenger=replace(now.challenger, cursor=now.challenger.cursor[:3]))
    assert [one.id for one in pending(ws, older)] == opened == list(now.challenger.cursor[3:])


def test_more_experiences_than_rows_of_the_budget() -> None:
    rows = None
    for number in range(7):
        test = pd.DataFrame({"a": [float(number), 0.5]})
        keys = np.array([2, 1], dtype=np.uint64)
        rows = evaluation.rows(rows, test, keys, f"{number}", 4)
    assert rows is not None
    assert rows[evaluation.EXPERIENCE].tolist() == ["3", "4", "5", "6"]


def test_evaluation_keeps_its_budget_and_its_window(grown: Grown) -> None:
    registry = kit.registry(grown.root)
    versions = registry.versions()
    counts = [len(packaging.rows_in(registry.download(version))) for version in versions]
    assert len(counts) == 5
    assert counts[0] < BUDGET == counts[-1]  # else nothing has been held back
    assert max(counts) <= BUDGET
    rows = packaging.rows_in(registry.download(versions[-1]))
    shares = rows["_experience"].value_counts()
    assert len(shares) == 5
    assert shares.max() - shares.min() <= 1
    widths = [len(registry.evaluation(version)["matrix"]["experiences"]) for version in versions]
    assert widths == [1, 2, WINDOW, WINDOW, WINDOW]
