"""Who keeps a server's one database connection for long stands in its log; who does not, not."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from perdure.orchestration.held_connection import Holder
from perdure.orchestration.sqlite_server import ONE_CONNECTION


async def reads_and_waits_for(engine: AsyncEngine, until: asyncio.Event) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        await until.wait()


async def request(engine: AsyncEngine, until: asyncio.Event) -> None:
    await reads_and_waits_for(engine, until)


@pytest.mark.parametrize("long", [True, False])
def test_who_keeps_the_connection_for_long_is_named(tmp_path: Path, long: bool) -> None:
    path = tmp_path / "log"

    async def use() -> None:
        url = f"sqlite+aiosqlite:///{tmp_path / 'one.db'}"
        engine = holder.follow(create_async_engine(url, **ONE_CONNECTION))
        until = asyncio.Event()
        if not long:
            until.set()
        holding = asyncio.create_task(request(engine, until), name="a request")
        end = time.monotonic() + (30 if long else 1.5)
        while time.monotonic() < end and not path.read_text().count("What the threads do"):
            await asyncio.sleep(0.05)
        until.set()
        await holding
        await engine.dispose()

    with path.open("w") as log:
        holder = Holder(log, long_s=0.5 if long else 1.0)
        holder.watch(look_s=0.1)
        asyncio.run(use())
        output = path.read_text()
    assert ("in use for" in output) == long
    assert ("reads_and_waits_for" in output and "a request" in output) == long
    assert output.count("What the threads do") == int(long)
