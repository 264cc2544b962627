"""What was told, and what is still to be told: `.perdure/up/told.json`.

Written whole at every step, so a kill loses nothing; between sending a notice and writing that
it was sent, a kill has it sent twice.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Container
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from perdure import running
from perdure.config import Workspace
from perdure.errors import Fault

logger = logging.getLogger("perdure")

FORMAT = 1
FIRST_PAUSE_S, LONGEST_PAUSE_S = 15.0, 3600.0
GIVE_UP_S = 86_400.0
LEAST_TRIES = 10
"""Before one is given up: the clock may have jumped, or the machine slept for a day."""
UNWRITTEN = ("path", "receivers", "adding")
MOST = 500
"""Messages that wait, for all receivers together; of more the oldest are given up."""


@dataclass(frozen=True)
class Told:
    """Up to where the registry's history was told."""

    registry: str
    """Which registry."""
    turn: int
    """Counts up, so that of two the later one is known."""
    events: int
    champion: int | None
    by: str = ""
    """The name of who told it, if several machines may."""


@dataclass
class Message:
    """Something that one receiver is still to be told."""

    receiver: str
    value: dict[str, Any]
    since: float
    """When it was first to be sent, in seconds since 1970."""
    due: float
    """When it is to be sent next."""
    tries: int = 0
    turn: int | None = None
    """Of the registry's history; None: it is nobody else's to tell."""


@dataclass
class Outbox:
    """The whole file."""

    path: Path
    receivers: Container[str]
    """Who there is; messages to anybody else are forgotten."""
    told: Told | None = None
    messages: list[Message] = field(default_factory=list)
    runs: dict[str, float] = field(default_factory=dict)
    """Flow runs that were told, by id, with the time."""
    alike: dict[str, float] = field(default_factory=dict)
    """Faults that were told, by a hash of their text, with the time."""
    looked: float | None = None
    """When crashed runs were last looked for; None: never."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """This machine's name among those that look at the same runs."""
    unshared: int | None = None
    """The turn that a shared registry does not know yet; its messages are not sent."""
    claim: tuple[str, float] | None = None
    """Which other machine is telling, and when that was first seen, in seconds since 1970."""
    claims: dict[str, float] = field(default_factory=dict)
    """Flow runs that another machine is telling of, and when that was first seen."""
    adding: int | None = None
    """The turn whose messages are being added; not written."""

    def add(self, receiver: str, value: dict[str, Any]) -> None:
        """One more message; to be saved."""
        if receiver not in self.receivers:
            return
        now = time.time()
        self.messages.append(Message(receiver, value, now, now, turn=self.adding))
        for lost in self.messages[:-MOST]:
            logger.error("Given up, for too much waits: %s", _shown(lost))
        del self.messages[:-MOST]

    def drop(self, turn: int) -> None:
        """Forget the messages of a turn, which another machine told; to be saved."""
        self.messages = [one for one in self.messages if one.turn != turn]

    def deliver(self, receiver: str, send: Callable[[dict[str, Any]], None]) -> int:
        """Send what is due to one receiver, in order; after the first that fails, the rest waits.

        Args:
            receiver: Whose messages.
            send: Raises Fault where the receiver does not take one.

        Returns:
            How many were sent.
        """
        sent = 0
        for message in [one for one in self.messages if one.receiver == receiver]:
            if message.turn is not None and message.turn == self.unshared:
                break
            now = time.time()
            # A clock that was put back must not have it wait for longer than any pause.
            if now < message.due <= now + LONGEST_PAUSE_S:
                break
            try:
                send(message.value)
            except Fault as error:
                self._failed(message, error)
                self.save()
                break
            self.messages.remove(message)
            self.save()
            sent += 1
        return sent

    def _failed(self, message: Message, error: Fault) -> None:
        now = time.time()
        message.tries += 1
        pause = min(FIRST_PAUSE_S * 2 ** min(message.tries - 1, 20), LONGEST_PAUSE_S)
        message.due = now + pause
        if now - message.since > GIVE_UP_S and message.tries >= LEAST_TRIES:
            self.messages.remove(message)
            logger.error("%s Given up after a day: %s", error, _shown(message))
        else:
            logger.warning("%s Trying again in %.0f s.", error, pause)

    def save(self) -> None:
        """Write the file, whole or not at all."""
        value = {name: item for name, item in asdict(self).items() if name not in UNWRITTEN}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, **value}, file)
            file.flush()
            os.fsync(file.fileno())  # or the name may outlive the text when the power fails
        part.replace(self.path)


def place(ws: Workspace) -> Path:
    """Where it is kept."""
    return running.folder(ws.state) / "told.json"


def read(ws: Workspace, receivers: Container[str]) -> Outbox:
    """The outbox of a workspace; empty where there is none, or none that can be read.

    Args:
        ws: The workspace.
        receivers: See `Outbox`.
    """
    path = place(ws)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value.pop("format") != FORMAT:
            raise ValueError("another format")
        told = value.pop("told")
        messages = [Message(**one) for one in value.pop("messages")]
        messages = [one for one in messages if one.receiver in receivers]
        if (claim := value.pop("claim", None)) is not None:
            value["claim"] = (str(claim[0]), float(claim[1]))
        return Outbox(path, receivers, Told(**told) if told else None, messages, **value)
    except FileNotFoundError:
        return Outbox(path, receivers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.error("%s cannot be read (%s): notices begin anew", path, error)
        return Outbox(path, receivers)


def _shown(message: Message) -> str:
    return str(message.value.get("text") or message.value.get("name") or "a message")
