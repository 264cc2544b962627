"""Model versions: registered once under their learning key, and read back whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from perdure import evaluations, manifest
from perdure.config import Workspace
from perdure.errors import Corrupt
from perdure.records import Evaluation, LearningRun, Lineage, Trained, Verdict, Version
from perdure.tasks.registry import (
    codec,
    life,
    package,
    pages,
    pyfunc,
    quick,
    removed,
    runs,
    whole,
)
from perdure.tasks.registry.client import Client, Missing
from perdure.tasks.registry.experiments import Experiments
from perdure.tasks.registry.quick import Row

PAGE = 1000
KEPT = 4
"""Downloaded versions that stay on this machine."""


class Versions:
    """The versions of one registered model."""

    def __init__(self, workspace: Workspace, client: Client, experiments: Experiments) -> None:
        self.workspace = workspace
        self.client = client
        self.experiments = experiments
        self.name = workspace.config.model.name
        self._locals: dict[int, Path | None] = {}

    def ensure_model(self) -> None:
        """Make the registered model where it is missing."""
        try:
            self.client.call("get_registered_model", self.name)
        except Missing:
            self.client.call(
                "create_registered_model",
                self.name,
                tags={codec.EVENTS: "0"},
                description=pages.model_description(self.workspace.config),
            )

    def get(self, number: int) -> Version:
        """One version.

        Raises:
            UsageError: There is no such version.
            Corrupt: Perdure did not write it.
        """
        return as_version(self.row(number))

    def row(self, number: int) -> Row:
        """One version as MLflow has it; one that is being removed is gone.

        Raises:
            UsageError: There is no such version.
        """
        found = self._row(number)
        if found is not None and codec.REMOVED not in found.tags:
            return found
        raise removed.missing(self.experiments, number, found)

    def _row(self, number: int) -> Row | None:
        found = quick.versions(self.client.database, self.name, number)
        if found is not None:
            return next(iter(found), None)
        try:
            return _of_mlflow(self.client.call("get_model_version", self.name, str(number)))
        except Missing:
            return None

    def all(self) -> tuple[Version, ...]:
        """All versions that Perdure wrote, oldest first."""
        ours = [as_version(row) for row in self.rows() if codec.REMOVED not in row.tags]
        return tuple(sorted(ours, key=lambda version: version.version))

    def rows(self) -> Iterator[Row]:
        """All versions that Perdure wrote as MLflow has them, those that are being removed, too."""
        found = quick.versions(self.client.database, self.name)
        asked = self._search(f"name = '{self.name}'") if found is None else iter(found)
        return (row for row in asked if codec.KEY in row.tags)

    def parents(self) -> dict[int, int | None]:
        """See `Registry.parents`."""
        found = {one.version: one.parent for one in map(as_version, self.rows())}
        if {*found.values()} <= {*found, None}:
            return found
        return {**removed.parents(self.client, self.experiments), **found}

    def find(self, learning_key: str) -> Version | None:
        """The version with this learning key; None: it is not registered."""
        numbers = quick.with_tag(self.client.database, self.name, codec.KEY, learning_key)
        if numbers is None:
            wanted = f"name = '{self.name}' AND tags.`{codec.KEY}` = '{learning_key}'"
            found = list(self._search(wanted))
        else:
            found = [row for number in numbers if (row := self._row(number)) is not None]
        ours = [as_version(row) for row in found if codec.REMOVED not in row.tags]
        # Never two; were there two, the first is the one that everybody has seen.
        return min(ours, key=lambda version: version.version, default=None)

    def register(
        self,
        folder: Path,
        lineage: Lineage,
        evaluation: Evaluation,
        trained: Trained,
        verdict: Verdict | None,
        figures: Mapping[str, Path],
        profile: Path | None,
    ) -> Version:
        """Register a version folder, once; see `Registry.register`."""
        manifest.verify(folder)
        known = self.find(lineage.learning_key)
        if known is not None:
            return known
        experiment = self.experiments.ensure(self.experiments.learning)
        self._end_orphans(experiment, lineage.learning_key)
        tags = codec.version_tags(lineage, codec.score(evaluation))
        words = codec.verdict_tags(verdict)
        description = pages.version_description(
            lineage.experience,
            lineage.strategy,
            len(lineage.cursor),
            lineage.parent,
            verdict,
            pages.before_learning(evaluation),
        )
        experience = lineage.experience
        own = runs.configuration_tags(lineage.configuration)
        run_id = self._run(experiment, experience, {**tags, **words, **own}, description)
        config = self.workspace.config
        self._log_parameters(run_id, pages.parameters(config, experience, trained, evaluation))
        for path in figures.values():
            self.client.call("log_artifact", run_id, str(path), "figures")
        for path in sorted(profile.iterdir()) if profile else ():
            self.client.call("log_artifact", run_id, str(path), "profile")
        model_id, place = pyfunc.log(self.client, run_id, folder, {codec.KEY: lineage.learning_key})
        with self.client.current():
            around = package.digest(package.at_mlflow(place))
        self._log_metrics(run_id, model_id, pages.metrics(trained, evaluation))
        life.log(self.client, self.experiments, experience, pages.life(evaluation))
        self.ensure_model()
        created = self.client.fluent(
            "create_model_version",
            self.name,
            f"models:/{model_id}",
            run_id,
            tags={
                **tags,
                **words,
                codec.PACKAGE: around,
                codec.MANIFEST: manifest.digest(folder),
            },
            description=description,
            model_id=model_id,
        )
        return self.get(int(created.version))

    def folder(self, version: Version) -> Path:
        """The version folder on this machine; see `Registry.download`."""
        local = self._local(version)
        if local is not None:
            whole.check(local, version)
            return local
        kept = self._kept(version)
        if kept.exists():
            try:
                whole.check(kept, version)
            except Corrupt:
                shutil.rmtree(kept)
            else:
                os.utime(kept)
                return kept
        return self._fetch(version, kept)

    def run(self, version: Version) -> LearningRun:
        """How a version was learned; see `Registry.run`."""
        try:
            data = self.client.call("get_run", version.run_id).data
        except Missing:
            return LearningRun({}, None)
        return runs.learning_run(data.params, data.tags)

    def as_now(self, version: Version, place: Path) -> Path:
        """The version folder as MLflow has it now; see `Registry.as_now`."""
        local = self._artifacts(version)
        if local is None:
            with self.client.current():
                import mlflow

                uri = f"models:/{self.name}/{version.version}"
                local = Path(
                    mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(place))
                )
        return whole.version_folder(local, version.version)

    def keep(self, folder: Path, version: Version) -> None:
        """See `Registry.keep`."""
        kept = self._kept(version)
        if self._local(version) is None and not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(kept)
            _remove_oldest(kept)

    def _kept(self, version: Version) -> Path:
        name = f"{version.version}-{version.learning_key[:12]}"
        return self.workspace.state / "versions" / name

    def downloaded(self, number: int) -> tuple[Path, ...]:
        """The folders of a version that were kept on this machine."""
        return tuple((self.workspace.state / "versions").glob(f"{number}-*"))

    def evaluation(self, version: Version) -> dict[str, Any]:
        """The numbers that the gates saw; see `Registry.evaluation`."""
        local = self._local(version)
        folder = local if local is not None else self.folder(version)
        whole.check_manifest(folder, version)
        return evaluations.read(folder)

    def _search(self, condition: str) -> Iterator[Row]:
        token = None
        while True:
            page = self.client.call(
                "search_model_versions", condition, max_results=PAGE, page_token=token
            )
            yield from map(_of_mlflow, page)
            token = page.token
            if not token:
                return

    def _end_orphans(self, experiment: str, learning_key: str) -> None:
        """Runs of this learning step that were killed before there was a version."""
        runs = self.client.call(
            "search_runs",
            [experiment],
            f"tags.`{codec.KEY}` = '{learning_key}' AND attributes.status != 'KILLED'",
        )
        for run in runs:
            if codec.NUMBER not in run.data.tags:  # or else it was a version, which was removed
                self.client.call("set_terminated", run.info.run_id, "KILLED")

    def _run(self, experiment: str, experience: str, tags: dict[str, str], description: str) -> str:
        more = {"mlflow.source.name": "perdure", "mlflow.note.content": description}
        run = self.client.call(
            "create_run", experiment, run_name=f"learn {experience}", tags={**tags, **more}
        )
        return str(run.info.run_id)

    def _log_parameters(self, run_id: str, values: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        params = [Param(name, value) for name, value in values.items()]
        for at in range(0, len(params), 100):  # as many as MLflow takes at a time
            self.client.call("log_batch", run_id, params=params[at : at + 100])

    def _log_metrics(
        self, run_id: str, model_id: str, values: Iterator[tuple[str, float, int]]
    ) -> None:
        """Log the metrics of a run; those of step 0 are the logged model's, too.

        MLflow copies these to a model when it is logged, with one query for each metric of the
        run. So they are logged after the model, for both at once.
        """
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(name, value, now, step, model_id=None if step else model_id, run_id=run_id)
            for name, value, step in values
        ]
        for at in range(0, len(metrics), 1000):  # as many as MLflow takes at a time
            self.client.call("log_batch", run_id, metrics=metrics[at : at + 1000])

    def _local(self, version: Version) -> Path | None:
        """The version folder where MLflow keeps it, if that is on this machine.

        Raises:
            Corrupt: What lies around it is not what was registered.
        """
        if version.version not in self._locals:
            self._locals[version.version] = self._artifacts(version)
        model = self._locals[version.version]
        return model and whole.checked_folder(model, version)

    def check(self, version: Version) -> None:
        """See `Registry.check`."""
        local = self._artifacts(version)
        if local is not None:
            files = package.on_this_machine(local)
        else:
            with self.client.current():
                files = package.at_mlflow(self._location(version))
        package.check(files, version)

    def _artifacts(self, version: Version) -> Path | None:
        parts = urlsplit(self._location(version))
        if parts.scheme not in {"", "file"}:
            return None
        return Path(unquote(parts.path))

    def _location(self, version: Version) -> str:
        """The address of the artifacts of a version."""
        row = self._row(version.version)
        if row is not None and row.location and not row.location.startswith("models:/"):
            return row.location
        uri = str(self.client.call("get_model_version_download_uri", self.name, version.version))
        if uri.startswith("models:/"):
            model = self.client.call("get_logged_model", uri.removeprefix("models:/"))
            uri = str(model.artifact_location)
        return uri

    def _fetch(self, version: Version, kept: Path) -> Path:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".") as scratch:
            with self.client.current():
                import mlflow

                uri = f"models:/{self.name}/{version.version}"
                model = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=scratch)
            found = whole.checked_folder(Path(model), version)
            whole.check(found, version)
            if not kept.exists():
                found.rename(kept)
        _remove_oldest(kept)
        return kept


def _remove_oldest(kept: Path) -> None:
    """Remove the oldest folders beside one, so that `KEPT` stay."""
    others = [path for path in kept.parent.iterdir() if path != kept and path.name[0] != "."]
    for path in sorted(others, key=lambda path: path.stat().st_mtime)[: 1 - KEPT or None]:
        shutil.rmtree(path)


def as_version(row: Row) -> Version:
    """MLflow's model version as ours."""
    return codec.version(row.version, row.run_id, row.created, row.tags)


def _of_mlflow(raw: Any) -> Row:
    return Row(
        int(raw.version),
        raw.run_id or "",
        raw.creation_timestamp,
        dict(raw.tags),
        description=raw.description or "",
    )
