"""A message: one thing that happened to a model, in words for people."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from perdure import escaping
from perdure.config import Workspace
from perdure.config.unattended import Occasion


@dataclass(frozen=True)
class Message:
    """One thing that happened, for people."""

    occasion: Occasion
    model: str
    at: str
    """UTC, ISO 8601."""
    workspace: str
    """Its folder and machine."""
    version: int | None = None
    replaced: int | None = None
    experiences: tuple[str, ...] = ()
    """Those that were learned; of the other occasions, those that are held by it."""
    reason: str | None = None
    by: str | None = None
    run: str | None = None
    """Name of the flow run that crashed."""
    file: str | None = None
    """How much of which file was refused when it arrived."""

    @property
    def subject(self) -> str:
        """One line."""
        ids = _listed(self.experiences)
        what = {
            "promoted": f"version {self.version} is the champion",
            "waiting": f"version {self.version} waits for approval",
            "refused": f"version {self.version} was refused",
            "held": self.file or f"{ids} {'is' if len(self.experiences) == 1 else 'are'} held",
            "rolled back": f"rolled back to version {self.version}",
            "crashed": f"the run {self.run} crashed",
        }[self.occasion]
        return one_line(f"{self.model}: {what}")

    @property
    def body(self) -> str:
        """A few lines; the last is the next command."""
        lines = [f"{self.subject}."]
        if self.replaced not in (None, self.version):
            lines.append(f"It replaced version {self.replaced}.")
        if self.experiences and self.occasion != "held":
            verb = "Learned" if self.occasion in ("promoted", "waiting") else "Held"
            lines.append(f"{verb}: {_listed(self.experiences)}.")
        if self.reason:
            lines.append(f"Why: {one_line(self.reason)}")
        lines.append(f"When: {self.at}" + (f", by {one_line(self.by)}" if self.by else ""))
        return "\n".join([*lines, f"Where: {self.workspace}", f"Next: {self.command}"])

    @property
    def command(self) -> str:
        """What to type next."""
        show = f"perdure show {self.version}"
        approve = f"perdure promote {self.version} approves it, as Prefect's page does"
        release = "perdure release ID once it is clear why"
        if self.file is not None:
            return "perdure status, then perdure schema --diff FILE for what is new in the file"
        return {
            "promoted": f"{show}; perdure rollback takes it back",
            "waiting": f"{show}; {approve}",
            "refused": show,
            "held": f"perdure status, then {release}",
            "rolled back": f"{show}; {release} it was held" if self.experiences else show,
            "crashed": "perdure status, then perdure doctor",
        }[self.occasion]

    def facts(self) -> dict[str, Any]:
        """As plain values, for a webhook."""
        own = {name: value for name, value in asdict(self).items() if name != "file"}
        return {"event": own.pop("occasion"), "text": self.subject, **own}


def one_line(text: str) -> str:
    """Return a text on one line, of 1000 characters at most, each of which can be seen."""
    joined = escaping.printable(" ".join(text.split()))
    return joined if len(joined) <= 1000 else joined[:999] + "…"


def where(ws: Workspace) -> str:
    """Return a workspace's folder and machine, as a message names them."""
    return f"{ws.root} on {socket.gethostname()}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
