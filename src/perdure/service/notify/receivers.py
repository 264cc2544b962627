"""Who is sent notices: the entries of `[[notify]]`, and a workspace's Prefect server.

An address is a secret. It is read only when something is sent, and stands in no log, message or
page: what a receiver answered is logged without it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import uuid
from typing import Any
from urllib.parse import parse_qs, urlsplit

from perdure import escaping
from perdure.config import CONFIG_NAME, NoticeConfig, Workspace
from perdure.errors import ConfigError, Fault, PerdureError
from perdure.orchestration import api, configured_server, events
from perdure.service.notify.message import Message, one_line
from perdure.service.notify.notice import Notice

logger = logging.getLogger("perdure")

TIMEOUT_S = 5.0
"""How long a receiver may take to answer."""
VERBOSE = ("httpx", "httpcore", "urllib3", "apprise", "smtplib")
"""Libraries whose log lines below WARNING have whole addresses in them."""
SCHEMES = {
    "slack": ("http", "https"),
    "webhook": ("http", "https"),
    "email": ("mailto", "mailtos"),
}
_NAMESPACE = uuid.UUID("5b0b1b8e-53c8-4a7e-9a55-0d0f3f5b9a11")


class PrefectEvents:
    """The Prefect server of a workspace: it gets events."""

    key = "prefect"
    title = "Prefect"

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws

    def wants(self, notice: Notice) -> bool:
        """Whether there is something to send."""
        return bool(notice.events)

    def send(self, notice: Notice) -> int:
        """Send the events of a notice.

        Returns:
            How many.

        Raises:
            PerdureError: Prefect did not take one.
        """
        for event in notice.events:
            known = uuid.uuid5(_NAMESPACE, event.identity)
            events.send(event.name, self._ws, event.payload, id=known)
        return len(notice.events)


class Receiver:
    """One entry of `[[notify]]`: it gets messages.

    Args:
        ws: The workspace.
        config: The entry.
        number: Its place among them, from 0.
    """

    def __init__(self, ws: Workspace, config: NoticeConfig, number: int) -> None:
        self._ws = ws
        self._config = config
        self._number = number
        self.key = hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:16]
        """Says nothing of the address; an entry that was changed is another receiver."""
        self.title = f"{config.block or f'{config.kind} notice'} (notify.{number})"

    def wants(self, notice: Notice) -> bool:
        """Whether there is something to send."""
        return self._message(notice) is not None

    def send(self, notice: Notice) -> int:
        """Send the first message of a notice that this receiver is to get, if any.

        Returns:
            How many.

        Raises:
            Fault: The receiver did not take it, or has no address; without the address.
        """
        message = self._message(notice)
        if message is None:
            return 0
        if fault := self.fault():
            raise Fault(f"{self.title}: {fault}", hint="perdure doctor")
        for name in VERBOSE:
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            if self._config.kind == "webhook":
                _post(self._address(), message.facts())
            elif self._config.kind == "slack":
                lines = map(escaping.html, message.body.split("\n"))
                _post(self._address(), {"text": "\n".join(lines)})
            else:
                self._notify(message)
        except Exception as error:  # noqa: BLE001 - each kind has its own library, with its errors
            raise Fault(f"{self.title} did not take it: {self._without_address(error)}") from None
        return 1

    @property
    def unset(self) -> str | None:
        """The environment variable of its address, if that is not set."""
        url = self._config.url or ""
        name = url.removeprefix("env:")
        return name if url.startswith("env:") and not os.environ.get(name) else None

    def fault(self) -> str | None:
        """What is wrong with its address, with the key in the configuration; None: nothing."""
        kind, key = self._config.kind, f"notify.{self._number}.url"
        if kind is None:
            is_named = re.fullmatch(r"[a-z0-9-]+/[^/]+", self._config.block or "")
            example = 'must be as in "slack-webhook/team"'
            return None if is_named else f"notify.{self._number}.block: {example}"
        if self.unset is not None:
            return f"{key}: the environment variable {self.unset} is not set"
        parts, schemes = urlsplit(self._address()), SCHEMES[kind]
        if parts.scheme not in schemes or not parts.hostname:
            return f"{key}: of kind {kind!r} begins with {' or '.join(schemes)}, then a host"
        if kind == "email" and "from" not in parse_qs(parts.query) and not parts.username:
            return f'{key}: needs a sender, as in "mailtos://user:password@host?to=a@b.org"'
        return None

    def _message(self, notice: Notice) -> Message | None:
        return next((one for one in notice.messages if one.occasion in self._config.on), None)

    def _notify(self, message: Message) -> None:
        """Send by Apprise, in a notification block of Prefect's."""
        from prefect.blocks.core import Block
        from prefect.blocks.notifications import AppriseNotificationBlock
        from prefect.settings import temporary_settings
        from pydantic import SecretStr

        block: Any
        if self._config.block is not None:
            # Where no server is configured, Prefect would start one for this alone.
            with temporary_settings(updates=configured_server.access(api.address(self._ws))):
                block = Block.load(self._config.block)
        else:
            address = self._address()
            if "format=" not in address:  # Apprise's default is HTML, in one line
                address += ("&" if "?" in address else "?") + "format=text"
            block = AppriseNotificationBlock(url=SecretStr(address))
        with block.raise_on_failure():
            block.notify(message.body, message.subject)

    def _address(self) -> str:
        url = self._config.url or ""
        return os.environ[url.removeprefix("env:")] if url.startswith("env:") else url

    def _without_address(self, error: Exception) -> str:
        """The text of an error, without addresses and without the parts of its own."""
        from prefect.blocks.abstract import NotificationError

        if isinstance(error, PerdureError):
            return error.message
        text = error.log if isinstance(error, NotificationError) else str(error)
        text = re.sub(r"\w+://[^\s'\"]+", "***", text)
        parts = urlsplit(self._address())
        secrets = {parts.username or "", parts.password or "", parts.path}
        secrets |= set(re.split(r"[/?&=]+", f"{parts.path}?{parts.query}"))
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "***") if len(secret) > 2 else text
        return one_line(text) or type(error).__name__


def configured(ws: Workspace) -> list[Receiver]:
    """Return the receivers of `[[notify]]`."""
    return [Receiver(ws, config, number) for number, config in enumerate(ws.config.notify)]


def check(ws: Workspace, *, elsewhere: bool = False) -> None:
    """Check all addresses of `[[notify]]`, as far as that goes without sending.

    Args:
        ws: The workspace.
        elsewhere: Another process sends, such as a service with an environment of its own: a
            variable that is not set here is a warning.

    Raises:
        ConfigError: With every fault and its key.
    """
    faults: list[str] = []
    for receiver in configured(ws):
        fault = receiver.fault()
        if fault and elsewhere and receiver.unset is not None:
            logger.warning("%s here; perdure up needs it.", fault)
        elif fault:
            faults.append(fault)
    if faults:
        hint = "mend it, or set the environment variable where perdure runs"
        raise ConfigError(str(ws.root / CONFIG_NAME), faults, hint=hint)


def _post(address: str, content: dict[str, Any]) -> None:
    import httpx

    answer = httpx.post(address, json=content, timeout=TIMEOUT_S)
    if not answer.is_success:
        raise Fault(f"it answered {answer.status_code}")
