"""`backup.json`: what a backup is of, and what `restore` needs beside its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from perdure.errors import Corrupt

NOTE = "backup.json"


class Note(BaseModel):
    """The content of `backup.json`. Addresses in it are without secrets."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1, 2]
    """1: what was not committed, the inbox, the data and the registry are in a folder each."""
    model: str
    at: str
    """UTC, ISO 8601."""
    perdure: str
    """The version that wrote it."""
    folder: str
    """The workspace, from the top of its git repository."""
    store: str | None = None
    """The DVC remote, from the workspace; None: it is not in the backup."""
    champion: int | None
    versions: int
    lacks: list[str]
    left_out: list[str]
    head: str
    """The commit that was checked out."""
    branch: str | None
    """The branch that was checked out; None: none was."""
    remotes: dict[str, str]
    links: dict[str, str] = {}
    """Symbolic links, from the workspace, with their targets."""

    inbox: str = "inbox"
    """Format 1: the setting `data.inbox`."""
    registry: str | None = None
    """Format 1: the name of the registry for Prefect."""
    deleted: list[str] = []
    """Format 1: files that git has and the workspace had not."""


def read(backup: Path) -> Note:
    """Read the note of a backup.

    Raises:
        Corrupt: It is missing, is no note, or has a format that this version cannot read.
    """
    path = backup / NOTE
    try:
        return Note.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        raise Corrupt(
            f"{path} cannot be read: {error}",
            hint=f"nothing was written; ls {backup.parent} shows other backups",
        ) from error
