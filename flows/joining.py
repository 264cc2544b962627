"""What an experience is made of: the rows of one file or several, and of classes set aside.

A file with fewer accepted rows than `data.min_rows` waits. As soon as what waits and what arrives
are enough together, all of it is one experience; so a large file takes what waits with it.

Where `data.join` is a number, a file with fewer rows than that waits likewise for those of the same
ingest that come after it, and at the end of the ingest `data.min_rows` are enough. A large file is
then an experience of its own, unless too few rows for one wait before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from perdure.config import Workspace
from perdure.records import Experience, Ingested
from perdure.records.data import Aside, FileRows, Joined, Label, SourceFile, Waiting
from perdure.tasks import experiences
from perdure.tasks.tables import content, splitting
from perdure.tasks.tables import schema as schemas
from perdure.tasks.tables.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

NAMED = 5
"""So many files that waited are named in a note."""
MANY = 50
"""So many small experiences of one ingest are worth a hint."""
SMALL_ROWS = 500
"""An experience with fewer rows is small."""


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
    least: int | None = None,
) -> Batch | None:
    """Put together what makes the next experience.

    Args:
        ws: The workspace.
        rules: The schema.
        known: Every experience.
        own: A file that arrives, and its accepted rows; None: only what waits.
        least: So many rows make an experience; by default `data.min_rows`.

    Returns:
        None: these are fewer rows.

    Raises:
        Corrupt: Rows that wait are damaged.
    """
    everything = experiences.waiting_files(ws, known)
    # Where small files are refused, those that waited before stay where they are.
    waiting = [one for one in everything if one.form == rules.form and ws.config.data.join]
    files = (*(one.file for one in waiting), *((own[0],) if own else ()))
    if sum(one.rows for one in files) < (least or ws.config.data.min_rows):
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


def stays_alone(ws: Workspace, own: SourceFile) -> bool:
    """Whether a file has so many rows that what waits is no part of its experience."""
    return own.rows >= ws.config.data.join_rows > ws.config.data.min_rows


def made_of(
    results: Sequence[Ingested], made: Ingested, own: SourceFile | None = None
) -> list[Ingested]:
    """Say what has become of the files of an ingest, now that all that waits is an experience.

    Args:
        results: What has become of the files before.
        made: The experience.
        own: The file that arrived with it; None: none did, and it goes by the name of the last
            that waited.
    """
    last = max((i for i, one in enumerate(results) if one.outcome == "waiting"), default=None)
    found = [
        replace(one, outcome="joined", experience=made.experience)
        if one.outcome == "waiting"
        else one
        for one in results
    ]
    if own is None and last is not None:  # a file has one result
        before = results[last]
        made = replace(
            made, refused_rows=before.refused_rows, refused_share=before.refused_share,
            reasons=before.reasons, folder=before.folder, notes=(*before.notes, *made.notes),
        )  # fmt: skip
        del found[last]
    return [*found, made]


def still_waiting(
    ws: Workspace, rules: Schema, known: Sequence[Experience], results: Sequence[Ingested]
) -> list[Ingested]:
    """Add to what has become of files that wait how many rows do, and how many are enough."""
    if not any(one.outcome == "waiting" for one in results):
        return list(results)
    waiting = experiences.waiting_files(ws, known)
    before = sum(one.file.rows for one in waiting if one.form == rules.form)
    before -= sum(one.rows for one in results if one.outcome == "waiting")
    found = []
    for one in results:
        if one.outcome == "waiting":
            waits = (
                _counted(one.rows, "row")
                + (" waits" if one.rows == 1 else " wait")
                + (f" with {before} of earlier files" if before else "")
                + f"; {ws.config.data.min_rows} make an experience (data.min_rows)"
            )
            others = _of_another_form(ws, rules, waiting)
            one = replace(one, notes=(*one.notes, waits, *others))
            before += one.rows
        found.append(one)
    return found


def notes(
    ws: Workspace,
    rules: Schema,
    known: Sequence[Experience],
    made: Batch,
    new: Sequence[Label] = (),
) -> tuple[str, ...]:
    """What a person should know of the rows in an experience that are not those of its last file.

    Args:
        ws: The workspace.
        rules: The schema.
        known: The experiences before.
        made: The experience.
        new: Classes that the last file brought itself.
    """
    found = []
    earlier = made.files[:-1]
    if earlier:
        rows = sum(one.rows for one in earlier)
        names = ", ".join(one.name for one in earlier[:NAMED])
        names += ", …" if len(earlier) > NAMED else ""
        found.append(
            f"{_counted(rows, 'row')} of {_counted(len(earlier), 'file')} that waited "
            f"joined: {names}"
        )
    found += _of_classes(made, new)
    found += _of_another_form(ws, rules, experiences.waiting_files(ws, known))
    return tuple(found)


def hint(ws: Workspace, results: Sequence[Ingested]) -> str | None:
    """What to set where one ingest made many small experiences; None: nothing."""
    small = [one for one in results if one.outcome == "ingested" and one.rows < SMALL_ROWS]
    if len(small) < MANY or not isinstance(ws.config.data.join, bool):
        return None
    return (
        f"{len(small)} experiences have fewer than {SMALL_ROWS} rows, and each makes a version; "
        "[data] join = 1000 in perdure.toml makes fewer of the small files of one ingest"
    )


def _of_another_form(ws: Workspace, rules: Schema, waiting: Sequence[Waiting]) -> tuple[str, ...]:
    """What waits and does not join, as the model's columns have changed."""
    others = [one for one in waiting if one.form != rules.form]
    if not others or not ws.config.data.join:
        return ()
    rows = sum(one.file.rows for one in others)
    return (
        f"{_counted(rows, 'row')} of {_counted(len(others), 'earlier file')} do not join: the "
        "columns of the schema have changed since; they wait for the schema as it was",
    )


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
