"""Notices to people, short and plain, as `[[notify]]` says; `herald` finds out what to tell."""

from __future__ import annotations

import logging

from perdure.config import CONFIG_NAME, Workspace
from perdure.errors import ConfigError
from perdure.flows.service.receivers import Receiver

logger = logging.getLogger("perdure")


def receivers(ws: Workspace) -> tuple[Receiver, ...]:
    """Everybody who is told something."""
    return tuple(Receiver(ws, config, number) for number, config in enumerate(ws.config.notify))


def check(ws: Workspace, *, elsewhere: bool = False) -> None:
    """Check all addresses, as far as that goes without sending.

    Args:
        ws: The workspace.
        elsewhere: Whoever sends them has an environment of his own, such as that of a service: a
            variable that is not set here is a warning.

    Raises:
        ConfigError: With every fault and its key.
    """
    faults: list[str] = []
    for receiver in receivers(ws):
        found = receiver.faults()
        if elsewhere and receiver.unset is not None:
            logger.warning("%s here; perdure up needs it.", "; ".join(found))
        else:
            faults += found
    if faults:
        hint = "mend it, or set the environment variable where perdure runs"
        raise ConfigError(str(ws.root / CONFIG_NAME), faults, hint=hint)
