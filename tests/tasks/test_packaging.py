"""A version folder: the graph takes any number of rows, and nothing in it can run code."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from perdure import manifest
from perdure.errors import ConfigError, Corrupt
from perdure.records import to_json
from perdure.strategies.export import archive, graph
from perdure.strategies.features.encoding import encode
from perdure.strategies.learner.learner import Learner
from perdure.tasks import packaging, serving
from tests.tasks.version_kit import (
    SPEC,
    columns,
    evaluation,
    frame,
    module,
    version_folder,
    workspace,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return version_folder(tmp_path_factory.mktemp("package") / "version")


def test_the_folder_is_complete(folder: Path) -> None:
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "serving.json",
        "model.pt2",
        "learner/learner.json",
        "evaluation/rows.parquet",
        "evaluation/evaluation.json",
        "manifest.json",
    }
    manifest.verify(folder)
    assert packaging.numbers_in(folder) == to_json(evaluation())
    assert packaging.rows_in(folder)["_key"].tolist() == list(range(60))


@pytest.mark.parametrize("rows", [1, 2, 32, 1000])
def test_the_graph_says_what_the_module_says(folder: Path, rows: int) -> None:
    raw = encode(SPEC, columns(frame(rows, seed=rows)))
    with torch.no_grad():
        expected = module()(raw)
        found = graph.load(folder / "model.pt2")(raw)
    assert expected.shape == (rows, 2)
    assert torch.equal(expected, found)


def test_a_learner_is_packaged_and_served_as_it_is(tmp_path: Path) -> None:
    spaces, rows = workspace(tmp_path), frame(200)
    learner = Learner.new(SPEC, spaces.config, tmp_path, columns(rows), rows["kind"].to_numpy())
    learner.save(tmp_path / "saved")
    folder = packaging.package(spaces, tmp_path / "saved", rows, evaluation(), tmp_path / "version")
    manifest.verify(folder)
    again = Learner.load(folder / packaging.LEARNER, spaces.config, tmp_path)
    assert (again.weights_sha256, again.state_sha256) == (
        learner.weights_sha256,
        learner.state_sha256,
    )
    found = serving.Model(folder).predict(rows, {"probabilities": True})
    np.testing.assert_allclose(found, learner.predict(columns(rows)), rtol=1e-6, atol=1e-7)


def test_what_was_checked_is_loaded_once_without_a_second_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[int] = []
    original = archive.check

    def check(data: bytes) -> None:
        checked.append(len(data))
        original(data)

    monkeypatch.setattr(archive, "check", check)
    path, raw = tmp_path / "model.pt2", torch.ones(2, 3, dtype=torch.float64)
    graph.export(nn.Linear(3, 2, dtype=torch.float64), raw, path)
    first = Path(shutil.copy(path, tmp_path / "first.pt2"))
    graph.export(nn.Linear(3, 2, dtype=torch.float64), raw, path)
    copy = Path(shutil.copy(path, tmp_path / "copy.pt2"))
    assert len(checked) == 2
    before = graph.load(first)  # other bytes than those that were exported last
    assert len(checked) == 3
    exported = graph.load(copy)
    assert len(checked) == 3
    again = graph.load(copy)
    assert len(checked) == 4
    assert again is not exported
    assert torch.equal(again(raw), exported(raw))
    assert not torch.equal(before(raw), exported(raw))


def test_a_model_that_depends_on_the_number_of_rows_is_refused(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def forward(self, raw: torch.Tensor) -> torch.Tensor:
            return raw.reshape(2, 3)[:, :1]

    with pytest.raises(ConfigError, match=r"model\.factory: the model cannot be exported"):
        graph.export(Fixed(), torch.ones(2, 3, dtype=torch.float64), tmp_path / "model.pt2")


@pytest.mark.parametrize("name", ["serving.json", "learner/learner.json", "model.pt2"])
def test_a_changed_file_is_found(tmp_path: Path, folder: Path, name: str) -> None:
    copy = _copy(folder, tmp_path / "copy")
    with (copy / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(Corrupt, match=f"{name} was changed"):
        manifest.verify(copy)


def test_a_missing_an_added_and_a_linked_file_are_found(tmp_path: Path, folder: Path) -> None:
    copy = _copy(folder, tmp_path / "copy")
    (copy / "serving.json").unlink()
    (copy / "learner" / "more.json").write_text("{}")
    with pytest.raises(Corrupt, match=r"serving\.json is missing; learner/more\.json is not in"):
        manifest.verify(copy)
    (copy / "learner" / "more.json").unlink()
    (copy / "serving.json").symlink_to(folder / "serving.json")
    with pytest.raises(Corrupt, match="neither a file nor a folder"):
        manifest.verify(copy)


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path(self.path),)  # type: ignore[return-value]


def _pickled(path: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save((Touch(path),), buffer)
    return buffer.getvalue()


def _rewritten(original: Path, target: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """The archive with records changed, in the order and the form that torch wants."""
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(target, "w") as copy:
        for info in source.infolist():
            copy.writestr(info.filename, change(info.filename.partition("/")[2], source.read(info)))
    return target


def _in_model(old: str, new: str) -> Callable[[str, bytes], bytes]:
    def change(name: str, data: bytes) -> bytes:
        if name != archive.MODEL:
            return data
        assert old.encode() in data
        return data.replace(old.encode(), new.encode())

    return change


def test_a_pickle_in_the_archive_is_refused_before_it_runs(tmp_path: Path, folder: Path) -> None:
    trap = tmp_path / "trap"

    def poison(name: str, data: bytes) -> bytes:
        return _pickled(trap) if name == archive.SAMPLES else data

    poisoned = _rewritten(folder / "model.pt2", tmp_path / "model.pt2", poison)
    with pytest.raises(Corrupt, match="pickled sample inputs"):
        graph.load(poisoned)
    assert not trap.exists()


def test_the_poisoned_archive_does_run_code_without_the_check(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the test above rests on: the poison works where nothing refuses it."""
    trap = tmp_path / "trap"

    def poison(name: str, data: bytes) -> bytes:
        return _pickled(trap) if name == archive.SAMPLES else data

    poisoned = _rewritten(folder / "model.pt2", tmp_path / "model.pt2", poison)
    monkeypatch.setattr(archive, "check", lambda data: None)
    graph.load(poisoned)
    assert trap.exists()


