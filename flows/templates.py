"""The `perdure.toml` of a new workspace: what one changes first, with what it means."""

from __future__ import annotations

import json

from perdure.config import EvaluationConfig, TrainingConfig
from perdure.tasks.tables.columns import ImageColumn
from perdure.tasks.tables.schema import Schema

_TABLE = """\
# factory = "mlp"        # built-in, "package.module:function" or "models/mine.py:function"
# parameters = { hidden = [64, 64], dropout = 0.0 }
"""
_FACTORY = """\
{line:<24} # built-in, "package.module:function" or "models/mine.py:function"
"""
_ROWS = """\
[evaluation]
{line:<24} # test images kept with every version, {size:,} bytes each

"""
_TEMPLATE = """\
# Perdure's configuration. What stands here behind a # is the default; docs/configuration.md
# has every key. `perdure doctor` checks it, and says all faults together.

[model]
name = {name}            # the registered model in MLflow
{factory}
[data]
target = {target}
task = {task}
# test = 0.2             # share of the rows held out for the gates, by a hash of their content
# validation = 0.1       # share that training watches but does not learn from
# min_rows = 30          # a file with fewer rows waits for the next
# join = true            # false: it is refused; 1000: files of an ingest make so many rows together

[training]
strategies = ["replay"]  # or {combined}
# epochs = 10            # by default by the number of rows, with early stopping
# batch_size = {batch_size}
# optimizer = "{optimizer}"     # sgd, adam, adamw, rmsprop
# learning_rate = {learning_rate}
# seed = 0
# device = "auto"        # cpu, cuda, cuda:1, mps

{evaluation}[gates]                  # refuse what is shown to be worse, on the same rows
# floor = "baseline"     # than a constant guess; a number: than this {metric}
# new_margin = 0.10      # than the champion by more than this, on the new experience
# past_margin = 0.02     # on all earlier experiences likewise
# undecided = "pass"     # where there are too few rows to decide: pass, hold, wait

[promotion]
mode = "automatic"       # "manual": the champion waits for perdure promote
# rollback = true        # go back by itself to an older version, shown to be better on what arrives

[tracking]
# uri = "http://127.0.0.1:5000"   # an MLflow server; by default SQLite in .perdure/
"""


FACTORIES = {"table": "mlp", "image": "cnn", "text": "lstm", "sequence": "lstm"}
"""The built-in body for each kind of data."""
EVALUATION_BYTES = 256 * 2**20
"""Of the test images that are kept with every version."""


def configuration(name: str, schema: Schema) -> str:
    """The text of `perdure.toml`; a name or column may hold any character."""
    defaults, task = TrainingConfig(), schema.task
    return _TEMPLATE.format(
        name=json.dumps(name, ensure_ascii=False),
        factory=_TABLE
        if schema.kind == "table"
        else _FACTORY.format(line=f'factory = "{FACTORIES[schema.kind]}"'),
        target=json.dumps(schema.target.name, ensure_ascii=False),
        task=json.dumps(task),
        metric="accuracy" if task == "classification" else "R²",
        combined='["replay", {name = "ewc", penalty = 100}]',
        batch_size=defaults.batch_size,
        optimizer=defaults.optimizer.name,
        learning_rate=defaults.learning_rate,
        evaluation=_evaluation(schema),
    )


def _evaluation(schema: Schema) -> str:
    """Fewer test rows than by default, where they are large images."""
    for column in schema.columns.values():
        if isinstance(column, ImageColumn):
            size = column.height * column.width * column.channels
            rows = max(100, EVALUATION_BYTES // size)
            if rows < EvaluationConfig().max_rows:
                return _ROWS.format(line=f"max_rows = {rows}", size=size)
    return ""
