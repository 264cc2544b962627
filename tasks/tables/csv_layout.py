"""How a CSV file is laid out: its separator, and what stands before the header.

The separator is the one that splits the header and the first rows into the same number of
fields. Where that is no answer, the file is refused and not guessed at.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from perdure.errors import DataRefused
from perdure.tasks.tables.table import NOTHING, Known

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
"""Those that are found, the usual one first, and what they are called."""
SAMPLE_LINES = 200
SAMPLE_CHARACTERS = 4 * 2**20
"""Number of first lines from which the layout is inferred."""
_SEP = re.compile(r'\ufeff?"?sep=(.)"?[,;|\t]*', re.IGNORECASE)
_MISSING = re.compile(r"\s*(|-|\?|na|n/a|#n/a|nan|null|none|<na>)\s*", re.IGNORECASE)
_NUMBER = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*%?\s*")


@dataclass(frozen=True)
class Layout:
    """How a CSV file is laid out.

    Attributes:
        separator: Between fields.
        skip: Lines before the header.
        blanks: Whether a blank follows every separator and belongs to it.
        notes: What of this a person should know.
    """

    separator: str
    skip: int
    blanks: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Split:
    """The first records, split with one separator."""

    separator: str
    blanks: bool
    records: tuple[list[str], ...]
    whole: bool
    """Whether all of the sample could be parsed."""

    @property
    def width(self) -> int:
        """Fields of the header; 0: it could not be parsed."""
        return len(self.records[0]) if self.records else 0

    @property
    def agrees(self) -> bool:
        """Whether the header and all rows have the same number of fields, and more than one."""
        return self.whole and self.width > 1 and {len(one) for one in self.records} == {self.width}


def layout(lines: Iterable[str], name: str, known: Known = NOTHING) -> Layout:
    """Find out how a file is laid out.

    Args:
        lines: From the file's first on.
        name: The file's, for messages.
        known: What the schema knows.

    Raises:
        DataRefused: There is no header, or the separator is not certain.
        csv.Error: The header cannot be parsed.
    """
    source = iter(lines)
    skip, declared, comment, comments = 0, None, None, 0
    first: list[str] = []
    for line in source:
        bare = line.rstrip("\r\n")
        if skip == 0 and (found := _SEP.fullmatch(bare)):
            declared = found[1]
        elif bare.strip(" ").startswith("#"):
            comment, comments = line, comments + 1
        elif bare.strip(" "):
            first.append(line)
            break
        else:
            comment = None
        skip += 1
    if declared is not None and declared not in SEPARATORS:
        raise DataRefused(
            f"{name}, line 1: sep={declared} is not a separator that is known",
            hint="one of comma, semicolon, tab and |",
        )
    first, cut = _sample(first, source)
    if comment is not None and (not first or _is_header(comment, first, cut, declared, known)):
        first, skip, comments = [comment, *first], skip - 1, comments - 1
    if not first:
        raise DataRefused(f"{name} has no header line")
    split = _chosen(first, cut, declared, name, skip + 1)
    blanks = split.blanks or (not known.blanks and _all_blank(split.records))
    notes = []
    if comments:
        notes.append(f"{comments} comment line{'s' * (comments > 1)} before the header skipped")
    if split.separator != ",":
        notes.append(f"the fields are separated by {SEPARATORS[split.separator]}")
    if blanks:
        notes.append("blanks after the separators were removed: one follows each of them")
    return Layout(split.separator, skip, blanks, tuple(notes))


def _sample(first: Sequence[str], source: Iterator[str]) -> tuple[list[str], bool]:
    """The first lines from the header on, and whether there are more."""
    lines, characters = list(first), sum(map(len, first))
    for line in islice(source, SAMPLE_LINES):
        lines.append(line)
        characters += len(line)
        if characters > SAMPLE_CHARACTERS:
            return lines, True
    return lines, len(lines) > SAMPLE_LINES


def _split(lines: Sequence[str], cut: bool, separator: str, blanks: bool = False) -> _Split:
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=blanks)
    records: list[list[str]] = []
    whole = True
    try:
        records.extend(filter(None, reader))
    except csv.Error:  # a quote that is closed after the sample is no fault of it
        whole = cut and reader.line_num >= len(lines)
    return _Split(separator, blanks, tuple(records), whole)


def _chosen(lines: Sequence[str], cut: bool, declared: str | None, name: str, line: int) -> _Split:
    """The first records, split with the file's separator."""
    if declared is not None:
        return _best(lines, cut, declared)
    splits = [_best(lines, cut, separator) for separator in SEPARATORS]
    for found in (splits := [one for one in splits if one.width > 1]):
        if found.agrees and (found.separator == "," or sum(s.agrees for s in splits) == 1):
            return found
    if not splits:
        comma = _split(lines, cut, ",")
        _not_by_blanks(comma, name, line)
        return comma
    if splits[0].separator == "," or len(splits) == 1:
        return splits[0]  # whichever row has another number of fields is refused where it is
    marks = " or ".join(SEPARATORS[one.separator] for one in splits)
    raise DataRefused(
        f"{name}, line {line}: it is not certain whether {marks} separate the fields",
        hint=f"write sep={splits[0].separator} as the first line, or save it with commas",
    )


def _best(lines: Sequence[str], cut: bool, separator: str) -> _Split:
    """Split lines; with blanks before quotes only where the fields do not agree without."""
    found = _split(lines, cut, separator)
    if not found.agrees and any(f'{separator} "' in line for line in lines):
        other = _split(lines, cut, separator, blanks=True)
        return other if other.agrees else found
    return found


def _all_blank(records: Sequence[list[str]]) -> bool:
    """Whether every field of a row but the first begins with a blank, where there is a field."""
    fields = [field for record in records[1:] for field in record[1:] if field]
    return bool(fields) and all(field.startswith(" ") for field in fields)


def _is_header(
    comment: str, lines: Sequence[str], cut: bool, declared: str | None, known: Known
) -> bool:
    """Whether a line that begins with # is the header, and the next one a row.

    It is where both have the same number of fields, and the schema knows its names; or, without a
    schema, where the next one holds a number or a missing value, or no row holds a number.
    """
    for separator in (declared,) if declared is not None else SEPARATORS:
        rows, header = _split(lines, cut, separator), _split([comment], False, separator)
        if not rows.agrees or header.width != rows.width:
            continue
        if known.names.intersection(header.records[0]):
            return True
        if known.names.issuperset(field.strip() for field in rows.records[0]):
            return False
        if any(_NUMBER.fullmatch(f) or _MISSING.fullmatch(f) for f in rows.records[0]):
            return True
        return not any(_NUMBER.fullmatch(f) for record in rows.records[1:] for f in record)
    return False


def _not_by_blanks(split: _Split, name: str, line: int) -> None:
    """Refuse a table whose columns are set apart by blanks."""
    counts = {len(record[0].split()) for record in split.records if len(record) == 1}
    numbers = [
        len(record) == 1 and any(map(_NUMBER.fullmatch, record[0].split()))
        for record in split.records[1:]
    ]
    if len(counts) == 1 and counts.pop() > 1 and numbers and all(numbers):
        raise DataRefused(
            f"{name}, line {line}: the fields seem to be separated by blanks",
            hint=f"tr -s ' ' ',' < {name} > new.csv, or pandas.read_csv(path, sep=r'\\s+')",
        )
