"""Several processes, each with a part of every batch, learn what one does with the whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from perdure.config import Task
from perdure.records import Trained
from perdure.strategies import catalogue
from perdure.strategies.learner.learner import Learner
from perdure.strategies.learner.state import State
from perdure.strategies.parallel import ranks as product
from tests.strategies.ranks import BROKEN, NAMES, ROWS, everything
from tests.strategies.small import CASES, ROOT, config_of, names_of

REPOSITORY = Path(__file__).parents[2]
SIZE = 2
CLOSE = 1e-5
"""How much a weight may differ: sums are taken in another order."""
ROUGH = {"bfloat16": 2e-3}
"""Where a number has 8 bits, the outputs of rows that lie elsewhere in a batch differ by more."""


class Learned:
    """What the processes have learned, and what one has."""

    def __init__(self, folder: Path, alone: dict[str, tuple[Learner, list[Trained]]]) -> None:
        self.folder, self.alone = folder, alone

    def together(self, name: str, rank: int = 0) -> Learner:
        folder = self.folder / str(rank) / name / "learner"
        values = json.loads((folder / "learner.json").read_text())
        recipe = values["recipe"]
        model = {key: recipe[key] for key in ("factory", "parameters", "heads", "bins")}
        task: Task = "regression" if name.endswith("regression") else "classification"
        return Learner.load(folder, config_of(["naive"], task, model=model), ROOT)

    def epochs(self, name: str) -> list[list[dict[str, Any]]]:
        text = (self.folder / "0" / name / "trained.json").read_text()
        return [one["epochs"] for one in json.loads(text)]

    def best(self, name: str) -> list[int | None]:
        text = (self.folder / "0" / name / "trained.json").read_text()
        return [one["best_epoch"] for one in json.loads(text)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    """Two processes and, meanwhile, one alone."""
    folder = tmp_path_factory.mktemp("ranks")
    for name, text in BROKEN.items():
        (folder / f"{name}.py").write_text(text)
    processes = []
    for rank in range(SIZE):
        with (folder / f"{rank}.txt").open("wb") as result:
            command = [sys.executable, "-m", "tests.strategies.ranks", str(folder), str(rank)]
            processes.append(
                subprocess.Popen(
                    [*command, str(SIZE)],
                    cwd=REPOSITORY,
                    env={**os.environ, **product.environment(rank, SIZE)},
                    stderr=result,
                )
            )
    alone: dict[str, tuple[Learner, list[Trained]]] = {}
    try:
        everything(1, 0, lambda name, *learned: alone.update({name: learned}))
        codes = [process.wait(timeout=240) for process in processes]
        assert codes == [0] * SIZE, (folder / "0.txt").read_text() + (folder / "1.txt").read_text()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return Learned(folder, alone)


def differences(one: Learner, other: Learner) -> dict[str, float]:
    """How far the numbers of two learners are from each other, by part; what is none is equal."""
    here, there = one.parts(), other.parts()
    assert here.keys() == there.keys()
    return {name: difference(here[name], there[name]) for name in here}


def difference(one: State, other: State) -> float:
    assert one.values == other.values
    assert one.tensors.keys() == other.tensors.keys()
    most = 0.0
    for name, tensor in one.tensors.items():
        if tensor.is_floating_point() and tensor.numel():
            scale = max(1.0, float(tensor.abs().max()))
            most = max(most, float((tensor - other.tensors[name]).abs().max()) / scale)
        else:
            assert torch.equal(tensor, other.tensors[name]), name
    return most


def test_every_strategy_is_tried() -> None:
    assert len(NAMES) == 37
    tried = {name for case in CASES for name in names_of(case)}
    assert tried == {n for n, one in catalogue.discover().items() if one.parallel}
    # Shares of the last batches differ in size, and one is empty.
    assert [count % 16 for count in ROWS] == [13, 1, 2]


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_learn_what_one_does(name: str, found: Learned) -> None:
    alone, trained = found.alone[name]
    together = found.together(name)
    assert together.cursor == alone.cursor == ("0", "1", "2")
    apart = differences(alone, together)
    assert max(apart.values()) <= ROUGH.get(name, CLOSE), apart
    # The order of the rows and which of them are remembered are no numbers that are close.
    assert apart["random.torch"] == 0.0
    assert found.best(name) == [one.best_epoch for one in trained]
    for one, other in zip(trained, found.epochs(name), strict=True):
        assert len(one.epochs) == len(other)
        for epoch, there in zip(one.epochs, other, strict=True):
            close = pytest.approx(epoch.loss, abs=ROUGH.get(name, CLOSE), rel=1e-4)
            assert there["loss"] == close
            assert there["validation_loss"] == pytest.approx(
                epoch.validation_loss, abs=ROUGH.get(name, CLOSE), rel=1e-4
            )


def test_images_are_learned_alike(found: Learned) -> None:
    apart = differences(found.alone["pictures"][0], found.together("pictures"))
    assert max(apart.values()) <= CLOSE, apart


@pytest.mark.parametrize("name", [*NAMES, "pictures", "dropout", "augmented"])
def test_the_processes_have_the_same_learner_bit_for_bit(name: str, found: Learned) -> None:
    first, second = (found.together(name, rank) for rank in range(SIZE))
    assert first.weights_sha256 == second.weights_sha256
    assert first.state_sha256 == second.state_sha256


def test_a_mean_of_means_would_be_seen(found: Learned) -> None:
    alone, _ = found.alone["naive"]
    assert differences(alone, found.together("control"))["weights"] > 10 * CLOSE


def test_the_gradient_is_that_of_torchs_own_data_parallel(found: Learned) -> None:
    apart = [json.loads((found.folder / str(n) / "torch.json").read_text()) for n in range(SIZE)]
    assert max(apart) <= 1e-7


def test_early_stopping_was_early(found: Learned) -> None:
    assert all(len(epochs) < 30 for epochs in found.epochs("stopping"))


@pytest.mark.parametrize("name", ["dropout", "augmented"])
def test_what_each_draws_for_itself_is_the_same_every_time(name: str, found: Learned) -> None:
    one, again = found.together(name), found.together(f"{name} again")
    assert one.weights_sha256 == again.weights_sha256
    assert one.state_sha256 == again.state_sha256


def test_a_model_that_cannot_be_trained_so_is_refused_in_words(found: Learned) -> None:
    for rank in range(SIZE):
        output = json.loads((found.folder / str(rank) / "broken.json").read_text())
        assert output.keys() == BROKEN.keys()
        assert output["late"].startswith("body.other.weight had no gradient in the first step")
        assert ("body.seen differ between the processes" in output["keeps"]) == (rank == 1)
