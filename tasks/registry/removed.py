"""What is known of versions that were removed: when and by what, and what they went on from."""

from __future__ import annotations

import json
from typing import Any

from perdure.errors import UsageError
from perdure.tasks.registry import codec
from perdure.tasks.registry.client import Client
from perdure.tasks.registry.experiments import Experiments
from perdure.tasks.registry.history import History

PAGE = 1000


def missing(experiments: Experiments, number: int, marked: Any | None) -> UsageError:
    """The error that says why there is no such version.

    Args:
        experiments: Of the model.
        number: The version's number.
        marked: The version as MLflow has it, if its removal was cut short.
    """
    at = command = None
    if marked is not None:
        mark = json.loads(marked.tags[codec.REMOVED])
        at, command = mark["at"], mark["command"]
    elif event := History(experiments.client, experiments).of("removed", number):
        at, command = event.at, (event.reason or "").removeprefix("by ").partition(":")[0]
    if at is None:
        return UsageError(
            f"there is no version {number} of the model {experiments.learning}",
            hint="perdure history lists the versions",
        )
    return UsageError(
        f"version {number} was removed on {at[:10]} by {command}; its files are gone",
        hint="perdure history has what it was",
    )


def parents(client: Client, experiments: Experiments) -> dict[int, int | None]:
    """The parent of each version that was removed, by its number, as the learning runs have it."""
    experiment = experiments.find(experiments.learning)
    found: dict[int, int | None] = {}
    token = None
    while experiment is not None:
        wanted = f"tags.`{codec.NUMBER}` LIKE '%'"
        page = client.call("search_runs", [experiment], wanted, max_results=PAGE, page_token=token)
        for run in page:
            found[int(run.data.tags[codec.NUMBER])] = codec.parent(run.data.tags)
        token = page.token
        if not token:
            break
    return found
