"""`[trigger] folders`: new files in folders elsewhere are brought into the inbox.

They are looked at again and again, by fsspec. An object that is the same on two looks is copied
under a hidden name and then renamed, so that it is in the inbox whole or not at all. Which
version of each was brought is remembered in a file; losing that costs only reading them again,
for content that is known already makes no second experience.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from perdure.backoff import doubled
from perdure.config import Workspace
from perdure.flows import inbox
from perdure.secrets import without_secrets
from perdure.service import objects
from perdure.service.objects import Found, short
from perdure.tasks.write_complete import Looks

logger = logging.getLogger("perdure")

SECOND_LOOK_S = 5.0
"""After this an object is looked at again; never longer than `trigger.poll`."""
LONGEST_PAUSE_S = 900.0
"""Between two tries of a folder that does not answer."""
PARTIAL = ".arriving-"

SHARE = 0.05
"""Share of the time, at most, for listing a folder with very many objects."""
SAVE_S = 5.0
"""While many are brought, it is noted so often which; a kill has the others brought again."""
TOO_MANY = 3
"""After so many in a row that cannot be read, it is not tried with the others."""


@dataclass
class FolderElsewhere:
    """One folder, by its URL.

    Args:
        workspace: Gives the workspace, as it is configured now, whose inbox gets the files.
        url: As fsspec reads it.
        looks: At those of a folder of this machine, which may still be written.
        clock: In seconds; never set back.
    """

    workspace: Callable[[], Workspace]
    url: str
    looks: Looks = field(default_factory=Looks)
    clock: Callable[[], float] = time.monotonic
    failures: int = 0
    """In a row."""
    _before: dict[str, str] = field(default_factory=dict)
    """Versions by name, at the last look."""
    _bad: dict[str, tuple[str, int, float]] = field(default_factory=dict)
    """Objects that could not be read: version, number of tries, and when to try again."""
    _fs: tuple[Any, str] | None = None
    """The file system, and the folder's path in it."""
    _listing_s: float = 0.0
    """How long the last look took."""

    @property
    def ws(self) -> Workspace:
        """The workspace as it is configured now."""
        return self.workspace()

    @property
    def shown(self) -> str:
        """The URL as it may be shown."""
        return without_secrets(self.url)

    def poll(self) -> float:
        """Look, and bring what is new.

        Returns:
            In how many seconds to look again.
        """
        poll = self.ws.config.trigger.poll
        try:
            waits = self._bring()
        except Exception as error:  # noqa: BLE001 - each file system of fsspec has its own
            self.failures += 1
            self._fs = None  # a new one reads keys and passwords again, which may have changed
            if self.failures == 1:
                reason = self._without_secrets(error)
                logger.warning("%s cannot be read, and is tried again: %s", self.shown, reason)
            return _pause(poll, self.failures)
        if self.failures:
            logger.info("%s can be read again.", self.shown)
        self.failures = 0
        if waits:
            return max(min(poll, SECOND_LOOK_S), self._listing_s)
        return max(poll, self._listing_s / SHARE)

    def _bring(self) -> bool:
        """Whether something is to be looked at a second time."""
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        if self._fs is None:
            self._fs = url_to_fs(self.url, skip_instance_cache=True)
        fs, root = self._fs
        fs.invalidate_cache()
        begun = self.clock()
        there = objects.listed(fs, root, folders=inbox.of_images(self.ws))
        self._listing_s = self.clock() - begun
        brought = self._brought()
        kept = {name: version for name, version in brought.items() if name in there}
        new = {name: one for name, one in there.items() if kept.get(name) != one.version}
        self._bad = {
            n: bad for n, bad in self._bad.items() if n in new and new[n].version == bad[0]
        }
        same = [name for name, one in sorted(new.items()) if self._before.get(name) == one.version]
        self._before = {name: one.version for name, one in there.items()}
        if isinstance(fs, LocalFileSystem):  # the kernel may know more
            whole = self.looks.settled(Path(one.path) for one in new.values())
            same = [name for name in same if Path(new[name].path) in whole]
        if kept != brought:
            self._remember(kept)
        now = self.clock()
        due = [name for name in same if name not in self._bad or self._bad[name][2] <= now]
        self._take(fs, {name: new[name] for name in due}, kept)
        return len(same) < len(new)

    def _take(self, fs: Any, ready: Mapping[str, Found], kept: dict[str, str]) -> None:
        """Bring what is ready; one that cannot be read holds up no other."""
        saved, in_a_row = self.clock(), 0
        noted = dict(kept)
        try:
            for name, found in ready.items():
                try:
                    self._fetch(fs, found, name)
                except Exception as error:
                    self._failed(name, found.version, error)
                    in_a_row += 1
                    if in_a_row == TOO_MANY:  # it is not they
                        raise
                    continue
                in_a_row = 0
                self._bad.pop(name, None)
                kept[name] = found.version
                if self.clock() - saved >= SAVE_S:
                    self._remember(kept)
                    saved, noted = self.clock(), dict(kept)
        finally:
            if noted != kept:
                self._remember(kept)

    def _failed(self, name: str, version: str, error: Exception) -> None:
        """It is tried again ever more rarely, until there is another version of it."""
        tries = self._bad.get(name, (version, 0, 0.0))[1] + 1
        pause = _pause(self.ws.config.trigger.poll, tries)
        self._bad[name] = (version, tries, self.clock() + pause)
        if tries == 1:
            reason, where = self._without_secrets(error), self.shown
            logger.warning("%s of %s cannot be read, and is tried again: %s", name, where, reason)

    def _without_secrets(self, error: Exception) -> str:
        """What went wrong, without what is secret in the URL."""
        text = str(error).replace(self.url, self.shown)
        with suppress(ValueError):
            parts = urlsplit(self.url)
            for secret in filter(None, (parts.password, parts.query)):
                text = text.replace(secret, "***").replace(unquote(secret), "***")
        return text or type(error).__name__

    def _fetch(self, fs: Any, found: Found, name: str) -> None:
        """Copy one object, and put it into the inbox if it is what was looked at."""
        self.ws.inbox.mkdir(parents=True, exist_ok=True)
        part = self.ws.inbox / f"{PARTIAL}{short(self.url + name + found.version)}"
        _remove(part)
        try:
            objects.copy(fs, found, part)
            _put(part, self.ws.inbox, name, found.version)
        finally:
            _remove(part)
        logger.info("%s came from %s.", name, self.shown)

    @property
    def _file(self) -> Path:
        return self.ws.state / "folders" / f"{short(self.url)}.json"

    def _brought(self) -> dict[str, str]:
        with suppress(OSError, ValueError, AttributeError):
            value = json.loads(self._file.read_text(encoding="utf-8"))
            return {str(name): str(version) for name, version in value["brought"].items()}
        return {}

    def _remember(self, brought: Mapping[str, str]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        part = self._file.with_suffix(f".{os.getpid()}")
        try:
            part.write_text(json.dumps({"folder": self.shown, "brought": dict(brought)}))
            part.replace(self._file)
        finally:
            part.unlink(missing_ok=True)


def clear(ws: Workspace) -> None:
    """Remove what a killed process left half copied."""
    if ws.inbox.is_dir():
        for path in ws.inbox.glob(f"{PARTIAL}*"):
            _remove(path)


def _pause(poll: float, failures: int) -> float:
    return max(poll, doubled(poll, failures, LONGEST_PAUSE_S))


def _put(part: Path, folder: Path, name: str, version: str) -> None:
    """Give it its name; another if that is taken, by a file that is not ingested yet."""
    stem, dot, suffix = name.partition(".")
    for target in (folder / name, folder / f"{stem}-{version[:8]}{dot}{suffix}"):
        if part.is_dir():
            try:
                part.rename(target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise  # else there is a file, or a folder that is not empty
                continue
            return
        try:
            os.link(part, target)  # a rename would replace what lies there
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK) or target.exists():
                raise
            part.rename(target)  # a file system without links
        return
    # This very version lies there already: a kill came before it was remembered.


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
