"""Promise 5. The same row is on the same side for ever, in every experience."""

from __future__ import annotations

import pandas as pd

from perdure.tasks import packaging
from tests.promises import kit
from tests.promises.grown import SHARED, Grown, side_of


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
