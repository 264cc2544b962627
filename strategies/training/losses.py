"""The loss that is trained on, and the plain one that is watched.

For a row with target y, outputs f, K classes, label smoothing ε and class weights w:

    cross entropy   ℓ = (1 - ε) w_y (-log p_y) + ε/K Σ_c w_c (-log p_c),  p = softmax(f)
    mse             ℓ = (f - y)²
    mae             ℓ = |f - y|
    huber           ℓ = (f - y)²/2 where |f - y| < 1, else |f - y| - 1/2

A batch's loss is the mean over its rows; with class weights Σ ℓ / Σ w_y. Regression is on the
standardised target, so 1 is one standard deviation. Huber, "Robust Estimation of a Location
Parameter", 1964, https://doi.org/10.1214/aoms/1177703732; label smoothing: Szegedy et al. 2016,
https://arxiv.org/abs/1512.00567.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from perdure.config import CONFIG_NAME, TrainingConfig
from perdure.errors import ConfigError
from perdure.strategies.features.columns import FeatureSpec

_LOSSES: dict[str, type[nn.Module]] = {
    "cross_entropy": nn.CrossEntropyLoss,
    "mse": nn.MSELoss,
    "mae": nn.L1Loss,
    "huber": nn.HuberLoss,
}


def plain(training: TrainingConfig, task: str, reduction: str = "mean") -> nn.Module:
    """Without class weights and label smoothing.

    Args:
        training: Its loss.
        task: Says which loss is the default.
        reduction: Over rows; `none`: a loss for each, as validation rows are measured.
    """
    default = "cross_entropy" if task == "classification" else "mse"
    return _LOSSES[training.loss or default](reduction=reduction)


def criterion(training: TrainingConfig, spec: FeatureSpec, y: Tensor, root: Path) -> nn.Module:
    """What is trained on, and what the strategies' plugins share.

    Args:
        training: Its loss, class weights and label smoothing.
        spec: The labels, in the order of the outputs.
        y: Targets of the rows that are trained on, for balanced weights.
        root: The workspace, for the message.

    Raises:
        ConfigError: A class weight is of a label that there is not.
    """
    chosen = training.class_weights
    if spec.task != "classification" or not (chosen or training.label_smoothing):
        return plain(training, spec.task)
    weights = None
    if chosen == "balanced":
        weights = balanced(y, len(spec.labels))
    elif chosen:
        weights = _by_label(chosen, spec, root)
    return nn.CrossEntropyLoss(weight=weights, label_smoothing=training.label_smoothing)


def balanced(y: Tensor, classes: int) -> Tensor:
    """The weight n / (k n_c) of each class c: n rows, k classes among them, n_c rows of c.

    A class without rows has weight 1. As scikit-learn's `balanced`.

    Args:
        y: int64 (rows,).
        classes: How many there are in all.

    Returns:
        float32 (classes,), on the CPU.
    """
    counts = torch.bincount(y.cpu(), minlength=classes).to(torch.float64)
    there = counts > 0
    weights = len(y) / (there.sum() * counts.clamp(min=1))
    return torch.where(there, weights, 1.0).to(torch.float32)


def _by_label(chosen: Mapping[str, float], spec: FeatureSpec, root: Path) -> Tensor:
    # Keys of a TOML table are text: a truth value stands there as TOML writes it.
    names = [str(x).lower() if isinstance(x, bool) else str(x) for x in spec.labels]
    unknown = [name for name in chosen if name not in names]
    if unknown:
        raise ConfigError(
            str(root / CONFIG_NAME),
            [
                f"training.class_weights.{name} is of no class; the classes are {', '.join(names)}"
                for name in unknown
            ],
        )
    return torch.tensor([chosen.get(name, 1.0) for name in names])