def _weights_pickled(name: str, data: bytes) -> bytes:
    if name != archive.CONFIGS[0]:
        return data
    value = json.loads(data)
    next(iter(value["config"].values()))["use_pickle"] = True
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (_weights_pickled, "pickled tensor"),
        (_in_model('"guards_code": []', '"guards_code": ["print(1)"]'), "guards in Python"),
        (_in_model("torch.ops.aten.isnan.default", "torch.ops.load_library"), "the operator"),
        (_in_model("torch.ops.aten.isnan.default", "torch.hub.load"), "the operator"),
        (_in_model("Symbol('", "__import__('os').system('"), "expr_str"),
        (_in_model("positive=True", "positive=print(1)"), "expr_str"),
        (_in_model('"name": "isnan"', '"name": "isnan(print(1))"'), "name"),
        (_in_model("builtins.tuple", "collections.namedtuple"), "inputs and outputs"),
    ],
)
def test_whatever_could_run_code_is_refused(
    tmp_path: Path, folder: Path, change: Callable[[str, bytes], bytes], finding: str
) -> None:
    changed = _rewritten(folder / "model.pt2", tmp_path / "model.pt2", change)
    with pytest.raises(Corrupt, match=finding):
        graph.load(changed)


def test_an_unknown_record_is_refused(tmp_path: Path, folder: Path) -> None:
    changed = _rewritten(folder / "model.pt2", tmp_path / "model.pt2", lambda _, data: data)
    graph.load(changed)
    with zipfile.ZipFile(changed, "a") as file:
        root = file.namelist()[0].partition("/")[0]
        file.writestr(f"{root}/data/aotinductor/model/evil.so", b"\x7fELF")
    with pytest.raises(Corrupt, match=r"aotinductor/model/evil\.so"):
        graph.load(changed)


def test_rubbish_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(b"rubbish")
    with pytest.raises(Corrupt, match="no readable archive"):
        graph.load(path)
    path.unlink()
    with pytest.raises(Corrupt, match="cannot be read"):
        graph.load(path)


def _copy(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target))
