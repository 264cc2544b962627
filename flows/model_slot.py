"""One slot at Prefect for each model: who has it may change the model, on whichever machine.

The slot is lent for a minute and the loan is renewed; so a holder that dies frees it in about a
minute. Prefect's own context manager (prefect.concurrency.sync) gives up renewing after three
failures, or ends the work. Here the work goes on, and the slot is taken again when the server is
back: a server that is down for an hour ends no training of a day.

Who holds it stands in a Prefect variable of the same name, with a number that grows while the
holder lives. A server that is killed between counting a slot and noting the loan, or that forgets
its loans when it restarts, as Prefect's does by default, keeps the slot taken for ever. Where the
number has stood still for long enough, the limit is made anew.
"""

from __future__ import annotations

import contextvars
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from uuid import UUID

import httpx

from perdure.addresses import in_text
from perdure.config import Workspace
from perdure.errors import LockHeld
from perdure.flows import slot_holder
from perdure.flows.outcome import SERVER_ERRORS
from perdure.flows.service import names

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

logger = logging.getLogger("perdure")

LEASE_SECONDS = 60.0
"""The shortest loan that Prefect grants."""
RENEW_SECONDS = 15.0
STALE_SECONDS = 150.0
"""A holder that has shown no sign of life for so long has lost its loan anyway."""
GONE, LOCKED, MISSING = 410, 423, 404


def name_of(model: str) -> str:
    """Of the concurrency limit and of the variable."""
    return f"perdure-model-{names.slug(model)}"


@contextmanager
def hold(url: str, ws: Workspace, purpose: str) -> Iterator[None]:
    """Hold a model's slot for the length of the context.

    Args:
        url: The API of a Prefect server, which answers.
        ws: The workspace.
        purpose: What for, as the loser is told.

    Raises:
        LockHeld: Somebody else holds it.
    """
    slot = Slot(url, ws, purpose)
    try:
        slot.take()
    except SERVER_ERRORS as error:
        said = in_text(str(error))
        logger.info("Prefect failed (%s): the model is locked on this machine alone.", said)
        yield
        return
    try:
        with slot.renewed():
            yield
    finally:
        slot.give_back()


