"""Copies of runs: tags, parameters, every point of every metric, artifacts, times."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perdure.errors import Corrupt, UsageError
from perdure.tasks.registry.codec import PREFIX
from perdure.tasks.registry.migrating.ends import (
    COPY_OF,
    End,
    check_same,
    digests,
    remove_what_is_gone,
)

UNFINISHED = PREFIX + "unfinished"
_OURS = {COPY_OF, UNFINISHED}
_PARENTS = ("mlflow.parentRunId", "mlflow.rootRunId")
_ENDED = {"FINISHED", "FAILED", "KILLED"}
Point = tuple[int, int, str]
"""Step, time and value of a metric; the value as text, for one that is no number equals nothing."""


class RunCopies:
    """Copies the runs of experiments.

    Args:
        source: The registry that they are in.
        target: The registry that they are copied to.
    """

    def __init__(self, source: End, target: End) -> None:
        self.source = source
        self.target = target
        self.ids: dict[str, str] = {}
        """The id of each copy, by that of its run."""
        self._begun: list[tuple[Any, Any, bool]] = []

    def begin(self, experiment: str, copy: str) -> None:
        """Make what is lacking of the runs of an experiment, without what is in them.

        Args:
            experiment: At the source.
            copy: At the target.

        Raises:
            UsageError: There are other runs at the target.
        """
        known: dict[str, Any] = {}
        for run in self.target.runs(copy):
            original = run.data.tags.get(COPY_OF)
            if original is None:
                raise UsageError(
                    f"the experiment {copy} of the target has the run {run.info.run_name}, which "
                    "is no copy",
                    hint="choose a server without an experiment of the model's name",
                )
            known[original] = run
        for run in self.source.runs(experiment):
            earlier = known.get(run.info.run_id)
            made = earlier or self._made(run, copy)
            self.ids[run.info.run_id] = made.info.run_id
            self._begun.append((run, made, earlier is not None))

    def finish(self, models: Mapping[str, str], points: Mapping[tuple[str, str], str]) -> None:
        """Fill every copy with what is in its run.

        Args:
            models: The id of each copy of a logged model, by that of its model.
            points: By run and metric, the copy of the logged model that has its values too.

        Raises:
            Corrupt: A copy was read back, and is not the same.
        """
        for run, made, earlier in self._begun:
            if earlier:
                address, copy = run.info.artifact_uri, made.info.artifact_uri
                remove_what_is_gone(self.source, address, self.target, copy, made.info.run_id)
            self._sync(run, made)
            if UNFINISHED in made.data.tags or _differ(run, made):
                self._fill(run, made, models, points)
            self._end(run, made)

    def _made(self, run: Any, experiment: str) -> Any:
        return self.target.client.call(
            "create_run",
            experiment,
            start_time=run.info.start_time,
            run_name=run.info.run_name,
            tags={**self._tags(run), **({UNFINISHED: "1"} if self._has_more(run) else {})},
        )

    def _tags(self, run: Any) -> dict[str, str]:
        tags = {**run.data.tags, COPY_OF: run.info.run_id}
        for name in _PARENTS:
            if name in tags:
                tags[name] = self.ids.get(tags[name], tags[name])
        return tags

    def _has_more(self, run: Any) -> bool:
        inside = run.data.params or run.data.metrics or _outputs(run) or _inputs(run)
        return bool(inside) or self.source.has_files(run.info.artifact_uri)

    def _sync(self, run: Any, made: Any) -> None:
        """Bring tags to what they are now, where an earlier call made the copy."""
        wanted, there = self._tags(run), made.data.tags
        for name, value in wanted.items():
            if there.get(name) != value:
                self.target.client.call("set_tag", made.info.run_id, name, value)
        for name in there.keys() - wanted.keys() - _OURS:
            if name.startswith(PREFIX):
                self.target.client.call("delete_tag", made.info.run_id, name)

    def _fill(
        self,
        run: Any,
        made: Any,
        models: Mapping[str, str],
        points: Mapping[tuple[str, str], str],
    ) -> None:
        from mlflow.entities import LoggedModelOutput, Param

        id_, call = made.info.run_id, self.target.client.call
        params = [
            Param(name, value)
            for name, value in run.data.params.items()
            if name not in made.data.params
        ]
        for at in range(0, len(params), 100):  # as many as MLflow takes at a time
            call("log_batch", id_, params=params[at : at + 100])
        if (inputs := _inputs(run)) and not _inputs(made):
            call("log_inputs", id_, inputs)
        outputs = [
            LoggedModelOutput(models[one.model_id], one.step)
            for one in _outputs(run)
            if one.model_id in models
        ]
        if outputs and not _outputs(made):
            call("log_outputs", id_, outputs)
        self._metrics(run, made, points)
        self._files(run, made)
        found = self.target.client.call("get_run", id_).data
        if found.params != run.data.params:
            raise Corrupt(
                f"the parameters of the run {run.info.run_name} are not the same at the target",
                hint="the same command again copies them anew",
            )
        if UNFINISHED in found.tags:
            call("delete_tag", id_, UNFINISHED)

    def _metrics(self, run: Any, made: Any, points: Mapping[tuple[str, str], str]) -> None:
        from mlflow.entities import Metric

        id_ = made.info.run_id
        lacking: list[Metric] = []
        wanted: dict[str, list[Point]] = {}
        for name in run.data.metrics:
            history = self.source.client.call("get_metric_history", run.info.run_id, name)
            there = set(self._points(id_, name)) if name in made.data.metrics else set()
            wanted[name] = sorted(map(_point, history))
            model = points.get((run.info.run_id, name))
            lacking += [
                Metric(
                    name, one.value, one.timestamp, one.step,
                    model_id=None if one.step else model, run_id=id_,
                )
                for one in history
                if _point(one) not in there
            ]  # fmt: skip
        for at in range(0, len(lacking), 1000):  # as many as MLflow takes at a time
            self.target.client.call("log_batch", id_, metrics=lacking[at : at + 1000])
        for name, history in wanted.items():
            if set(self._points(id_, name)) != set(history):
                raise Corrupt(
                    f"the metric {name} of the run {run.info.run_name} is not the same at the "
                    "target",
                    hint="the same command again copies what is lacking",
                )

    def _points(self, run_id: str, name: str) -> list[Point]:
        return sorted(map(_point, self.target.client.call("get_metric_history", run_id, name)))

    def _files(self, run: Any, made: Any) -> None:
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            folder = self.source.files(run.info.artifact_uri, Path(one))
            if folder is None:
                return
            wanted = digests(folder)
            self.target.client.fluent("log_artifacts", made.info.run_id, str(folder))
            there = digests(self.target.files(made.info.artifact_uri, Path(other)))
            check_same(f"the run {run.info.run_name}", there, wanted)

    def _end(self, run: Any, made: Any) -> None:
        now, then = run.info, made.info
        if now.status in _ENDED and (now.status, now.end_time) != (then.status, then.end_time):
            self.target.client.call("set_terminated", then.run_id, now.status, now.end_time)


def _point(metric: Any) -> Point:
    return metric.step, metric.timestamp, repr(float(metric.value))


def _differ(run: Any, made: Any) -> bool:
    """Whether a finished copy lacks what came to its run since, such as points of its metrics."""
    values = [
        {name: repr(float(value)) for name, value in one.data.metrics.items()}
        for one in (run, made)
    ]
    return values[0] != values[1] or run.data.params != made.data.params


def _inputs(run: Any) -> list[Any]:
    return list(run.inputs.dataset_inputs) if run.inputs else []


def _outputs(run: Any) -> list[Any]:
    return list(run.outputs.model_outputs) if run.outputs else []
