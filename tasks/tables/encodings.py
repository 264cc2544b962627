"""In which encoding a text file is written, and where it is not."""

from __future__ import annotations

import codecs
import io
import re
import shlex
from typing import NoReturn, TextIO

from perdure.errors import DataRefused
from perdure.tasks.tables.packing import Source

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "utf-32-le"),  # before that of UTF-16, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32", "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16", "utf-16-be"),
)
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")
_LONGEST_RUN = 3
"""Letters beyond ASCII that stand side by side in western languages, at most."""


def encoding_of(source: Source) -> tuple[str, str]:
    """By the byte order mark: Python's name, and the name to people; without one, UTF-8.

    Raises:
        DataRefused: It is no text.
    """
    for mark, encoding, _ in _MARKS:
        if source.head.startswith(mark):
            return encoding, encoding.upper().removesuffix("-SIG")
    if b"\0" in source.head:
        odd, even = source.head[1::2].count(0), source.head[::2].count(0)
        # Letters of ASCII in UTF-16 have a zero beside each.
        for zeros, others, name in ((odd, even, "UTF-16LE"), (even, odd, "UTF-16BE")):
            if zeros > 0.4 * len(source.head) and others == 0:
                raise DataRefused(
                    f"{source.name} seems to be {name} without a byte order mark",
                    hint=_convert(source, name),
                )
        raise DataRefused(
            f"{source.name} is binary: neither text (CSV, JSON lines) nor Parquet or Feather"
        )
    return "utf-8", "UTF-8"


def opened(source: Source, encoding: str) -> TextIO:
    """The text of a file, with its line ends as they are."""
    return io.TextIOWrapper(source.open(), encoding=encoding, newline="")


def not_encoded(source: Source, error: UnicodeDecodeError) -> NoReturn:
    """Refuse a file with the place of the first byte that is not in its encoding.

    Text is decoded in large pieces, so where that was is looked for from the beginning.
    """
    codec = next((c for mark, _, c in _MARKS if source.head.startswith(mark)), "utf-8")
    name = codec.upper().removesuffix("-LE").removesuffix("-BE")
    decoder = codecs.getincrementaldecoder(codec)("strict")
    line, column, beyond, after_return = 1, 1, 0, False
    with source.open() as file:
        while True:
            block = file.read(2**20)
            found = None
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as fault:
                found = fault
                text = fault.object[: fault.start].decode(codec)
            if after_return and text.startswith("\n"):
                line -= 1
            ends = text.count("\n") + text.count("\r") - text.count("\r\n")
            line += ends
            last = max(text.rfind("\n"), text.rfind("\r"))
            column = len(text) - last if last >= 0 else column + len(text)
            after_return = text.endswith("\r") if text else after_return
            beyond += len(text) - len(text.encode("ascii", "ignore"))
            if found is not None or not block:
                break
    where = f"{source.name}, line {line}, character {column}"
    if found is None:  # the file has changed since
        raise DataRefused(f"{source.name} is not {name}: {error.reason}") from error
    if not block:
        raise DataRefused(
            f"{where}: the file ends inside a character of {name}: it was cut off",
            hint="copy it again, whole",
        ) from error
    bad = found.object[found.start]
    if codec != "utf-8":
        raise DataRefused(f"{where}: not {name} ({found.reason})") from error
    problem = f"{where} is not UTF-8: byte 0x{bad:02x}"
    if beyond:
        raise DataRefused(
            f"{problem}; what stands before it is, so text of two encodings was put together",
            hint="write the whole file in UTF-8",
        ) from error
    guess = _western(found.object[max(0, found.start - 1) : found.start + 65_536])
    if guess is None:
        raise DataRefused(
            f"{problem}; its bytes do not show its encoding",
            hint=_convert(source, "ENCODING"),
        ) from error
    raise DataRefused(
        f"{problem}; it seems to be {guess}, in which this is {bytes([bad]).decode('cp1252')!r}",
        hint=_convert(source, "WINDOWS-1252"),
    ) from error


def _western(data: bytes) -> str | None:
    """The western encoding of one byte to a character that text beyond ASCII seems to be in.

    There such letters stand between others or alone; words of them alone are of another script.
    """
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return None
    controls = False
    for run in _BEYOND_ASCII.finditer(data):
        letters = data[max(0, run.start() - 1) : run.start()] + data[run.end() : run.end() + 1]
        size = run.end() - run.start()
        if size > _LONGEST_RUN or (size > 1 and not any(map(str.isalpha, letters.decode()))):
            return None
        controls |= any(0x80 <= byte < 0xA0 for byte in run[0])
    return "Windows-1252" if controls else "Latin-1 or Windows-1252"  # Latin-1 has controls there


def _convert(source: Source, encoding: str) -> str:
    if source.packing is not None:
        return f"unpack it, and write it in UTF-8 (iconv -f {encoding} -t UTF-8)"
    old, new = shlex.quote(source.name), shlex.quote(f"utf8-{source.name}")
    return f"iconv -f {encoding} -t UTF-8 {old} > {new}"
