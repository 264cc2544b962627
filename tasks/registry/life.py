"""The model's life as one run in MLflow: a point for each experience that was learned.

So MLflow's page of this run shows each metric over time, and what a version keeps of its own does
not grow with the experiences before it.
"""

from __future__ import annotations

from collections.abc import Iterable

from perdure.tasks.registry.client import Client
from perdure.tasks.registry.codec import PREFIX
from perdure.tasks.registry.experiments import Experiments

LIFE = PREFIX + "life"
"""The tag of the run."""
_NOTE = (
    "One point for each experience that was learned; the step is its number. "
    "A refused version has its point, too: the history says what serves since when."
)


def log(
    client: Client,
    experiments: Experiments,
    experience: str,
    values: Iterable[tuple[str, float]],
) -> None:
    """Add a point to each metric of the model's life.

    Called again, after a kill, it adds the same point a second time, which changes no picture.

    Args:
        client: Of MLflow.
        experiments: Of the model.
        experience: What was learned; its number is the step.
        values: Names and values, at most 1,000.
    """
    import time

    from mlflow.entities import Metric

    now, number = int(time.time() * 1000), experience.partition("-")[0]
    step = int(number) if number.isdecimal() else 0
    metrics = [Metric(name, value, now, step) for name, value in values]
    client.call("log_batch", _run(client, experiments), metrics=metrics)


def _run(client: Client, experiments: Experiments) -> str:
    experiment = experiments.ensure(experiments.learning)
    found = client.call("search_runs", [experiment], f"tags.`{LIFE}` = '1'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    tags = {LIFE: "1", "mlflow.source.name": "perdure", "mlflow.note.content": _NOTE}
    name = f"life of {experiments.learning}"
    run_id = str(client.call("create_run", experiment, run_name=name, tags=tags).info.run_id)
    client.call("set_terminated", run_id)
    return run_id
