"""Where Prefect's server of `perdure up` keeps its concurrency leases: a folder of its own.

Prefect's storage on the file system knows one folder, in the user's home of Prefect. Two
servers there would take each other's leases for expired ones of their own.
"""

from __future__ import annotations

import os
from pathlib import Path

from prefect.server.concurrency.lease_storage import filesystem

FOLDER = "PERDURE_PREFECT_LEASES"
"""Environment variable of the server's process that names the folder."""


class ConcurrencyLeaseStorage(filesystem.ConcurrencyLeaseStorage):
    """Prefect's storage on the file system, in the folder that `FOLDER` names."""

    def __init__(self, storage_path: Path | None = None) -> None:
        named = os.environ.get(FOLDER)
        super().__init__(storage_path or (Path(named) if named else None))
