"""DVC as a library: without a word on the terminal, patient, and with our errors."""

from __future__ import annotations

import errno
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from perdure.config import Workspace
from perdure.errors import Fault, PerdureError, Unreachable
from perdure.secrets import in_text

if TYPE_CHECKING:
    from dvc.repo import Repo

LOCK_TRIES = 5
"""DVC itself waits 3 s for its lock, each time."""
_LOGGERS = ("dvc", "dvc_data", "dvc_objects")
_KEPT = "without confirmation"
"""DVC says so of a file that it would lose (dvc 3, `repo/checkout.py`)."""
_T = TypeVar("_T")

logger = logging.getLogger("perdure")


def opened(root: Path) -> Repo:
    """The DVC repository of a folder; a context."""
    from dvc.repo import Repo

    return Repo(str(root))


def use(root: Path, step: Callable[[Repo], _T]) -> _T:
    """Do a step with the repository of a folder, wherever the working directory is.

    Once more where DVC cannot read its own note of who reads and writes what, for it was killed
    while it wrote it: it would refuse every later command.
    """
    from dvc.rwlock import RWLockFileCorruptedError, RWLockFileFormatError

    with opened(root) as repo:
        try:
            return step(repo)
        except (RWLockFileCorruptedError, RWLockFileFormatError):
            _remove_rwlock(repo)
            return step(repo)


def _remove_rwlock(repo: Repo) -> None:
    """Remove the note; who writes it holds this lock, so that none is at work now."""
    from dvc.lock import make_lock
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

    folder = Path(str(repo.tmp_dir))
    logger.warning("%s was left half-written by a kill; removed.", folder / RWLOCK_FILE)
    with make_lock(str(folder / RWLOCK_LOCK), tmp_dir=str(folder)):
        (folder / RWLOCK_FILE).unlink(missing_ok=True)


def patiently(step: Callable[[], _T]) -> _T:
    """Do a step, again where another DVC held the lock."""
    from dvc.lock import LockError

    for left in reversed(range(LOCK_TRIES)):
        try:
            return step()
        except LockError as error:
            if not left:
                raise Fault(
                    "DVC's lock is held by another process",
                    hint="wait for the other dvc command to end, then run this again",
                ) from error
            time.sleep(0.1)
    raise AssertionError("unreachable")


class _Collector(logging.Handler):
    """DVC logs why a transfer failed, and raises only how many did."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.errors.append(record.exc_info[1])


@contextmanager
def quietly() -> Iterator[list[BaseException]]:
    """DVC without a word on the terminal; gives the errors that it would have logged."""
    import dvc  # noqa: F401 - its import sets its loggers up: here, before we quieten them

    collector = _Collector()
    before = []
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        before.append((logger, logger.level, logger.propagate, logger.handlers))
        logger.handlers, logger.propagate = [collector], False
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # DVC's own libraries deprecate what it uses: nothing that our users could mend.
            warnings.simplefilter("ignore", DeprecationWarning)
            yield collector.errors
    finally:
        for logger, level, propagate, handlers in before:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


@contextmanager
def named(step: str) -> Iterator[None]:
    """Whatever goes wrong inside as a Fault."""
    from dvc.exceptions import DvcException

    try:
        yield
    except (DvcException, OSError) as error:
        raise _full(error) or Fault(f"dvc {step} failed: {error}", hint="perdure doctor") from error


@contextmanager
def remotely(ws: Workspace, logged: list[BaseException]) -> Iterator[None]:
    """Raise what goes wrong inside as Unreachable; `logged` are the errors that DVC logged."""
    try:
        yield
    except PerdureError:
        raise
    except Exception as error:  # each kind of remote has its own library, with its own errors
        for cause in (error, *logged):
            if full := _full(cause):
                raise full from error
        if _KEPT in str(error):  # DVC has no error of its own for it
            raise Fault(
                f"a file in {ws.data} is not what was recorded: {' '.join(str(error).split())}",
                hint=f"dvc checkout --force {ws.data.name}.dvc brings back what was recorded",
            ) from error
        reason = str(logged[0]) if logged else str(error)
        raise Unreachable(
            f"the DVC remote of {ws.root} does not answer: "
            f"{in_text(reason) or type(error).__name__}",
            hint="dvc remote list shows it; perdure doctor tries it",
        ) from error


def _full(error: BaseException | None) -> Fault | None:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Fault(f"the disk is full: {error}", hint="free some space, then run this again")
        error = error.__cause__ or error.__context__
    return None
