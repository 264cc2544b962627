"""What other threads draw has no influence on what is learned."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from perdure.strategies.learner import randomness
from tests.contracts.test_parts import DRAWING
from tests.strategies.small import config_of, learned

CPU = torch.device("cpu")


@contextmanager
def a_busy_thread() -> Iterator[list[int]]:
    """Draws all the while, as the websockets of Prefect's events do."""
    drawn, over = [0], threading.Event()

    def draw() -> None:
        while not over.is_set():
            random.getrandbits(32)
            random.gauss(0, 1)
            drawn[0] += 1

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        yield drawn
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("undisturbed", [True, False])
def test_other_threads_draw_from_another_stream(
    undisturbed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drawing.py").write_text(DRAWING)
    config = config_of(["replay"], model={"factory": f"{tmp_path / 'drawing.py'}:Drawing"})
    alone = learned(config, 2)
    if not undisturbed:  # then the same must fail
        monkeypatch.setattr(randomness, "_stream", lambda: randomness._PROCESS)
    with a_busy_thread() as drawn:
        beside = learned(config, 2)
    assert drawn[0] > 100
    same = (
        beside.weights_sha256 == alone.weights_sha256,
        beside.state_sha256 == alone.state_sha256,
    )
    assert same == (undisturbed, undisturbed)


def test_the_process_goes_on_with_its_own_stream() -> None:
    random.seed(7)
    expected = [random.random() for _ in range(3)]
    random.seed(7)
    found = [random.random()]
    with randomness.isolated(CPU):
        randomness.seed(1, CPU)
        random.random()
        with randomness.isolated(CPU):
            random.seed(2)
    found += [random.random(), random.random()]
    assert found == expected


def test_a_function_that_is_kept_draws_from_whatever_stream_is_in_place() -> None:
    with randomness.isolated(CPU):
        kept = random.random  # as `from random import random` does in a model's file
    early = randomness._PROCESS.random  # and did before anything trained
    random.seed(7)
    expected = random.random()
    random.seed(7)
    assert kept() == expected
    found: list[float] = []

    def train() -> None:
        with randomness.isolated(CPU):
            randomness.seed(7, CPU)
            found.extend((kept(), early()))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert found == [expected, expected]
