"""Notices to people, short and plain, as `[[notify]]` says; `herald` finds out what to tell."""

from __future__ import annotations

import logging

from perdure.config import CONFIG_NAME, Workspace
from perdure.errors import ConfigError, Fault
from perdure.flows.service.notice import Notice
from perdure.flows.service.receivers import Receiver

logger = logging.getLogger("perdure")


def receivers(ws: Workspace) -> tuple[Receiver, ...]:
    """Everybody who is told something."""
    return tuple(Receiver(ws, config, number) for number, config in enumerate(ws.config.notify))


def check(ws: Workspace) -> None:
    """Check all addresses, as far as that goes without sending.

    Raises:
        ConfigError: With every fault and its key.
    """
    faults = [fault for receiver in receivers(ws) for fault in receiver.faults()]
    if faults:
        hint = "mend it, or set the environment variable where perdure runs"
        raise ConfigError(str(ws.root / CONFIG_NAME), faults, hint=hint)


def send(ws: Workspace, *candidates: Notice) -> list[Fault]:
    """Tell everybody who wants to know, once and now; see `herald` for trying again.

    Args:
        ws: The workspace.
        candidates: Notices of one change; each receiver gets the first that it wants.

    Returns:
        What went wrong, one for each receiver that was not reached.
    """
    failed = []
    for receiver in receivers(ws):
        notice = receiver.chosen(candidates)
        if notice is None:
            continue
        try:
            receiver.send(notice)
        except Fault as error:
            logger.error("%s", error)
            failed.append(error)
    return failed
