"""Change single lines of a `schema.toml`, and leave every other line as a person wrote it.

The file is cut into statements (`[section]`, `key = value`, also over several lines) with the line
numbers that they stand on. An edit replaces or adds whole lines. `Editor.result` parses the new
text and compares it with the schema that was meant: an edit that went wrong, in a file of a layout
that is not understood here, changes nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from perdure.errors import UsageError
from perdure.tasks.tables.definition import Label, Schema
from perdure.tasks.tables.parse import parse
from perdure.tasks.tables.render import toml_list

Place = tuple[str, ...]
"""A section, and a key in it: `("target", "classes")`, `("columns", "a", "min")`."""


@dataclass(frozen=True)
class _Statement:
    place: Place
    start: int
    end: int
    """The line after its last."""


class Editor:
    """Edits the text of one file.

    Args:
        text: The text; it must be valid TOML.
    """

    def __init__(self, text: str) -> None:
        self.lines = text.removesuffix("\n").split("\n")

    def set(self, section: Place, key: str, value: str) -> None:
        """Give a key a value, written as TOML; the line is added where it is missing."""
        found = self._find((*section, key))
        if found is not None:
            # A comment behind the old value is kept where it stands on the same line.
            comment = _comment(self.lines[found.start]) if found.end == found.start + 1 else ""
            new = f"{key} = {value}{comment}".split("\n")
            self.lines[found.start : found.end] = new
            return
        after = self._end_of(section)
        self.lines[after:after] = f"{key} = {value}".split("\n")

    def remove(self, section: Place, key: str) -> None:
        """Remove a key, with the whole of its lines, where it is there."""
        found = self._find((*section, key))
        if found is not None:
            del self.lines[found.start : found.end]

    def extend(self, section: Place, key: str, before: Sequence[Label], new: Iterable[str]) -> None:
        """Add text items to the end of a list.

        Args:
            section: Where it stands.
            key: Its name.
            before: The items that it has.
            new: The items to add, written as TOML.
        """
        found = self._find((*section, key))
        if found is None:
            return
        lines = self.lines[found.start : found.end]
        if not any(_comment(line) for line in lines):
            self.set(section, key, toml_list([*before], more=list(new)))
            return
        # Comments between the items stay: the new ones go before the bracket that closes the list.
        last = lines.pop()
        head, bracket, tail = last.rpartition("]")
        body = [*lines, *([head] if head.strip() else [])]
        plain = body[-1].removesuffix(_comment(body[-1]))
        if not plain.rstrip().endswith((",", "[")):
            body[-1] = plain.rstrip() + "," + _comment(body[-1])
        self.lines[found.start : found.end] = [
            *body,
            *(f"    {item}," for item in new),
            bracket + tail,
        ]

    def append(self, text: str) -> None:
        """Add sections at the end."""
        self.lines += ["", *text.strip("\n").split("\n")]

    def comment(self, old: str, new: str) -> None:
        """Replace a block of comment lines, if it stands there just so."""
        text = "\n".join(self.lines)
        if old.strip("\n") in text:
            self.lines = text.replace(old.strip("\n"), new.strip("\n"), 1).split("\n")

    def result(self, wanted: Schema, path: str) -> str:
        """The new text.

        Args:
            wanted: What it must say.
            path: Of the file, for the message.

        Raises:
            UsageError: It says something else; the edit does not understand the file's layout.
        """
        text = "\n".join(self.lines) + "\n"
        try:
            right = parse(text, path) == wanted
        except UsageError:
            right = False
        if not right:
            raise UsageError(
                f"{path} is laid out in a way that cannot be edited here; nothing was changed",
                hint=f"perdure schema --diff FILE shows what to write; edit {path} by hand",
            )
        return text

    def _find(self, place: Place) -> _Statement | None:
        return next((one for one in self._statements() if one.place == place), None)

    def _end_of(self, section: Place) -> int:
        """The line after the last statement of a section itself, not of those within it."""
        inside = [one for one in self._statements() if one.place[: len(section)] == section]
        own = [one for one in inside if len(one.place) <= len(section) + 1]
        return own[-1].end if own else len(self.lines)

    def _statements(self) -> list[_Statement]:
        found: list[_Statement] = []
        section: Place = ()
        at = 0
        while at < len(self.lines):
            line = self.lines[at].strip()
            if not line or line.startswith("#"):
                at += 1
                continue
            end, value = self._value(at)
            if line.startswith("["):
                section = tuple(_path(value))
                found.append(_Statement(section, at, end))
            else:
                found.append(_Statement((*section, *_path(value)), at, end))
            at = end
        return found

    def _value(self, start: int) -> tuple[int, dict[str, Any]]:
        """The line after a statement, and what it says."""
        for end in range(start + 1, len(self.lines) + 1):
            # Within a list over many lines no item ends the statement: do not try each.
            if end < len(self.lines) and self.lines[end - 1].rstrip().endswith(","):
                continue
            try:
                return end, tomllib.loads("\n".join(self.lines[start:end]))
            except tomllib.TOMLDecodeError:
                continue
        return start + 1, {}


def _path(value: dict[str, Any]) -> list[str]:
    """The keys from the outermost to the innermost, of a statement alone."""
    keys = []
    while isinstance(value, dict) and len(value) == 1:
        ((key, value),) = value.items()
        keys.append(key)
    return keys


def _comment(line: str) -> str:
    """The comment at the end of a line, with the space before it; empty: there is none."""
    quote, at = "", 0
    while at < len(line):
        sign = line[at]
        if quote:
            at += sign == "\\" and quote == '"'
            quote = "" if sign == quote and line[at] == sign else quote
        elif sign in "\"'":
            quote = sign
        elif sign == "#":
            before = len(line[:at]) - len(line[:at].rstrip())
            return line[at - before :]
        at += 1
    return ""
