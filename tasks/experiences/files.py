"""Files that are there whole or not at all, under names that do no harm."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perdure import atomic
from perdure.config import Workspace
from perdure.errors import Fault


@contextmanager
def writing(ws: Workspace, path: Path) -> Iterator[Path]:
    """A scratch file that becomes `path` when the context ends well: whole, and on the disk.

    Raises:
        Fault: The disk is full or read-only.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        (ws.state / "tmp").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=ws.state / "tmp") as folder:
            part = Path(folder) / path.name
            yield part
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
        atomic.sync(path.parent)
    except OSError as error:
        raise Fault(f"{path} cannot be written: {error}", hint="is the disk full?") from error
