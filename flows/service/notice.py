"""A notice: one thing that happened to a model, in words for people."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perdure.config.unattended import Occasion


@dataclass(frozen=True)
class Notice:
    """One thing that happened, for people."""

    occasion: Occasion
    model: str
    at: str
    """UTC, ISO 8601."""
    workspace: str
    version: int | None = None
    replaced: int | None = None
    experiences: tuple[str, ...] = ()
    """That it is about; of a promotion or a rollback, those that are held by it."""
    reason: str | None = None
    by: str | None = None
    run: str | None = None
    """Name of the flow run that crashed."""
    refused: str | None = None
    """How much of which file was refused when it arrived."""

    @property
    def subject(self) -> str:
        """One line."""
        v = "" if self.version is None else f"version {self.version}"
        ids = _listed(self.experiences)
        what = {
            "promoted": f"{v} is the champion",
            "waiting": f"{v} waits for approval",
            "refused": f"{v} was refused",
            "held": self.refused or f"{ids} {'is' if len(self.experiences) == 1 else 'are'} held",
            "rolled back": f"rolled back to {v}",
            "crashed": f"the run {self.run} crashed",
        }[self.occasion]
        return line(f"{self.model}: {what}")

    @property
    def body(self) -> str:
        """A few lines; the last is the next command."""
        lines = [f"{self.subject}."]
        if self.replaced not in (None, self.version):
            lines.append(f"It replaced version {self.replaced}.")
        if self.experiences and self.occasion != "held":
            held = f"Held: {_listed(self.experiences)}."
            learned = self.occasion in ("promoted", "waiting")
            lines.append(f"Learned: {held[6:]}" if learned else held)
        if self.reason:
            lines.append(f"Why: {line(self.reason)}")
        lines.append(f"When: {self.at}" + (f", by {line(self.by)}" if self.by else ""))
        lines.append(f"Where: {self.workspace}")
        return "\n".join([*lines, f"Next: {self.command}"])

    @property
    def command(self) -> str:
        """What to type next."""
        if self.occasion == "crashed":
            return "perdure status, then perdure doctor"
        if self.refused is not None:
            return "perdure status, then perdure schema --diff FILE for what is new in the file"
        if self.occasion == "held":
            return "perdure status, then perdure release ID once it is clear why"
        shown = "perdure status" if self.version is None else f"perdure show {self.version}"
        if self.occasion == "waiting":
            return f"{shown}; perdure promote {self.version} approves it, as Prefect's page does"
        if self.occasion == "rolled back" and self.experiences:
            return f"{shown}; perdure release ID once it is clear why it was held"
        return f"{shown}; perdure rollback takes it back" if self.occasion == "promoted" else shown

    def facts(self) -> dict[str, Any]:
        """As plain values, for a webhook."""
        return {
            "event": self.occasion,
            "model": self.model,
            "version": self.version,
            "replaced": self.replaced,
            "experiences": list(self.experiences),
            "run": self.run,
            "reason": self.reason,
            "text": self.subject,
            "at": self.at,
            "by": self.by,
            "workspace": self.workspace,
        }


def line(text: str) -> str:
    """A text on one line, and not too long."""
    whole = " ".join(text.split())
    return whole if len(whole) <= 1000 else whole[:999] + "…"


def where(root: Path) -> str:
    """A workspace and its machine, as a notice names it."""
    return f"{root} on {socket.gethostname()}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
