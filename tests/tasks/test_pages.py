"""What a learning run shows of its training."""

from __future__ import annotations

from perdure.records import Epoch, Trained
from perdure.tasks.registry import pages
from tests.tasks.version_kit import TRAINED, evaluation


def training(trained: Trained) -> set[tuple[str, float, int]]:
    found = pages.metrics(trained, evaluation())
    return {one for one in found if one[0].startswith(("train/", "validation/"))}


def test_what_was_measured_in_training_is_shown_and_nothing_else() -> None:
    plain = {("train/loss", 0.5, 1), ("train/loss", 0.4, 2), ("validation/loss", 0.6, 1)}
    assert training(TRAINED) == plain | {("train/seconds", 1.5, 0)}
    whole = Trained(
        (Epoch(1, 0.5, None, learning_rate=0.1),), rows=9, seconds=2.0, rows_per_second=500.0,
        best_epoch=1, accelerator_bytes=3 * 2**19,
    )  # fmt: skip
    assert training(whole) == {
        ("train/loss", 0.5, 1),
        ("train/learning_rate", 0.1, 1),
        ("train/seconds", 2.0, 0),
        ("train/rows_per_second", 500.0, 0),
        ("train/best_epoch", 1.0, 0),
        ("train/accelerator_mebibytes", 1.5, 0),
    }
