"""The registry read straight from MLflow's SQLite file.

For commands that only look, and by each change. Importing MLflow and checking its tables takes
1.5 s; this takes milliseconds, and reads aliases, tags and versions in one transaction. It knows
the tables of certain MLflow releases by the database's own revision, and leaves every other
database to the client.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

REVISIONS = frozenset({"dc11669786a5"})
"""Alembic revisions whose tables have the columns below: MLflow 3.17."""

DELETED = "Deleted_Internal"
"""The stage of a version that was deleted: MLflow keeps its row."""

Tags = dict[str, str]
_MODEL = "WHERE workspace = 'default' AND name = ?"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Row:
    """One model version as MLflow has it."""

    version: int
    run_id: str
    created: int
    """Milliseconds since 1970."""
    tags: Mapping[str, str]
    location: str = ""
    """Where MLflow keeps its files."""
    description: str = ""


@dataclass(frozen=True)
class Snapshot:
    """A registered model as MLflow has it: tags, aliases, and the versions they name."""

    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[int, Row] = field(default_factory=dict)


def snapshot(path: Path | None, name: str) -> Snapshot | None:
    """Read a registered model from MLflow's SQLite file.

    Returns:
        An empty snapshot where there is no such model or no file yet; None where the file is
        not one that this module knows, and MLflow itself must be asked.
    """
    return _asked(path, lambda database: _read(database, name), Snapshot)


def model(path: Path | None, name: str) -> tuple[Tags, dict[str, int]] | None:
    """Tags and aliases of a registered model, from MLflow's SQLite file.

    Returns:
        Both empty where there is no such model; None where MLflow itself must be asked.
    """
    return _asked(path, lambda database: _model(database, name))


def versions(path: Path | None, name: str, number: int | None = None) -> list[Row] | None:
    """The versions of a registered model, in order; or the one with a number.

    Returns:
        None where MLflow itself must be asked.
    """
    one, values = ("", (name,)) if number is None else (" AND version = ?", (name, number))

    def read(database: sqlite3.Connection) -> list[Row]:
        tags: dict[int, Tags] = {}
        query = f"SELECT version, key, value FROM model_version_tags {_MODEL}{one}"
        for version, key, value in database.execute(query, values):
            tags.setdefault(int(version), {})[key] = value
        found = database.execute(
            "SELECT version, run_id, creation_time, storage_location, description "
            f"FROM model_versions {_MODEL} AND current_stage != '{DELETED}'{one} ORDER BY version",
            values,
        )
        return [
            Row(int(n), run or "", at, tags.get(int(n), {}), where or "", about or "")
            for n, run, at, where, about in found
        ]

    return _asked(path, read, list[Row])


def with_tag(path: Path | None, name: str, tag: str, value: str) -> list[int] | None:
    """The numbers of the versions whose tag has a value, in order, those that were deleted, too.

    Returns:
        None where MLflow itself must be asked.
    """
    query = (
        f"SELECT version FROM model_version_tags {_MODEL} AND key = ? AND value = ? "
        "ORDER BY version"
    )
    found = (name, tag, value)
    return _asked(path, lambda d: [int(row[0]) for row in d.execute(query, found)], list[int])


def numbers(path: Path | None, name: str, tag: str, without: str) -> list[int] | None:
    """The numbers of the versions of a registered model that have a tag and lack another, in order.

    Returns:
        None where MLflow itself must be asked.
    """
    # MLflow keeps the tags of a version that was deleted.
    query = (
        f"SELECT version FROM model_versions {_MODEL} AND current_stage != '{DELETED}' "
        f"AND version IN (SELECT version FROM model_version_tags {_MODEL} AND key = ?) "
        f"AND version NOT IN (SELECT version FROM model_version_tags {_MODEL} AND key = ?) "
        "ORDER BY version"
    )
    values = (name, name, tag, name, without)
    return _asked(path, lambda d: [int(row[0]) for row in d.execute(query, values)], list[int])


def tagged(
    path: Path | None, experiment: str, tag: str, values: Sequence[str]
) -> list[Tags] | None:
    """The tags of the first run of an experiment that has a tag with a value, for each value.

    Returns:
        In the order of the values, without those that no run has; None where MLflow itself must
        be asked.
    """

    def read(database: sqlite3.Connection) -> list[Tags]:
        found = []
        for value in values:
            run = database.execute(
                "SELECT r.run_uuid FROM tags t JOIN runs r ON r.run_uuid = t.run_uuid "
                "JOIN experiments e ON e.experiment_id = r.experiment_id "
                "WHERE e.workspace = 'default' AND e.name = ? AND t.key = ? AND t.value = ? "
                "AND r.lifecycle_stage = 'active' ORDER BY r.start_time LIMIT 1",
                (experiment, tag, value),
            ).fetchone()
            if run is not None:
                own = database.execute("SELECT key, value FROM tags WHERE run_uuid = ?", run)
                found.append(dict(own.fetchall()))
        return found

    return _asked(path, read)


def all_tagged(path: Path | None, experiment: str, tag: str) -> list[Tags] | None:
    """The tags of every run of an experiment that has a tag.

    Returns:
        None where MLflow itself must be asked.
    """
    query = (
        "SELECT t.run_uuid, t.key, t.value FROM tags t JOIN runs r ON r.run_uuid = t.run_uuid "
        "JOIN experiments e ON e.experiment_id = r.experiment_id "
        "WHERE e.workspace = 'default' AND e.name = ? AND r.lifecycle_stage = 'active'"
    )

    def read(database: sqlite3.Connection) -> list[Tags]:
        found: dict[str, Tags] = {}
        for run, key, value in database.execute(query, (experiment,)):
            found.setdefault(run, {})[key] = value
        return [tags for tags in found.values() if tag in tags]

    return _asked(path, read, list[Tags])


def _workspaces() -> bool:
    """Whether MLflow keeps several users' models apart, in ways that are not known here."""
    return os.environ.get("MLFLOW_ENABLE_WORKSPACES", "").lower() in {"1", "true"}


