"""The processes that learn together: started, watched, ended, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from torch import nn

from perdure import errors
from perdure.config import Config, parse
from perdure.errors import ConfigError, DataRefused, Fault, PerdureError
from perdure.progress import Advance, reported_by
from perdure.records import Trained
from perdure.strategies import catalogue
from perdure.strategies.learner.learner import Learner
from perdure.strategies.parallel import exchange, processes
from perdure.strategies.training import engine
from perdure.tasks import training
from tests.strategies.ranks import PLAIN
from tests.strategies.small import config_of, spec_of, table

REPOSITORY = Path(__file__).parents[2]

WATCHED = """
import json, os, pathlib, signal, sys, time
from torch import nn

HERE = pathlib.Path(__file__).parent
UNPICKLED = []
if "RANK" in os.environ:  # a hook stays for good
    sys.addaudithook(lambda event, _: event == "pickle.find_class" and UNPICKLED.append(event))

def listening():
    own = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            own.add(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            pass
    lines = [
        line.split() for name in ("tcp", "tcp6")
        for line in pathlib.Path("/proc/net", name).read_text().splitlines()[1:]
    ]
    return [part[1] for part in lines if part[3] == "0A" and f"socket:[{part[9]}]" in own]

class Watched(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.line = nn.Linear(inputs, outputs)

    def forward(self, x):
        rank = os.environ.get("RANK")
        if self.training and rank is not None:
            seen = {"pid": os.getpid(), "size": os.environ["WORLD_SIZE"], "listening": listening(),
                    "unpickled": UNPICKLED}
            (HERE / f"part.{rank}").write_text(json.dumps(seen))
            (HERE / f"part.{rank}").rename(HERE / f"seen-{rank}.json")
            if (HERE / f"die-{rank}").exists():
                os.kill(os.getpid(), signal.SIGKILL)
            if (HERE / "slow").exists():
                time.sleep(0.2)
        return self.line(x)

def make(inputs, outputs):
    return Watched(inputs, outputs)
"""


def configured(**resources: Any) -> Config:
    model = {"factory": "watched.py:make"}
    config = config_of([{"name": "ewc", "penalty": 1.0}], **{**PLAIN, "model": model})
    return Config.model_validate({**config.model_dump(by_alias=True), "resources": resources})


def new(root: Path) -> Learner:
    (root / "watched.py").write_text(WATCHED)
    return Learner.new(spec_of(), configured(), root, *table(0))


def learn(learner: Learner, number: int, config: Config, place: Path | None = None) -> Trained:
    rows = *table(number, rows=61), *table(100 + number, rows=20)
    return engine.learn(learner, str(number), *rows, config, place and place / "profile", place)


def seen(root: Path) -> list[dict[str, Any]]:
    return [json.loads((root / f"seen-{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
def test_a_process_that_dies_leaves_the_learner_as_it_was(tmp_path: Path) -> None:
    root, place = tmp_path / "root", tmp_path / "place"
    root.mkdir()
    place.mkdir()
    learner, alone = new(root), new(root)
    config = configured(processes=2)
    before = learner.weights_sha256, learner.state_sha256
    (root / "die-1").touch()
    with pytest.raises(Fault, match=r"process 1 of 2, .* was ended by SIGKILL") as error:
        learn(learner, 0, config, place)
    assert "perdure retrain goes on from the last experience" in str(error.value.hint)
    assert (learner.weights_sha256, learner.state_sha256, learner.cursor) == (*before, ())
    assert not list(place.iterdir())
    assert not any(psutil.pid_exists(one["pid"]) for one in seen(root))

    (root / "die-1").unlink()
    shown: list[Any] = []

    @contextmanager
    def reporter(description: str, total: int) -> Iterator[Advance]:
        shown.append((description, total))
        yield lambda done: shown.append(done)

    with reported_by(reporter):
        trained = learn(learner, 0, config, place)
    assert learner.cursor == ("0",)
    assert trained.environment["processes"] == "2"
    assert [one.name for one in place.iterdir()] == ["profile"]
    assert sorted(one.name for one in (place / "profile").iterdir()) == [
        "operators.txt", "trace.json",
    ]  # fmt: skip
    assert shown[0] == ("learning 0", 2 * 4)  # epochs of batches
    assert sum(shown[1:]) == 2 * 4

    # Where they have learned, and what they listened on.
    there = seen(root)
    assert len({os.getpid(), *(one["pid"] for one in there)}) == 3
    assert {one["size"] for one in there} == {"2"}
    assert [one["unpickled"] for one in there] == [[], []]
    addresses = [address for one in there for address in one["listening"]]
    assert addresses
    assert {address.rpartition(":")[0] for address in addresses} == {"0100007F"}  # 127.0.0.1

    assert learn(alone, 0, configured()).environment.keys() & {"processes"} == set()
    apart = [
        float((one - other).abs().max())
        for one, other in zip(
            learner.model.state_dict().values(), alone.model.state_dict().values(), strict=True
        )
    ]
    assert max(apart) <= 1e-5


ORPHANS = """
import sys
from pathlib import Path
from tests.strategies.test_ranks import configured, learn, new

if __name__ == "__main__":
    root = Path(sys.argv[1])
    learn(new(root), 0, configured(processes=2), root)
"""


@pytest.mark.slow
def test_they_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    (tmp_path / "slow").touch()
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHANS, str(tmp_path)], cwd=REPOSITORY, env=os.environ
    )
    try:
        wait_for(
            lambda: (tmp_path / "seen-0.json").exists() and (tmp_path / "seen-1.json").exists()
        )
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    pids = [one["pid"] for one in seen(tmp_path)]
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def wait_for(condition: Any, seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_error_is_the_same_in_the_other_process() -> None:
    found: list[PerdureError] = [
        ConfigError("perdure.toml", ["a: is wrong", "b: is, too"], hint="mend it"),
        *(
            kind("what is wrong", hint=hint)
            for kind in (Fault, DataRefused, errors.UsageError, errors.Corrupt)
            for hint in (None, "do this")
        ),
    ]
    for error in found:
        again = exchange.raised(json.loads(json.dumps(exchange.error(error))))
        assert type(again) is type(error)
        assert (str(again), again.message, again.hint) == (str(error), error.message, error.hint)


def test_a_configuration_is_the_same_in_the_other_process() -> None:
    config = config_of(
        [{"name": "ewc", "penalty": 1.0}, {"name": "replay", "size": 30}],
        optimizer={"name": "adam", "betas": [0.8, 0.9]},
        class_weights={"yes": 2.0},
        schedule={"name": "cosine", "warmup": 0.25},
    )
    again = Config.model_validate_json(exchange.settings(config))
    assert (again.model, again.data, again.training) == (config.model, config.data, config.training)
    assert [one.settings for one in again.training.strategies] == [{"penalty": 1.0}, {"size": 30}]


BATCHES = """
from torch import nn

def make(inputs, outputs):
    return nn.Sequential(nn.BatchNorm1d(inputs), nn.Linear(inputs, outputs))
"""


def test_what_looks_at_a_whole_batch_is_refused(tmp_path: Path) -> None:
    (tmp_path / "batches.py").write_text(BATCHES)
    config = config_of(["naive"], **{**PLAIN, "model": {"factory": "batches.py:make"}})
    learner = Learner.new(spec_of(), config, tmp_path, *table(0))
    two = Config.model_validate({**config.model_dump(by_alias=True), "resources": {"processes": 2}})
    with pytest.raises(ConfigError, match=r"resources\.processes: the model has batch norm"):
        learn(learner, 0, two)
    assert learner.cursor == ()
    learn(learner, 0, config)


def test_gradients_that_cannot_be_summed_are_refused() -> None:
    model = nn.Sequential(nn.Embedding(3, 4, sparse=True), nn.Linear(4, 2))
    with pytest.raises(ConfigError, match="0 has sparse gradients"):
        processes.check_model(model)
    processes.check_model(nn.Sequential(nn.Embedding(3, 4), nn.GroupNorm(2, 4)))


TOML = """
[model]
name = "m"
[data]
target = "y"
task = "classification"
[training]
device = "{device}"
strategies = ["{strategy}"]
[resources]
processes = {processes}
"""


def text(processes: str, device: str = "auto", strategy: str = "naive") -> str:
    return TOML.format(device=device, strategy=strategy, processes=processes)


@pytest.mark.parametrize("value", ["0", "65", '"all"', "1.5", "true"])
def test_a_number_of_processes_that_there_cannot_be(value: str) -> None:
    with pytest.raises(ConfigError, match=r"resources\.processes"):
        parse(text(value))


@pytest.mark.parametrize("device", ["mps", "cuda:1"])
def test_a_device_that_is_one_is_refused(device: str) -> None:
    assert parse(text("1", device)).resources.processes == 1
    for value in ("2", '"gpus"'):
        with pytest.raises(ConfigError, match=r"resources\.processes = .* training\.device"):
            parse(text(value, device))


def test_a_plugin_of_ones_own_is_refused(tmp_path: Path) -> None:
    plugin = """
from avalanche.training.plugins import SupervisedPlugin

class Own(SupervisedPlugin):
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass
"""
    (tmp_path / "own.py").write_text(plugin)
    assert catalogue.check(parse(text("1", strategy="own.py:Own")), tmp_path) == []
    for value in ("2", '"gpus"'):
        (fault,) = catalogue.check(parse(text(value, strategy="own.py:Own")), tmp_path)
        assert fault.startswith("training.strategies.0.name = 'own.py:Own': does not go with")
        assert "those that do: agem, cumulative, der, der++, er-ace, ewc" in fault


def test_the_number_is_part_of_the_learning_key_where_it_is_not_one(tmp_path: Path) -> None:
    experience: Any = SimpleNamespace(id="000000-aa", sha256="aa", split=1)

    def key(processes: str) -> str:
        return training.learning_key(
            None, experience, spec_of(), parse(text(processes, "cpu")), tmp_path
        )

    one = parse(text("1", "cpu"))
    assert training.configuration(one, tmp_path).keys() == {"data", "model", "training"}
    assert key("1") == key('"gpus"')  # there is none
    assert len({key("1"), key("2"), key("3")}) == 3


def test_as_many_processes_as_are_configured() -> None:
    assert processes.count(parse(text("1"))) == 1
    assert processes.count(parse(text("3", "cpu"))) == 3
    assert processes.count(parse(text('"gpus"', "cpu"))) == 1
    assert processes.for_gpus("gpus", 0) == 1
    assert processes.for_gpus("gpus", 4) == 4
    assert processes.for_gpus(4, 0) == processes.for_gpus(4, 4) == processes.for_gpus(4, 8) == 4
    with pytest.raises(ConfigError, match="needs a GPU of its own, and here 2 are visible"):
        processes.for_gpus(4, 2)
    with pytest.raises(ConfigError, match="here 1 is visible"):
        processes.for_gpus(2, 1)
