"""Which Prefect server there is: the user's, that of `perdure up`, a temporary one, or none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from prefect.logging.handlers import APILogWorker, PrefectConsoleHandler
from prefect.settings import get_current_settings, temporary_settings

from perdure import running, server_secret
from perdure.orchestration.run_log import own_lines
from perdure.secrets import in_text, without_secrets

logger = logging.getLogger("perdure")

ANSWER_SECONDS = 2.0
"""How long a configured server may take to say that it is there."""
DRAIN_SECONDS = 10.0
"""How long sending what is left to another server may take."""

_secrets: dict[str, str] = {}
"""Secrets of the servers of `perdure up` that were found, by the address of their API."""
_told: str | None = None
"""The server that receives events and logs of this process."""


def configured(root: Path | None = None) -> str | None:
    """The API that the user configured, by `PREFECT_API_URL` or a profile; None: none.

    Args:
        root: A workspace, whose `perdure up` counts where the user has configured none.
    """
    url = get_current_settings().api.url
    if url is not None or root is None:
        return url
    now = running.read(root / ".perdure")
    if now is None or now.state != "ready":
        return None
    secret = server_secret.read(root / ".perdure")
    if secret is not None and any(part.name == "server" for part in now.parts):
        _secrets[now.prefect_api] = secret
    return now.prefect_api


def access(url: str) -> dict[str, Any]:
    """Prefect's settings for a client of an API that `configured` has found."""
    secret = _secrets.get(url)
    return {"api.url": url} | ({"api.auth_string": secret} if secret is not None else {})


def answers(url: str, otherwise: str, level: int = logging.WARNING) -> bool:
    """Whether an API answers; where it does not, that is logged, with what is done instead.

    Args:
        url: Of the API.
        otherwise: What is done without it.
        level: Of the log line.
    """
    reason = problem(url)
    if reason is not None:
        shown = without_secrets(url)
        logger.log(level, "Prefect at %s does not answer (%s); %s.", shown, reason, otherwise)
    return reason is None


def problem(url: str) -> str | None:
    """Why an API cannot be used, without what is secret in its address; None: it answers."""
    from prefect.client.orchestration import get_client

    # Prefect's client knows the user's keys and certificates. It would retry for half a minute.
    with (
        temporary_settings(updates={**access(url), "client.max_retries": 0}),
        get_client(httpx_settings={"timeout": ANSWER_SECONDS}, sync_client=True) as client,
    ):
        error = client.api_healthcheck()
    return None if error is None else in_text(f"{type(error).__name__}: {error}".strip(": "))


@contextmanager
def on_configured(url: str) -> Iterator[None]:
    """Flows that are called inside run on the configured server."""
    # By default the client would try a server that went down for more than a minute: 2 + 4 +
    # 8 + 16 + 32 s, at every call. What was done does not depend on it.
    settings = temporary_settings(updates=access(url), set_defaults={"client.max_retries": 2})
    with settings, _quiet_console(), own_lines():
        _tell(url)
        yield


@contextmanager
def on_temporary(api_url: str) -> Iterator[None]:
    """Flows that are called inside run on a temporary server."""
    with ExitStack() as stack:
        stack.enter_context(
            temporary_settings(
                updates={"api.url": api_url},
                # No service here watches heartbeats, and every sync flow ends
                # with a wait of up to 1 s for the thread that beats.
                set_defaults={"flows.heartbeat_frequency": None},
            )
        )
        stack.enter_context(_quiet_console())
        stack.enter_context(own_lines())
        _tell(api_url)
        yield


def _tell(url: str) -> None:
    """See to it that events and logs go to the server that flows run on.

    Prefect's client has one sender of each for the whole process, with the address that was
    configured when it was first needed (Prefect 3.8, `EventsWorker.instance`). Of what runs in a
    second workspace the first one's server would hear, and a task is known by its events alone.
    """
    global _told
    if url == _told:
        return
    from prefect.events.worker import EventsWorker

    with ThreadPoolExecutor(1) as elsewhere:  # in a thread with a loop Prefect would not wait
        for sender in (EventsWorker, APILogWorker):
            elsewhere.submit(sender.drain_all, timeout=DRAIN_SECONDS).result()
    _told = url


@contextmanager
def _quiet_console() -> Iterator[None]:
    """Send everything to the server, and to the terminal only what went wrong.

    Unless the user has set a logging level for Prefect.
    """
    handlers = [h for h in logging.getLogger().handlers if isinstance(h, PrefectConsoleHandler)]
    if "level" in get_current_settings().logging.model_fields_set:
        handlers = []
    else:  # at exit it counts, as a warning, what it is still sending
        logging.getLogger("EventsWorker").setLevel(logging.ERROR)
    for handler in handlers:
        handler.addFilter(_worth_the_terminal)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_worth_the_terminal)


def _worth_the_terminal(record: logging.LogRecord) -> bool:
    # A run's error reaches the caller, who prints it once and with its hint.
    if record.name.startswith(("prefect.flow_runs", "prefect.task_runs")):
        return False
    return not record.name.startswith("prefect") or record.levelno >= logging.WARNING
