"""What a workspace's model is called in Prefect: deployments, tags, queues, events."""

from __future__ import annotations

import hashlib
import re
from typing import Literal

Name = Literal["ingest", "retrain", "evaluate", "rollback", "promote", "approve"]
NAMES: tuple[Name, ...] = ("ingest", "retrain", "evaluate", "rollback", "promote", "approve")
"""The flows that are deployed."""

Pool = Literal["cpu", "gpu"]
TAG = "perdure"
"""On every deployment of Perdure's, and so on their flow runs."""
REGISTRY = "perdure-registry:"


def slug(model: str) -> str:
    """A model's name in lower-case letters, digits and dashes; no two models have the same."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    if plain == model:
        return plain
    return f"{plain or 'model'}-{hashlib.sha256(model.encode()).hexdigest()[:6]}"


def deployment(name: Name, model: str) -> str:
    """The name of a model's deployment of a flow, as in `retrain-weather`."""
    return f"{name}-{_allowed(model)}"


def full(name: Name, model: str) -> str:
    """A deployment's full name, as in `retrain/retrain-weather`."""
    return f"{name}/{deployment(name, model)}"


def older(name: Name, model: str) -> str:
    """The full name that an older version gave it, as in `retrain/weather`."""
    return f"{name}/{_allowed(model)}"


def _allowed(model: str) -> str:
    """A model's own name, unless Prefect allows no such name."""
    return slug(model) if re.search("[/%&<>]", model) else model


def tags(model: str) -> list[str]:
    """The tags of a model's deployments and their flow runs."""
    return [TAG, model_tag(model)]


def model_tag(model: str) -> str:
    """The tag of one model's flow runs."""
    return f"{TAG}:{model}"


def registry_tag(registry: str) -> str:
    """The tag of one registry's flow runs, which differs in another environment."""
    return f"{REGISTRY}{registry}"


def data_arrived(model: str) -> str:
    """The automation that starts a retraining on new data; paused, it starts none."""
    return f"{model}: data arrived"


def queue(model: str, registry: str | None = None) -> str:
    """The work queue, in each pool, of a model's flow runs.

    Args:
        model: The model.
        registry: The registry that several machines share (`registry_identity.shared`): a worker
            of another one asks another queue. None: it is of one workspace alone.
    """
    return slug(model) if registry is None else f"{slug(model)}-{registry}"


def resource(model: str) -> str:
    """The id of a model as an event's resource."""
    return f"perdure.model.{slug(model)}"
