"""Where rows are that somebody asks for: every place of the data folder is looked through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perdure.config import Workspace
from perdure.errors import DataRefused
from perdure.records import Experience
from perdure.records.data import Waiting
from perdure.records.forgetting import FoundIn
from perdure.tasks import experiences
from perdure.tasks.tables import content, finding, read
from perdure.tasks.tables import schema as schemas
from perdure.tasks.tables.finding import Mask, Wanted
from perdure.tasks.tables.schema import Schema

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Found:
    """Where the rows are, as far as it could be looked."""

    experiences: tuple[tuple[Experience, Mask], ...]
    waiting: tuple[tuple[Waiting, Mask], ...]
    quarantine: tuple[FoundIn, ...]
    unread: tuple[str, ...]
    """Folders of the quarantine that could not be searched, each with the reason."""
    words: tuple[str, ...]
    """Columns whose list in the schema has words of these rows alone."""


def search(ws: Workspace, wanted: Wanted) -> Found:
    """Look for rows in experiences, in files that wait, and in the quarantine.

    Raises:
        DataRefused: The values of a column do not suit the condition.
        Corrupt: A file is damaged.
    """
    schema = schemas.load(ws.schema, ws.config.data)
    known = experiences.list_experiences(ws)
    listed = _Words(schema)
    found: list[tuple[Experience, Mask]] = []
    for one in known:
        frame = experiences.read_experience(ws, one.id, content.content_sha256)
        rows = _rows(wanted, frame)
        listed.look(frame, rows)
        if rows.any():
            found.append((one, rows))
    waiting: list[tuple[Waiting, Mask]] = []
    for file in experiences.waiting_files(ws, known):
        frame = experiences.read_waiting(file, content.content_sha256)
        rows = _rows(wanted, frame)
        listed.look(frame, rows)
        if rows.any():
            waiting.append((file, rows))
    refused, unread = _refused(ws, wanted, schema)
    return Found(tuple(found), tuple(waiting), refused, unread, listed.alone())


def _rows(wanted: Wanted, frame: pd.DataFrame) -> Mask:
    """Which rows are asked for; a column that came into the schema later is missing in them."""
    later = {name: None for name in wanted.columns if name not in frame.columns}
    return wanted.rows(frame.assign(**later))


class _Words:
    """Words of category columns: which stand in the rows that go, and in no other row."""

    def __init__(self, schema: Schema) -> None:
        self.lists = {
            name: frozenset(getattr(column, "categories", ()))
            for name, column in schema.columns.items()
        }
        self.going: dict[str, set[Any]] = {name: set() for name in self.lists}
        self.staying: dict[str, set[Any]] = {name: set() for name in self.lists}

    def look(self, frame: pd.DataFrame, goes: Mask) -> None:
        for name, words in self.lists.items():
            if words and name in frame.columns:
                self.going[name] |= words & set(frame[name][goes].tolist())
                self.staying[name] |= words & set(frame[name][~goes].tolist())

    def alone(self) -> tuple[str, ...]:
        return tuple(name for name in self.lists if self.going[name] - self.staying[name])


def _refused(
    ws: Workspace, wanted: Wanted, schema: Schema
) -> tuple[tuple[FoundIn, ...], tuple[str, ...]]:
    """Look through the quarantine; what cannot be read as a table is named."""
    found, unread = [], []
    for folder in sorted(path for path in ws.quarantine.glob("*") if path.is_dir()):
        name = folder.relative_to(ws.root).as_posix()
        rows = of = 0
        for file in sorted(folder.iterdir()):
            if not file.name.startswith(("original", "rows.csv", "aside-")):
                continue
            try:
                frame = read.read(file, schema).frame
                rows += int(wanted.rows(finding.typed(frame, schema, wanted.columns)).sum())
                of += len(frame)
            except DataRefused as refusal:
                unread.append(f"{name}: {refusal.message}")
        if rows:
            found.append(FoundIn(name, rows, of))
    return tuple(found), tuple(unread)
