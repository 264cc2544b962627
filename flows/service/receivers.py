"""Who is sent notices: an entry of `[[notify]]`, as a notification block of Prefect's.

An address is a secret. It is read only when something is sent, and stands in no log, message or
page: what a receiver answered is told without it.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from perdure.config import NoticeConfig, Workspace
from perdure.errors import Fault, PerdureError
from perdure.flows.service import api
from perdure.flows.service.notice import Notice, line

if TYPE_CHECKING:
    from prefect.blocks.abstract import NotificationBlock

TIMEOUT_S = 5.0
"""How long a receiver may take to answer."""
TALKATIVE = ("httpx", "httpcore", "urllib3", "apprise", "smtplib")
"""Libraries whose log lines below WARNING have whole addresses in them."""
SLACK = re.compile(r"https?://hooks\.slack(-gov)?\.com/services/\w+/\w+/\w+/?", re.IGNORECASE)
SCHEMES = {
    "slack": ("http", "https"),
    "webhook": ("http", "https"),
    "email": ("mailto", "mailtos"),
}


class Receiver:
    """One entry of `[[notify]]`.

    Args:
        ws: The workspace.
        config: The entry.
        number: Its place among them, from 0.
    """

    def __init__(self, ws: Workspace, config: NoticeConfig, number: int) -> None:
        self.ws = ws
        self.config = config
        self.number = number
        self.on = frozenset(config.on)

    @property
    def key(self) -> str:
        """Its identity, which says nothing of the address."""
        told = self.config.block or f"{self.config.kind} {self.config.url}"
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        """What it is called in messages."""
        shown = self.config.block or f"{self.config.kind} notice"
        return f"{shown} (notify.{self.number})"

    def chosen(self, candidates: Sequence[Notice]) -> Notice | None:
        """Of notices of one change, the first that it wants; None: none of them."""
        return next((notice for notice in candidates if notice.occasion in self.on), None)

    @property
    def unset(self) -> str | None:
        """The environment variable that its address is read from, if that is not set."""
        url = self.config.url or ""
        name = url.removeprefix("env:")
        return name if url.startswith("env:") and not os.environ.get(name) else None

    def faults(self) -> list[str]:
        """What is wrong with its address, each with its key; nothing is sent."""
        if self.config.block is not None:
            if re.fullmatch(r"[a-z0-9-]+/[^/]+", self.config.block):
                return []
            return [f'notify.{self.number}.block: must be as in "slack-webhook/team"']
        key = f"notify.{self.number}.url"
        try:
            address = self._address()
        except Fault as error:
            return [f"{key}: {error.message}"]
        schemes = SCHEMES[self.config.kind or "webhook"]
        parts = urlsplit(address)
        if parts.scheme not in schemes or not parts.hostname:
            kind = self.config.kind
            return [f"{key}: of kind {kind!r} begins with {' or '.join(schemes)}, then a host"]
        if (
            self.config.kind == "email"
            and "from" not in parse_qs(parts.query)
            and not parts.username
        ):
            return [f'{key}: needs a sender, as in "mailtos://user:password@host?to=a@b.org"']
        return []

    def send(self, notice: Notice) -> None:
        """Send a notice.

        Raises:
            Fault: The receiver did not take it, or there is no address; without the address.
        """
        if faults := self.faults():
            raise Fault(f"{self.title}: {'; '.join(faults)}", hint="perdure doctor")
        try:
            with _discreetly():
                block = self._block(notice)
                with block.raise_on_failure():
                    _finished(block.notify(notice.body, notice.subject))
        except Exception as error:  # noqa: BLE001 - each kind has its own library, with its errors
            raise Fault(f"{self.title} did not take a notice: {self._told(error)}") from None

    def _block(self, notice: Notice) -> Any:
        from prefect.blocks.core import Block
        from prefect.blocks.notifications import AppriseNotificationBlock, SlackWebhook
        from prefect.settings import temporary_settings
        from pydantic import SecretStr

        if self.config.block is not None:
            # Where no server is configured, Prefect would start one for this alone.
            with temporary_settings(updates={"api.url": api.address(self.ws)}):
                return _finished(Block.load(self.config.block))
        address = self._address()
        if self.config.kind == "email":
            return AppriseNotificationBlock(url=SecretStr(_as_text(address)))
        if self.config.kind == "webhook":
            return _webhook(address, notice.facts())
        if SLACK.fullmatch(address):
            return SlackWebhook(url=SecretStr(address))
        # Mattermost, Rocket.Chat and others take what Slack takes, at addresses of their own.
        return _webhook(address, {"text": notice.body})

    def _address(self) -> str:
        """The address; read from the environment where the configuration says so.

        Raises:
            Fault: There is no such variable.
        """
        if (name := self.unset) is not None:
            raise Fault(f"the environment variable {name} is not set")
        url = self.config.url or ""
        return os.environ[url.removeprefix("env:")] if url.startswith("env:") else url

    def _told(self, error: Exception) -> str:
        """What went wrong, without the address."""
        import httpx
        from prefect.blocks.abstract import NotificationError

        if isinstance(error, PerdureError):
            return error.message
        if isinstance(error, httpx.HTTPStatusError) and self.config.block is None:
            return f"it answered {error.response.status_code}"
        text = error.log if isinstance(error, NotificationError) else str(error)
        if self.config.block is not None:  # the address is known to Prefect alone
            return _without_addresses(text) or type(error).__name__
        return _without(self._address(), text) or type(error).__name__


def _webhook(address: str, facts: dict[str, Any]) -> NotificationBlock:
    """Prefect's own block; values go in by name, for a text may look like a template."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    return CustomWebhookNotificationBlock.model_validate(
        {
            "name": "perdure",
            "url": "{{ perdure_address }}",
            "json_data": {key: f"{{{{ perdure_{key} }}}}" for key in facts},
            "timeout": TIMEOUT_S,
            "secrets": {
                "perdure_address": address,
                **{f"perdure_{key}": value for key, value in facts.items()},
            },
        }
    )


def _finished(result: Any) -> Any:
    """Prefect's blocks give a coroutine where an event loop runs, and as typed, everywhere."""
    if inspect.iscoroutine(result):
        result.close()
        raise Fault("notices are sent from a thread of their own, not from an event loop")
    return result


def _as_text(address: str) -> str:
    """Apprise sends e-mail as HTML, in one line, unless the address says otherwise."""
    if "format" in parse_qs(urlsplit(address).query):
        return address
    return f"{address}{'&' if '?' in address else '?'}format=text"


@contextmanager
def _discreetly() -> Iterator[None]:
    """Keep addresses out of the logs while something is sent."""
    before = [(logging.getLogger(name), logging.getLogger(name).level) for name in TALKATIVE]
    for one, level in before:
        one.setLevel(max(level, logging.WARNING))
    try:
        with warnings.catch_warnings():
            # Apprise's parts deprecate what they use: nothing that our users could mend.
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for one, level in before:
            one.setLevel(level)


def _without(address: str, text: str) -> str:
    """A text without an address, and without those of its parts that could be secret."""
    parts = urlsplit(address)
    found = [address, parts.path, parts.query, parts.username, parts.password]
    found += [part for part in re.split(r"[/?&=]", f"{parts.path}?{parts.query}") if len(part) > 5]
    for secret in sorted({one for one in found if one and len(one) > 2}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return line(_without_addresses(text))


def _without_addresses(text: str) -> str:
    return line(re.sub(r"\w+://[^\s'\"]+", "***", text))
