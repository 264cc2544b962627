"""Learning without forgetting: on the new rows, keep the outputs for the old classes.

The teacher is the model as an experience finds it. The loss of a batch gets α times

    classification  KL(p ‖ q),  p = softmax(t_K / T),  q = softmax(f_K / T), mean over rows
    regression      mean squared difference between f and t, both standardised

f, t: outputs (rows, outputs) of the model in training and of the teacher in evaluation mode.
K: outputs of the classes that were in some earlier experience; what the others say was never
learned, and is not worth keeping. KL and the paper's cross entropy have the same gradient; as
there, and unlike Hinton's, there is no factor T². The first experience has nothing to distil.

With `model.heads` each head is distilled by itself, over the classes known of it, and the
distances are summed, as in the paper: a row is new to its own task's head and old to the others.

The loss that is reported for an epoch is with the distillation. Early stopping and mixed
precision need nothing of their own.

State: `known`, the learned outputs, ascending. The teacher is no part of it: between two
experiences it is the learner's own weights.
Fits classification and regression. Combines with `replay`: memory rows are distilled too; and
with `ewc`, `mas` and `si`, which hold the weights as this holds the outputs.

References: Li and Hoiem, "Learning without forgetting", ECCV 2016,
https://arxiv.org/abs/1606.09282; Avalanche's `LwFPlugin`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from perdure.strategies.declaration import Settings, Strategy

if TYPE_CHECKING:
    from perdure.strategies.plugins.base import Remembering


class LwfSettings(Settings):
    """Settings of `lwf`."""

    alpha: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    """α: weight of the distance to the teacher; 0 is naive fine-tuning."""
    temperature: Annotated[float, Field(gt=0, le=100)] = 2.0
    """T: above 1 the smaller probabilities count for more. Classification only."""


def _plugin(settings: LwfSettings) -> Remembering:
    from perdure.strategies.lwf.plugin import LearningWithoutForgetting

    return LearningWithoutForgetting(settings.alpha, settings.temperature)


STRATEGY = Strategy(
    name="lwf",
    summary="keeps no rows: holds the old outputs on the new rows to what they were",
    settings=LwfSettings,
    memory="a list of the classes seen; while learning a second model",
    cost="a forward pass of a second model for each batch",
    fails="when new rows look nothing like the old ones, so that the outputs for them carry "
    "nothing of the past; and when each experience brings its own classes and no `replay` "
    "stands beside it",
    reference="Li and Hoiem 2016, https://arxiv.org/abs/1606.09282",
    parallel=True,
    combines=frozenset({"ewc", "mas", "replay", "si"}),
    plugin=_plugin,
)
