"""What a training did, what was measured, and what the gates decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from perdure.records.base import Metrics
from perdure.records.drift import Drift, DriftPoint
from perdure.records.tournament import Arrival

Answer = Literal["passed", "refused", "undecided"]
"""What a gate finds. Undecided: the rows show neither harm nor its absence."""

Undecided = Literal["pass", "hold", "wait"]
"""What becomes of a candidate that the gates leave undecided."""


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
    environment: Mapping[str, str] = field(default_factory=dict)
    """What of the machine decides the bits: processor, threads, libraries …, in words."""


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

    `new` is the latest experience, `past` pools the rows of all earlier ones (None: there are no
    such rows).
    """

    by_experience: Mapping[str, Metrics]
    """Of the latest `evaluation.window` experiences with test rows, in cursor order."""
    new: Metrics | None
    past: Metrics | None
    average: Metrics
    """Mean over all experiences with test rows."""
    experiences: int | None = None
    """How many these are; None: an older Perdure did not say."""


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
class Comparison:
    """A candidate beside the champion (or a constant prediction) on the same rows.

    A bound at some confidence is `centre ± quantile * standard_error`. `tasks.evaluation` says
    how the standard error of each metric is made.
    """

    metric: str
    rows: float
    """Rows; where they are weighted the effective number, `(sum w)**2 / sum w**2`."""
    candidate: float
    champion: float
    difference: float
    """Positive where the candidate is better, whatever the metric; in its unit."""
    standard_error: float
    """Interval of the difference. Not finite: there are too few rows to say."""
    centre: float
    """Middle of the interval: the difference, for shares drawn a little towards zero (Bonett and
    Price 2012), so that few rows without a disagreement are no certainty."""
    degrees: float | None = None
    """Degrees of freedom of Student's t; None: the normal distribution."""


@dataclass(frozen=True)
class Predicted:
    """How many classes have a row that is predicted right.

    Where there is only one, a constant prediction of it is right on the same rows.
    """

    candidate: int
    champion: int | None
    present: int
    """Classes that the rows have."""
    others: int
    """Rows of another class than the one that the candidate has most often right."""


@dataclass(frozen=True)
class Reason:
    """One gate's finding."""

    gate: str
    answer: Answer
    metric: str
    value: float
    limit: float | None
    """In the unit of `value`; None: the number is reported, and refuses nothing."""
    champion: float | None
    message: str
    difference: float | None = None
    """Positive where the candidate is better than what it is compared with."""
    low: float | None = None
    high: float | None = None
    """One-sided bounds of the difference, each at the gates' confidence."""
    rows: float | None = None
    """Effective number of rows."""
    detectable: float | None = None
    """The smallest true loss that so many rows show to be too much, in four of five cases."""

    @property
    def passed(self) -> bool:
        """Whether the gate did not refuse."""
        return self.answer != "refused"


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
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    """By what is compared: `new`, `past`, `slice NAME`, `lost` and `calibration` with the
    champion; `floor` and `champion floor` with a constant prediction; `average` with zero."""
    predicted: Predicted | None = None
    """None: a regression."""
    not_finite: int = 0
    """Rows where the candidate's output is not a finite number."""
    own: tuple[Reason, ...] = ()
    """Findings of the user's own gates."""
    drift: Drift | None = None
    """Metrics on the experience, before it was learned; None: there was no champion."""
    arrival: Arrival | None = None
    """What the experience showed of those that might serve, before it was learned."""
    drift_history: tuple[DriftPoint, ...] = ()
    """Drift of the latest experiences that this line of versions has learned, this one last; at
    most `evaluation.window`."""


@dataclass(frozen=True)
class Verdict:
    """What the gates say together."""

    answer: Answer
    """Refused: a gate refused. Undecided: none refused, and one is undecided."""
    reasons: tuple[Reason, ...]
    """Every gate's finding, also of those that passed."""
    undecided: Undecided = "pass"
    """The setting `[gates] undecided` that the verdict was made with."""

    @property
    def passed(self) -> bool:
        """Whether the candidate is let through: passed, or undecided where that lets through."""
        return self.answer == "passed" or (self.answer == "undecided" and self.undecided == "pass")

    @property
    def contends(self) -> bool:
        """Whether the version, not let through, is to be tried on the experiences that come.

        Refused, but not because its outputs are no numbers; or undecided, and
        `undecided = "wait"`.
        """
        if self.answer == "refused":
            return all(reason.metric != NO_NUMBER for reason in self.reasons)
        return self.answer == "undecided" and self.undecided == "wait"

    @property
    def refusals(self) -> tuple[str, ...]:
        """The messages of the gates that kept the candidate back; none where it is let through."""
        if self.passed:
            return ()
        wanted = "refused" if self.answer == "refused" else "undecided"
        return tuple(reason.message for reason in self.reasons if reason.answer == wanted)


SANITY = "sanity"
NO_NUMBER = "outputs that are no number"
"""What `sanity` counts of a model that diverged: it cannot be measured on what arrives next."""
"""The gate whose refusal is final: not a number, or one class for everything."""
