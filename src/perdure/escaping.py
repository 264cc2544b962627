"""Text that is not ours, such as names of files and columns, as it may be shown.

A name may hold a link, a tag, or codes that move a terminal's cursor and turn the direction of
writing. Each place that shows text has its own such codes, so each has its function here.
"""

from __future__ import annotations

import re

_JOINERS = "\u200c\u200d"
"""Not printable by Unicode, and part of words in Persian and in the scripts of India."""
_MARKDOWN = re.compile(r"([\\`*_{}\[\]#|~$])")
_BLOCK = re.compile(r"^(\d{0,9})([-+=.)]+)(?=\s|$)")
"""What makes the beginning of a text an item of a list, or the line above it a heading."""
_NOT_IN_JSON = re.compile(
    r"[\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]"
)


def printable(text: str) -> str:
    r"""A text on one line, each character that cannot be seen as its escape, such as `\x1b`.

    Control characters, line ends, marks of the direction of writing, and bytes that are no text.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _JOINERS else _escape(c) for c in text)


def terminal(text: str) -> str:
    """`printable`, but for line ends and tabs: for texts of ours with names in them."""
    return re.sub(r"[^\n\t]+", lambda found: printable(found[0]), text)


def markdown(text: str) -> str:
    """Plain text within a line or a cell of Markdown, HTML included.

    What looks like an address may still become a link; it leads where it says.
    """
    plain = _MARKDOWN.sub(r"\\\1", html(" ".join(text.split())))
    return _BLOCK.sub(r"\1\\\2", plain)


def markdown_code(text: str) -> str:
    """A code span in Markdown, where nothing can be escaped."""
    plain = printable(" ".join(text.split()))
    fence = "`" * (1 + max(map(len, re.findall("`+", plain)), default=0))
    space = " " if plain[:1] == "`" or plain[-1:] == "`" else ""
    return f"{fence}{space}{plain}{space}{fence}"


def html(text: str) -> str:
    """Plain text in HTML, and in a message of Slack, which marks links and mentions alike."""
    return printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def json(text: str) -> str:
    """A JSON text of the same values, without what a terminal would obey.

    Args:
        text: As `json.dumps` writes it, which escapes the other control characters.
    """
    return _NOT_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
