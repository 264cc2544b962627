"""The `perdure.toml` of a new workspace: what one changes first, with what it means."""

from __future__ import annotations

import json

from perdure.config import Task, TrainingConfig

_TEMPLATE = """\
# Perdure's configuration. What stands here behind a # is the default; docs/configuration.md
# has every key. `perdure doctor` checks it, and says all faults together.

[model]
name = {name}            # the registered model in MLflow
# factory = "mlp"        # built-in, "package.module:function" or "models/mine.py:function"
# parameters = {{ hidden = [64, 64], dropout = 0.0 }}

[data]
target = {target}
task = {task}
# test = 0.2             # share of the rows held out for the gates, by a hash of their content
# validation = 0.1       # share that training watches but does not learn from
# min_rows = 30          # a file with fewer rows is not an experience

[training]
strategies = ["replay"]  # or {combined}
# epochs = {epochs}
# batch_size = {batch_size}
# optimizer = "{optimizer}"     # sgd, adam, adamw
# learning_rate = {learning_rate}
# seed = 0
# device = "auto"        # cpu, cuda, cuda:1, mps

[gates]                  # a candidate is measured beside the champion, on the same rows
# floor = "baseline"     # least average {metric}: a number, or what a constant guess reaches
# new_margin = 0.10      # on the new experience at most this much worse than the champion
# past_margin = 0.02     # on all earlier experiences likewise

[promotion]
mode = "automatic"       # "manual": the champion waits for perdure promote VERSION

[tracking]
# uri = "http://127.0.0.1:5000"   # an MLflow server; by default SQLite in .perdure/
"""


def configuration(name: str, target: str, task: Task) -> str:
    """The text of `perdure.toml`; a name or column may hold any character."""
    defaults = TrainingConfig()
    return _TEMPLATE.format(
        name=json.dumps(name, ensure_ascii=False),
        target=json.dumps(target, ensure_ascii=False),
        task=json.dumps(task),
        metric="accuracy" if task == "classification" else "R²",
        combined='["replay", {name = "ewc", penalty = 100}]',
        epochs=defaults.epochs,
        batch_size=defaults.batch_size,
        optimizer=defaults.optimizer,
        learning_rate=defaults.learning_rate,
    )
