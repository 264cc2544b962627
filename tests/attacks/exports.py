"""Every body and every way to predict that there is, small, as what is exported for serving."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export.pt2_archive._package import PT2ArchiveReader

from perdure.config import Task
from perdure.reading.formats import SEEN
from perdure.strategies.export import archive, graph
from perdure.strategies.features.columns import Column, FeatureSpec
from perdure.strategies.features.encoding import encode
from perdure.strategies.features.modules import Network, Output, Prepare
from perdure.strategies.learner.learner import Learner
from perdure.strategies.models import build
from perdure.strategies.training import engine
from tests.strategies.small import CASES, config_of, once, spec_of, table

Made = tuple[nn.Module, Tensor]
"""A module, and a row that it takes."""

TIMES = Column("at", "time", sees=SEEN)
KINDS = {
    "image": Column("picture", "image", shape=(8, 8, 3)),
    "text": Column("review", "text", length=5, vocabulary=50, width=6),
    "sequence": Column("series", "sequence", length=4),
}
FAMILIES = {
    "alexnet": 64, "convnext_tiny": 32, "densenet121": 32, "efficientnet_b0": 32,
    "efficientnet_v2_s": 32, "googlenet": 32, "inception_v3": 75, "maxvit_t": 224,
    "mnasnet0_5": 32, "mobilenet_v2": 32, "mobilenet_v3_small": 32, "regnet_x_400mf": 32,
    "regnet_y_400mf": 32, "resnet18": 32, "resnext50_32x4d": 32, "shufflenet_v2_x0_5": 32,
    "squeezenet1_1": 64, "swin_t": 64, "swin_v2_t": 64, "vgg11": 32, "vgg11_bn": 32,
    "vit_b_32": 32, "wide_resnet50_2": 32,
}  # fmt: skip
"""The smallest of each of torchvision's architectures, and the size of its images, in pixels."""


def _bodies() -> dict[str, Callable[[], Made]]:
    own: list[tuple[str, str, tuple[int, ...], dict[str, Any]]] = [
        ("mlp", "mlp", (6,), {"hidden": [8], "dropout": 0.1}),
        ("mlp, flattened", "mlp", (6, 3), {"hidden": [8]}),
        ("cnn", "cnn", (3, 11, 21), {"widths": [8, 16], "dropout": 0.1}),
        ("lstm", "lstm", (6, 3), {"hidden": 8, "layers": 2, "dropout": 0.1}),
        ("lstm, one way", "lstm", (6, 3), {"hidden": 8, "bidirectional": False}),
        ("transformer", "transformer", (6, 3), {"width": 16, "heads": 2, "feed_forward": 16}),
        ("transformer, class", "transformer", (6, 3),
         {"width": 16, "layers": 1, "positions": "learned", "pooling": "class"}),
    ]  # fmt: skip
    for name, size in FAMILIES.items():
        own.append((name, name, (3, size, size), {}))
    own.append(("scaled, grey, group", "resnet18", (1, 16, 16), {"size": 32, "norm": "group"}))
    return {label: partial(_body, name, shape, more) for label, name, shape, more in own}


def _body(name: str, shape: tuple[int, ...], parameters: dict[str, Any]) -> Made:
    inputs: Any = shape[0] if len(shape) == 1 else shape
    return build(name, inputs, 3, parameters, Path()), torch.rand(1, *shape)


def _features(column: Column, task: Task) -> Made:
    """From one column of a kind to predictions, with a body of one layer."""
    spec = FeatureSpec((column,), "y", task, ("no", "yes") if task == "classification" else ())
    body = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(Network.inputs(spec)), spec.outputs))  # type: ignore[arg-type]  # these have a shape
    return nn.Sequential(Prepare(spec), Network(spec, body), Output(task)), _raw(spec)


def _raw(spec: FeatureSpec) -> Tensor:
    values: dict[str, Any] = {
        "image": bytes(8 * 8 * 3), "text": "one two", "sequence": np.array([1.0, 2.0])
    }  # fmt: skip
    column = np.empty(1, dtype=object)
    column[0] = values[spec.kind]
    return encode(spec, {spec.columns[0].name: column})


def _learner(case: str, task: Task) -> Made:
    return once(case, 2, task).inference(), encode(spec_of(task), table(0, task)[0])[:1]


def _table(model: dict[str, Any]) -> Made:
    """A table with numbers, a category and a time, and what `[model]` asks for."""
    columns = (Column("a", "number"), Column("site", "category", ("north", "south")), TIMES)
    spec = FeatureSpec(columns, "y", "classification", ("no", "yes"))
    rng = np.random.default_rng(0)
    rows = {
        "a": rng.normal(size=60),
        "site": rng.choice(np.array(["north", "south"], dtype=object), 60),
        "at": rng.uniform(1.6e9, 1.7e9, 60),
    }
    target = np.where(rows["a"] > 0, "yes", "no").astype(object)
    config = config_of(["naive"], epochs=1, model={"parameters": {"hidden": [8]}, **model})
    learner = Learner.new(spec, config, Path("nowhere"), rows, target)
    engine.learn(learner, "1", rows, target, rows, target, config)
    return learner.inference(), encode(spec, rows)[:1]


EXPORTS: dict[str, Callable[[], Made]] = {
    "table": partial(_table, {}),
    "table, bins": partial(_table, {"bins": 4}),
    "table, heads": partial(_table, {"heads": "site"}),
    **{kind: partial(_features, column, "classification") for kind, column in KINDS.items()},
    "regression": partial(_learner, "naive", "regression"),
    **_bodies(),
    **{f"predicts by {case}": partial(_learner, case, "classification") for case in CASES},
}


def saved(module: nn.Module, row: Tensor) -> bytes:
    """The bytes of the `model.pt2` of a module that takes such rows."""
    file = io.BytesIO()
    torch.export.save(graph.traced(module, row), file)
    return file.getvalue()


def program(data: bytes) -> dict[str, Any]:
    """The graph in a `model.pt2`, as JSON."""
    with PT2ArchiveReader(io.BytesIO(data)) as reader:
        found: dict[str, Any] = json.loads(reader.read_bytes(archive.MODEL))
    return found
