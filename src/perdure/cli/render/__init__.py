"""Results for a person: tables and sentences on stdout, with the next command."""

from perdure.cli.render.results import (
    evaluated,
    examined,
    file_line,
    ingested,
    initialised,
    learned,
    pinned,
    promoted,
    quarantined,
    released,
    retrained,
    rolled_back,
    serving,
)
from perdure.cli.render.schema import schema, schema_changed, schema_differences
from perdure.cli.render.service import deployed, ended, log_line, logs, running
from perdure.cli.render.state import history, shown, status
from perdure.cli.render.words import (
    arrival_grid,
    drift_grid,
    number,
    table,
    verdict_grid,
    verdict_word,
)

__all__ = [
    "arrival_grid",
    "deployed",
    "drift_grid",
    "ended",
    "evaluated",
    "examined",
    "file_line",
    "history",
    "ingested",
    "initialised",
    "learned",
    "log_line",
    "logs",
    "number",
    "pinned",
    "promoted",
    "quarantined",
    "released",
    "retrained",
    "rolled_back",
    "running",
    "schema",
    "schema_changed",
    "schema_differences",
    "serving",
    "shown",
    "status",
    "table",
    "verdict_grid",
    "verdict_word",
]
