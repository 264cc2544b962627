"""A class that appears in a later experience, from the file to the registry and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perdure.flows.evaluate import evaluate
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from perdure.tasks import packaging
from perdure.tasks.serving import Model
from tests.promises import kit


def with_third(number: int) -> str:
    """A table in which every fifth row is of a class that was never there."""
    head, *rows = kit.table(number).splitlines()
    third = [f"{row.rpartition(',')[0]},maybe" if i % 5 == 0 else row for i, row in enumerate(rows)]
    return "\n".join([head, *third]) + "\n"


def schema(root: Path, old: str, new: str) -> None:
    """Change a line of the schema and commit it."""
    path = root / "schema.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    kit.git(root, "commit", "--quiet", "--all", "-m", "test: schema")


def labels(root: Path, version: int) -> tuple[object, ...]:
    registry = kit.registry(root)
    return packaging.labels_in(registry.download(registry.version(version)))


REFUSE = ('\nnew_classes = "allow"', '\nnew_classes = "refuse"')


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """With one experience of 120 rows, pending."""
    return kit.make(tmp_path / "workspace")


@pytest.fixture
def grown(workspace: Path) -> Path:
    """Learned two experiences, the second with a new class."""
    retrain.fn(str(workspace))
    kit.ingest(workspace, with_third(2))
    retrain.fn(str(workspace))
    return workspace


def test_the_model_grows_and_serves(grown: Path) -> None:
    assert labels(grown, 1) == ("no", "yes")
    assert labels(grown, 2) == ("no", "yes", "maybe")
    registry = kit.registry(grown)
    model = Model(registry.download(registry.version(2)))
    rows = pd.DataFrame({"a": [0.0, 1.0], "b": [0.0, 1.0], "colour": ["red", "green"]})
    result = model.predict(rows, {"probabilities": True})
    assert isinstance(result, pd.DataFrame)
    assert list(result.columns) == ["no", "yes", "maybe"]
    np.testing.assert_allclose(result.sum(axis=1), 1, rtol=1e-6)
    old = evaluate.fn(str(grown), version=1)
    assert old.metrics.average["accuracy"] > 0.4
    assert old.champion_metrics is not None


def test_rolled_back_it_knows_the_old_classes_alone_and_grows_again(
    grown: Path, tmp_path: Path
) -> None:
    rollback.fn(str(grown), to=1, keep_data=True)
    kit.ingest(grown, with_third(3))
    retrain.fn(str(grown))
    now = kit.registry(grown).read().challenger
    assert labels(grown, now.version) == ("no", "yes", "maybe")
    straight = kit.make(tmp_path / "straight")
    retrain.fn(str(straight))
    kit.ingest(straight, with_third(2), with_third(3))
    retrain.fn(str(straight))
    assert kit.learners(straight)[1] == kit.learners(grown)[1]


def test_a_new_class_is_refused_where_the_schema_does_not_allow_it(workspace: Path) -> None:
    from perdure.flows.ingest import ingest

    schema(workspace, *REFUSE)
    kit.arrive(workspace, "third.csv", with_third(2))
    (one,) = ingest.fn(str(workspace)).files
    assert one.refused_rows == 12
    assert "'maybe' is not one of the classes 'no', 'yes'" in one.reasons[0]


def test_a_class_added_to_the_list_is_allowed(workspace: Path) -> None:
    retrain.fn(str(workspace))
    schema(workspace, *REFUSE)
    schema(workspace, 'classes = ["no", "yes"]', 'classes = ["maybe", "no", "yes"]')
    kit.ingest(workspace, with_third(2))
    retrain.fn(str(workspace))
    assert labels(workspace, 2) == ("no", "yes", "maybe")


def test_too_many_classes_are_held_with_the_reason(workspace: Path) -> None:
    retrain.fn(str(workspace))
    schema(workspace, REFUSE[0], f"{REFUSE[0]}\nmax_classes = 2")
    (name,) = kit.ingest(workspace, with_third(2))
    (learned,) = retrain.fn(str(workspace)).learned
    assert learned.verdict == "refused"
    assert "would have 3; the most is target.max_classes = 2" in learned.reasons[0]
    held = kit.registry(workspace).read().held
    assert list(held) == [name]
