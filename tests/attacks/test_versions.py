"""The files of a version, each replaced by what it should not be: nothing but `Corrupt` follows.

Once as the registry vouches for all of them, and once as in a version of an older Perdure, where it
vouches for the learner alone: there the manifests are made to agree.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from perdure import manifest
from perdure.errors import ConfigError, Corrupt
from perdure.flows import status
from perdure.flows.evaluate import evaluate
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from perdure.flows.verify import verify
from perdure.tasks.registry import codec
from perdure.tasks.serving import Model
from tests.promises import kit

TARGET = 1
"""Neither champion nor challenger: the version that a rollback goes to."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions; every test leaves them as they were."""
    root = kit.make(tmp_path_factory.mktemp("versions") / "workspace")
    retrain.fn(str(root))
    kit.ingest(root, kit.table(2))
    retrain.fn(str(root))
    return root


@pytest.fixture
def folder(root: Path, tmp_path: Path) -> Path:
    """The version folder of an older Perdure, for whose manifest nothing vouches."""
    return _folder(root, tmp_path)


def _folder(root: Path, place: Path) -> Path:
    registry = kit.registry(root)
    there: Path = registry.download(registry.version(TARGET))
    kept = place / "kept"
    if not kept.exists():
        shutil.copytree(there, kept)
    return there


@pytest.fixture(autouse=True)
def _put_back(root: Path, tmp_path: Path, request: pytest.FixtureRequest) -> object:
    there = _folder(root, tmp_path)
    registry, tag = kit.registry(root), codec.MANIFEST
    raw = registry.client.call("get_model_version", kit.MODEL, str(TARGET)).tags[tag]
    before = kit.learners(root)
    yield
    registry.client.call("set_model_version_tag", kit.MODEL, str(TARGET), tag, raw)
    shutil.rmtree(there)
    shutil.copytree(tmp_path / "kept", there)
    assert kit.learners(root) == before, "nothing was changed"
    return


def forget_the_manifest(root: Path) -> None:
    kit.registry(root).client.call(
        "delete_model_version_tag", kit.MODEL, str(TARGET), codec.MANIFEST
    )


def agree(folder: Path) -> None:
    """Write manifests that vouch for what is there now."""
    for one in (folder / "learner", folder):
        (one / manifest.NAME).unlink(missing_ok=True)
        manifest.write(one)


def show(root: Path) -> None:
    status.show(str(root), TARGET)


def measure(root: Path) -> None:
    evaluate.fn(str(root), version=TARGET)


def go_back(root: Path) -> None:
    rollback.fn(str(root), to=TARGET)


def check(root: Path) -> None:
    found = verify(str(root), TARGET)
    if not found.ok:
        raise Corrupt("; ".join(one.detail for one in found.checks if not one.ok))


COMMANDS: tuple[Callable[[Path], None], ...] = (show, measure, go_back, check)
FILES = (
    "serving.json", "model.pt2", "manifest.json", "evaluation/evaluation.json",
    "evaluation/rows.parquet", "learner/learner.json", "learner/manifest.json",
    "learner/weights.safetensors", "learner/features.safetensors",
    "learner/random.torch.safetensors", "learner/memory.replay.safetensors",
)  # fmt: skip
SHOWN = ("evaluation/evaluation.json", "manifest.json")
"""What `show` reads of them."""
DEEP = b'{"format": 1, "sha256": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
WITH: dict[str, bytes] = {
    "nothing": b"",
    "nested": DEEP,
    "another shape": b'{"format": 1, "sha256": {}, "features": {"columns": 3}, "parts": {}}',
    "a list": b"[1, 2]",
    "random": bytes(range(256)) * 16,
}


@pytest.mark.parametrize("what", WITH)
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_something_else(root: Path, folder: Path, name: str, what: str) -> None:
    (folder / name).write_bytes(WITH[what])
    for agreed in (False, True):
        if agreed:
            if name.endswith(manifest.NAME):
                continue
            agree(folder)
        for command in COMMANDS:
            if command is show and name not in SHOWN and not agreed:
                continue
            with pytest.raises(Corrupt):
                command(root)


@pytest.mark.parametrize("what", WITH)
@pytest.mark.parametrize("name", FILES)
def test_and_in_a_version_of_an_older_perdure(
    root: Path, folder: Path, name: str, what: str
) -> None:
    forget_the_manifest(root)
    (folder / name).write_bytes(WITH[what])
    if not name.endswith(manifest.NAME):
        agree(folder)
    for command in COMMANDS:
        if command is show and name not in SHOWN:
            continue
        with pytest.raises(Corrupt):
            command(root)


def test_the_control_an_untouched_version_of_an_older_perdure_is_read(
    root: Path, folder: Path
) -> None:
    forget_the_manifest(root)
    agree(folder)
    show(root)
    measure(root)
    check(root)


@pytest.mark.parametrize("where", ["", "learner"])
@pytest.mark.parametrize(
    "name",
    ["../../../../../../etc/passwd", "/dev/zero", "/etc/passwd", "a/../../b", "", "./a", "a//b",
     "manifest.json", "zero\0", "\ud800"],
)  # fmt: skip
def test_a_manifest_that_leads_elsewhere(root: Path, folder: Path, where: str, name: str) -> None:
    forget_the_manifest(root)
    path = folder / where / manifest.NAME
    value = json.loads(path.read_bytes())
    value["sha256"][name] = "0" * 64
    path.write_text(json.dumps(value))
    if where:
        (folder / manifest.NAME).unlink()
        manifest.write(folder)
    for command in (measure, go_back, check):
        with pytest.raises(Corrupt):
            command(root)


