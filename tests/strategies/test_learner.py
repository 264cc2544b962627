"""The learner: its digests, its folder, and when it refuses to load."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from perdure import manifest
from perdure.errors import ConfigError, Corrupt, DataRefused, Fault, UsageError
from perdure.strategies.features.columns import Column, FeatureSpec
from perdure.strategies.learner import files
from perdure.strategies.learner.learner import Learner, verify
from perdure.strategies.learner.state import State, digest
from tests.strategies.small import (
    CASES,
    ROOT,
    config_of,
    learn,
    learned,
    new,
    reloaded,
    spec_of,
    table,
)

CONFIG = config_of(CASES["ewc+replay"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "learner"
    learned(CONFIG, 1).save(folder)
    return folder


@pytest.fixture
def mine(folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "learner"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def test_the_files_are_pinned_and_none_can_run_code(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "features.safetensors", "learner.json", "manifest.json", "memory.ewc.safetensors",
        "memory.replay.safetensors", "optimizer.safetensors", "random.numpy.safetensors",
        "random.python.safetensors", "random.torch.safetensors", "weights.safetensors",
    ]  # fmt: skip


def test_the_same_learner_is_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    learned(CONFIG, 1).save(tmp_path / "again")
    for path in folder.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("name", ["weights.safetensors", "learner.json", "memory.ewc.safetensors"])
def test_what_is_missing_or_changed_is_corrupt(mine: Path, name: str) -> None:
    verify(mine)
    data = bytearray((mine / name).read_bytes())
    data[-3] ^= 1
    (mine / name).write_bytes(bytes(data))
    for attempt in (verify, lambda folder: Learner.load(folder, CONFIG, ROOT)):
        with pytest.raises(Corrupt, match=name):
            attempt(mine)
    (mine / name).unlink()
    with pytest.raises(Corrupt, match=f"{name} cannot be read"):
        verify(mine)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2, "sha256": {}}', '{"format": 1}'])
def test_a_strange_manifest_is_corrupt(mine: Path, text: str) -> None:
    (mine / "manifest.json").write_text(text)
    with pytest.raises(Corrupt, match=r"manifest\.json"):
        verify(mine)


@pytest.mark.parametrize("text", ["nonsense", "[1]", "{}", '{"parts": {"weights": 3}}'])
def test_strange_values_are_corrupt_even_when_the_manifest_vouches_for_them(
    tmp_path: Path, text: str
) -> None:
    files.write(tmp_path / "l", {files.VALUES: text.encode()})
    with pytest.raises(Corrupt):
        verify(tmp_path / "l")


def test_a_file_that_is_no_safetensors_is_corrupt(mine: Path) -> None:
    contents = {p.name: p.read_bytes() for p in mine.iterdir() if p.name != manifest.NAME}
    contents["weights.safetensors"] = b"\x80\x04 no tensors here"
    files.write(mine.parent / "other", contents)
    with pytest.raises(Corrupt, match="cannot be read"):
        Learner.load(mine.parent / "other", CONFIG, ROOT)


def test_a_folder_with_something_in_it_is_not_written_into(mine: Path) -> None:
    with pytest.raises(Fault, match="not empty"):
        new(CONFIG).save(mine)
    verify(mine)


def test_hyper_parameters_may_change_between_versions(folder: Path) -> None:
    other = config_of(["naive"], epochs=1, batch_size=7, optimizer="sgd", learning_rate=0.5, seed=9)
    learner = Learner.load(folder, other, ROOT)
    learn(learner, 1, other)
    assert learner.cursor == ("000000", "000001")
    assert learner.optimizer.values["name"] == "sgd"


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ({"factory": "torch.nn:Linear"}, ["model.factory", "torch.nn:Linear", "mlp"]),
        ({"parameters": {"hidden": [9]}}, ["model.parameters", "[9]", "[8]"]),
    ],
)
def test_another_model_is_refused(folder: Path, model: dict[str, object], named: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Learner.load(folder, config_of(["naive"], model=model), ROOT)
    assert all(word in str(caught.value) for word in named)
    assert "new model.name" in str(caught.value)


def test_other_features_are_refused_all_together(folder: Path) -> None:
    spec = spec_of()
    Learner.load(folder, CONFIG, ROOT, spec)
    columns = (
        spec.columns[0],
        Column("colour", "category", ("red", "blue")),
        Column("c", "number"),
    )
    other = FeatureSpec(columns, "y", "classification", ("yes", "no", "maybe"))
    with pytest.raises(ConfigError) as caught:
        Learner.load(folder, CONFIG, ROOT, other)
    assert [fault.split(" = ")[0] for fault in caught.value.faults] == [
        "schema labels", "schema columns", "schema column colour",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"data\.task = 'regression'"):
        Learner.load(folder, config_of(["naive"], "regression"), ROOT)


def test_a_users_model_whose_code_changed_is_refused(tmp_path: Path) -> None:
    code = "from torch import nn\ndef net(inputs, outputs):\n    return {}\n"
    one = "nn.Linear(inputs, outputs)"
    (tmp_path / "net.py").write_text(code.format(one))
    config = config_of(["naive"], model={"factory": "net.py:net"})
    columns, _ = table(0)
    Learner.new(spec_of(), config, tmp_path, columns).save(tmp_path / "learner")
    Learner.load(tmp_path / "learner", config, tmp_path)
    (tmp_path / "net.py").write_text(code.format(f"nn.Sequential({one})"))
    with pytest.raises(ConfigError, match="no longer fits the saved weights"):
        Learner.load(tmp_path / "learner", config, tmp_path)


def test_loading_runs_no_factory_that_the_configuration_does_not_name(
    mine: Path, tmp_path: Path
) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    values = json.loads((mine / files.VALUES).read_text())
    values["recipe"]["factory"] = f"{tmp_path / 'evil.py'}:x"
    contents = {p.name: p.read_bytes() for p in mine.iterdir() if p.name != manifest.NAME}
    contents[files.VALUES] = json.dumps(values).encode()
    files.write(tmp_path / "other", contents)
    with pytest.raises(ConfigError, match=r"model\.factory"):
        Learner.load(tmp_path / "other", CONFIG, ROOT)


def test_predictions_do_not_depend_on_the_batch_and_survive_the_disk(tmp_path: Path) -> None:
    learner = learned(CONFIG, 2)
    columns, _ = table(5)
    found = learner.predict(columns)
    assert found.shape == (60, 2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(learner.predict(columns, batch=7), found, atol=1e-6)
    np.testing.assert_array_equal(reloaded(learner, tmp_path / "l", CONFIG).predict(columns), found)
    assert learner.predict({name: values[:0] for name, values in columns.items()}).shape == (0, 2)
    regression = learned(config_of(["naive"], "regression"), 1, "regression").predict(columns)
    assert regression.shape == (60,)
    assert regression.dtype == np.float64


def test_the_module_for_export_is_a_copy_that_takes_raw_columns(tmp_path: Path) -> None:
    from perdure.strategies.features.encoding import encode

    learner = learned(CONFIG, 1)
    columns, _ = table(5)
    module = learner.inference()
    before = module(encode(learner.spec, columns))
    np.testing.assert_allclose(before.detach().numpy(), learner.predict(columns), atol=1e-6)
    learn(learner, 1, CONFIG)
    assert torch.equal(module(encode(learner.spec, columns)), before)


def test_digests_see_every_part_and_nothing_else(tmp_path: Path) -> None:
    learner = learned(CONFIG, 1)
    weights, state = learner.weights_sha256, learner.state_sha256
    assert len(weights) == len(state) == 64
    changed = copy.deepcopy(learner)
    changed.output.mean.add_(1)
    assert (changed.weights_sha256, changed.state_sha256 == state) == (weights, False)
    changed = copy.deepcopy(learner)
    next(changed.model.parameters()).data[0, 0] += 1
    assert (changed.weights_sha256 == weights, changed.state_sha256) == (False, state)
    again = reloaded(learner, tmp_path / "elsewhere", CONFIG)
    assert (again.weights_sha256, again.state_sha256) == (weights, state)


def test_a_digest_sees_names_dtypes_shapes_and_values() -> None:
    t = torch.zeros(4)
    variants = [
        {"a": State({"t": t})},
        {"b": State({"t": t})},
        {"a": State({"u": t})},
        {"a": State({"t": t.int()})},
        {"a": State({"t": t.reshape(2, 2)})},
        {"a": State({"t": t + 1})},
        {"a": State({"t": t}, {"v": 1})},
        {"a": State({"t": torch.zeros(())})},
        {"a": State({"t": t[:0]})},
    ]
    assert len({digest(variant) for variant in variants}) == len(variants)
    turned = torch.arange(4.0).reshape(2, 2).t()
    assert digest({"a": State({"t": turned})}) == digest({"a": State({"t": turned.contiguous()})})
    # Pinned: a digest is written into registries and must not change with a release.
    assert digest({"a": State({"t": t}, {"v": 1})}).startswith("5cbf9ce90393f185")


def test_a_new_learner_needs_rows_and_for_a_regression_their_target() -> None:
    columns, _ = table(0)
    with pytest.raises(UsageError, match="needs the target"):
        Learner.new(spec_of("regression"), config_of(["naive"], "regression"), ROOT, columns)
    empty = {name: values[:0] for name, values in columns.items()}
    with pytest.raises(DataRefused, match="0 training rows"):
        Learner.new(spec_of(), CONFIG, ROOT, empty)
