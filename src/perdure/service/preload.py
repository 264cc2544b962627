"""Imports everything that a retraining needs: importing this module does it.

It is the preload of a worker's forkserver (`forkserver.py`), and of no other process. It takes ten
seconds of a core. A module that cannot be imported costs its flow runs time, and no more.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from contextlib import suppress

MODULES = (
    "perdure.service.job",
    "prefect.flow_engine",
    "perdure.flows.retrain",
    "perdure.flows.rollback",
    "perdure.flows.promote",
    "perdure.flows.evaluate",
    "perdure.tasks.registry.changes",
    "perdure.tasks.registry.versions",
    "perdure.strategies.training.engine",
    "perdure.strategies.export.graph",
    *(f"perdure.strategies.{name}" for name in ("agem", "derpp", "gdumb", "gem", "icarl")),
    "torch.export._trace",
    "torch._inductor.ir",
    "sklearn.metrics",
    "mlflow.tracking.client",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "sqlalchemy.dialects.sqlite",
    "dvc.repo",
    "dvc.fs",
    "dvc.scm",
    "git",
    "networkx",
    "pyarrow.dataset",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
)


def load() -> None:
    """Import the modules, and keep the pages that forks share from being copied."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the worker
    with suppress(PermissionError):
        os.setsid()
    for module in MODULES:
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - whatever it is, the forkserver must live
            print(f"{module} is not preloaded: {error!r}", file=sys.stderr)  # noqa: T201
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page that it looks at


load()
