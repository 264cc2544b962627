"""What the benchmarks measure is what they say: the same mathematics, and no look at the test."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import chains, data
from benchmarks.chains import Chain
from benchmarks.measure import Job, in_turns
from benchmarks.raw import LOOPS, Raw
from benchmarks.results import Row, load, rows, store
from benchmarks.speed import plain, tensors
from benchmarks.streams import Kind, Stream
from perdure.strategies.learner.learner import Learner
from perdure.strategies.training import engine

ROWS = 64
CPU = torch.device("cpu")
SETTINGS = {
    "ewc": {"penalty": 100.0},
    "si": {"penalty": 1.0, "damping": 0.1},
    "lwf": {"alpha": 1.0, "temperature": 2.0},
}
"""Those of the plain loops."""


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file like MNIST's, sorted by digit: a bar for each digit, in noise."""
    path, rng = tmp_path / "mnist.npz", np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for side, count in (("train", 60), ("test", 20)):
        y = np.repeat(np.arange(10), count)
        x = rng.integers(60, size=(len(y), 28, 28), dtype=np.uint8)
        x[np.arange(len(y)), 2 * y] = 255
        arrays |= {f"x_{side}": x, f"y_{side}": y}
    np.savez(path, **arrays)
    monkeypatch.setenv("PERDURE_MNIST", str(path))
    data.mnist.cache_clear()
    yield path
    data.mnist.cache_clear()


def learned(name: str, epochs: int, experiences: int) -> tuple[Learner, Any]:
    """In batches of all rows, so that their order does not matter."""
    strategy = {"name": name, **SETTINGS.get(name, {})}
    config = data.configuration([strategy], hidden=[16], epochs=epochs, batch_size=ROWS)
    learner = Learner.new(data.IMAGES, config, data.ROOT, *data.images(ROWS, 0))
    for number in range(experiences):
        engine.learn(learner, str(number), *data.images(ROWS, number), *data.NONE, config)
    return learner, config


@pytest.mark.parametrize("name", ["naive", "ewc", "si", "lwf"])
def test_the_plain_loop_does_the_same(name: str) -> None:
    learner, config = learned(name, epochs=30, experiences=1)
    learner.optimizer.tensors.clear()
    learner.optimizer.values["other"].clear()
    new = data.images(ROWS, 1)
    network = plain(learner, CPU)
    raw = Raw(network, *tensors(learner, new, CPU), 30, ROWS, *tensors(learner, new, CPU))
    kept = learner.memory.get(name)
    raw.centre = [p.detach().clone() for p in raw.parameters]
    if kept is not None and name != "lwf":
        raw.importance = [
            kept.tensors[f"A/{n}"].clone() for n, _ in learner.model.named_parameters()
        ]
    before = copy.deepcopy(network)
    alone = copy.deepcopy(raw)
    LOOPS[name](raw)
    LOOPS["naive"](alone)
    engine.learn(learner, "next", *new, *data.NONE, config)
    moved = 0.0
    for mine, first, ours in zip(
        raw.parameters, before.parameters(), learner.model.parameters(), strict=True
    ):
        torch.testing.assert_close(mine, ours, rtol=1e-3, atol=2e-4)
        moved = max(moved, float((mine - first).detach().abs().max()))
    assert moved > 0.01
    pairs = zip(raw.parameters, alone.parameters, strict=True)
    away = [float((one - other).detach().abs().max()) for one, other in pairs]
    assert (max(away) > 0.005) == (name != "naive")
    if kept is not None and name != "lwf":
        named = learner.model.named_parameters()
        for important, (n, _) in zip(raw.importance, named, strict=True):
            theirs = learner.memory[name].tensors[f"A/{n}"]
            most = 0.01 * float(theirs.max())
            torch.testing.assert_close(important, theirs, rtol=0.05, atol=most)


@pytest.mark.usefixtures("digits")
@pytest.mark.parametrize("kind", ["permuted", "split", "split-tasks"])
def test_no_validation_row_is_learned_and_no_test_row_is_either(kind: Kind) -> None:
    stream = Stream(kind, 5, seed=7, held_out=0.1)
    assert _digits(stream.table(0, "train")) == _digits(Stream(kind, 5, 7, 0.1).table(0, "train"))
    sides = {
        side: [_digits(table) for table in stream.tables(side)]
        for side in ("train", "validation", "test")
    }
    for number in range(5):
        parts = [sides[side][number] for side in sides]
        assert all(parts)
        assert not parts[0] & parts[1]
        assert not parts[0] & parts[2]
        whole = _digits(Stream(kind, 5, 7).table(number, "train"))
        assert parts[0] | parts[1] == whole
    # Whatever the seed of the stream, the held-out rows are the same ones.
    if kind == "split":
        other = Stream(kind, 5, seed=8, held_out=0.1).table(0, "validation")
        assert _digits(other) == sides["validation"][0]