class Slot:
    """The slot of one model, wished for by one process."""

    def __init__(self, url: str, ws: Workspace, purpose: str) -> None:
        self.url = url
        self.name = name_of(ws.config.model.name)
        self.model = ws.config.model.name
        self.notes = ws.state / "locks" / "slot.json"
        self.lease: UUID | None = None
        self.beat = 0
        self.holder = slot_holder.myself(purpose)

    def take(self) -> None:
        """Take the slot now.

        Raises:
            LockHeld: Somebody else has it.
        """
        with self._client() as client:
            self.lease = self._take(client) or self._take_from_the_dead(client)
            if self.lease is None:
                raise LockHeld(
                    f"the model {self.model} is locked on all machines, "
                    f"{slot_holder.by_whom(slot_holder.said(client, self.name))}. "
                    "Nothing was changed",
                    hint="run the command again when it is done",
                )
            self.notes.unlink(missing_ok=True)
            with suppress(*SERVER_ERRORS):  # the next sign of life says it
                self._say(client)

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew the loan as long as the context lasts."""
        ended = threading.Event()
        context = contextvars.copy_context()  # Prefect's settings are in it
        thread = threading.Thread(
            target=context.run, args=(self._renew_until, ended), daemon=True, name="model slot"
        )
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(timeout=10.0)

    def give_back(self) -> None:
        """Free the slot; where Prefect does not answer, it frees it itself in a minute."""
        if self.lease is None:
            return
        try:
            with self._client() as client:
                client.release_concurrency_slots_with_lease(self.lease)
        except SERVER_ERRORS as error:
            said = in_text(str(error))
            logger.info("Prefect could not be told that the model's lock is free: %s", said)

    def _renew_until(self, ended: threading.Event) -> None:
        told = False
        while not ended.wait(RENEW_SECONDS):
            try:
                self._renew()
                told = False
            except SERVER_ERRORS as error:
                if not told:
                    said = in_text(str(error))
                    logger.info("The model's lock at Prefect could not be renewed: %s", said)
                told = True

    def _renew(self) -> None:
        with self._client() as client:
            try:
                if self.lease is not None:
                    client.renew_concurrency_lease(self.lease, LEASE_SECONDS)
            except httpx.HTTPStatusError as error:
                if error.response.status_code not in (GONE, MISSING):
                    raise
                self.lease = None
            if self.lease is None:
                self.lease = self._take(client)
                if self.lease is None:
                    # What it does meanwhile the registry tells apart (`Changes.apply`).
                    logger.warning(
                        "The model's lock at Prefect was lost, and is now held %s",
                        slot_holder.by_whom(slot_holder.said(client, self.name)),
                    )
                    return
            self._say(client)

    def _take(self, client: SyncPrefectClient) -> UUID | None:
        """Ask once; the limit is made where it is missing."""
        for _ in range(3):
            try:
                done = client.increment_concurrency_slots_with_lease(
                    [self.name], 1, "concurrency", LEASE_SECONDS, slot_holder.flow_run()
                )
            except httpx.HTTPStatusError as error:
                if error.response.status_code == LOCKED:
                    return None
                raise
            said = done.json()
            if said["limits"]:
                return UUID(said["lease_id"])
            self._make(client)  # Prefect lends nothing of a limit that it does not know
        return None

    def _make(self, client: SyncPrefectClient) -> None:
        from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
        from prefect.exceptions import ObjectAlreadyExists

        with suppress(ObjectAlreadyExists):
            client.create_global_concurrency_limit(
                GlobalConcurrencyLimitCreate(name=self.name, limit=1, active=True)
            )

    def _take_from_the_dead(self, client: SyncPrefectClient) -> UUID | None:
        """Take the slot of a holder that showed no sign of life while it was waited for.

        Two that do this at once name the limit by its id, so that only one removes it.
        """
        from prefect.exceptions import ObjectNotFound

        try:
            limit = client.read_global_concurrency_limit_by_name(self.name)
        except ObjectNotFound:
            return self._take(client)
        said = slot_holder.said(client, self.name)
        sign = json.dumps([str(limit.id), said.get("pid"), said.get("since"), said.get("beat")])
        if self._unchanged_for(sign) < STALE_SECONDS:
            return None
        try:
            client.request(
                "DELETE",
                "/v2/concurrency_limits/{id_or_name}",
                path_params={"id_or_name": str(limit.id)},
            )
        except httpx.HTTPStatusError as error:  # somebody else was faster
            if error.response.status_code != MISSING:
                raise
        else:
            logger.warning(
                "The model's lock at Prefect was held %s, with no sign of life for %g s: it is "
                "taken over.",
                slot_holder.by_whom(said),
                STALE_SECONDS,
            )
        return self._take(client)

    def _unchanged_for(self, sign: str) -> float:
        """How long the holder has shown this sign, in seconds, as far as this machine has seen."""
        now, boot = time.monotonic(), slot_holder.boot()
        with suppress(OSError, ValueError, LookupError, TypeError):
            noted = json.loads(self.notes.read_text(encoding="utf-8"))
            if (noted["sign"], noted["boot"]) == (sign, boot) and noted["at"] <= now:
                return float(now - noted["at"])
        part = self.notes.with_suffix(".part")  # under the machine's lock: nobody else writes
        part.write_text(json.dumps({"sign": sign, "boot": boot, "at": now}), encoding="utf-8")
        part.replace(self.notes)
        return 0.0

    def _say(self, client: SyncPrefectClient) -> None:
        self.beat += 1
        slot_holder.say(client, self.name, {**self.holder, "beat": self.beat})

    @contextmanager
    def _client(self) -> Iterator[SyncPrefectClient]:
        from prefect.client.orchestration import get_client
        from prefect.settings import temporary_settings

        # Whoever asks tries again in its own time.
        settings = temporary_settings(updates={"api.url": self.url, "client.max_retries": 1})
        with settings, get_client(httpx_settings={"timeout": 10.0}, sync_client=True) as client:
            yield client
