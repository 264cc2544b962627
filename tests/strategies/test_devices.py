"""Where training runs, what it may use there, and what is said when that is not enough."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from perdure.errors import Fault, UsageError
from perdure.strategies import catalogue
from perdure.strategies.features.encoding import encode
from perdure.strategies.training import compilation, devices
from perdure.strategies.training.template import Template
from tests.strategies.small import (
    CASES,
    config_of,
    copied,
    learn,
    learned,
    new,
    once,
    sizes,
    table,
)

CPU = torch.device("cpu")
MODELS = """
import torch
from torch import nn

class Base(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)
    def forward(self, x):
        if self.training:
            self.happens(x)
        return self.layer(x)

class Large(Base):
    def happens(self, x):
        torch.empty(2**50)

class Cuda(Base):
    def happens(self, x):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

class Python(Base):
    def happens(self, x):
        raise MemoryError

class Wrong(Base):
    def happens(self, x):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

class Loose(Base):
    def happens(self, x):
        assert not self.deterministic or torch.backends.cudnn.deterministic
        x.detach().clone().put_(torch.tensor([0]), torch.tensor([1.0]))
    deterministic = False
"""


@pytest.fixture
def model(tmp_path: Path) -> Any:
    (tmp_path / "models.py").write_text(MODELS)
    return lambda name: {"factory": f"{tmp_path / 'models.py'}:{name}"}


@pytest.mark.parametrize("name", ["Large", "Cuda", "Python"])
def test_memory_that_is_not_enough_is_a_fault_with_the_batch_size(model: Any, name: str) -> None:
    config = config_of(["replay"], model=model(name), batch_size=17)
    learner = new(config)
    before = copied(learner)
    with pytest.raises(Fault, match=r"memory of cpu.* training.batch_size = 17") as caught:
        learn(learner, 0, config)
    assert "lower training.batch_size" in str(caught.value.hint)
    assert learner.weights_sha256 == before.weights_sha256
    assert learner.state_sha256 == before.state_sha256
    assert learner.cursor == ()


def test_another_error_passes_as_it_is(model: Any) -> None:
    config = config_of(["naive"], model=model("Wrong"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        learn(new(config), 0, config)


def test_an_operation_that_is_not_deterministic_is_a_fault_where_that_is_asked(model: Any) -> None:
    config = config_of(["naive"], model=model("Loose"), deterministic=True)
    cudnn = torch.backends.cudnn
    before = (torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark)
    with pytest.raises(Fault, match=r"training.deterministic = true, but put_ does not have"):
        learn(new(config), 0, config)
    after = (torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark)
    assert after == before == (False, False, False)
    learn(new(config), 0, config_of(["naive"], model=model("Loose")))


def test_deterministic_settings_hold_inside_and_no_longer() -> None:
    cudnn = torch.backends.cudnn
    cudnn.benchmark = True
    try:
        with devices.determinism(True, CPU):
            assert torch.are_deterministic_algorithms_enabled()
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
            assert (cudnn.deterministic, cudnn.benchmark) == (True, False)
        assert (cudnn.deterministic, cudnn.benchmark) == (False, True)
    finally:
        cudnn.benchmark = False
    assert not torch.are_deterministic_algorithms_enabled()
    with devices.determinism(False, CPU):
        assert not torch.are_deterministic_algorithms_enabled()


def test_deterministic_training_is_the_same_training_on_a_cpu() -> None:
    config = config_of(["ewc"])
    strict = learned(config_of(["ewc"], deterministic=True), 2)
    assert strict.weights_sha256 == learned(config, 2).weights_sha256


def test_cuda_needs_its_workspace_set_to_be_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with (
        pytest.raises(UsageError, match="needs CUBLAS_WORKSPACE_CONFIG=:4096:8"),
        devices.determinism(True, torch.device("cuda")),
    ):
        raise AssertionError("must not be reached")
    assert not torch.are_deterministic_algorithms_enabled()


def test_rows_lie_on_the_device_where_half_of_it_holds_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [torch.zeros(100, 10), torch.zeros(100, dtype=torch.int64)]
    cuda, size = torch.device("cuda"), 100 * 10 * 4 + 100 * 8
    for free, place in ((2 * size, cuda), (2 * size - 1, CPU), (0, CPU)):
        monkeypatch.setattr(devices, "free_bytes", lambda _device, free=free: free)
        assert devices.storage_device(rows, cuda) == place
    for free, place in ((4 * size, cuda), (4 * size - 1, CPU)):
        monkeypatch.setattr(devices, "free_bytes", lambda _device, free=free: free)
        assert devices.storage_device(rows, cuda, copies=2) == place
    monkeypatch.undo()
    assert devices.storage_device(rows, CPU) == CPU
    assert devices.free_bytes(CPU) is None


def test_what_torch_holds_unused_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (1000, 8000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 300)
    assert devices.free_bytes(torch.device("cuda")) == 1400


@pytest.mark.parametrize("name", catalogue.discover())
def test_rows_count_twice_where_a_strategy_copies_them(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    joined: list[bool] = []
    choose, loader = devices.storage_device, Template.make_train_dataloader

    def noting_device(tensors: Any, device: torch.device, copies: int = 1) -> torch.device:
        asked.append((sum(t.nbytes for t in tensors), copies))
        return choose(tensors, device, copies)

    def noting_loader(self: Template, **kwargs: Any) -> None:
        joined.append(self.adapted_dataset is not self.experience.dataset)
        loader(self, **kwargs)

    learner = once(name, 1)
    held = sizes(learner).get(name, 0)
    monkeypatch.setattr(devices, "storage_device", noting_device)
    monkeypatch.setattr(Template, "make_train_dataloader", noting_loader)
    learn(learner, 1, config_of(CASES[name]))
    x = learner.prepare(encode(learner.spec, table(1)[0]))
    new = x.nbytes + 60 * torch.int64.itemsize
    assert asked[0] == (new + held, 2 if joined == [True] else 1)
    assert joined == [name in ("cumulative", "gdumb", "icarl", "joint")]


def test_a_batch_that_is_there_stays_as_it_is() -> None:
    batch = [torch.zeros(3), torch.ones(3)]
    assert devices.BatchPrefetcher(CPU)(batch) is batch
    # `meta` stands for a device that is not the CPU.
    moved = devices.BatchPrefetcher(torch.device("meta"))(batch)
    assert [tensor.device.type for tensor in moved] == ["meta", "meta"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("strategy", ["naive", "replay", "ewc"])
def test_where_the_rows_lie_changes_nothing(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of([strategy], device="cuda")
    on_it = learned(config, 2)
    monkeypatch.setattr(devices, "free_bytes", lambda _device: 0)
    beside = new(config)
    for number in range(2):
        trained = learn(beside, number, config)
        assert trained.accelerator_bytes
    for one, other in zip(on_it.model.parameters(), beside.model.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_a_compiled_model_learns_the_same_and_keeps_its_names() -> None:
    model = {"parameters": {"hidden": [4]}}
    plain = config_of(["naive"], model=model, epochs=1, batch_size=30)
    learner, expected = new(plain), learned(plain, 1)
    learn(learner, 0, config_of(["naive"], model=model, epochs=1, batch_size=30, compile=True))
    for name, value in expected.model.state_dict().items():
        torch.testing.assert_close(learner.model.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    assert list(learner.parts()) == list(expected.parts())


def test_a_compiler_that_is_missing_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config as inductor

    monkeypatch.setattr(inductor.cpp, "cxx", ("/nowhere/g++",))
    config = config_of(["naive"], compile=True)
    learner = new(config)
    before = learner.weights_sha256
    torch.compiler.reset()
    with pytest.raises(Fault, match=r"training.compile = true, but torch cannot compile") as caught:
        learn(learner, 0, config)
    assert "training.compile = false" in str(caught.value.hint)
    assert learner.weights_sha256 == before


def test_an_error_of_the_model_is_not_taken_for_the_compilers() -> None:
    assert not compilation.of_the_compiler(RuntimeError("mine"))
