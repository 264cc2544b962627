"""A clone whose `data.dvc`, listing, configuration or links would have DVC write elsewhere."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo

from perdure import config
from perdure.errors import ConfigError, Corrupt
from perdure.flows.ingest import ingest
from perdure.flows.release import quarantine
from perdure.flows.retrain import retrain
from perdure.tasks import data_versions
from perdure.tasks.data_versions import copying, listing
from tests.promises import kit

VICTIM = "victim.txt"


@pytest.fixture
def clone(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of a workspace without data, which can write its DVC remote."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    root = tmp_path / "clone"
    kit.git(tmp_path, "clone", "--quiet", str(workspace), str(root))
    shutil.copytree(workspace / ".perdure" / "dvc-remote", root / ".perdure" / "dvc-remote")
    return root


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return kit.make(tmp_path / "workspace")


def store(root: Path, data: bytes, suffix: str = "") -> str:
    """Put an object into the DVC remote; its name."""
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    path = root / ".perdure" / "dvc-remote" / "files" / "md5" / digest[:2] / (digest[2:] + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return digest + suffix


def recorded(root: Path, entries: list[dict[str, Any]], **more: Any) -> None:
    """Commit a `data.dvc` that names a listing with these entries, besides those there are."""
    pointer = root / "data.dvc"
    value = yaml.safe_load(pointer.read_text())
    before = value["outs"][0]["md5"]
    kept = root / ".perdure" / "dvc-remote" / "files" / "md5" / before[:2] / before[2:]
    whole = [*json.loads(kept.read_bytes()), *entries]
    out = {
        "md5": store(root, json.dumps(whole).encode(), ".dir"),
        "size": 1, "nfiles": len(whole), "hash": "md5", "path": "data",
    }  # fmt: skip
    pointer.write_text(yaml.safe_dump({"outs": [{**out, **more}]}))
    kit.git(root, "commit", "--quiet", "--all", "-m", "data: a listing")


def planted(root: Path) -> list[dict[str, Any]]:
    """An entry that leads two folders up."""
    return [{"md5": store(root, b"planted"), "relpath": f"../../{VICTIM}"}]


def test_the_control_dvc_writes_elsewhere(clone: Path) -> None:
    recorded(clone, planted(clone))
    with Repo(str(clone)) as repo:
        repo.pull(targets=[str(clone / "data.dvc")])
    assert (clone.parent / VICTIM).read_bytes() == b"planted"


@pytest.mark.parametrize("command", [
    lambda root: retrain.fn(str(root)),
    lambda root: ingest.fn(str(root)),
    lambda root: quarantine(str(root), ["000001-00000000"], "why"),
    lambda root: data_versions.pull(config.read(root)),
])  # fmt: skip
def test_no_command_writes_elsewhere(clone: Path, command: Callable[[Path], object]) -> None:
    (clone.parent / VICTIM).write_bytes(b"mine")
    recorded(clone, planted(clone))
    with pytest.raises(Corrupt, match=r"listing of the data folder is refused: the name '\.\./"):
        command(clone)
    assert (clone.parent / VICTIM).read_bytes() == b"mine"
    assert not list((clone / ".dvc").rglob(hashlib.md5(b"planted").hexdigest()[2:]))


def test_what_is_plain_comes(clone: Path) -> None:
    recorded(clone, [{"md5": store(clone, b"more"), "relpath": "quarantine/more/x y.csv"}])
    data_versions.pull(config.read(clone))
    assert (clone / "data" / "quarantine" / "more" / "x y.csv").read_bytes() == b"more"


@pytest.mark.parametrize("name", [
    "", "..", ".", "/etc/passwd", "a/../../b", "a//b", "a/./b", ".git/hooks/post-checkout",
    "x/.git/config", ".dvc/config", "a\0b", 3, None, ["a"],
])  # fmt: skip
def test_a_name_that_is_none_is_refused(name: object) -> None:
    entry = {"md5": "0" * 32, "relpath": name}
    with pytest.raises(Corrupt, match="the listing of the data folder is refused"):
        listing.checked(json.dumps([entry]).encode())


@pytest.mark.parametrize("digest", ["../../../x", "0" * 31, "0" * 32 + ".dir", "A" * 32, 1, None])
def test_a_digest_that_is_none_is_refused(digest: object) -> None:
    with pytest.raises(Corrupt, match="the listing of the data folder is refused"):
        listing.checked(json.dumps([{"md5": digest, "relpath": "a"}]).encode())


@pytest.mark.parametrize(
    "text", ['{"a": 1}', "[1]", "null", "", "[" * 100_000, '[{"relpath": "a"}]',
             '[{"relpath": "a", "md5": "' + "0" * 32 + '", "remote": "x"}]'],
)  # fmt: skip
def test_what_is_no_listing_is_refused(text: str) -> None:
    with pytest.raises(Corrupt, match="the listing of the data folder is refused"):
        listing.checked(text.encode())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda v: v["outs"][0].update(path="../elsewhere"), "is about '../elsewhere'"),
        (lambda v: v["outs"][0].update(path="/etc"), "is about '/etc'"),
        (lambda v: v.update(wdir=".."), "has the key 'wdir'"),
        (lambda v: v.update(deps=[{"path": "/etc/passwd"}]), "has the key 'deps'"),
        (lambda v: v["outs"][0].update(files=[{"relpath": "../x"}]), "has the key 'files'"),
        (lambda v: v["outs"].append({**v["outs"][0], "path": ".git"}), "more than one folder"),
    ],
)
def test_a_pointer_to_something_else_is_refused(
    clone: Path, change: Callable[[dict[str, Any]], object], why: str
) -> None:
    value = yaml.safe_load((clone / "data.dvc").read_text())
    change(value)
    (clone / "data.dvc").write_text(yaml.safe_dump(value))
    kit.git(clone, "commit", "--quiet", "--all", "-m", "data: elsewhere")
    before = sorted(path.name for path in clone.parent.iterdir())
    for command in (retrain.fn, ingest.fn):
        with pytest.raises(Corrupt, match=why):
            command(str(clone))
    assert sorted(path.name for path in clone.parent.iterdir()) == before


def test_nothing_is_written_through_a_link(clone: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (clone / "data").mkdir()
    (clone / "data" / "experiences").symlink_to(outside)
    with pytest.raises(Corrupt, match="experiences is a link; nothing is written through it"):
        data_versions.pull(config.read(clone))
    assert not list(outside.iterdir())
    (clone / "data" / "experiences").unlink()
    (clone / "data").rmdir()
    (clone / "data").symlink_to(outside)
    with pytest.raises(ConfigError, match=r"data\.path = 'data': .* is a link to"):
        retrain.fn(str(clone))
    assert not list(outside.iterdir())


def test_the_control_dvc_writes_through_a_link(clone: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (clone / "data").mkdir()
    (clone / "data" / "experiences").symlink_to(outside)
    with Repo(str(clone)) as repo:
        repo.pull(targets=[str(clone / "data.dvc")])
    assert list(outside.iterdir())


def test_a_backup_reads_nothing_else(clone: Path) -> None:
    entry = {"md5": "../../../../etc/passwd", "relpath": "a"}
    text = json.dumps([entry]).encode()
    name = store(clone, text, ".dir")
    pointer = yaml.safe_dump({"outs": [
        {"md5": name, "size": 1, "nfiles": 1, "hash": "md5", "path": "data"}
    ]})  # fmt: skip
    with pytest.raises(Corrupt, match="the digest of 'a'"):
        list(copying.objects_of(pointer, clone / ".perdure" / "dvc-remote"))


@pytest.mark.parametrize("path", ["", ".", "./", "/", "/etc", "..", "../..", "data/../..", ".git",
                                  ".dvc/cache", ".perdure", "a\nb"])  # fmt: skip
def test_the_data_folder_is_in_the_workspace(workspace: Path, path: str) -> None:
    text = (workspace / "perdure.toml").read_text()
    changed = text.replace("[data]\n", f"[data]\npath = {json.dumps(path)}\n")
    (workspace / "perdure.toml").write_text(changed)
    for command in (retrain.fn, ingest.fn):
        with pytest.raises(ConfigError, match=r"data\.path = .*must "):
            command(str(workspace))
