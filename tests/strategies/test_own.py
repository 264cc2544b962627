"""A user's own Avalanche plugin: found, checked, heard, and its state kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.config import Config
from perdure.errors import ConfigError, Fault
from perdure.strategies import catalogue
from perdure.strategies.learner.learner import Learner
from perdure.strategies.learner.state import State, digest
from perdure.strategies.plugins import tree
from perdure.strategies.training import engine
from perdure.tasks.training import learning_key
from tests.strategies.small import config_of, copied, spec_of, table

PLUGIN = '''
import torch
from avalanche.training.plugins import SupervisedPlugin

class Anchor(SupervisedPlugin):
    """Pulls the weights to where they were after the last experience."""
    def __init__(self, pull=0.5):
        super().__init__()
        self.pull, self.heard = pull, []
        self.memory = {"anchor": {}, "experiences": 0}
    def before_backward(self, strategy, **kwargs):
        for name, p in strategy.model.named_parameters():
            if name in self.memory["anchor"]:
                away = (p - self.memory["anchor"][name]).square().sum()
                strategy.loss = strategy.loss + self.pull * away
    def after_training_exp(self, strategy, **kwargs):
        named = strategy.model.named_parameters()
        self.memory["anchor"] = {name: p.detach().clone() for name, p in named}
        self.memory["experiences"] += 1
    def state_dict(self):
        return self.memory
    def load_state_dict(self, state):
        self.memory = state

class Labels(Anchor):
    """Notes the task labels of the batches."""
    def after_forward(self, strategy, **kwargs):
        assert len(strategy.mb_task_id) == len(strategy.mb_y)
        seen = {*self.memory.get("seen", []), *map(str, strategy.mb_task_id.tolist())}
        self.memory["seen"] = sorted(seen)

class Counting(SupervisedPlugin):
    """Counts updates, and sums up the weights that they led to."""
    def __init__(self):
        super().__init__()
        self.memory = {"updates": 0, "path": {}}
    def after_update(self, strategy, **kwargs):
        self.memory["updates"] += 1
        for name, p in strategy.model.named_parameters():
            path = self.memory["path"].setdefault(name, torch.zeros_like(p))
            path.add_(p.detach())
    def state_dict(self):
        return self.memory
    def load_state_dict(self, state):
        self.memory = state

class Forgetful(SupervisedPlugin):
    pass

class Half(Forgetful):
    def state_dict(self):
        return {}

class Odd(Anchor):
    def state_dict(self):
        return {"a": [{"b": {1, 2}}]}

class LaterOdd(Anchor):
    def state_dict(self):
        return {"a": [torch.zeros(1), object()] if self.memory["experiences"] else []}

class Broken(Anchor):
    def state_dict(self):
        raise RuntimeError("not yet")

def anything():
    return 3
'''
ANCHOR: list[dict[str, Any]] = [{"name": "plugins/mine.py:Anchor", "pull": 0.7}]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "mine.py").write_text(PLUGIN)
    return tmp_path


def learned(config: Config, root: Path, experiences: int, folder: Path | None = None) -> Learner:
    """With `folder`, saved and loaded between experiences."""
    learner = Learner.new(spec_of(), config, root, *table(0))
    for number in range(experiences):
        engine.learn(learner, str(number), *table(number), *table(9, rows=0), config)
        if folder is not None:
            learner.save(folder / str(number))
            learner = Learner.load(folder / str(number), config, root, spec_of())
    return learner


def both(learner: Learner) -> tuple[str, str]:
    return learner.weights_sha256, learner.state_sha256


def test_it_learns_and_its_state_survives(root: Path, tmp_path: Path) -> None:
    config = config_of(ANCHOR)
    learner = learned(config, root, 3)
    assert both(learned(config, root, 3, tmp_path / "saved")) == both(learner)
    naive = config_of(["naive"])
    assert learned(config, root, 1).weights_sha256 == learned(naive, root, 1).weights_sha256
    assert learned(config, root, 2).weights_sha256 != learned(naive, root, 2).weights_sha256
    (key,) = learner.memory
    assert key == catalogue.key_of("plugins/mine.py:Anchor")
    anchor = learner.memory[key].tensors["anchor/body.0.weight"]
    assert torch.equal(anchor, learner.model.get_parameter("body.0.weight"))
    maimed = copied(learner)
    maimed.memory[key] = State()
    for one in (maimed, learner):
        engine.learn(one, "3", *table(3), *table(9, rows=0), config)
    assert maimed.weights_sha256 != learner.weights_sha256


def test_early_stopping_takes_it_back_to_the_best_epoch(root: Path) -> None:
    """As a training that ended there leaves it; in the next experience it goes on from there."""
    name = "plugins/mine.py:Counting"

    def learned_in(learner: Learner, number: int, **training: Any) -> tuple[int | None, State]:
        config = config_of([name], learning_rate=0.2, **training)
        rows, watched = table(number), table(number, rows=20)
        record = engine.learn(learner, str(number), *rows, *watched, config)
        return record.best_epoch, learner.memory[catalogue.key_of(name)]

    stopped, ended = (Learner.new(spec_of(), config_of([name]), root, *table(0)) for _ in range(2))
    updates = 0
    for number in range(2):
        best, held = learned_in(stopped, number, epochs=12, patience=100)
        assert best is not None
        assert best < 12
        updates += 4 * best  # 60 rows in batches of 16
        assert held.values["tree"]["dict"][0] == ["updates", updates]
        if number == 0:
            _, expected = learned_in(ended, number, epochs=best)
            assert digest({"own": held}) == digest({"own": expected})


@pytest.mark.parametrize("other", sorted(catalogue.discover()))
def test_it_combines_with_every_strategy(other: str, root: Path) -> None:
    config = config_of([*ANCHOR, other])
    assert catalogue.check(config, root) == []
    if other in ("der++", "gem", "replay"):
        learner = learned(config, root, 2)
        assert set(learner.memory) == {other, catalogue.key_of(ANCHOR[0]["name"])}
        assert learner.weights_sha256 != learned(config_of([other]), root, 2).weights_sha256


@pytest.mark.parametrize("other", ["naive", "replay", "der", "der++", "icarl"])
def test_it_gets_task_labels_whatever_else_a_strategy_keeps_of_a_row(
    other: str, root: Path
) -> None:
    name = "plugins/mine.py:Labels"
    learner = learned(config_of([name, other]), root, 2)
    state = tree.from_state(learner.memory[catalogue.key_of(name)], torch.device("cpu"))
    assert state["experiences"] == 2
    assert state["seen"] == ["0"]  # all rows are of one task


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "plugins/mine.py:Forgetful",
            "Forgetful has no state_dict() and no load_state_dict(): what",
        ),
        ("plugins/mine.py:Half", "Half has no load_state_dict(): what it remembers would be lost"),
        ("plugins/mine.py:anything", "makes a int, no avalanche.training.plugins.SupervisedPlugin"),
        ("plugins/mine.py:nothing", "plugins/mine.py has no function nothing"),
        ("plugins/mine.py:Odd", "state_dict()['a'][0]['b'] is a set, which cannot be saved"),
        ("plugins/mine.py:Broken", "state_dict() fails: RuntimeError: not yet"),
        ("plugins/none.py:Anchor", "FileNotFoundError: "),
        ("no.such.module:Anchor", "ModuleNotFoundError: No module named 'no'"),
        ("torch.nn:Linear", "fails on {}: TypeError: "),
        ("avalanche.training.plugins:EWCPlugin", "fails on {}: TypeError: "),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_trains(
    name: str, message: str, root: Path
) -> None:
    config = config_of([name])
    (fault,) = catalogue.check(config, root)
    assert fault.startswith(f"training.strategies.0.name = {name!r}: {message}")
    with pytest.raises(ConfigError):
        learned(config, root, 1)


def test_settings_are_passed_by_name(root: Path) -> None:
    config = config_of([{"name": "plugins/mine.py:Anchor", "push": 1}])
    (fault,) = catalogue.check(config, root)
    assert "fails on {'push': 1}: TypeError" in fault
    weak = config_of([{"name": "plugins/mine.py:Anchor", "pull": 0.0}])
    naive = learned(config_of(["naive"]), root, 2)
    assert learned(weak, root, 2).weights_sha256 == naive.weights_sha256


def test_what_turns_up_later_is_told_with_its_place_and_changes_nothing(root: Path) -> None:
    config = config_of(["plugins/mine.py:LaterOdd"])
    learner = Learner.new(spec_of(), config, root, *table(0))
    before = both(learner)
    with pytest.raises(Fault, match=r"mine\.py:LaterOdd: state_dict\(\)\['a'\]\[1\] is a object"):
        engine.learn(learner, "0", *table(0), *table(9, rows=0), config)
    assert both(learner) == before


def test_the_keys_of_two_plugins_differ_and_are_fit_for_files() -> None:
    names = ["a/b.py:f", "a-b.py:f", "a.b:f", "ä/b.py:f", "x" * 300 + ":f"]
    keys = [catalogue.key_of(name) for name in names]
    assert len(set(keys)) == len(names)
    assert all(len(key) < 80 and key.replace("-", "").isalnum() and key.isascii() for key in keys)
    assert catalogue.key_of("der++") == "der++"


def test_another_source_is_another_learning_step(root: Path) -> None:
    experience: Any = SimpleNamespace(id="000000-aa", sha256="aa", split=1)

    def key(strategies: list[Any]) -> str:
        return learning_key(None, experience, spec_of(), config_of(strategies), root)

    before, plain = key(ANCHOR), key(["naive"])
    (root / "plugins" / "mine.py").write_text(PLUGIN + "\n# changed\n")
    assert key(ANCHOR) != before
    assert key(["naive"]) == plain
    (root / "plugins" / "mine.py").write_text(PLUGIN)
    assert key(ANCHOR) == before
    experience.split = 2  # other rows are trained on
    assert key(ANCHOR) != before


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5),
    st.integers(0, 5).map(lambda n: torch.arange(n, dtype=torch.float32)),
)  # fmt: skip
trees = st.dictionaries(
    st.one_of(st.text(max_size=4), st.integers()),
    st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


@settings(deadline=None)
@given(trees)
def test_a_state_comes_back_as_it_was(value: dict[Any, Any]) -> None:
    state = tree.to_state(value, "p")
    assert same(tree.from_state(state, torch.device("cpu")), value)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        keys = list(one) == list(other) and [type(k) for k in one] == [type(k) for k in other]
        return keys and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def test_numbers_that_json_does_not_have_come_back_too() -> None:
    state = tree.to_state({"a": float("inf"), "b": float("-inf"), "c": float("nan")}, "p")
    found = tree.from_state(state, torch.device("cpu"))
    assert found["a"] == np.inf
    assert found["b"] == -np.inf
    assert np.isnan(found["c"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": (1, 2)}, r"\['a'\] is a tuple"),
        ({"a": [np.float64(1)]}, r"\['a'\]\[0\] is a float64"),
        ({"a": np.zeros(2)}, r"\['a'\] is a ndarray"),
        ({(1, 2): 3}, r"state_dict\(\) is a dict with a key that is a tuple"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, r"\['a'\] is a tensor of torch.complex64"),
        ({"a": torch.zeros(2).to_sparse()}, r"\['a'\] is a tensor of torch.float32 \(torch.sparse"),
        ([1], r"gave a list, no dict"),
    ],
)
def test_anything_else_is_refused_with_where_it_stood(value: Any, message: str) -> None:
    with pytest.raises(Fault, match=message):
        tree.to_state(value, "p")
