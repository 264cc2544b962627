"""The folder of a workspace: which one it is, its configuration, and who works in it."""

from __future__ import annotations

import getpass
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from perdure import config
from perdure.config import Workspace

logger = logging.getLogger("perdure")


WORKSPACE = "PERDURE_WORKSPACE"
"""Names the workspace where the working directory is none, as in a worker's flow run."""


def root_of(workspace: str) -> Path:
    """The folder of a workspace, absolute.

    Args:
        workspace: As given; `.` is the working directory if it is a workspace, else the folder
            that `PERDURE_WORKSPACE` names.
    """
    here = Path(workspace)
    named = os.environ.get(WORKSPACE)
    if named and here == Path() and not (here / config.CONFIG_NAME).exists():
        here = Path(named)
    return here.resolve()


def open_workspace(root: str, checks: Sequence[config.Check] = ()) -> Workspace:
    """Read the configuration of the workspace in a folder.

    Args:
        root: The folder.
        checks: What else must be right about it.

    Raises:
        UsageError: There is no workspace.
        ConfigError: With every fault and its key.
    """
    return config.read(root_of(root), checks)


@contextmanager
def scratch(ws: Workspace) -> Iterator[Path]:
    """A folder for one learning step; gone afterwards."""
    place = ws.state / "scratch"
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


def clear_scratch(ws: Workspace) -> None:
    """Remove what killed processes left. Needs the model's lock."""
    shutil.rmtree(ws.state / "scratch", ignore_errors=True)


def clear_parts(ws: Workspace) -> None:
    """Remove the files that a killed ingest was writing. Needs the data lock."""
    shutil.rmtree(ws.state / "tmp", ignore_errors=True)


def actor() -> str:
    """Who acts, for the history: `PERDURE_USER`, or the name of the account."""
    if name := os.environ.get("PERDURE_USER"):
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in some containers
        return f"uid {os.getuid()}"
