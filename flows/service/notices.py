"""Notices to people, short and plain, as `[[notify]]` says; `herald` finds out what to tell."""

from __future__ import annotations

from perdure.config import CONFIG_NAME, Workspace
from perdure.errors import ConfigError
from perdure.flows.service.receivers import Receiver


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