def _digits(table: data.Table) -> set[bytes]:
    columns, _ = table
    whole = np.concatenate(
        [np.asarray(v, dtype=np.float64).reshape(len(v), -1) for v in columns.values()], axis=1
    )
    return {row.tobytes() for row in whole}


@pytest.mark.usefixtures("digits")
def test_the_permutations_are_the_seeds_own_and_the_same_for_every_side() -> None:
    stream = Stream("permuted", 3, seed=1)
    bars = [_bars(stream, number, "train") for number in range(3)]
    assert all(np.array_equal(bars[n], _bars(stream, n, "test")) for n in range(3))
    assert not np.array_equal(bars[0], bars[1])
    assert not np.array_equal(bars[0], _bars(Stream("permuted", 3, seed=2), 0, "train"))


def _bars(stream: Stream, number: int, side: Any) -> Any:
    """The pixels that are bright in every picture of a zero."""
    columns, y = stream.table(number, side)
    return (columns["image"][y == 0] == 255).all(axis=0)


def test_each_experience_is_a_process_and_without_its_state_replay_forgets(digits: Path) -> None:
    assert digits.is_file()
    stream = Stream("split", 3)
    config = data.configuration(
        [{"name": "replay", "size": 100}],
        hidden=[16],
        epochs=20,
        batch_size=16,
        learning_rate=0.02,
    )
    steps: list[int] = []
    kept, dropped = chains.learn(
        [Chain(stream, config), Chain(stream, config, dropped=True)], steps.append
    )
    assert sum(steps) == 6
    assert kept.accuracy > 0.9
    assert dropped.accuracy < 0.8
    assert kept.memory > dropped.memory / 2 > 0
    assert kept.cpu > kept.seconds > 0


def test_an_experience_that_fails_ends_the_run(digits: Path) -> None:
    digits.unlink()
    config = data.configuration(["naive"], hidden=[4])
    with pytest.raises(chains.Failed):
        chains.learn([Chain(Stream("split", 2), config)], lambda _: None, count=1)


def test_jobs_take_turns_and_what_is_made_ready_is_not_timed() -> None:
    order: list[str] = []
    jobs = {"a": Job(order.append, lambda: "a"), "b": Job(order.append, lambda: "b")}
    turns = in_turns(jobs, repeats=3)
    assert order == ["a", "b", *"ab", *"ba", *"ab"]
    assert len(turns.ratios("a", "b")) == 3


def test_rows_survive_their_file_and_replace_those_of_their_name(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    first = [Row("speed", "x", 0.5, 0.9, repeats=(0.4, 0.5)), Row("speed", "y", 1.0)]
    store("speed", first, "a machine", path=path)
    assert rows(load(path), "speed") == first
    better = Row("speed", "x", 0.95, 0.9)
    store("speed", [better], "a machine", whole=False, path=path)
    assert rows(load(path), "speed") == [better, first[1]]
    assert first[0].short == "not met, by 0.4"
    assert better.short == "met"


def test_the_cost_of_each_retraining_is_drawn_from_the_results(tmp_path: Path) -> None:
    from benchmarks import retrainings, retrainings_figure

    row = retrainings.each([0.5 + number / 100 for number in range(1, 101)])
    assert list(row.figures) == [str(number) for number in range(10, 101, 10)]
    # The median around number 10, and of the last ten at the end.
    assert row.figures["10"] == pytest.approx(0.605)
    assert row.figures["100"] == pytest.approx(1.455)
    assert row.value == pytest.approx(1.455 / 0.605)
    again = Row.from_json(row.to_json())
    one = retrainings_figure.draw(again.figures, retrainings.EARLY, tmp_path / "one.png")
    other = retrainings_figure.draw(again.figures, retrainings.EARLY, tmp_path / "other.png")
    assert one.read_bytes() == other.read_bytes()
    higher = {name: 2 * value for name, value in again.figures.items()}
    assert retrainings_figure.draw(
        {**higher, "50": 0.1}, retrainings.EARLY, tmp_path / "third.png"
    ).read_bytes() != one.read_bytes()  # fmt: skip
