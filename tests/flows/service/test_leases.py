"""Leases end by a clock that is never set back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from prefect.server.concurrency.lease_storage import ConcurrencyLimitLeaseMetadata
from prefect.server.services import repossessor

from perdure.flows.service import leases

ONE_SLOT = ConcurrencyLimitLeaseMetadata(slots=1)
MINUTE = timedelta(seconds=60)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(leases, "clock", clock)
    monkeypatch.setattr(leases, "_until", {})
    return clock


def _date(folder: Path, lease: UUID, shift: timedelta) -> None:
    """Have a lease been written while the clock stood elsewhere."""
    for path in (folder / f"{lease}.json", folder / "expirations.json"):
        known = json.loads(path.read_text())
        key = "expiration" if "expiration" in known else str(lease)
        known[key] = (datetime.fromisoformat(known[key]) + shift).isoformat()
        path.write_text(json.dumps(known))


@pytest.mark.parametrize("shift", [timedelta(days=3), timedelta(days=-3), timedelta(0)])
def test_a_clock_that_is_set_elsewhere_changes_nothing(
    tmp_path: Path, clock: Clock, shift: timedelta
) -> None:
    async def steps() -> None:
        storage = leases.ConcurrencyLeaseStorage(tmp_path)
        lease = (await storage.create_lease([uuid4()], MINUTE, ONE_SLOT)).id
        _date(tmp_path, lease, shift)
        assert await storage.read_expired_lease_ids() == []
        clock.now += 59
        assert await leases.ConcurrencyLeaseStorage(tmp_path).read_expired_lease_ids() == []
        clock.now += 2
        assert await storage.read_expired_lease_ids() == [lease]
        assert await storage.renew_lease(lease, MINUTE)
        _date(tmp_path, lease, shift)
        assert await storage.read_expired_lease_ids() == []
        await _revoke(storage, lease)
        assert await storage.read_lease(lease) is not None
        clock.now += 61
        assert await storage.read_expired_lease_ids() == [lease]
        await _revoke(storage, lease)
        assert await storage.read_lease(lease) is None
        assert await storage.read_expired_lease_ids() == []

    asyncio.run(steps())


async def _revoke(storage: leases.ConcurrencyLeaseStorage, lease: UUID) -> None:
    """As Prefect's server does with what the storage says has expired; it looks at the dates."""
    freed: list[dict[str, Any]] = []

    async def free(**what: Any) -> bool:
        freed.append(what)
        return True

    @asynccontextmanager
    async def session(**_how: Any) -> AsyncIterator[None]:
        yield

    database = SimpleNamespace(session_context=session)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(repossessor, "bulk_decrement_active_slots", free)
        await repossessor.revoke_expired_lease(lease, db=cast(Any, database), lease_storage=storage)
    assert all(one["occupancy_seconds"] >= 0 for one in freed)


def test_a_server_that_is_started_again_goes_by_the_dates(tmp_path: Path, clock: Clock) -> None:
    async def steps() -> None:
        storage = leases.ConcurrencyLeaseStorage(tmp_path)
        ending, lasting, odd = [
            (await storage.create_lease([uuid4()], MINUTE)).id for _ in range(3)
        ]
        _date(tmp_path, ending, timedelta(seconds=-60))
        _date(tmp_path, odd, timedelta(days=30))
        leases._until.clear()
        assert await storage.read_expired_lease_ids() == [ending]
        clock.now += 61
        assert await storage.read_expired_lease_ids() == [ending, lasting]
        clock.now += leases.LONGEST.total_seconds()
        assert await storage.read_expired_lease_ids(limit=2) == [ending, lasting]
        assert await storage.read_expired_lease_ids() == [ending, lasting, odd]

    asyncio.run(steps())
