"""Promise 6. What a retraining holds and reads is bounded by the configuration."""

from __future__ import annotations

from itertools import pairwise

from perdure.tasks import packaging
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
