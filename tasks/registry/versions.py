"""Model versions: registered once under their learning key, and read back whole."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from perdure import manifest
from perdure.config import Workspace
from perdure.errors import Corrupt, UsageError
from perdure.records import DataRevision, Evaluation, Trained, Verdict, Version
from perdure.tasks.registry import codec, pages, pyfunc
from perdure.tasks.registry.client import Client, Missing
from perdure.tasks.registry.experiments import Experiments

KEY = codec.PREFIX + "learning_key"
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
        return as_version(self.raw(number))

    def raw(self, number: int) -> Any:
        """One version as MLflow has it."""
        try:
            return self.client.call("get_model_version", self.name, str(number))
        except Missing:
            raise UsageError(
                f"there is no version {number} of the model {self.name}",
                hint="perdure history lists the versions",
            ) from None

    def all(self) -> tuple[Version, ...]:
        """All versions that Perdure wrote, oldest first."""
        found = self._search(f"name = '{self.name}'")
        ours = [as_version(raw) for raw in found if KEY in raw.tags]
        return tuple(sorted(ours, key=lambda version: version.version))

    def find(self, learning_key: str) -> Version | None:
        """The version with this learning key; None: it is not registered."""
        found = list(self._search(f"name = '{self.name}' AND tags.`{KEY}` = '{learning_key}'"))
        # Never two; were there two, the first is the one that everybody has seen.
        return min(map(as_version, found), key=lambda v: v.version) if found else None

    def register(
        self,
        folder: Path,
        *,
        learning_key: str,
        parent: int | None,
        experience: str,
        weights_sha256: str,
        state_sha256: str,
        cursor: tuple[str, ...],
        data: DataRevision,
        code: str | None,
        strategy: tuple[str, ...],
        verdict: Verdict | None,
        evaluation: Evaluation,
        trained: Trained,
        figures: Mapping[str, Path],
        profile: Path | None,
    ) -> Version:
        """Register a version folder, once; see `Registry.register`."""
        manifest.verify(folder)
        known = self.find(learning_key)
        if known is not None:
            return known
        experiment = self.experiments.ensure(self.experiments.learning)
        self._end_orphans(experiment, learning_key)
        tags = codec.version_tags(
            learning_key=learning_key,
            parent=parent,
            experience=experience,
            weights_sha256=weights_sha256,
            state_sha256=state_sha256,
            cursor=cursor,
            data=data,
            code=code,
            strategy=strategy,
        )
        words = codec.verdict_tags(verdict)
        description = pages.version_description(
            experience, strategy, len(cursor), parent, verdict, pages.before_learning(evaluation)
        )
        run_id = self._run(experiment, experience, {**tags, **words}, description)
        config = self.workspace.config
        values = pages.parameters(config, experience, trained, evaluation)
        self._log(run_id, values, pages.metrics(trained, evaluation))
        for path in figures.values():
            self.client.call("log_artifact", run_id, str(path), "figures")
        for path in sorted(profile.iterdir()) if profile else ():
            self.client.call("log_artifact", run_id, str(path), "profile")
        model_id = pyfunc.log(self.client, run_id, folder, {KEY: learning_key})
        self.ensure_model()
        created = self.client.fluent(
            "create_model_version",
            self.name,
            f"models:/{model_id}",
            run_id,
            tags={**tags, **words},
            description=description,
            model_id=model_id,
        )
        return self.get(int(created.version))

    def folder(self, version: Version) -> Path:
        """The version folder on this machine; see `Registry.download`."""
        local = self._local(version)
        if local is not None:
            manifest.verify(local)
            return local
        kept = self.workspace.state / "versions" / f"{version.version}-{version.learning_key[:12]}"
        if kept.exists():
            try:
                manifest.verify(kept)
            except Corrupt:
                shutil.rmtree(kept)
            else:
                os.utime(kept)
                return kept
        return self._fetch(version, kept)

    def evaluation(self, version: Version) -> dict[str, Any]:
        """The numbers that the gates saw; see `Registry.evaluation`."""
        local = self._local(version)
        folder = local if local is not None else self.folder(version)
        value = json.loads(manifest.checked(folder, "evaluation/evaluation.json"))
        if not isinstance(value, dict):
            raise Corrupt(f"{folder / 'evaluation/evaluation.json'} is no evaluation")
        return value

    def _search(self, condition: str) -> Iterator[Any]:
        token = None
        while True:
            page = self.client.call(
                "search_model_versions", condition, max_results=PAGE, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _end_orphans(self, experiment: str, learning_key: str) -> None:
        """Runs of this learning step that were killed before there was a version."""
        runs = self.client.call(
            "search_runs",
            [experiment],
            f"tags.`{KEY}` = '{learning_key}' AND attributes.status != 'KILLED'",
        )
        for run in runs:
            self.client.call("set_terminated", run.info.run_id, "KILLED")

    def _run(self, experiment: str, experience: str, tags: dict[str, str], description: str) -> str:
        more = {"mlflow.source.name": "perdure", "mlflow.note.content": description}
        run = self.client.call(
            "create_run", experiment, run_name=f"learn {experience}", tags={**tags, **more}
        )
        return str(run.info.run_id)

    def _log(
        self, run_id: str, parameters: dict[str, str], values: Iterator[tuple[str, float, int]]
    ) -> None:
        import time

        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value, step in values]
        params = [Param(name, value) for name, value in parameters.items()]
        # MLflow takes 100 parameters and 1000 metrics at a time.
        for at in range(0, len(params), 100):
            self.client.call("log_batch", run_id, params=params[at : at + 100])
        for at in range(0, len(metrics), 1000):
            self.client.call("log_batch", run_id, metrics=metrics[at : at + 1000])

    def _local(self, version: Version) -> Path | None:
        """Where the artifacts lie, if that is a folder of this machine."""
        uri = str(self.client.call("get_model_version_download_uri", self.name, version.version))
        if uri.startswith("models:/"):
            model = self.client.call("get_logged_model", uri.removeprefix("models:/"))
            uri = str(model.artifact_location)
        parts = urlsplit(uri)
        if parts.scheme not in {"", "file"}:
            return None
        return inside(Path(unquote(parts.path)), version)

    def _fetch(self, version: Version, kept: Path) -> Path:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".") as scratch:
            with self.client.current():
                import mlflow

                uri = f"models:/{self.name}/{version.version}"
                model = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=scratch)
            found = inside(Path(model), version)
            manifest.verify(found)
            if not kept.exists():
                found.rename(kept)
        others = [path for path in kept.parent.iterdir() if path != kept and path.name[0] != "."]
        for path in sorted(others, key=lambda path: path.stat().st_mtime)[: 1 - KEPT or None]:
            shutil.rmtree(path)
        return kept


def inside(model: Path, version: Version) -> Path:
    """The version folder inside a downloaded pyfunc, whatever MLflow called it.

    Raises:
        Corrupt: There is none.
    """
    found = sorted(model.glob(f"data/*/{manifest.NAME}"))
    if len(found) != 1:
        raise Corrupt(
            f"version {version.version} has {len(found)} version folders in {model}; it needs one",
            hint="perdure rollback --to VERSION chooses a version that is whole",
        )
    return found[0].parent


def as_version(raw: Any) -> Version:
    """MLflow's model version as ours."""
    return codec.version(int(raw.version), raw.run_id or "", raw.creation_timestamp, raw.tags)
