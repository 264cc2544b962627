"""What an experience is made of: the rows of one file or several, and of classes set aside.

A file with fewer accepted rows than `data.min_rows` waits. As soon as what waits and what arrives
are enough together, all of it is one experience; so a large file takes what waits with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perdure.config import Workspace
from perdure.records import Experience
from perdure.records.data import Aside, FileRows, Joined, Label, SourceFile, Waiting
from perdure.tasks import experiences
from perdure.tasks.tables import content, splitting
from perdure.tasks.tables import schema as schemas
from perdure.tasks.tables.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

NAMED = 5
"""So many files that waited are named in a note."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows that make an experience."""

    frame: pd.DataFrame
    sha256: str
    files: tuple[SourceFile, ...]
    """Whose rows these are, in the order of the rows: those that waited come first."""
    joined: tuple[Joined, ...]
    """What the last rows are: rows of classes that were set aside."""
    distinct_rows: int

    @property
    def file_rows(self) -> tuple[FileRows, ...]:
        """The files and how many rows each brought."""
        return tuple(FileRows(one.name, one.rows) for one in self.files)


def gathered(
    ws: Workspace, rules: Schema, known: Sequence[Experience], waiting: Sequence[Waiting]
) -> tuple[Aside, ...]:
    """Rows of new classes that earlier files brought and that joined no experience yet."""
    if rules.task == "regression":
        return ()
    return experiences.gathered(ws, known, waiting, rules.form)


def batch(
    ws: Workspace,
    rules: Schema,
    known: Sequence[Experience],
    own: tuple[SourceFile, pd.DataFrame] | None = None,
) -> Batch | None:
    """Put together what makes the next experience.

    Args:
        ws: The workspace.
        rules: The schema.
        known: Every experience.
        own: A file that arrives, and its accepted rows; None: only what waits.

    Returns:
        None: these are fewer than `data.min_rows` rows.

    Raises:
        Corrupt: Rows that wait are damaged.
    """
    everything = experiences.waiting_files(ws, known)
    # Where small files are refused, those that waited before stay where they are.
    waiting = [one for one in everything if one.form == rules.form and ws.config.data.join]
    files = (*(one.file for one in waiting), *((own[0],) if own else ()))
    if sum(one.rows for one in files) < ws.config.data.min_rows:
        return None
    parts = [experiences.read_waiting(one, content.content_sha256) for one in waiting]
    parts += [own[1]] if own else []
    aside = gathered(ws, rules, known, everything)
    new = {label for rows in parts for label in unlisted(rows, rules)}
    labels = _let_in(aside, new | experiences.labels_of(known, waiting), rules)
    frame, joined = experiences.join(parts, aside, labels, rules.names, rules.target.name)
    return Batch(
        frame,
        content.content_sha256(frame),
        files,
        joined,
        content.distinct_rows(frame, rules.features),
    )


def write(ws: Workspace, made: Batch, rules: Schema, known: list[Experience]) -> Experience:
    """Write an experience, and add it to those that are known."""
    found = experiences.write_experience(
        ws,
        experiences.next_number(known),
        made.frame,
        made.sha256,
        made.files,
        rules.sha256,
        form=rules.form,
        joined=made.joined,
        classes=unlisted(made.frame, rules),
        # All of a workspace are split in one form, so that an older one goes on as it is.
        split=known[0].split if known else splitting.FORM,
        distinct_rows=made.distinct_rows,
    )
    known.append(found)
    return found


def unlisted(frame: pd.DataFrame, rules: Schema) -> list[Label]:
    """The classes of rows that the schema does not list."""
    if not isinstance(rules.target, schemas.ClassTarget):
        return []
    return sorted(set(frame[rules.target.name].tolist()) - set(rules.target.classes))


def notes(
    ws: Workspace,
    rules: Schema,
    known: Sequence[Experience],
    own: SourceFile | None,
    made: Batch | None,
    new: Sequence[Label] = (),
) -> tuple[str, ...]:
    """What a person should know of the rows of earlier files.

    Args:
        ws: The workspace.
        rules: The schema.
        known: The experiences before.
        own: The file that arrived; None: none did.
        made: The experience that it makes; None: it waits.
        new: Classes that it brought itself.
    """
    waiting = experiences.waiting_files(ws, known)
    found = []
    if made is None and own is not None:
        more = sum(one.file.rows for one in waiting if one.form == rules.form)
        found.append(
            _counted(own.rows, "row")
            + (" waits" if own.rows == 1 else " wait")
            + (f" with {more} of earlier files" if more else "")
            + f"; {ws.config.data.min_rows} make an experience (data.min_rows)"
        )
    if made is not None:
        earlier = made.files[: -1 if own else None]
        if earlier:
            rows = sum(one.rows for one in earlier)
            names = ", ".join(one.name for one in earlier[:NAMED])
            names += ", …" if len(earlier) > NAMED else ""
            found.append(
                f"{_counted(rows, 'row')} of {_counted(len(earlier), 'file')} that waited "
                f"joined: {names}"
            )
        found += _of_classes(made, new)
    others = [one for one in waiting if one.form != rules.form]
    if others and ws.config.data.join:
        rows = sum(one.file.rows for one in others)
        found.append(
            f"{_counted(rows, 'row')} of {_counted(len(others), 'earlier file')} do not join: the "
            "columns of the schema have changed since; they wait for the schema as it was"
        )
    return tuple(found)


def _of_classes(made: Batch, new: Sequence[Label]) -> tuple[str, ...]:
    """What joined although the file itself brought nothing new."""
    joined = [one for one in made.joined if one.label not in new]
    if not joined:
        return ()
    rows = sum(one.rows for one in joined)
    named = ", ".join(dict.fromkeys(f"{one.label!r}" for one in joined))
    return (f"rows set aside from earlier files joined: {rows} of {named}",)


def _let_in(aside: Sequence[Aside], known: set[Label], rules: Schema) -> set[Label]:
    """The classes whose rows join: let in by now, by the schema or by their number."""
    target = rules.target
    if not isinstance(target, schemas.ClassTarget):
        return set()
    labels: set[Label] = set(target.classes)
    if target.new_classes == "allow":
        counts = experiences.counts(aside)
        enough = {label for label, rows in counts.items() if rows >= target.min_class_rows}
        labels |= enough | known
    return labels


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
