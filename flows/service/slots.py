"""The slot of a deployment's concurrency limit, kept for as long as its flow run goes on.

Prefect's engine keeps it too, but ends the run where the server does not answer once in five
minutes, and leaves the slot taken for five minutes after a kill (3.8.8). Here a server that is
away changes nothing: the lock of the model decides who may change it, and the slot only spares
the others the way.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from perdure.addresses import in_text

logger = logging.getLogger("perdure")

LEASE_S = 60.0
"""How long a slot stays taken by a run that was killed, at most."""

RENEW_S = 20.0


@contextmanager
def keep(lease: UUID, *_duration: float, **_as_prefects: Any) -> Iterator[None]:
    """Renew a lease until the end, and go on where that cannot be done.

    It takes what `prefect.concurrency._leases.maintain_concurrency_lease` takes.
    """
    ended = threading.Event()
    context = contextvars.copy_context()  # the run's settings, and its place in the log
    thread = threading.Thread(target=context.run, args=(_renew, lease, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def _renew(lease: UUID, ended: threading.Event) -> None:
    from prefect.client.orchestration import get_client
    from prefect.settings import temporary_settings

    away = False
    with (
        temporary_settings(updates={"client.max_retries": 0}),
        get_client(sync_client=True) as client,
    ):
        while not ended.is_set():
            try:
                client.renew_concurrency_lease(lease_id=lease, lease_duration=LEASE_S)
            except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on
                if not away:
                    said = in_text(str(error))
                    logger.warning("Prefect does not renew the run's slot (%s); going on.", said)
                away = True
            else:
                away = False
            ended.wait(RENEW_S)


def instead_of_prefects() -> None:
    """Have Prefect's engine keep its slots this way, in this process."""
    from prefect import flow_engine

    if "maintain_concurrency_lease" not in vars(flow_engine):
        logger.warning("Prefect's engine keeps its slots in a way that Perdure does not know.")
    vars(flow_engine).update(maintain_concurrency_lease=keep)
