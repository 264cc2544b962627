"""A workspace that was moved, renamed or copied.

MLflow writes absolute addresses of artifacts into its database. The default database lies in
the workspace, beside its artifacts; where it names another folder, the addresses are turned to
this one. Otherwise a moved workspace would find none of its versions, and a copied one would
write into the original.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing

from perdure.config import Workspace
from perdure.errors import Unreachable

logger = logging.getLogger("perdure")

LEARNING = "/learning"
"""The end of the address of the experiment of the learning steps."""
_PLACES = (
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
    ("experiments", "artifact_location"),
)
"""Where MLflow 3 keeps addresses."""


def adopt(workspace: Workspace) -> None:
    """Turn the addresses in the default database to this folder, all or none of them.

    Raises:
        Unreachable: The database is locked for longer than 30 s.
    """
    database = workspace.state / "mlflow.db"
    if workspace.config.tracking.uri is not None or not database.exists():
        return
    here = (workspace.state / "artifacts").as_uri()
    try:
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            before = written(connection, workspace.config.model.name)
            if before is None or before == here:
                return
            with connection:
                for table, column in _PLACES:
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE substr({column}, 1, ?) = ?",
                        (here, len(before) + 1, len(before) + 1, before + "/"),
                    )
    except sqlite3.OperationalError as error:
        raise Unreachable(f"{database}: {error}", hint="perdure doctor") from error
    logger.info("This workspace was moved or copied: its registry now names this folder.")


def written(connection: sqlite3.Connection, model: str) -> str | None:
    """The folder of the artifacts as the database has it; None: nothing was learned yet."""
    tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'")
    if tables.fetchone() is None:
        return None
    found = connection.execute(
        "SELECT artifact_location FROM experiments WHERE name = ?", (model,)
    ).fetchone()
    address = str(found[0]) if found else ""
    return address.removesuffix(LEARNING) if address.endswith(LEARNING) else None
