"""Copies of logged models, which hold the files of the versions."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perdure.records import Version
from perdure.tasks.registry import artifacts, whole
from perdure.tasks.registry.migrating.ends import (
    COPY_OF,
    End,
    check_same,
    digests,
    remove_what_is_gone,
)


class ModelCopies:
    """Copies the logged models of an experiment.

    Args:
        source: The registry that they are in.
        target: The registry that they are copied to.
    """

    def __init__(self, source: End, target: End) -> None:
        self.source = source
        self.target = target
        self.ids: dict[str, str] = {}
        """The id of each copy, by that of its model."""
        self.points: dict[tuple[str, str], str] = {}
        """By run and metric at the source, the copy that has the metric's values too."""

    def copy(
        self,
        experiment: str,
        there: str,
        runs: Mapping[str, str],
        versions: Mapping[str, Version],
    ) -> None:
        """Copy every logged model that is complete, and compare each copy file by file.

        What an earlier call copied, and is no longer at the source, is removed.

        Args:
            experiment: At the source.
            there: The experiment at the target.
            runs: The id of each copy of a run, by that of its run.
            versions: The version that each logged model is, by the model's id.

        Raises:
            Corrupt: The files of a version are not those that were registered, or a copy is not
                the same.
        """
        known = {one.tags[COPY_OF]: one for one in self.target.models(there) if COPY_OF in one.tags}
        for found in self.source.models(experiment):
            if str(found.status) != "READY":
                continue  # of a learning step that was killed
            model = self.source.client.call("get_logged_model", found.model_id)
            copy = known.pop(model.model_id, None)
            if copy is not None:
                address, other = model.artifact_location, copy.artifact_location
                remove_what_is_gone(self.source, address, self.target, other, copy.model_id)
            copy = copy or self._made(model, there, runs)
            if str(copy.status) != "READY":
                self._fill(model, copy, versions.get(model.model_id))
            self.ids[model.model_id] = copy.model_id
            for metric in model.metrics or ():
                self.points[metric.run_id, metric.key] = copy.model_id
        for gone in known.values():
            if artifacts.is_folder_of(gone.artifact_location, gone.model_id):
                artifacts.remove(self.target.client, gone.artifact_location)
            self.target.client.call("delete_logged_model", gone.model_id)

    def _made(self, model: Any, experiment: str, runs: Mapping[str, str]) -> Any:
        return self.target.client.call(
            "create_logged_model",
            experiment,
            model.name,
            source_run_id=runs.get(model.source_run_id),
            tags={**model.tags, COPY_OF: model.model_id},
            params=model.params,
            model_type=model.model_type,
        )

    def _fill(self, model: Any, copy: Any, version: Version | None) -> None:
        what = "a logged model" if version is None else f"version {version.version}"
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            folder = self.source.files(model.artifact_location, Path(one))
            if version is not None:  # before its files are copied
                _check(folder or Path(one), version)
            wanted = digests(folder)
            if folder is not None:
                self.target.client.fluent("log_model_artifacts", copy.model_id, str(folder))
            found = self.target.files(copy.artifact_location, Path(other))
            check_same(what, digests(found), wanted)
            if version is not None:
                _check(found or Path(other), version)
        self.target.client.call("finalize_logged_model", copy.model_id, "READY")


def _check(model: Path, version: Version) -> None:
    """Compare every file of a version with what the registry says of it."""
    folder = whole.checked_folder(model, version)
    whole.check(folder, version)
    whole.check_learner(folder / "learner", version)
