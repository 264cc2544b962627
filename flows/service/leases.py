"""Where Prefect's server of `perdure up` keeps its concurrency leases: a folder of its own.

Prefect's storage on the file system knows one folder, in the user's home of Prefect. Two
servers there would take each other's leases for expired ones of their own. And it tells by the
time of day what has expired: with a clock that is set back by a day, the slot of a process that
was killed stays taken for a day.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.server.concurrency.lease_storage import filesystem

FOLDER = "PERDURE_PREFECT_LEASES"
"""Environment variable of the server's process that names the folder."""

LONGEST = timedelta(days=1)
"""Prefect's API takes no lease that is longer."""

clock: Callable[[], float] = time.monotonic
"""In seconds; never set back."""

_until: dict[str, float] = {}
"""When each lease ends, by `clock`. Prefect makes a new storage for each request."""


class ConcurrencyLeaseStorage(filesystem.ConcurrencyLeaseStorage):
    """Prefect's storage on the file system, in the folder that `FOLDER` names."""

    def __init__(self, storage_path: Path | None = None) -> None:
        named = os.environ.get(FOLDER)
        super().__init__(storage_path or (Path(named) if named else None))

    async def create_lease(
        self, resource_ids: list[UUID], ttl: timedelta, metadata: Any = None
    ) -> Any:
        """As Prefect's, by a clock that is never set back."""
        lease = await super().create_lease(resource_ids, ttl, metadata)
        _until[str(lease.id)] = clock() + ttl.total_seconds()
        return lease

    async def renew_lease(self, lease_id: UUID, ttl: timedelta) -> bool:
        """The same."""
        renewed = await super().renew_lease(lease_id, ttl)
        if renewed:
            _until[str(lease_id)] = clock() + ttl.total_seconds()
        return renewed

    async def read_lease(self, lease_id: UUID) -> Any:
        """The same, with dates as the clock stands now: Prefect looks at them before it revokes."""
        lease = await super().read_lease(lease_id)
        if lease is not None and (until := _until.get(str(lease_id))) is not None:
            now = datetime.now(UTC)
            lease.expiration = now + timedelta(seconds=until - clock())
            lease.created_at = min(lease.created_at, now)
        return lease

    async def revoke_lease(self, lease_id: UUID) -> None:
        """The same."""
        await super().revoke_lease(lease_id)
        _until.pop(str(lease_id), None)

    async def read_expired_lease_ids(self, limit: int = 100) -> list[UUID]:
        """The same; of leases from before the server was started, what is left by their dates."""
        found = {}
        for id_, date in (await self._load_expiration_index()).items():
            try:
                found[UUID(id_)] = _until.setdefault(id_, clock() + _left(date))
            except (ValueError, TypeError):  # not written by Prefect
                continue
        return [id_ for id_, until in found.items() if until <= clock()][:limit]


def _left(date: str) -> float:
    """For how many seconds a lease has still to run."""
    left = datetime.fromisoformat(date) - datetime.now(UTC)
    return min(left, LONGEST).total_seconds()
