"""A copy of the default registry, also while something writes to it.

The database is copied first, in one transaction. Every file that it names is there already, and
none is ever changed: a version's files are written before the version is registered. What removes
versions must wait meanwhile.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from perdure.config import Workspace
from perdure.errors import Unreachable
from perdure.secrets import without_secrets
from perdure.tasks.registry import codec, moved, quick
from perdure.tasks.registry.client import tracking_uri
from perdure.tasks.registry.whole import version_folder

DATABASE = "mlflow.db"
ARTIFACTS = "artifacts"


def server(ws: Workspace) -> str | None:
    """The address of the registry where it is not the workspace's own; without a password."""
    return None if ws.config.tracking.uri is None else without_secrets(tracking_uri(ws))


def database(ws: Workspace, target: Path) -> bool:
    """Copy the database as it is at one moment.

    Returns:
        Whether there is one.

    Raises:
        Unreachable: It is locked for longer than 30 s, or cannot be read.
    """
    source = ws.state / DATABASE
    if not source.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        uri = f"{source.absolute().as_uri()}?mode=ro"
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=30)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
            new.execute("PRAGMA journal_mode = DELETE")  # one file
    except sqlite3.Error as error:
        raise Unreachable(f"{source}: {error}", hint="perdure doctor") from error
    return True


def version_folders(copy: Path, model: str) -> list[Path]:
    """Return where the versions lie that a copy of the database has, with the artifacts beside it.

    Raises:
        Corrupt: A version has no folder there.
    """
    with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        base = moved.written(connection, model)
        if base is None:
            return []
        rows = connection.execute(
            "SELECT v.version, coalesce(m.artifact_location, v.storage_location, v.source) "
            "FROM model_versions v "
            "LEFT JOIN logged_models m ON v.source = 'models:/' || m.model_id "
            "JOIN model_version_tags t ON (t.name, t.version) = (v.name, v.version) "
            "WHERE v.name = ? AND t.key = ? AND v.current_stage != ? AND NOT EXISTS "
            "(SELECT 1 FROM model_version_tags r "
            "WHERE (r.name, r.version) = (v.name, v.version) AND r.key = ?)",
            (model, codec.KEY, quick.DELETED, codec.REMOVED),
        ).fetchall()
    return [
        version_folder(copy.parent / ARTIFACTS / str(address).removeprefix(base + "/"), int(number))
        for number, address in rows
        if str(address).startswith(base + "/")
    ]


def champion(copy: Path, model: str) -> int | None:
    """The champion in a copy of the database."""
    with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        row = connection.execute(
            "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = 'champion'",
            (model,),
        ).fetchone()
    return None if row is None else int(row[0])
