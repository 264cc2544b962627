"""Progress of long work, reported to the code that shows it.

A step says how far it is with `track`; what that looks like is the caller's affair: the
command line installs a bar on a terminal, and everything else shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

Advance = Callable[[int], None]
"""Called with the number of units done since the last call."""

Reporter = Callable[[str, int], AbstractContextManager[Advance]]
"""Called with a description and the total number of units."""


def _silent(_description: str, _total: int) -> AbstractContextManager[Advance]:
    return nullcontext(lambda _done: None)


_reporter: Reporter = _silent


def track(description: str, total: int) -> AbstractContextManager[Advance]:
    """Open a bar of `total` units; the context gives the function that moves it on."""
    return _reporter(description, total)


@contextmanager
def reported_by(reporter: Reporter) -> Iterator[None]:
    """Show progress through `reporter` for the length of the context."""
    global _reporter
    before, _reporter = _reporter, reporter
    try:
        yield
    finally:
        _reporter = before
