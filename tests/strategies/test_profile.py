"""A profile of some steps: what is in it, and that nothing changes by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch.autograd import profiler

from perdure.errors import Fault
from perdure.strategies.plugins import profile
from perdure.strategies.training import engine
from tests.strategies.small import config_of, new, table


@pytest.mark.parametrize(("epochs", "batches"), [(1, 4), (9, profile.STEPS)])
def test_the_trace_and_the_table_are_of_the_steps(
    epochs: int, batches: int, tmp_path: Path
) -> None:
    config = config_of(["replay"], epochs=epochs)
    one, other = new(config), new(config)
    place = tmp_path / "profiles" / "0"
    engine.learn(one, "0", *table(0), *table(9), config, place)
    engine.learn(other, "0", *table(0), *table(9), config)
    assert (one.weights_sha256, one.state_sha256) == (other.weights_sha256, other.state_sha256)
    assert sorted(path.name for path in place.iterdir()) == ["operators.txt", "trace.json"]
    table_text = (place / profile.TABLE).read_text()
    assert table_text.startswith(f"{batches} batches\n")
    assert "aten::addmm" in table_text
    events = json.loads((place / profile.TRACE).read_text())["traceEvents"]
    backward = "autograd::engine::evaluate_function: NllLossBackward0"  # validation has none
    losses = [event for event in events if event.get("name") == backward]
    assert len(losses) == batches


def test_a_training_that_fails_does_not_leave_the_profiler_on(tmp_path: Path) -> None:
    config = config_of(["naive"], learning_rate=1e38, optimizer="sgd", epochs=2)
    with pytest.raises(Fault, match="diverged"):
        engine.learn(new(config), "0", *table(0), *table(9), config, tmp_path / "there")
    with profiler.profile(use_cpu=True):  # a second one would refuse to start
        pass
