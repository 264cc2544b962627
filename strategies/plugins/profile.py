"""Some steps of a training under `torch.profiler`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import profiler

from perdure.strategies.plugins.base import Plugin

TRACE, TABLE = "trace.json", "operators.txt"
SKIPPED, STEPS = 10, 20
"""Batches before it starts, for the first ones are slow in ways of their own, and batches that
are recorded; fewer are skipped where there are not as many."""
_ROWS = 40


class Profile(Plugin):
    """Record some batches: a Chrome trace, and a table of what took most time.

    Args:
        folder: Where both are written; it is made.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._first = self._done = 0
        self._profiler: profiler.profile | None = None

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """When to start."""
        total = strategy.train_epochs * len(strategy.dataloader)
        self._first = max(0, min(SKIPPED, total - STEPS))

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Start, if it is time."""
        if self._done == self._first:
            # Else torch's tracer writes lines of its own to stderr.
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")
            kinds = [profiler.ProfilerActivity.CPU]
            if strategy.device.type == "cuda":
                kinds.append(profiler.ProfilerActivity.CUDA)
            self._profiler = profiler.profile(activities=kinds, record_shapes=True)
            self._profiler.start()
            self._kind = strategy.device.type

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """End, if it is time."""
        self._done += 1
        if self._done == self._first + STEPS:
            self._write()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """End, where there were fewer batches."""
        self._write()

    def close(self) -> None:
        """Stop recording, whatever happened; writes nothing."""
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None

    def _write(self) -> None:
        recorded = self._profiler
        if recorded is None:
            return
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        recorded.export_chrome_trace(str(self._folder / TRACE))
        order = "self_cuda_time_total" if self._kind == "cuda" else "self_cpu_time_total"
        table = recorded.key_averages().table(sort_by=order, row_limit=_ROWS)
        batches = self._done - self._first
        (self._folder / TABLE).write_text(f"{batches} batches\n{table}\n", encoding="utf-8")
