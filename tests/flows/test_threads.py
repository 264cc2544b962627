"""`training.threads` holds for whatever a learning step computes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from perdure.flows.retrain import retrain
from perdure.strategies.export import graph
from perdure.strategies.learner.learner import Learner
from tests.promises import kit


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_measuring_and_packaging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_threads: None
) -> None:
    root = kit.make(tmp_path / "small", rows=60)
    seen: list[tuple[str, int]] = []
    for owner, name in ((Learner, "predict"), (graph, "export")):
        function = getattr(owner, name)

        def recorded(*given: Any, _of: Any = function, _name: str = name) -> Any:
            seen.append((_name, torch.get_num_threads()))
            return _of(*given)

        monkeypatch.setattr(owner, name, recorded)
    retrain.fn(str(root))
    assert set(seen) == {("predict", 1), ("export", 1)}
    assert torch.get_num_threads() == 2
