"""One workspace in several clones, with a bare repository and a DVC remote that they share."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perdure import config
from perdure.config import Workspace
from perdure.flows import sharing
from perdure.flows.ingest import ingest
from perdure.records import Ingest
from perdure.tasks import data_versions, experiences
from tests.promises import kit


class Clones:
    """`a` has one experience, published; `b` is a fresh clone of it, in a folder of its own."""

    def __init__(self, folder: Path, below: str = ".", uri: str | None = None) -> None:
        self.folder = folder
        self.below = below
        self.bare = folder / "shared.git"
        self.storage = folder / "storage"
        if not folder.exists():
            self._make(uri)

    def _make(self, uri: str | None) -> None:
        self.storage.mkdir(parents=True)
        kit.git(self.folder, "init", "--quiet", "--bare", "--initial-branch=main", str(self.bare))
        top = self.folder / "a"
        top.mkdir()
        kit.git(top, "init", "--quiet", "--initial-branch=main")
        kit.git(top, "remote", "add", "origin", str(self.bare))
        more = '\n[shared]\ngit_remote = "origin"\n'
        if uri is not None:
            more += f'\n[tracking]\nuri = "{uri}"\n'
        self.root("a").parent.mkdir(parents=True, exist_ok=True)
        kit.make(self.root("a"))
        data_versions.init(self.root("a"), os.path.relpath(self.storage, self.root("a")))
        data_versions.add_and_push(config.read(self.root("a")))
        kit.configure(
            self.root("a"), strategies='[{ name = "replay", size = 40 }]', floor="false", more=more
        )
        kit.git(top, "push", "--quiet", "--set-upstream", "origin", "main")
        self.clone("b")

    def copy(self, folder: Path) -> Clones:
        """The same again, in another folder."""
        shutil.copytree(self.folder, folder, symlinks=True)
        found = Clones(folder, self.below)
        for name in ("a", "b"):
            kit.git(folder / name, "remote", "set-url", "origin", str(found.bare))
        return found

    def clone(self, name: str) -> Path:
        kit.git(self.folder, "clone", "--quiet", str(self.bare), str(self.folder / name))
        return self.root(name)

    def root(self, name: str) -> Path:
        return self.folder / name / self.below

    def ws(self, name: str) -> Workspace:
        return config.read(self.root(name))

    def arrive(self, name: str, *numbers: int) -> None:
        for number in numbers:
            kit.arrive(self.root(name), f"{number}.csv", kit.table(number))

    def ingest(self, name: str, *numbers: int) -> Ingest:
        self.arrive(name, *numbers)
        return ingest.fn(str(self.root(name)))

    def sources(self, name: str) -> list[str]:
        """What the experiences of a clone came from, in their order."""
        return [one.source for one in experiences.committed(self.ws(name))]

    def head(self, name: str) -> str:
        return kit.git(self.folder / name, "rev-parse", "HEAD").strip()

    def published(self) -> list[dict[str, str]]:
        """The experiences of each commit of the remote, oldest first: digests by name.

        What a commit names must lie in DVC's remote, whole.
        """
        pointer = f"{self.below}/data.dvc".removeprefix("./")
        found = []
        for commit in kit.git(self.bare, "rev-list", "--reverse", "main").split():
            if not kit.git(self.bare, "ls-tree", commit, pointer):
                continue
            revision = data_versions.revision_in(kit.git(self.bare, "show", f"{commit}:{pointer}"))
            assert revision is not None
            listing = self._stored(revision)
            entries = json.loads(listing.read_bytes())
            for entry in entries:
                assert self._stored(entry["md5"]).stat().st_size > 0
            found.append(
                {
                    entry["relpath"]: entry["md5"]
                    for entry in entries
                    if entry["relpath"].startswith("experiences/")
                }
            )
        return found

    def _stored(self, md5: str) -> Path:
        return self.storage / "files" / "md5" / md5[:2] / md5[2:]

    def left(self, name: str) -> list[str]:
        """What nothing should leave behind in a clone."""
        state = self.ws(name).state
        found = [state / one for one in ("aside", "ingesting.json", "pulling", "data.dvc.before")]
        changed = kit.git(self.root(name), "status", "--porcelain", ".").splitlines()
        return [path.name for path in found if path.exists()] + changed


def numbers(published: dict[str, str]) -> list[int]:
    """The numbers of experiences, in order."""
    return sorted(int(Path(name).name.split("-")[0]) for name in published)


def only_grows(history: list[dict[str, str]]) -> bool:
    """Whether each state has all of the one before, unchanged."""
    return all(earlier.items() <= later.items() for earlier, later in itertools.pairwise(history))


def files_of(ws: Workspace) -> dict[str, Any]:
    """Names and digests of a clone's data."""
    return kit._digests(ws.data)


def once_updated(monkeypatch: pytest.MonkeyPatch, then: Callable[[], Any]) -> None:
    """Do something right after the next look at the remote."""
    update, todo = sharing.update, [then]

    def updated(*args: Any, **kwargs: Any) -> dict[str, str]:
        found = update(*args, **kwargs)
        if todo:
            todo.pop()()
        return found

    monkeypatch.setattr(sharing, "update", updated)
