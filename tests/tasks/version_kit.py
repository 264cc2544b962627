"""A small trained-looking model, its version folder, and registries in temporary folders."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from perdure.config import Workspace, parse
from perdure.records import (
    DataRevision,
    Epoch,
    Evaluation,
    Lineage,
    Matrix,
    Measured,
    Trained,
    Version,
)
from perdure.strategies.features.columns import Column, FeatureSpec
from perdure.strategies.features.encoding import encode
from perdure.strategies.features.modules import Network, Output, Prepare
from perdure.tasks import packaging
from perdure.tasks.registry import Registry, codec

EXPERIENCE = "000001-aaaaaaaa"
AT = "2026-01-02T03:04:05+00:00"
SPEC = FeatureSpec(
    columns=(
        Column("height", "number"),
        Column("weight", "number"),
        Column("town", "category", ("Bergen", "Oslo", "17")),
    ),
    target="kind",
    task="classification",
    labels=("no", "yes"),
)


def workspace(root: Path, name: str = "weather", uri: str | None = None) -> Workspace:
    text = f'[model]\nname = "{name}"\n[data]\ntarget = "kind"\ntask = "classification"\n'
    return Workspace(root, parse(text + (f'[tracking]\nuri = "{uri}"\n' if uri else "")))


def frame(count: int, seed: int = 0) -> pd.DataFrame:
    chance = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            "height": chance.normal(2.0, 3.0, count),
            "weight": chance.normal(size=count),
            "town": chance.choice(np.array(["Bergen", "Oslo"], dtype=object), count),
            "kind": chance.choice(np.array(["no", "yes"], dtype=object), count),
        }
    )
    rows.loc[rows.index[::7], "height"] = np.nan
    return rows.assign(_experience=EXPERIENCE, _key=np.arange(count, dtype=np.uint64))


def columns(rows: pd.DataFrame, spec: FeatureSpec = SPEC) -> dict[str, Any]:
    kinds = {column.name: column.kind for column in spec.columns}
    return {
        name: rows[name].to_numpy(dtype=np.float64 if kind == "number" else object)
        for name, kind in kinds.items()
    }


def module(spec: FeatureSpec = SPEC) -> nn.Module:
    torch.manual_seed(7)
    prepare, output = Prepare(spec), Output(spec.task)
    prepare.fit(encode(spec, columns(frame(60), spec)))
    body = nn.Sequential(nn.Linear(_width(spec), 8), nn.ReLU(), nn.Linear(8, spec.outputs))
    last = body[2]
    with torch.no_grad():
        # So that predictions differ from row to row.
        last.bias.zero_()  # type: ignore[operator]
        last.weight.mul_(8.0)  # type: ignore[operator]
    return nn.Sequential(prepare, Network(spec, body), output).eval()


def evaluation() -> Evaluation:
    metrics = {"accuracy": 0.9, "log_loss": 0.3}
    return Evaluation(
        metric="accuracy",
        candidate=Measured({EXPERIENCE: metrics}, metrics, {"accuracy": 0.8}, metrics),
        champion=Measured({EXPERIENCE: metrics}, metrics, None, {"accuracy": 0.7}),
        baseline={"accuracy": 0.5},
        prequential={"accuracy": 0.6},
        matrix=Matrix("accuracy", ("000000-ffffffff", EXPERIENCE), ((0.8, None), (0.75, 0.9))),
        forgetting=0.05,
        backward_transfer=-0.05,
        rows=60,
    )


TRAINED = Trained((Epoch(1, 0.5, 0.6), Epoch(2, 0.4, None)), rows=100, seconds=1.5)


def version_folder(folder: Path, spec: FeatureSpec = SPEC) -> Path:
    (folder / "learner").mkdir(parents=True)
    (folder / "learner" / "learner.json").write_text("{}")
    return packaging.assemble(folder, spec, module(spec), frame(60), evaluation())


LINEAGE = Lineage(
    learning_key="a" * 64,
    parent=None,
    experience=EXPERIENCE,
    weights_sha256="b" * 64,
    state_sha256="c" * 64,
    cursor=(EXPERIENCE,),
    data=DataRevision("d" * 40, None),
    code=None,
    strategy=("ewc", "replay"),
)


def register(registry: Registry, folder: Path, **more: Any) -> Version:
    """Register a version; `more` replaces fields of the lineage and arguments of `register`."""
    fields = {field.name for field in dataclasses.fields(Lineage)}
    lineage = dataclasses.replace(LINEAGE, **{k: v for k, v in more.items() if k in fields})
    others = {k: v for k, v in more.items() if k not in fields}
    return registry.register(
        folder, lineage, **{"evaluation": evaluation(), "trained": TRAINED, **others}
    )


def bare_versions(registry: Registry, count: int, source: str = "file:///nowhere") -> None:
    """Versions with their tags but without artifacts: enough for aliases and history."""
    registry.client.call("create_registered_model", registry.name)
    for number in range(1, count + 1):
        lineage = dataclasses.replace(
            LINEAGE, learning_key=f"{number:064d}", parent=number - 1 or None
        )
        registry.client.call(
            "create_model_version",
            registry.name,
            source,
            tags=codec.version_tags(lineage, codec.score(evaluation())),
        )


def plain(version: Version | None) -> Version | None:
    """A version without what differs from one registration to the next."""
    return version and dataclasses.replace(version, run_id="", created_at="")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _width(spec: FeatureSpec) -> int:
    """Of a table: what a body gets of a row."""
    width = Network.inputs(spec)
    assert isinstance(width, int)
    return width
