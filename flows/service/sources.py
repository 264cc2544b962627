"""`[trigger] folders`: new files in folders elsewhere are brought into the inbox.

They are looked at again and again, by fsspec. An object that is the same on two looks is copied
under a hidden name and then renamed, so that it is in the inbox whole or not at all. Which
version of each was brought is remembered in a file; losing that costs only reading them again,
for content that is known already makes no second experience.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perdure.addresses import without_secrets
from perdure.config import Workspace
from perdure.flows import inbox
from perdure.flows.service.settled import Looks

logger = logging.getLogger("perdure")

SECOND_LOOK_S = 5.0
"""After this an object is looked at again; never longer than `trigger.poll`."""
LONGEST_PAUSE_S = 900.0
"""Between two tries of a folder that does not answer."""
PARTIAL = ".arriving-"

_VERSION = (
    "size", "mtime", "LastModified", "last_modified", "updated", "created", "ino", "ETag", "etag",
    "md5", "md5Hash", "content_md5", "crc32c", "generation", "version_id", "VersionId",
)  # fmt: skip
"""What file systems of fsspec tell of an object that differs between two versions of it."""


@dataclass
class FolderElsewhere:
    """One folder, by its URL.

    Args:
        workspace: Gives the workspace, as it is configured now, whose inbox gets the files.
        url: As fsspec reads it.
        looks: At those of a folder of this machine, which may still be written.
    """

    workspace: Callable[[], Workspace]
    url: str
    looks: Looks = field(default_factory=Looks)
    failures: int = 0
    """In a row."""
    _before: dict[str, str] = field(default_factory=dict)
    """Versions by name, at the last look."""

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
            if self.failures == 1:
                what = str(error).replace(self.url, self.shown) or type(error).__name__
                logger.warning("%s cannot be read, and is tried again: %s", self.shown, what)
            return max(poll, min(poll * 2.0 ** min(self.failures, 20), LONGEST_PAUSE_S))
        if self.failures:
            logger.info("%s can be read again.", self.shown)
        self.failures = 0
        return min(poll, SECOND_LOOK_S) if waits else poll

    def _bring(self) -> bool:
        """Whether something is to be looked at a second time."""
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        fs, root = url_to_fs(self.url)
        fs.invalidate_cache()
        there = _objects(fs, root, folders=inbox.of_images(self.ws))
        brought = self._brought()
        kept = {name: version for name, version in brought.items() if name in there}
        new = {name: one for name, one in there.items() if kept.get(name) != one[1]}
        ready = [name for name, one in sorted(new.items()) if self._before.get(name) == one[1]]
        self._before = {name: version for name, (_, version) in there.items()}
        if isinstance(fs, LocalFileSystem):  # the kernel may know more
            whole = self.looks.settled(Path(path) for path, _ in new.values())
            ready = [name for name in ready if Path(new[name][0]) in whole]
        if kept != brought:
            self._remember(kept)
        problems: list[Exception] = []
        for name in ready:
            try:
                self._fetch(fs, *new[name], name)
            except Exception as error:  # noqa: BLE001 - one bad object does not hold up the rest
                problems.append(error)
                continue
            kept[name] = new[name][1]
            self._remember(kept)
        if problems:
            raise problems[0]
        return len(ready) < len(new)

    def _fetch(self, fs: Any, path: str, version: str, name: str) -> None:
        """Copy one object, and put it into the inbox if it is what was looked at."""
        self.ws.inbox.mkdir(parents=True, exist_ok=True)
        part = self.ws.inbox / f"{PARTIAL}{_short(self.url + name + version)}"
        _remove(part)
        try:
            is_folder = fs.isdir(path)
            if is_folder:
                fs.get(path.rstrip("/") + "/", f"{part}/", recursive=True)
            else:
                fs.get_file(path, str(part))
            fs.invalidate_cache()
            now = _objects(fs, fs._parent(path), folders=is_folder).get(name)  # noqa: SLF001
            if now is None or now[1] != version:
                raise OSError(f"{name} changed while it was being read")
            _sync(part)
            _put(part, self.ws.inbox, name, version)
        finally:
            _remove(part)
        logger.info("%s came from %s.", name, self.shown)

    @property
    def _file(self) -> Path:
        return self.ws.state / "folders" / f"{_short(self.url)}.json"

    def _brought(self) -> dict[str, str]:
        with suppress(OSError, ValueError, AttributeError):
            said = json.loads(self._file.read_text(encoding="utf-8"))
            return {str(name): str(version) for name, version in said["brought"].items()}
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


def _objects(fs: Any, root: str, *, folders: bool) -> dict[str, tuple[str, str]]:
    """Path and version of all that is not hidden in a folder, by name."""
    found = {}
    for one in fs.ls(root, detail=True):
        path = str(one["name"])
        name = path.rstrip("/").rpartition("/")[2]
        if not name or name.startswith(".") or path.rstrip("/") == root.rstrip("/"):
            continue
        if one["type"] == "file":
            found[name] = (path, _version(one))
        elif one["type"] == "directory" and folders:
            inside = fs.find(path, detail=True)
            text = json.dumps(sorted((each, _version(facts)) for each, facts in inside.items()))
            if inside:
                found[name] = (path, _short(text))
    return found


def _version(facts: Mapping[str, Any]) -> str:
    return _short(json.dumps([str(facts.get(key)) for key in _VERSION]))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _put(part: Path, folder: Path, name: str, version: str) -> None:
    """Give it its name; another if that is taken, by a file that nobody has ingested yet."""
    stem, dot, suffix = name.partition(".")
    for target in (folder / name, folder / f"{stem}-{version[:8]}{dot}{suffix}"):
        if part.is_dir():
            with suppress(OSError):  # there is one that is not empty
                part.rename(target)
                return
            continue
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


def _sync(path: Path) -> None:
    files = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