def test_what_is_no_file(root: Path, folder: Path, tmp_path: Path) -> None:
    """A link, a pipe at which a reader would wait for ever, a device that never ends."""
    for name in ("manifest.json", "evaluation/evaluation.json", "learner/learner.json"):
        path = folder / name
        for make in (
            lambda p: p.symlink_to("/dev/zero"),
            os.mkfifo,
            lambda p: p.mkdir(),
            lambda p: p.symlink_to(p.with_name("itself")),
        ):
            content = path.read_bytes()
            path.unlink()
            make(path)
            for command in COMMANDS:
                if command is show and name not in SHOWN:
                    continue
                with pytest.raises(Corrupt):
                    command(root)
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
            path.write_bytes(content)
    moved = shutil.move(folder / "evaluation", tmp_path / "evaluation")
    (folder / "evaluation").symlink_to(moved)
    for command in COMMANDS:
        with pytest.raises(Corrupt):
            command(root)
    (folder / "evaluation").unlink()
    shutil.move(moved, folder / "evaluation")


def test_folders_in_folders(
    root: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for _ in range(1500):
        Path("x").mkdir()
        os.chdir("x")
    os.chdir(tmp_path)
    try:
        for command in (measure, go_back, check):
            with pytest.raises(Corrupt):
                command(root)
    finally:
        subprocess.run(["rm", "-r", str(folder / "x")], check=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.pop("matrix"),
        lambda v: v["matrix"]["values"].append([]),
        lambda v: v.update(rows="many"),
        lambda v: v["candidate"].update(average={"[/nothing]": 1.0}),
        lambda v: v["candidate"].update(new=[1]),
        lambda v: v.update(rows=True),
        lambda v: v.update(drift={"columns": [{}], "reasons": []}),
        lambda v: v.update(arrival={"standings": [{"version": "one"}]}),
        lambda v: v["baseline"].update(accuracy=10**400),
        lambda v: v.update(comparisons={"new": {"metric": 3}}),
    ],
)
def test_numbers_of_another_shape(
    root: Path, folder: Path, change: Callable[[dict[str, object]], object]
) -> None:
    forget_the_manifest(root)
    path = folder / "evaluation" / "evaluation.json"
    value = json.loads(path.read_bytes())
    change(value)
    path.write_text(json.dumps(value))
    agree(folder)
    for command in COMMANDS:
        with pytest.raises(Corrupt, match="is no evaluation"):
            command(root)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.drop(columns="a"),
        lambda rows: rows.drop(columns="_experience"),
        lambda rows: rows.head(0),
        lambda rows: rows.assign(a="much"),
        lambda rows: rows.assign(colour=1),
        lambda rows: rows.assign(kind="perhaps"),
        lambda rows: rows.assign(_experience=7),
    ],
)
def test_rows_of_another_table(
    root: Path, folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    forget_the_manifest(root)
    path = folder / "evaluation" / "rows.parquet"
    change(pd.read_parquet(io.BytesIO(path.read_bytes()))).to_parquet(path, index=False)
    agree(folder)
    with pytest.raises(Corrupt, match=r"rows\.parquet is not what stands in a version"):
        measure(root)


@pytest.mark.parametrize("name", ["serving.json", "model.pt2"])
def test_nothing_is_served_of_it(root: Path, folder: Path, name: str) -> None:
    Model(folder)
    for replaced in (*WITH.values(), b'{"features": {"columns": [], "labels": [[]]}}'):
        (folder / name).write_bytes(replaced)
        agree(folder)
        with pytest.raises(Corrupt):
            Model(folder)


def test_features_that_are_not_the_learners(root: Path, folder: Path) -> None:
    forget_the_manifest(root)
    path = folder / "serving.json"
    path.write_text(path.read_text().replace('"yes"', '"maybe"'))
    agree(folder)
    for command in (measure, go_back, check):
        with pytest.raises(Corrupt, match="are not those of the learner"):
            command(root)


def test_a_learner_of_another_version(root: Path, folder: Path) -> None:
    """A whole and readable one: only the registry knows that it is another."""
    registry = kit.registry(root)
    other = registry.download(registry.version(2)) / "learner"
    forget_the_manifest(root)
    shutil.rmtree(folder / "learner")
    shutil.copytree(other, folder / "learner")
    (folder / manifest.NAME).unlink()
    manifest.write(folder)
    for command in (measure, go_back, check):
        with pytest.raises(Corrupt, match="other weights, state, cursor"):
            command(root)


def test_what_surrounds_a_version(root: Path, folder: Path) -> None:
    model = folder.parents[1]
    for path in sorted(one for one in model.iterdir() if one.is_file()):
        content = path.read_bytes()
        for replaced in WITH.values():
            path.write_bytes(replaced)
            for command in COMMANDS:
                with pytest.raises(Corrupt):
                    command(root)
        path.write_bytes(content)


def test_a_rollback_to_what_cannot_be_learned_from(root: Path) -> None:
    text = (root / "perdure.toml").read_text()
    (root / "perdure.toml").write_text(text.replace("hidden = [8]", "hidden = [9]"))
    before = kit.learners(root)
    try:
        with pytest.raises(ConfigError, match=r"model\.parameters .*\[9\].*made with .*\[8\]"):
            go_back(root)
    finally:
        (root / "perdure.toml").write_text(text)
    assert kit.learners(root) == before


def test_a_rollback_needs_no_torch(root: Path, tmp_path: Path) -> None:
    """It takes seconds to load, in the minute where they count."""
    copy = shutil.copytree(root, tmp_path / "workspace", symlinks=True)
    script = f"""
import sys
from perdure.flows.rollback import rollback
assert rollback.fn({str(copy)!r}, to={TARGET}).changed
assert not {{"torch", "avalanche"}} & set(sys.modules)
"""
    subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
