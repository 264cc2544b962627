"""`MLmodel`, and what else lies around a version folder: a digest of it stands in the registry."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import yaml

from perdure.errors import Corrupt
from perdure.flows.doctor import examine
from perdure.flows.evaluate import evaluate
from perdure.flows.promote import promote
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from perdure.tasks.registry import Registry, codec, package
from perdure.tasks.registry.client import tracking_uri
from tests.promises import kit
from tests.tasks.server_kit import Server
from tests.tasks.version_kit import register, version_folder, workspace

EVIL = "import pathlib\npathlib.Path({!r}).touch()\n"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two versions, and a third file pending."""
    root = kit.make(tmp_path_factory.mktemp("template") / "workspace")
    retrain.fn(str(root))
    kit.ingest(root, kit.table(2))
    retrain.fn(str(root))
    kit.ingest(root, kit.table(3))
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "workspace", symlinks=True))


def model_of(registry: Registry, number: int) -> Path:
    """The folder with the `MLmodel` of a version."""
    return registry.download(registry.version(number)).parents[1]


def loader(model: Path, marker: Path) -> None:
    """Name another loader, which lies in `code/`."""
    (model / "code").mkdir()
    (model / "code" / "evil_loader.py").write_text(EVIL.format(str(marker)))
    path = model / "MLmodel"
    value = yaml.safe_load(path.read_text())
    value["flavors"]["python_function"] |= {"loader_module": "evil_loader", "code": "code"}
    path.write_text(yaml.safe_dump(value))


def module(model: Path, marker: Path) -> None:
    """Name a loader that is installed, and has nothing of ours."""
    path = model / "MLmodel"
    path.write_text(path.read_text().replace(package.LOADER, "antigravity"))


def code(model: Path, marker: Path) -> None:
    """Put a module of the name of one of ours before it."""
    (model / "code" / "perdure").mkdir(parents=True)
    (model / "code" / "perdure" / "__init__.py").write_text(EVIL.format(str(marker)))


def requirement(model: Path, marker: Path) -> None:
    """Have `mlflow models serve` install something else."""
    with (model / "requirements.txt").open("a") as file:
        file.write("evil-package\n")


def extra(model: Path, marker: Path) -> None:
    (model / "data" / "more").mkdir()


def missing(model: Path, marker: Path) -> None:
    (model / "conda.yaml").unlink()


def link(model: Path, marker: Path) -> None:
    (model / "requirements.txt").rename(model.parent / "elsewhere.txt")
    (model / "requirements.txt").symlink_to(model.parent / "elsewhere.txt")


CHANGES: list[Callable[[Path, Path], None]] = [
    loader, module, code, requirement, extra, missing, link,
]  # fmt: skip
FOUND = "version 2: .* other code|has 2 version folders|is a link"


def served(root: Path) -> object:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(tracking_uri(kit.registry(root).workspace))
    try:
        return mlflow.pyfunc.load_model(f"models:/{kit.MODEL}@champion")
    finally:
        mlflow.set_tracking_uri(before)


def test_the_control_mlflow_runs_what_the_file_names(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Perdure cannot prevent: MLflow reads the file before any code of ours can look."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    marker = tmp_path / "it ran"
    loader(model_of(kit.registry(root), 2), marker)
    with pytest.raises(AttributeError, match="_load_pyfunc"):
        served(root)
    assert marker.exists()


@pytest.mark.parametrize("change", CHANGES)
def test_every_command_that_loads_a_version_notices(
    root: Path, tmp_path: Path, change: Callable[[Path, Path], None]
) -> None:
    marker = tmp_path / "it ran"
    change(model_of(kit.registry(root), 2), marker)
    for command in (
        lambda: retrain.fn(str(root)),
        lambda: evaluate.fn(str(root), version=2),
        lambda: kit.registry(root).evaluation(kit.registry(root).version(2)),
    ):
        with pytest.raises(Corrupt, match=FOUND):
            command()
    rollback.fn(str(root), to=1)  # the way out
    for command in (
        lambda: promote.fn(str(root), 2, force=True, reason="why"),
        lambda: rollback.fn(str(root), to=2),
    ):
        with pytest.raises(Corrupt, match=FOUND):
            command()
    assert not marker.exists()


@pytest.mark.parametrize("change", CHANGES)
def test_the_doctor_looks_at_what_serves(
    root: Path, tmp_path: Path, change: Callable[[Path, Path], None]
) -> None:
    [found] = [one for one in examine(str(root)) if one.name == "mlflow"]
    assert (found.ok, found.detail) == (True, "SQLite in .perdure/, champion version 2")
    change(model_of(kit.registry(root), 2), tmp_path / "it ran")
    [found] = [one for one in examine(str(root)) if one.name == "mlflow"]
    assert not found.ok
    assert re.search(FOUND, found.detail)


def test_what_mlflow_adds_to_a_download_is_no_change(root: Path, tmp_path: Path) -> None:
    registry = kit.registry(root)
    (tmp_path / "there").mkdir()
    with registry.client.current():
        uri, target = f"models:/{kit.MODEL}/2", str(tmp_path / "there")
        found = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=target))
    assert (found / package.NOT_OURS).exists()
    package.check(package.on_this_machine(found), registry.version(2))


def untagged(root: Path, number: int) -> Registry:
    """As an older Perdure registered a version: without the digest."""
    registry = kit.registry(root)
    registry.client.call("delete_model_version_tag", registry.name, str(number), codec.PACKAGE)
    return Registry(registry.workspace)


def test_a_version_of_an_older_perdure_is_read(root: Path) -> None:
    registry = untagged(root, 2)
    assert registry.version(2).package_sha256 is None
    assert retrain.fn(str(root)).learned[0].version == 3


@pytest.mark.parametrize("change", [loader, module, code, extra, link])
def test_and_what_could_run_other_code_in_it_is_noticed(
    root: Path, tmp_path: Path, change: Callable[[Path, Path], None]
) -> None:
    registry = untagged(root, 2)
    change(model_of(registry, 2), tmp_path / "it ran")
    with pytest.raises(Corrupt, match=FOUND):
        retrain.fn(str(root))


def test_a_server_keeps_the_digest_and_a_download_is_compared(tmp_path: Path) -> None:
    (tmp_path / "mlflow").mkdir()
    server = Server(tmp_path / "mlflow")
    try:
        server.wait()
        ws = workspace(tmp_path / "here", uri=server.uri)
        version = register(Registry(ws), version_folder(tmp_path / "folder"))
        assert version.package_sha256 is not None
        Registry(ws).download(version)
        other = workspace(tmp_path / "there", uri=server.uri)
        [path] = (tmp_path / "mlflow").rglob("MLmodel")
        path.write_text(path.read_text().replace(package.LOADER, "antigravity"))
        with pytest.raises(Corrupt, match="names the loader 'antigravity'"):
            Registry(other).download(version)
        # What was fetched before stays as it was, and the doctor looks at what MLflow has.
        Registry(ws).download(version)
        with pytest.raises(Corrupt, match="names the loader 'antigravity'"):
            Registry(ws).check(version)
    finally:
        server.stop()
