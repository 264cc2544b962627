"""`verify`: one check for each thing that a version says of itself, and each can fail."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from perdure import config, manifest
from perdure.errors import Corrupt
from perdure.flows.promote import promote
from perdure.flows.reproduce import reproduce
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from perdure.flows.verify import verify
from perdure.tasks import locks
from perdure.tasks.registry import Registry, codec
from tests.promises import kit
from tests.tasks.server_kit import Server

NAMES = ["package", "files", "learner", "contents", "graph", "lineage", "data", "aliases"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions, the third refused."""
    root = kit.make(tmp_path_factory.mktemp("template") / "workspace")
    retrain.fn(str(root))
    kit.ingest(root, kit.table(2))
    retrain.fn(str(root))
    kit.configure(root, past="0.2")
    kit.ingest(root, kit.turned(3, 240))
    retrain.fn(str(root))
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "workspace", symlinks=True))


def failed(root: Path, number: int | None = None) -> dict[str, str]:
    found = verify(str(root), number)
    assert [one.name for one in found.checks] == NAMES
    wrong = {one.name: one.detail for one in found.checks if not one.ok}
    assert found.ok == (not wrong)
    return wrong


def test_everything_is_as_it_was_registered(root: Path) -> None:
    with locks.hold(config.read(root), "model", "retrain"):
        assert verify(str(root)).version == 2
        assert [failed(root, number) for number in (1, 2, 3)] == [{}, {}, {}]
    rollback.fn(str(root))
    promote.fn(str(root), 3, force=True, reason="why not")
    assert [failed(root, number) for number in (1, 2, 3)] == [{}, {}, {}]


def tag(name: str, value: str) -> Callable[[Registry], None]:
    def change(registry: Registry) -> None:
        registry.client.call(
            "set_model_version_tag", kit.MODEL, "2", codec.PREFIX + name, value
        )  # fmt: skip

    return change


def graph(registry: Registry) -> None:
    """The graph of another version, in one for whose manifest nothing vouches."""
    folder = registry.download(registry.version(2))
    other = registry.download(registry.version(3))
    shutil.copyfile(other / "model.pt2", folder / "model.pt2")
    manifest.write(folder)
    registry.client.call("delete_model_version_tag", kit.MODEL, "2", codec.MANIFEST)


def alias(registry: Registry) -> None:
    registry.client.call("set_registered_model_alias", kit.MODEL, "champion", "1")


def swapped(registry: Registry) -> None:
    """The record of the aliases is made to agree: the history does not."""
    alias(registry)
    registry.client.call("set_registered_model_alias", kit.MODEL, "champion", "3")
    text = '{"challenger":2,"champion":3}'
    registry.client.call("set_registered_model_tag", kit.MODEL, codec.RECORDED, text)


@pytest.mark.parametrize(
    ("change", "number", "check", "why"),
    [
        (tag("weights_sha256", "0" * 64), 2, "learner", "other weights"),
        (tag("state_sha256", "0" * 64), 2, "learner", "other state"),
        (tag("package_sha256", "0" * 64), 2, "package", "was changed or removed"),
        (tag("manifest_sha256", "0" * 64), 2, "files", "is not that of version 2"),
        (tag("parent", "7"), 2, "lineage", "names version 7 as its parent"),
        (tag("parent", "none"), 2, "lineage", "has no parent, but learned 2"),
        (tag("data_git", "0" * 40), 2, "data", "is not in this branch"),
        (tag("data_dvc", "0" * 32 + ".dir"), 2, "data", "names other data"),
        (tag("replaced", "none"), 2, "aliases", "it replaced none, the history version 1"),
        (graph, 2, "graph", "other outputs than the learner"),
        (alias, 1, "aliases", "champion was moved in MLflow"),
        (swapped, 3, "aliases", "by the history version 2"),
    ],
)
def test_what_is_not_so_is_found(
    root: Path, change: Callable[[Registry], None], number: int, check: str, why: str
) -> None:
    change(kit.registry(root))
    wrong = failed(root, number)
    wrong.pop("graph") if check == "files" else None  # it is not run then
    assert list(wrong) == [check]
    assert why in wrong[check]


def test_a_child_whose_parent_says_something_else(root: Path) -> None:
    registry = kit.registry(root)
    first, other = registry.version(1).cursor[0], "000001-00000000"
    registry.client.call(
        "set_model_version_tag", kit.MODEL, "1", codec.PREFIX + "cursor", f'["{other}"]'
    )  # fmt: skip
    wrong = failed(root, 2)
    assert first in registry.version(2).cursor
    assert list(wrong) == ["lineage"]


@pytest.mark.parametrize("name", ["code", "data_git", "data_dvc"])
@pytest.mark.parametrize("value", ["--output=it_ran", "../../x", "HEAD", ""])
def test_a_tag_is_no_argument_of_git(root: Path, name: str, value: str) -> None:
    tag(name, value)(kit.registry(root))
    with pytest.raises(Corrupt, match="no revision"):
        verify(str(root), 2)
    assert not (root / "it_ran").exists()


def test_what_a_server_has_now_is_looked_at_and_not_what_was_fetched(tmp_path: Path) -> None:
    (tmp_path / "mlflow").mkdir()
    server = Server(tmp_path / "mlflow")
    try:
        server.wait()
        tracking = f'[tracking]\nuri = "{server.uri}"\n'
        root = kit.make(tmp_path / "workspace", rows=60, more=tracking)
        retrain.fn(str(root))
        assert failed(root) == {}
        assert reproduce(str(root), 1).outcome == "same"
        [weights] = (tmp_path / "mlflow").rglob("weights.safetensors")
        weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
        registry = kit.registry(root)
        registry.download(registry.version(1))  # which was kept, and is whole
        wrong = failed(root)
        assert set(wrong) == {"files", "learner", "graph"}
        assert "weights.safetensors was changed" in wrong["files"]
    finally:
        server.stop()
