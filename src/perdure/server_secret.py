"""The secret of the Prefect server that `perdure up` runs: who has it may start runs there.

The server listens on loopback, where every user of the machine reaches it, and every web page in a
browser. So its API answers only who sends this secret: Perdure's own processes and commands, which
read it from a file that no other user may read, and the browser that `perdure open` lets in.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

from perdure import running

USER = "perdure"
TICKET_S = 60.0
"""How long a browser may take to come with its ticket."""


def place(state: Path) -> Path:
    """The file of the secret."""
    return running.folder(state) / "prefect.secret"


def make(state: Path) -> str:
    """Return the secret of a workspace's server, which has one from now on.

    Raises:
        OSError: The file cannot be written.
    """
    path = place(state)
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        _write(path, f"{USER}:{secrets.token_urlsafe(32)}\n")
    return path.read_text(encoding="ascii").strip()


def read(state: Path) -> str | None:
    """Return the secret of a workspace's server; None: it has none."""
    try:
        return place(state).read_text(encoding="ascii").strip() or None
    except OSError:
        return None


def login(state: Path) -> tuple[str, str] | None:
    """Return the secret as user name and password, as HTTP clients take it; None: there is none."""
    user, _, password = (read(state) or "").partition(":")
    return (user, password) if password else None


def ticket(state: Path) -> str:
    """Make a ticket, which lets one browser in, once, within a minute.

    Raises:
        OSError: The file cannot be written.
    """
    name = secrets.token_urlsafe(24)
    _write(running.folder(state) / f"ticket-{name}", "")
    return name


def punch(folder: Path, name: str) -> bool:
    """Take a ticket back; whether it was good.

    Args:
        folder: Where the secret lies.
        name: What the browser sent.
    """
    for path in folder.glob("ticket-*"):
        with suppress(OSError):
            old = not 0 <= time.time() - path.stat().st_mtime <= TICKET_S
            if old or secrets.compare_digest(path.name, f"ticket-{name}"):
                path.unlink()
                if not old:
                    return True
    return False


def _write(path: Path, text: str) -> None:
    """Write a new file that only its owner may read.

    Raises:
        FileExistsError: It is there already.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, text.encode("ascii"))
        os.link(part, path)
    finally:
        os.close(descriptor)
        part.unlink(missing_ok=True)
