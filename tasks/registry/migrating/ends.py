"""The two registries of a migration, and what both sides are asked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from perdure.config import Workspace
from perdure.errors import Corrupt
from perdure.tasks.registry import artifacts
from perdure.tasks.registry.client import Client, tracking_uri
from perdure.tasks.registry.codec import PREFIX
from perdure.tasks.registry.experiments import Experiments

PAGE = 1000
COPY_OF = PREFIX + "copy_of"
"""Of a run or a logged model that is a copy: the id that it has at the source."""


@dataclass(frozen=True)
class End:
    """One registry of a model."""

    workspace: Workspace

    @cached_property
    def client(self) -> Client:
        """MLflow's client."""
        return Client(tracking_uri(self.workspace))

    @cached_property
    def experiments(self) -> Experiments:
        """The model's experiments."""
        return Experiments(self.workspace, self.client)

    def pages(self, method: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Everything that a method of MLflow's client finds, page by page."""
        token = None
        while True:
            page = self.client.call(method, *args, **kwargs, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def runs(self, experiment: str) -> Iterator[Any]:
        """The runs of an experiment that are not deleted, oldest first."""
        oldest = ["attributes.start_time ASC"]
        yield from self.pages("search_runs", [experiment], max_results=PAGE, order_by=oldest)

    def models(self, experiment: str) -> Iterator[Any]:
        """The logged models of an experiment that are not deleted."""
        yield from self.pages("search_logged_models", [experiment], max_results=100)

    def versions(self) -> Iterator[Any]:
        """The versions of the model as MLflow has them."""
        name = self.workspace.config.model.name
        yield from self.pages("search_model_versions", f"name = '{name}'", max_results=PAGE)

    def has_files(self, address: str) -> bool:
        """Whether anything lies at an address of artifacts."""
        local = artifacts.on_this_machine(address)
        if local is not None:
            return local.is_dir() and any(local.iterdir())
        with self.client.current():
            import mlflow

            return bool(mlflow.artifacts.list_artifacts(artifact_uri=address))

    def files(self, address: str, scratch: Path) -> Path | None:
        """The folder with what lies at an address; None: nothing does.

        Args:
            address: Of a run's or a logged model's artifacts.
            scratch: An empty folder to fetch it into, where it is not on this machine.
        """
        if not self.has_files(address):
            return None
        local = artifacts.on_this_machine(address)
        if local is not None:
            return local
        with self.client.current():
            import mlflow

            return Path(
                mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=str(scratch))
            )


def remove_what_is_gone(source: End, address: str, target: End, copy: str, owner: str) -> None:
    """Remove the files of a copy that an earlier call made, where those of the source are gone.

    Args:
        source: Where they were.
        address: Of them.
        target: Where the copy is.
        copy: Its address.
        owner: The id of the run or logged model that it belongs to.
    """
    ours = artifacts.is_folder_of(copy, owner)
    if ours and not source.has_files(address) and target.has_files(copy):
        artifacts.remove(target.client, copy)


def digests(folder: Path | None) -> dict[str, str]:
    """SHA-256 of every file in a folder, by its name there; empty for None.

    Raises:
        Corrupt: There is a link: what it names lies elsewhere.
    """
    found = {}
    for path in sorted(folder.rglob("*")) if folder else ():
        if path.is_symlink():
            raise Corrupt(f"{path} is a link; nothing of it is copied", hint="perdure verify")
        if path.is_file():
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
            found[path.relative_to(str(folder)).as_posix()] = digest.hexdigest()
    return found


def check_same(what: str, there: dict[str, str], here: dict[str, str]) -> None:
    """Compare the files of a copy with those that were copied.

    Raises:
        Corrupt: They differ.
    """
    wrong = sorted(n for n in {*there, *here} if there.get(n) != here.get(n))
    if wrong:
        raise Corrupt(
            f"{what} was copied, and is not the same there: {', '.join(wrong[:5])}",
            hint="the same command again copies it anew",
        )
