"""A registry with a history, for tests of notices."""

from __future__ import annotations

import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

from perdure import config
from perdure.config import Workspace
from perdure.flows import decisions
from perdure.flows.line import line
from perdure.records import Reason, Verdict
from perdure.service.notify import dispatch
from perdure.tasks.registry import Registry
from perdure.tasks.registry.client import sqlite_path
from tests.service.notify.receivers import Letterbox
from tests.tasks.version_kit import bare_versions

NO = Verdict(
    "refused", (Reason("floor", "refused", "accuracy", 0.4, 0.5, None, "0.4 is below 0.5"),)
)
BY = "ada"
AT = "2026-11-21T19:00:00+00:00"


def workspace(
    root: Path, *entries: str, uri: str | None = None, model: str = "weather"
) -> Workspace:
    text = f'[model]\nname = "{model}"\n[data]\ntarget = "kind"\ntask = "classification"\n'
    text += f'[tracking]\nuri = "{uri}"\n' if uri else ""
    text += "".join(f"[[notify]]\n{entry}\n" for entry in entries)
    root.mkdir(exist_ok=True)
    (root / "perdure.toml").write_text(text)
    return config.read(root)


def to(box: Letterbox, *on: str) -> str:
    chosen = f"on = {json.dumps(on)}" if on else ""
    return f'kind = "webhook"\nurl = "{box.url}"\n{chosen}'


def versions(ws: Workspace) -> Registry:
    """A registry with versions that a real history can be made of.

    MLflow takes seconds to make a database: one is made, and copied.
    """
    registry = Registry(ws)
    path = sqlite_path(registry.client.uri)
    assert path is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    template = Path(os.environ["HOME"]) / "with-versions"
    if not template.exists():
        made = workspace(template)
        bare_versions(Registry(made), 4)
    shutil.copyfile(template / ".perdure" / "mlflow.db", path)
    return registry


def promote(registry: Registry, number: int) -> None:
    now = registry.read()
    ancestors = line(registry, now.challenger)
    version = registry.version(number)
    registry.apply(decisions.promoted_by_hand(now, version, False, "why", BY, ancestors))


def refuse(registry: Registry, number: int) -> None:
    now = registry.read()
    registry.apply(decisions.refused(now, registry.version(number), NO, BY))


def roll_back(registry: Registry, number: int) -> None:
    now = registry.read()
    registry.apply(decisions.rolled_back(now, registry.version(number), "bad", False, BY))


def received(box: Letterbox) -> list[tuple[str, Any]]:
    return [(post["event"], post["version"]) for post in box.posts]


def send_at_once(*workspaces: Workspace) -> int:
    """Send from several threads that begin at once; return how many notices they sent."""
    together = threading.Barrier(len(workspaces))

    def one(ws: Workspace) -> int:
        together.wait(60)
        return dispatch.send_pending(ws)

    with ThreadPoolExecutor(len(workspaces)) as pool:
        # With Prefect's settings, which belong to a context.
        sent = [pool.submit(copy_context().run, one, ws) for ws in workspaces]
        return sum(each.result() for each in sent)
