"""Put a version folder together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import perdure
from perdure import manifest
from perdure.config import Workspace
from perdure.reading.rules import Rules
from perdure.records import Evaluation, to_json
from perdure.tasks.packaging.layout import EVALUATION, LEARNER, MODEL, ROWS, SERVING, columns_of

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from perdure.strategies.features.columns import FeatureSpec

PROBE = 256
"""Rows, at most, that the exported graph is compared with the learner on."""


def package(
    workspace: Workspace,
    learner: Path,
    rows: pd.DataFrame,
    evaluation: Evaluation,
    folder: Path,
    rules: Mapping[str, Rules] | None = None,
) -> Path:
    """Put a version folder together around a saved learner.

    Args:
        workspace: Says how to rebuild the learner's model.
        learner: A saved learner; copied, unless it is `folder/learner` already.
        rows: The evaluation rows, raw columns.
        evaluation: The numbers of this learning step.
        folder: Where to put it; made if missing.
        rules: What the schema asks of each feature's values, to be asked when it is served.

    Returns:
        `folder`, complete and with its manifest.

    Raises:
        ConfigError: The model cannot be exported for serving.
        Corrupt: The learner is incomplete.
    """
    from perdure.strategies.learner.learner import Learner
    from perdure.strategies.training import devices

    loaded = Learner.load(learner, workspace.config, workspace.root)
    if learner.resolve() != (folder / LEARNER).resolve():
        shutil.copytree(learner, folder / LEARNER)
    with devices.threads(workspace.config.training.threads):
        return assemble(folder, loaded.spec, loaded.inference(), rows, evaluation, rules)


def assemble(
    folder: Path,
    spec: FeatureSpec,
    module: nn.Module,
    rows: pd.DataFrame,
    evaluation: Evaluation,
    rules: Mapping[str, Rules] | None = None,
) -> Path:
    """Write everything but the learner, and the manifest last.

    Args:
        folder: Holds `learner/`.
        spec: The features.
        module: What `features.encode` gives to predictions, on the CPU.
        rows: The evaluation rows, raw columns; at least one.
        evaluation: The numbers of this learning step.
        rules: What is asked of each feature's values when it is served.
    """
    from perdure.strategies.export import graph
    from perdure.strategies.features.encoding import encode

    (folder / EVALUATION).parent.mkdir(parents=True, exist_ok=True)
    asked = {name: one.to_json() for name, one in (rules or {}).items()}
    serving = {"perdure": perdure.__version__, "features": spec.to_json(), "rules": asked}
    _json(folder / SERVING, serving)
    _json(folder / EVALUATION, to_json(evaluation), indent=None)  # the matrix: 10,000 cells
    rows.to_parquet(folder / ROWS, index=False, compression="zstd")
    columns = columns_of(spec, rows.head(PROBE))
    graph.export(module, encode(spec, columns), folder / MODEL)
    manifest.write(folder)
    return folder


def _json(path: Path, value: Any, indent: int | None = 1) -> None:
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
