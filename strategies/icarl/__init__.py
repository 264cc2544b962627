"""iCaRL: exemplars by herding, distillation, and prediction by the nearest mean.

Learning: new rows and exemplars together, binary cross entropy of each output f_c with
σ(z) = 1 / (1 + exp(-z)); for a class c that was known before, the target is the output of the model
as the experience began (weights θ'), for a new one the label:

    loss = mean over rows and classes of BCE(σ(f_c(x; θ)), σ(f_c(x; θ')) or [y = c])

A new row of a class that was known before has its own class's label as target, too: in the
paper classes never come again, and without it such rows would teach nothing.

Then of every class size / classes exemplars are kept, each chosen so that the mean of those
chosen so far is nearest to the class's mean (herding), in the space of features φ, what the
last layer gets, scaled to length 1. A class that comes again is chosen from its exemplars and
its new rows. Prediction, and what is registered, is the class with the nearest mean of
exemplars μ_c, with probabilities softmax_c(-‖φ(x) - μ_c‖²): these are cautious, for distances
are at most 2. The loss of validation rows is that of the outputs, as for every strategy.

State: `x` (exemplars, ...) as the network gets it, `y` int64 (exemplars,), `task` int64
(exemplars,), class by class and the first chosen first, at most `size`; `means` float32
(classes, features).
Fits classification, with a model that ends in one linear layer, and without class weights and
label smoothing, for which its loss has no place. Combines with nothing.

Reference: Rebuffi et al., "iCaRL: incremental classifier and representation learning", CVPR
2017, https://arxiv.org/abs/1611.07725
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from perdure.config import Config
from perdure.strategies.declaration import Settings, Strategy

if TYPE_CHECKING:
    from torch import nn

    from perdure.strategies.learner.state import State
    from perdure.strategies.plugins.base import Remembering


class IcarlSettings(Settings):
    """Settings of `icarl`."""

    size: Annotated[int, Field(ge=1, le=10_000_000)] = 2000
    """Exemplars of all classes together, at most; not fewer than there are classes."""


def _unfit(settings: IcarlSettings, config: Config) -> str:
    given = [
        f"training.{key} = {value!r}"
        for key in ("class_weights", "label_smoothing")
        if (value := getattr(config.training, key))
    ]
    if given:
        return (
            "name = 'icarl': its loss, one yes or no for each class, has no place for "
            f"{' and '.join(given)}; leave that out, or take another strategy"
        )
    return ""


def _plugin(settings: IcarlSettings) -> Remembering:
    from perdure.strategies.icarl.plugin import Icarl

    return Icarl(settings.size)


def _predictor(network: nn.Module, state: State) -> nn.Module:
    from perdure.strategies.models.nearest import nearest_mean

    return nearest_mean(network, state)


STRATEGY = Strategy(
    name="icarl",
    summary="keeps the rows that best stand for each class; predicts by the nearest mean of them",
    settings=IcarlSettings,
    fits=("classification",),
    memory="`size` rows, and a mean of features for each class",
    cost="the rows kept are learned with the new ones; a second forward pass in each step; after "
    "an experience features of all its rows, and a pass over those of a class for each exemplar",
    fails="when the same classes come again and again, only changed: it is made for new classes",
    reference="Rebuffi et al. 2017, https://arxiv.org/abs/1611.07725",
    parallel=True,
    copies_rows=True,
    standalone="its loss takes the place of the criterion, so that class weights and label "
    "smoothing are refused with it, and its exemplars are learned with the new rows",
    unfit=_unfit,
    plugin=_plugin,
    predictor=_predictor,
)
