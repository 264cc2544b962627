"""Promise 5. A row that is frequent in no experience is on the same side for ever, in all of them.

Frequent is a row that occurs more than twice in an experience and is more than a hundredth of its
rows. It is meant to be on all sides: its occurrences are split, each in the same way for ever.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perdure import config
from perdure.flows import measuring
from perdure.tasks import experiences, packaging
from perdure.tasks.tables import schema, splitting
from tests.promises import kit
from tests.promises.grown import SHARED, Grown, keys, side_of


def test_training_never_sees_a_test_row(grown: Grown) -> None:
    assert len(grown.trained) == len(grown.watched) == 5
    for experience, trained in grown.trained.items():
        assert len(trained) > 50
        assert set(side_of(grown.root, trained).values()) == {"train"}
        assert set(side_of(grown.root, grown.watched[experience]).values()) == {"validation"}


def test_a_row_that_comes_again_is_on_the_same_side(grown: Grown) -> None:
    first, second = sorted(grown.trained)[:2]
    again = grown.trained[first] & grown.trained[second]
    watched_again = grown.watched[first] & grown.watched[second]
    # Of 60 rows, a fifth is for the test and never came near a training.
    assert 30 <= len(again) < SHARED
    assert watched_again
    for trained in grown.trained.values():
        assert not any(trained & watched for watched in grown.watched.values())


def test_versions_are_measured_on_rows_that_none_of_them_trained_on(grown: Grown) -> None:
    registry = kit.registry(grown.root)
    ever = set().union(*grown.trained.values(), *grown.watched.values())
    versions = registry.versions()
    assert len(versions) == 5
    for version in versions:
        rows: pd.DataFrame = packaging.rows_in(registry.download(version))
        measured = {int(key) for key in rows["_key"]}
        assert len(measured) >= 20
        assert not measured & ever
        assert set(side_of(grown.root, measured).values()) == {"test"}


OFTEN, ONCE = "1.5,0.5,red,yes", "-1.5,0.5,green,no"


@pytest.fixture(scope="module")
def repeating(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose rows come again: some in each experience, some twice, one very often."""
    root = kit.make(tmp_path_factory.mktemp("repeating") / "workspace", 150)
    shared = kit.table(1, 150).splitlines()[1:81]
    for number, often in ((2, 30), (3, 2), (4, 50)):
        head, *new = kit.table(number, 100).splitlines()
        rows = [*new[:50], *[OFTEN] * often, *shared, *shared[:40], ONCE, *new[50:]]
        kit.ingest(root, "\n".join([head, *rows]) + "\n")
    return root


def splits(root: Path) -> list[measuring.Rows]:
    """All experiences, and the side of each of their rows."""
    ws = config.read(root)
    spec = schema.load(ws.schema).feature_spec()
    return [measuring.split_rows(ws, spec, one) for one in experiences.list_experiences(ws)]


def frequent(root: Path) -> set[int]:
    """Rows that are frequent in some experience, by the rule in words."""
    found = set()
    for rows in splits(root):
        times = pd.Series(keys(rows.frame), dtype="uint64").value_counts()
        found |= {int(key) for key in times[(times > 2) & (times > len(rows.frame) / 100)].index}
    return found


def sides_of(root: Path) -> dict[int, set[str]]:
    """On which sides each row is, in all experiences together."""
    found = defaultdict(set)
    for rows in splits(root):
        for key, side in zip(keys(rows.frame), rows.splits, strict=True):
            found[key].add(str(side))
    return dict(found)


def test_a_row_that_is_frequent_nowhere_is_on_one_side(repeating: Path) -> None:
    often, found = frequent(repeating), sides_of(repeating)
    assert len(often) == 1
    assert len(found) > 400
    assert {key for key, sides in found.items() if len(sides) > 1} == often
    assert [found[key] for key in often] == [{"train", "validation", "test"}]


def test_it_would_be_found_if_a_row_that_comes_twice_were_split(
    repeating: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = frequent(repeating)
    monkeypatch.setattr(splitting, "FREQUENT_TIMES", 1)
    monkeypatch.setattr(splitting, "FREQUENT_PERCENT", 0)
    two = {key for key, sides in sides_of(repeating).items() if len(sides) > 1}
    assert len(two - often) > 5


def test_the_occurrences_of_a_frequent_row_are_split_in_the_same_way_for_ever(
    repeating: Path,
) -> None:
    [key] = frequent(repeating)
    sides = [
        rows.splits[np.array(keys(rows.frame), dtype=np.uint64) == key]
        for rows in splits(repeating)
    ]
    assert [len(one) for one in sides] == [0, 30, 2, 50]
    assert sides[1].tolist() == sides[3][:30].tolist()
    # Where it is not frequent, it is on its own side.
    assert set(sides[2]) == set(side_of(repeating, {key}).values())
