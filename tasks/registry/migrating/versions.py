"""Copies of a registered model's versions, with their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perdure.errors import Fault
from perdure.tasks.registry import artifacts, codec
from perdure.tasks.registry.migrating.ends import End

PLACEHOLDER = codec.PREFIX + "placeholder"


class VersionCopies:
    """Copies the versions of one registered model.

    MLflow counts versions, and gives no number twice. Of a number that the source gave to a version
    that was removed there is a version without files, which is deleted at the end.

    Args:
        target: The registry that they are copied to.
        experiment: The experiment of the learning steps at the target.
    """

    def __init__(self, target: End, experiment: str) -> None:
        self.target = target
        self.experiment = experiment
        self.name = target.workspace.config.model.name

    def copy(
        self,
        versions: Mapping[int, Any],
        highest: int,
        numbered: int,
        runs: Mapping[str, str],
        models: Mapping[str, str],
    ) -> None:
        """Make the versions that are lacking, in order, and bring the others to what they are now.

        Args:
            versions: As MLflow has them at the source, by number.
            highest: The highest number that the source ever gave.
            numbered: Up to this number an earlier call made all that there are.
            runs: The id of each copy of a run, by that of its run.
            models: The id of each copy of a logged model, by that of its model.

        Raises:
            Fault: The target counts otherwise: something else registers versions there.
        """
        there = {int(one.version): one for one in self.target.versions()}
        for number in range(1, highest + 1):
            one, copy = versions.get(number), there.get(number)
            if copy is None and (number > numbered or one is not None):
                self._make(number, one, runs, models)
            elif copy is not None and one is not None:
                self._sync(one, copy)
            elif copy is not None and PLACEHOLDER not in copy.tags:  # it was removed meanwhile
                self._delete(number)

    def remove_placeholders(self) -> None:
        """Delete the versions that only stand for a number, and the models without files."""
        for one in self.target.versions():
            if PLACEHOLDER in one.tags:
                self._delete(int(one.version))
        for model in self.target.models(self.experiment):
            if PLACEHOLDER in model.tags:
                self.target.client.call("delete_logged_model", model.model_id)

    def _make(
        self, number: int, one: Any | None, runs: Mapping[str, str], models: Mapping[str, str]
    ) -> None:
        if one is None:
            model_id, tags, run_id, description = self._empty(), {PLACEHOLDER: "1"}, None, None
        else:
            model_id = models[str(artifacts.model_of(one))]
            tags, description = tags_of(one), one.description
            run_id = runs.get(one.run_id)
        made = self.target.client.fluent(
            "create_model_version",
            self.name,
            f"models:/{model_id}",
            run_id,
            tags=tags,
            description=description,
            model_id=model_id,
        )
        if int(made.version) != number:
            raise Fault(
                f"the target made version {made.version} of the model {self.name} where version "
                f"{number} was to be: something else registers versions there",
                hint="delete the model there, then the same command again",
            )

    def _empty(self) -> str:
        for model in self.target.models(self.experiment):
            if PLACEHOLDER in model.tags:
                return str(model.model_id)
        made = self.target.client.call(
            "create_logged_model", self.experiment, "removed", tags={PLACEHOLDER: "1"}
        )
        return str(made.model_id)

    def _sync(self, one: Any, copy: Any) -> None:
        call, number, wanted = self.target.client.call, str(one.version), tags_of(one)
        for name, value in wanted.items():
            if copy.tags.get(name) != value:
                call("set_model_version_tag", self.name, number, name, value)
        for name in copy.tags.keys() - wanted.keys():
            call("delete_model_version_tag", self.name, number, name)
        if (copy.description or "") != (one.description or ""):
            call("update_model_version", self.name, number, one.description or "")

    def _delete(self, number: int) -> None:
        self.target.client.call("delete_model_version", self.name, str(number))


def tags_of(one: Any) -> dict[str, str]:
    """The tags of a version's copy: MLflow would say that it was registered when it was copied."""
    return {codec.CREATED: str(one.creation_timestamp), **one.tags}
