"""What the run of a learning step says of how it was learned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from perdure.errors import Corrupt
from perdure.records import LearningRun
from perdure.tasks.registry import codec
from perdure.tasks.registry.pages import ENVIRONMENT

CONFIGURATION = codec.PREFIX + "configuration"
"""Of a run: the settings that decided what was learned, as JSON."""


def configuration_tags(configuration: Mapping[str, Any] | None) -> dict[str, str]:
    """The tags of a run that say by which settings it learned."""
    return {} if configuration is None else codec.split(CONFIGURATION, codec.dumps(configuration))


def learning_run(params: Mapping[str, str], tags: Mapping[str, str]) -> LearningRun:
    """What a run says of how it was learned.

    Raises:
        Corrupt: It cannot be read.
    """
    try:
        text = codec.join(CONFIGURATION, tags)
        configuration = None if text is None else json.loads(text)
        if not isinstance(configuration, dict | None):
            raise TypeError("it is no object")
    except (ValueError, TypeError, RecursionError) as error:
        raise Corrupt(f"the tag {CONFIGURATION} of a run cannot be read: {error}") from error
    environment = {
        name.removeprefix(ENVIRONMENT): value
        for name, value in params.items()
        if name.startswith(ENVIRONMENT)
    }
    return LearningRun(environment, configuration)
