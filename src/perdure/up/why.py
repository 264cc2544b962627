"""Why a part could not be started, and what to do: from what it said before it died."""

from __future__ import annotations

from perdure import disk
from perdure.errors import Fault, PerdureError, Unreachable, UsageError
from perdure.up.logs import Log
from perdure.up.parts import Part
from perdure.up.process import how

LINES = 12
"""So many of its last lines are shown."""


def failure(part: Part, code: int | None, log: Log) -> PerdureError:
    """Why a part could not be started, from what it said."""
    words = log.words
    if part.once and code in (UsageError.exit_code, Unreachable.exit_code):
        kind = UsageError if code == UsageError.exit_code else Unreachable
        return kind(f"perdure {part.name}: {words.strip() or how(code)}")
    message = f"{part.name} did not start: it {how(code)}."
    if words.strip():
        shown = "".join(f"\n  | {line}" for line in words.splitlines()[-LINES:])
        message += f" The last that it said:{shown}"
    return Fault(message, hint=_hint(words, part, log))


def _hint(words: str, part: Part, log: Log) -> str:
    low = words.lower()
    if disk.says_full(words):
        return f"free some space where {log.path.parent.parent} is, then: perdure up"
    if "address already in use" in low or "errno 98" in low:
        return "another program took its port in this moment; perdure up takes another one"
    if "out of memory" in low or "cannot allocate memory" in low:
        return "end something else on this machine, then: perdure up"
    return f"perdure logs {part.name} shows all of it; perdure doctor looks for the cause"
