"""Evaluate: measure a version again, beside the champion, and put it before the gates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perdure.flows import measuring
from perdure.orchestration import engine
from perdure.orchestration.engine import flow, step
from perdure.records import Evaluated, Version
from perdure.tasks import gates, packaging, training
from perdure.tasks.registry import Registry
from perdure.tasks.tables import schema as schemas
from perdure.workspace import open_workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray


def run(workspace: str, version: int) -> Evaluated:
    """`evaluate` as a flow where Prefect is configured, and directly where it is not."""
    return engine.run(evaluate, workspace=workspace, version=version)


@flow(name="evaluate", flow_run_name="evaluate version {version}")
def evaluate(workspace: str = ".", *, version: int) -> Evaluated:
    """Measure a version and the champion on the same test rows. Changes nothing.

    The rows are those of the version itself: the test rows of every experience that it has
    learned, within the budget.

    Args:
        workspace: Folder of the workspace.
        version: The version.

    Raises:
        UsageError: There is no such version.
    """
    ws = open_workspace(workspace)
    registry = Registry(ws)
    wanted, champion = registry.version(version), registry.read().champion
    folder = registry.download(wanted)
    packaging.look(folder)
    rows = packaging.rows_in(folder)
    known = dict.fromkeys(packaging.labels_in(folder))
    if champion:
        known |= dict.fromkeys(packaging.labels_in(registry.download(champion)))
    spec = schemas.load(ws.schema, ws.config.data).feature_spec()
    spec = training.grown(spec, tuple(known), rows[spec.target].to_numpy())

    def outputs(one: Version) -> NDArray[Any]:
        learner = registry.download(one) / packaging.LEARNER
        return step(training.outputs, name=f"measure version {one.version}")(
            ws, spec, learner, rows
        )

    theirs = outputs(champion) if champion and champion.version != version else None
    numbers = measuring.numbers_of(
        ws, spec, rows, wanted.experience, outputs(wanted), theirs, None, None
    )
    return Evaluated(
        version=version,
        champion=champion.version if champion else None,
        rows=len(rows),
        metrics=numbers.candidate,
        champion_metrics=numbers.champion,
        verdict=gates.judge(numbers, ws.config.gates),
    )
