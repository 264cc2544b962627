"""One slot at Prefect for each model: who has it may change the model, on whichever machine.

The slot is lent for a minute and the loan is renewed; so a holder that dies frees it in about a
minute. Prefect's own context manager (prefect.concurrency.sync) gives up renewing after three
failures, or ends the work. Here the work goes on, and the slot is taken again when the server is
back: a server that is down for an hour ends no training of a day.

Who holds it stands in a Prefect variable of the same name, with a number that grows while the
holder lives. A server that is killed between counting a slot and noting the loan, or that forgets
its loans when it restarts, as Prefect's does by default, keeps the slot taken for ever. Where the
number has stood still for long enough, the limit is made again.
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

from perdure import atomic
from perdure.config import Workspace
from perdure.errors import LockHeld
from perdure.orchestration import configured_server, names, slot_holder
from perdure.orchestration.outcome import SERVER_ERRORS
from perdure.secrets import in_text

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

logger = logging.getLogger("perdure")

LEASE_SECONDS = 60.0
"""The shortest loan that Prefect grants."""
RENEW_SECONDS = 15.0
ASK_SECONDS = 2.0
"""How often who waits for the slot asks for it."""
STALE_SECONDS = 150.0
"""A holder that has shown no sign of life for so long has lost its loan anyway."""
GONE, LOCKED, MISSING = 410, 423, 404


def name_of(model: str) -> str:
    """Name of the concurrency limit and of the variable."""
    return f"perdure-model-{names.slug(model)}"


@contextmanager
def hold(url: str, ws: Workspace, purpose: str, deadline: float = 0.0) -> Iterator[None]:
    """Hold a model's slot for the length of the context.

    Args:
        url: The API of a Prefect server, which answers.
        ws: The workspace.
        purpose: For the error of a process that waits.
        deadline: Until when to ask for it, by `time.monotonic`; it is asked for once at least.

    Raises:
        LockHeld: Another process holds it.
    """
    slot = Slot(url, ws, purpose)
    try:
        slot.take_until(deadline)
    except SERVER_ERRORS as error:
        reason = in_text(str(error))
        logger.info("Prefect failed (%s): the model is locked on this machine alone.", reason)
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
        self.holder = slot_holder.this_process(purpose)

    def take(self) -> None:
        """Take the slot now.

        Raises:
            LockHeld: Another process has it.
        """
        # Prefect on SQLite answers 503 where several ask in the same moment.
        with self._client(retries=3) as client:
            self.lease = self._take(client) or self._take_from_the_dead(client)
            if self.lease is None:
                raise LockHeld(
                    f"the model {self.model} is locked on all machines, "
                    f"{slot_holder.describe(slot_holder.read(client, self.name))}. "
                    "Nothing was changed",
                    hint="run the command again when it is done",
                )
            self.notes.unlink(missing_ok=True)
            with suppress(*SERVER_ERRORS):  # the next renewal writes it
                self._sign(client)

    def take_until(self, deadline: float) -> None:
        """Take the slot, asking again until a moment of `time.monotonic`.

        Raises:
            LockHeld: Another process still has it.
        """
        while True:
            try:
                return self.take()
            except LockHeld:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(ASK_SECONDS)

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
            reason = in_text(str(error))
            logger.info("The model's lock at Prefect could not be freed: %s", reason)

    def _renew_until(self, ended: threading.Event) -> None:
        logged = False
        while not ended.wait(RENEW_SECONDS):
            try:
                self._renew()
                logged = False
            except SERVER_ERRORS as error:
                if not logged:
                    reason = in_text(str(error))
                    logger.info("The model's lock at Prefect could not be renewed: %s", reason)
                logged = True

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
                    # A conflicting change is refused by the registry (`Changes.apply`).
                    logger.warning(
                        "The model's lock at Prefect was lost, and is now held %s",
                        slot_holder.describe(slot_holder.read(client, self.name)),
                    )
                    return
            self._sign(client)

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
            answer = done.json()
            if answer["limits"]:
                return UUID(answer["lease_id"])
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
        holder = slot_holder.read(client, self.name)
        sign = json.dumps(
            [str(limit.id), holder.get("pid"), holder.get("since"), holder.get("beat")]
        )
        if self._unchanged_for(sign) < STALE_SECONDS:
            return None
        try:
            client.request(
                "DELETE",
                "/v2/concurrency_limits/{id_or_name}",
                path_params={"id_or_name": str(limit.id)},
            )
        except httpx.HTTPStatusError as error:  # another process was faster
            if error.response.status_code != MISSING:
                raise
        else:
            logger.warning(
                "The model's lock at Prefect was held %s, with no sign of life for %g s: it is "
                "taken over.",
                slot_holder.describe(holder),
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
        atomic.write_text(self.notes, json.dumps({"sign": sign, "boot": boot, "at": now}))
        return 0.0

    def _sign(self, client: SyncPrefectClient) -> None:
        self.beat += 1
        slot_holder.write(client, self.name, {**self.holder, "beat": self.beat})

    @contextmanager
    def _client(self, retries: int = 1) -> Iterator[SyncPrefectClient]:
        from prefect.client.orchestration import get_client
        from prefect.settings import temporary_settings

        access = configured_server.access(self.url)
        settings = temporary_settings(updates={**access, "client.max_retries": retries})
        with settings, get_client(httpx_settings={"timeout": 10.0}, sync_client=True) as client:
            yield client
