"""MLflow's client for writes to a registered model, which reads the model once and not each time.

Before each of these writes `MlflowClient` reads the whole registered model, to refuse the name of
a prompt (MLflow 3.17). On SQLite that costs more than twice the write, and more with each version
there is; on a server it is one request more. What is a prompt and what is a model is decided when
it is made, so the first read serves them all. Whether the model, its version or its alias is
there, MLflow's store finds out at each write by itself.
"""

from __future__ import annotations

from mlflow.entities.model_registry import RegisteredModel
from mlflow.tracking.client import MlflowClient

WRITES = frozenset(
    {
        "set_registered_model_tag",
        "delete_registered_model_tag",
        "set_registered_model_alias",
        "delete_registered_model_alias",
        "create_model_version",
        "set_model_version_tag",
        "update_model_version",
    }
)


class Writer(MlflowClient):
    """For `WRITES` alone: what it says of a registered model may be old."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, uri)
        self._seen: dict[str, RegisteredModel] = {}

    def get_registered_model(self, name: str) -> RegisteredModel:
        """The model as it was when it was first asked for."""
        if name not in self._seen:
            self._seen[name] = super().get_registered_model(name)
        return self._seen[name]
