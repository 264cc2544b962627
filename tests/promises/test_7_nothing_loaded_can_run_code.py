"""Promise 7. No pickle is read or written, anywhere; what is loaded is data."""

from __future__ import annotations

import ast
import io
import os
import pickle  # noqa: TID251 - to plant what must not run
import pickletools
import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest

from perdure import manifest
from perdure.errors import PerdureError
from perdure.flows.evaluate import evaluate
from perdure.flows.ingest import ingest
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from tests.promises import kit
from tests.promises.grown import Grown

REPOSITORY = Path(__file__).parents[2]
ROOMS = ("flows", "tasks", "strategies", "src/perdure", "benchmarks")
MODULES = frozenset(
    [
        "pickle",
        "cPickle",
        "_pickle",
        "dill",
        "cloudpickle",
        "joblib",
        "shelve",
        "marshal",
        "jsonpickle",
        "runpy",
    ]
)
CALLS = frozenset(["eval", "exec", "compile", "__import__"])
MEANT = {
    # `model.factory = "path/to/file.py:function"`: the user's own file, in his own workspace.
    "strategies/own_code.py": ["compile()", "exec()"],
    # `python -m prefect.engine`: Prefect's engine.
    "src/perdure/service/job.py": ["import runpy"],
}
ATTRIBUTES = frozenset(["read_pickle", "to_pickle", "full_load", "unsafe_load", "allow_pickle"])


class Marker:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def pickles(name: str, content: bytes) -> Iterator[str]:
    """The pickles in a file, also inside archives inside archives."""
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.namelist():
                yield from pickles(f"{name}!{entry}", archive.read(entry))
    elif Path(name).suffix in {".pkl", ".pickle", ".joblib", ".dill"} or _is_pickle(content):
        yield name


def _is_pickle(content: bytes) -> bool:
    if content[:1] != b"\x80" and len(content) > 100_000:
        return False
    try:
        return len(list(pickletools.genops(content))) > 1
    except Exception:  # noqa: BLE001 - whatever pickletools says of what is none
        return False


def test_the_search_finds_pickles() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert list(pickles("x", pickle.dumps({"a": [1]}, protocol)))
    inner, outer = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("data.bin", pickle.dumps([1, 2]))
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("model.pt", inner.getvalue())
    assert list(pickles("x", outer.getvalue())) == ["x!model.pt!data.bin"]
    assert not list(pickles("x", b'{"a": 1}'))


def test_nothing_that_a_retraining_writes_is_a_pickle(grown: Grown) -> None:
    files = [path for path in sorted(grown.root.rglob("*")) if path.is_file()]
    names = {path.name for path in files}
    assert {"model.pt2", "manifest.json", "rows.parquet", "MLmodel", "mlflow.db"} <= names
    assert any(name.endswith(".safetensors") for name in names)
    assert len(files) > 100
    found = [one for path in files for one in pickles(str(path), path.read_bytes())]
    assert found == []


def told_not_to(tree: ast.AST) -> Iterator[ast.AST]:
    """`np.load(…, allow_pickle=False)`: arrays that users bring, with the switch in plain sight."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.load":
            for word in node.keywords:
                if word.arg == "allow_pickle" and ast.unparse(word.value) == "False":
                    yield from (node.func, word)


def forbidden(tree: ast.AST) -> Iterator[str]:
    """What in a module could run what it reads."""
    allowed = list(told_not_to(tree))
    for node in ast.walk(tree):
        if node in allowed:
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{a.name}" for a in node.names)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in CALLS:
                yield f"{node.func.id}()"
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr in ATTRIBUTES or (owner, node.attr) in {
                ("torch", "load"), ("torch", "save"), ("yaml", "load"), ("np", "load"),
            }:  # fmt: skip
                yield f"{owner}.{node.attr} on line {node.lineno}"
        elif isinstance(node, ast.keyword) and node.arg in {"allow_pickle", "weights_only"}:
            yield f"{node.arg}= on line {node.lineno}"
        for name in names:
            if MODULES & set(name.split(".")):
                yield f"import {name} on line {getattr(node, 'lineno', 0)}"


def test_no_module_of_ours_can() -> None:
    modules = sorted({p.resolve() for room in ROOMS for p in (REPOSITORY / room).rglob("*.py")})
    assert len(modules) > 70
    found = {
        str(path.relative_to(REPOSITORY)): [
            re.sub(r"(import runpy) on line \d+", r"\1", one)
            for one in forbidden(ast.parse(path.read_bytes()))
        ]
        for path in modules
    }
    assert {path: faults for path, faults in found.items() if faults} == MEANT


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import load",
        "from sklearn.externals import joblib",
        "import torch; torch.load('x')",
        "eval('1')",
        "import pandas as pd; pd.read_pickle('x')",
        "import numpy as np; np.load('x', allow_pickle=True)",
        "import numpy as np; np.load('x')",
        "import numpy as np; np.load('x', allow_pickle=False); np.load('y')",
        "f('x', allow_pickle=False)",
    ],
)
def test_the_scan_sees(text: str) -> None:
    assert list(forbidden(ast.parse(text)))


def test_a_planted_pickle_is_not_run(workspace: Path, tmp_path: Path) -> None:
    """Each file of a version in turn, with a manifest that agrees."""
    retrain.fn(str(workspace))
    kit.ingest(workspace, kit.table(2))
    registry = kit.registry(workspace)
    folder = registry.download(registry.version(1))
    marker = tmp_path / "it ran"
    payload = pickle.dumps(Marker(marker))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        for name in ("data.pkl", "archive/data.pkl", "version", "models/model.json"):
            made.writestr(name, payload)

    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "manifest.json"]
    assert len(files) >= 6
    for path in files:
        content = path.read_bytes()
        for planted in (payload, archive.getvalue()):
            path.write_bytes(planted)
            manifest.write(folder)
            for use in (_predict, _retrain, _evaluate, _roll_back):
                # Refused, in whatever words; test_packaging says which.
                with suppress(PerdureError, ValueError, OSError, RuntimeError, KeyError):
                    use(workspace, folder)
                assert not marker.exists(), f"{use.__name__} ran what stood in {path}"
        path.write_bytes(content)
        manifest.write(folder)

    pickle.loads(payload)  # noqa: S301 - the control: it would have
    assert marker.exists()


def _predict(_root: Path, folder: Path) -> None:
    from perdure.tasks import serving

    serving._load_pyfunc(str(folder)).predict(
        pd.DataFrame({"a": [0.5], "b": [1.0], "colour": ["red"]})
    )


def _retrain(root: Path, _folder: Path) -> None:
    retrain.fn(str(root))


def _evaluate(root: Path, _folder: Path) -> None:
    evaluate.fn(str(root), version=1)


def _roll_back(root: Path, _folder: Path) -> None:
    rollback.fn(str(root), to=1)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "pkl"])
def test_a_pickle_in_the_inbox_goes_to_quarantine(
    workspace: Path, tmp_path: Path, suffix: str
) -> None:
    marker = tmp_path / "it ran"
    (workspace / "inbox" / f"new.{suffix}").write_bytes(pickle.dumps(Marker(marker)))
    [one] = ingest.fn(str(workspace)).files
    assert one.outcome == "quarantined"
    assert not marker.exists()
