"""What a training did, what was measured, and what the gates said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from perdure.records.base import Metrics


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows."""

    number: int
    loss: float
    """Mean training loss a row, with what strategies add to it on the outputs (`lwf`, `der`), and
    without penalties on the weights (`ewc`, `si`, `mas`)."""
    validation_loss: float | None
    """Without class weights, label smoothing and penalties; None: there are no such rows."""
    learning_rate: float | None = None
    """At the epoch's end; None: no schedule changes it."""


@dataclass(frozen=True)
class Trained:
    """What a training did."""

    epochs: tuple[Epoch, ...]
    rows: int
    """Training rows of the experience."""
    seconds: float
    rows_per_second: float | None = None
    """Rows that went through the network in training, those of a memory included."""
    best_epoch: int | None = None
    """With early stopping, the epoch whose weights were kept."""
    accelerator_bytes: int | None = None
    """Most memory in use on a CUDA device."""


@dataclass(frozen=True)
class Candidate:
    """A learner that was just trained, by its digests."""

    trained: Trained
    weights_sha256: str
    state_sha256: str
    cursor: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """A model's metrics on the evaluation rows.

    `by_experience` has an entry for each experience with test rows, in cursor order; `new`
    is the latest, `past` pools the rows of all earlier ones (None: there are no such rows).
    """

    by_experience: Mapping[str, Metrics]
    new: Metrics | None
    past: Metrics | None
    average: Metrics
    """Mean over experiences."""


@dataclass(frozen=True)
class Matrix:
    """The metric after learning the row's experience, on the test rows of the column's.

    Kept for the latest `evaluation.window` experiences. None: not yet learned, or no test rows.
    """

    metric: str
    experiences: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    """Row i: after experience i; column j: on experience j."""


@dataclass(frozen=True)
class Evaluation:
    """All numbers of one learning step; the gates see nothing else."""

    metric: str
    candidate: Measured
    champion: Measured | None
    """Measured again on the same rows; None: there was none."""
    baseline: Metrics
    """Always the most frequent class, or the mean, on the same rows."""
    prequential: Metrics | None
    """The champion on the whole experience before anything learned from it."""
    matrix: Matrix
    forgetting: float | None
    backward_transfer: float | None
    rows: int
    """Test rows measured."""


@dataclass(frozen=True)
class Reason:
    """One gate's finding."""

    gate: str
    passed: bool
    metric: str
    value: float
    limit: float
    champion: float | None
    message: str


@dataclass(frozen=True)
class Verdict:
    """What the gates say together."""

    passed: bool
    reasons: tuple[Reason, ...]
    """Every gate's finding, also of those that passed."""

    @property
    def refusals(self) -> tuple[str, ...]:
        """The messages of the gates that said no."""
        return tuple(reason.message for reason in self.reasons if not reason.passed)
