"""What passes between the steps: frozen results, with no behaviour but their JSON form."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Metrics = Mapping[str, float]
"""Metric name to value, in the metric's own unit."""

Action = Literal["promoted", "rolled back", "refused", "forced", "held", "released", "quarantined"]


def to_json(value: Any) -> Any:
    """A record as plain JSON values: dataclasses to dicts, tuples to lists, paths to text.

    JSON has no word for not-a-number: it becomes `null`.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


@dataclass(frozen=True)
class Experience:
    """One batch of data that arrived: immutable, in order."""

    id: str
    """`NNNNNN-<first 8 of sha256>`."""
    number: int
    sha256: str
    """Of the accepted rows' canonical content, not of the file's bytes."""
    rows: int
    source: str
    """Name of the file that it came in."""
    path: Path


@dataclass(frozen=True)
class DataRevision:
    """Which state of the data: the git commit that last changed the pointer, and DVC's hash."""

    git: str | None
    dvc: str | None


@dataclass(frozen=True)
class Quarantined:
    """A file, or the refused rows of one, that was turned away at the door."""

    file: str
    reason: str
    rows: int
    at: str
    """UTC, ISO 8601."""
    folder: str | None = None
    """Where file and reasons lie, relative to the workspace."""
    by: str | None = None


@dataclass(frozen=True)
class Ingested:
    """What became of one file.

    `outcome` is `ingested` (an experience, perhaps less some refused rows), `known` (its
    content was here already) or `quarantined` (refused whole).
    """

    file: str
    outcome: Literal["ingested", "known", "quarantined"]
    experience: str | None
    rows: int
    refused_rows: int
    reasons: tuple[str, ...] = ()
    folder: str | None = None
    """Where the refused part and the table of reasons lie, relative to the workspace."""


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows."""

    number: int
    loss: float
    """Mean training loss a row, penalties included."""
    validation_loss: float | None


@dataclass(frozen=True)
class Trained:
    """What a training did."""

    epochs: tuple[Epoch, ...]
    rows: int
    """Training rows of the experience."""
    seconds: float


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
class Candidate:
    """A learner that was just trained, by its digests."""

    trained: Trained
    weights_sha256: str
    state_sha256: str
    cursor: tuple[str, ...]


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
class Version:
    """One version in the registry: one learner, whole."""

    version: int
    learning_key: str
    parent: int | None
    experience: str
    weights_sha256: str
    state_sha256: str
    cursor: tuple[str, ...]
    data: DataRevision
    code: str | None
    strategy: tuple[str, ...]
    verdict: Literal["passed", "refused"] | None
    """None: registered, but not yet judged (killed in between)."""
    reasons: tuple[str, ...]
    """Of a refusal, one per gate that said no."""
    replaced: int | None
    """The champion that this version replaced when it was promoted; None: none, or never."""
    run_id: str
    created_at: str


@dataclass(frozen=True)
class Held:
    """An experience set aside until someone releases it."""

    id: str
    reasons: tuple[str, ...]
    at: str
    by: str
    quarantined: bool = False
    """Set aside by hand with `perdure quarantine`."""


@dataclass(frozen=True)
class Event:
    """One line of the history."""

    at: str
    action: Action
    version: int | None = None
    replaced: int | None = None
    experience: str | None = None
    reason: str | None = None
    by: str | None = None


@dataclass(frozen=True)
class Registered:
    """What the registry says now, read in one go."""

    champion: Version | None
    challenger: Version | None
    champion_since: str | None
    challenger_since: str | None
    held: Mapping[str, Held] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """Several writes to the registry that belong together.

    Written down first as an intent, then carried out; whoever comes next finishes what was
    cut short. Every write is idempotent.
    """

    key: str
    """Identity of the change; a change with a known key is not carried out twice."""
    expects: Mapping[str, int | None] = field(default_factory=dict)
    """What the aliases must be before; else somebody else moved them meanwhile."""
    aliases: Mapping[str, int | None] = field(default_factory=dict)
    """Alias to version; None removes it."""
    replaced: Mapping[int, int | None] = field(default_factory=dict)
    """Version to the champion that it replaces."""
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)
    hold: tuple[Held, ...] = ()
    release: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(frozen=True)
class Initialised:
    """A new workspace."""

    workspace: str
    model: str
    task: str
    first: Ingested


@dataclass(frozen=True)
class Ingest:
    """What became of all files of one call."""

    files: tuple[Ingested, ...]
    data: DataRevision


@dataclass(frozen=True)
class Learned:
    """What became of one experience."""

    experience: str
    version: int | None
    """None: it could not be learned at all, and is held."""
    verdict: Literal["passed", "refused"]
    reasons: tuple[str, ...]
    promoted: bool
    """The champion moved."""
    prequential: Metrics | None
    average: Metrics | None
    forgetting: float | None


@dataclass(frozen=True)
class Retrained:
    """What a retraining did."""

    learned: tuple[Learned, ...]
    champion: int | None
    challenger: int | None


@dataclass(frozen=True)
class Promoted:
    """A promotion by hand."""

    version: int
    replaced: int | None
    forced: bool
    changed: bool
    """False: it was the champion already."""


@dataclass(frozen=True)
class RolledBack:
    """A rollback."""

    version: int
    """The champion now."""
    replaced: int | None
    held: tuple[str, ...]
    """Experiences set aside, for only the abandoned versions had learned them."""
    changed: bool


@dataclass(frozen=True)
class SetAside:
    """Experiences released, or put into quarantine."""

    experiences: tuple[str, ...]


@dataclass(frozen=True)
class Evaluated:
    """A version measured again, beside the champion."""

    version: int
    champion: int | None
    rows: int
    metrics: Measured
    champion_metrics: Measured | None
    verdict: Verdict


@dataclass(frozen=True)
class Check:
    """One finding of the doctor."""

    name: str
    ok: bool
    detail: str
    mend: str | None = None
    """The command or setting that mends it."""
