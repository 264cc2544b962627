"""MLflow experiments of a workspace: one for learning, one for the history."""

from __future__ import annotations

from perdure.config import Workspace
from perdure.errors import Fault
from perdure.tasks.registry.client import Client

KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Runs of training, and not of language models, as MLflow's pages divide experiments."""


class Experiments:
    """Finds and makes the two experiments of a registered model."""

    def __init__(self, workspace: Workspace, client: Client) -> None:
        self.client = client
        self.learning = workspace.config.model.name
        self.history = f"{self.learning}/history"
        # A server keeps artifacts where it is configured to. Without one MLflow would put them
        # below the current directory, wherever that is.
        served = client.uri.startswith(("http://", "https://", "databricks"))
        self._artifacts = None if served else workspace.state / "artifacts"
        self._ids: dict[str, str] = {}

    def find(self, name: str) -> str | None:
        """The id of an experiment; None: it is not there."""
        if name not in self._ids:
            experiment = self.client.call("get_experiment_by_name", name)
            if experiment is None:
                return None
            if experiment.lifecycle_stage == "deleted":
                self.client.call("restore_experiment", experiment.experiment_id)
            self._ids[name] = experiment.experiment_id
        return self._ids[name]

    def ensure(self, name: str) -> str:
        """The id of an experiment, which is made where it is missing."""
        found = self.find(name)
        if found is not None:
            return found
        location = None
        if self._artifacts is not None:
            folder = "history" if name == self.history else "learning"
            location = (self._artifacts / folder).as_uri()
        try:
            made: str = self.client.call(
                "create_experiment", name, artifact_location=location, tags=KIND
            )
        except Fault:
            # Perhaps another process made it in this moment.
            if (there := self.find(name)) is None:
                raise
            return there
        self._ids[name] = made
        return made