def _asked(
    path: Path | None,
    read: Callable[[sqlite3.Connection], _T | None],
    nothing: Callable[[], _T] | None = None,
) -> _T | None:
    """What is read in one transaction; None where there is no file, or its tables are not known.

    Args:
        path: The SQLite file; None: MLflow keeps its tables elsewhere.
        read: Reads from it.
        nothing: Makes what there is before there is a file.
    """
    if path is None or _workspaces():
        return None
    if nothing is not None and not path.exists():
        return nothing()
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as database:
            database.execute("BEGIN")
            known = {row[0] for row in database.execute("SELECT version_num FROM alembic_version")}
            return read(database) if known and known <= REVISIONS else None
    except sqlite3.Error:
        return None


def _model(database: sqlite3.Connection, name: str) -> tuple[Tags, dict[str, int]]:
    tags = database.execute(f"SELECT key, value FROM registered_model_tags {_MODEL}", (name,))
    aliases = database.execute(
        f"SELECT alias, version FROM registered_model_aliases {_MODEL}", (name,)
    )
    return dict(tags.fetchall()), {alias: int(version) for alias, version in aliases}


def _read(database: sqlite3.Connection, name: str) -> Snapshot | None:
    tags, aliases = _model(database, name)
    versions = {}
    for number in sorted(set(aliases.values())):
        row = database.execute(
            f"SELECT run_id, creation_time FROM model_versions {_MODEL} AND version = ?",
            (name, number),
        ).fetchone()
        if row is None:
            return None
        own = database.execute(
            f"SELECT key, value FROM model_version_tags {_MODEL} AND version = ?", (name, number)
        )
        versions[number] = Row(number, row[0] or "", row[1], dict(own.fetchall()))
    return Snapshot(tags, aliases, versions)
