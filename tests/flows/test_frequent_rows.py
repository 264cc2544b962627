"""A table with few distinct rows: each side has its share, and a model that knows every row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from perdure import config
from perdure.config import Workspace
from perdure.flows import measuring, status
from perdure.flows.initialise import initialise
from perdure.flows.retrain import retrain
from perdure.records import Ingested
from perdure.tasks import experiences, packaging, training
from perdure.tasks.tables import schema, splitting
from tests.promises import kit
from tests.service.clones import Clones

ROWS = 700
GROUPS = [(w, s, x) for w in ("A", "B", "C") for s in ("day", "night") for x in ("f", "m")]
"""The distinct rows. By their own keys all twelve lie on the training and validation sides."""


def wards(seed: int, rows: int = ROWS) -> str:
    """Rows of three words, and a class that depends on the last of them and on chance."""
    rng = np.random.default_rng(seed)
    drawn = [GROUPS[place] for place in rng.integers(0, len(GROUPS), rows)]
    kinds = np.where(
        rng.random(rows) < np.where([x == "f" for *_, x in drawn], 0.85, 0.2), "yes", "no"
    )
    lines = [",".join([*words, kind]) for words, kind in zip(drawn, kinds, strict=True)]
    return "\n".join(["ward,shift,sex,kind", *lines]) + "\n"


def made(root: Path, text: str) -> Ingested:
    """A workspace with one experience, pending; what became of its file."""
    first = root.parent / "wards.csv"
    first.write_text(text, encoding="utf-8")
    done = initialise(root, first, "kind", name=kit.MODEL)
    kit.configure(root, floor="0.0")
    return done.first


def split(ws: Workspace, number: int) -> measuring.Rows:
    spec = schema.load(ws.schema).feature_spec()
    return measuring.split_rows(ws, spec, experiences.list_experiences(ws)[number - 1])


def test_few_distinct_rows_become_a_version_that_serves(tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    first = made(root, wards(1))
    assert (first.rows, first.distinct_rows) == (ROWS, 12)
    ws = config.read(root)
    rows = split(ws, 1)
    groups = rows.frame.groupby(["ward", "shift", "sex"])
    assert groups.ngroups == 12
    for places in groups.indices.values():
        shares = {side: (rows.splits[places] == side).mean() for side in ("test", "train")}
        assert 0.05 < shares["test"] < 0.4  # of at least 43 rows: 2.5 standard errors
        assert 0.5 < shares["train"] < 0.9
    assert (rows.splits == "test").mean() == pytest.approx(0.2, abs=0.05)

    [learned] = retrain.fn(str(root)).learned
    assert (learned.verdict, learned.promoted) == ("passed", True)
    shown = status.show(str(root), 1)
    assert (shown["rows"], shown["distinct_rows"]) == (ROWS, 12)
    # It says of every distinct row what is most often true of it.
    distinct = pd.DataFrame(GROUPS, columns=["ward", "shift", "sex"]).astype(object)
    spec = schema.load(ws.schema).feature_spec()
    registry = kit.registry(root)
    version = registry.download(registry.read().champion)
    outputs = training.outputs(ws, spec, version / packaging.LEARNER, distinct)
    assert [spec.labels[place] for place in outputs.argmax(axis=1)] == [
        "yes" if sex == "f" else "no" for *_, sex in GROUPS
    ]
    # It was measured on test rows alone, each known by what it was split by.
    measured = packaging.rows_in(version)
    assert set(measured["_key"]) == set(rows.keys[rows.splits == "test"])
    assert len(measured) == (rows.splits == "test").sum()


def test_the_old_form_has_no_test_row_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "workspace"
    with monkeypatch.context() as patch:
        patch.setattr(splitting, "FORM", 1)
        made(root, wards(1))
    [learned] = retrain.fn(str(root)).learned
    assert (learned.version, learned.verdict) == (None, "refused")
    [held] = status.status(str(root))["held"]
    assert held["reasons"] == [
        "experience 000001-"
        + held["id"][-8:]
        + " has no test row among its 700 rows, 12 of them distinct: this workspace was begun with "
        "Perdure 0.1.0 and keeps equal rows on one side; perdure init makes one that does not"
    ]
    # The form is that of the workspace: what arrives now is split like its first experience.
    kit.ingest(root, wards(2))
    first, second = experiences.list_experiences(config.read(root))
    assert (first.split, second.split) == (1, 1)


def test_every_clone_splits_in_the_form_of_the_first_experience(tmp_path: Path) -> None:
    both = Clones(tmp_path / "clones")
    kit.ingest(both.root("b"), kit.table(2, 40) + "1.5,0.5,red,yes\n" * 20)
    retrain.fn(str(both.root("b")))
    retrain.fn(str(both.root("a")))  # fetches what the other one published
    found = [split(both.ws(name), 2) for name in ("a", "b")]
    assert found[0].splits.tolist() == found[1].splits.tolist()
    assert set(found[0].splits[40:]) == {"train", "validation", "test"}
    assert [one.split for one in experiences.list_experiences(both.ws("a"))] == [3, 3]


def test_the_form_is_in_the_file_that_dvc_has(tmp_path: Path) -> None:
    root = kit.make(tmp_path / "workspace")
    [one] = experiences.list_experiences(config.read(root))
    facts = json.loads(pq.read_metadata(one.path).metadata[b"perdure"])
    assert (facts["split"], facts["distinct_rows"]) == (3, 120)
