"""What the commands give back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from perdure.records.base import Metrics
from perdure.records.data import DataRevision, Ingested
from perdure.records.drift import Drift
from perdure.records.learning import Answer, Measured, Verdict
from perdure.records.tournament import Arrival


@dataclass(frozen=True)
class ColumnFound:
    """What `perdure init` found in a column of the first file."""

    name: str
    kind: str
    """As in `schema.toml`."""
    learned: bool
    """Whether the model sees it."""
    detail: str = ""
    """For a column that is used, more about its kind; else why it is left out."""
    sample: str | None = None
    """A value, of a column that is left out."""
    hint: str | None = None
    """The option of `perdure init` that lets the model see it; None: there is none."""


@dataclass(frozen=True)
class Initialised:
    """A new workspace."""

    workspace: str
    model: str
    task: str
    first: Ingested
    columns: tuple[ColumnFound, ...] = ()
    """All columns of the first file but the target."""
    notes: tuple[str, ...] = ()
    """What a person should know of the target."""


@dataclass(frozen=True)
class Ingest:
    """What became of all files of one call."""

    files: tuple[Ingested, ...]
    data: DataRevision
    hint: str | None = None
    """A setting that suits such files better; None: none does."""


@dataclass(frozen=True)
class Learned:
    """What became of one experience."""

    experience: str
    version: int | None
    """None: nothing was learned from it, as the verdict says."""
    verdict: Answer | Literal["postponed"]
    """Postponed: what it showed moved the model first; it is learned from there."""
    reasons: tuple[str, ...]
    """Why it was not let through, and is held; none: it was."""
    promoted: bool
    """The champion moved."""
    prequential: Metrics | None
    average: Metrics | None
    forgetting: float | None
    rows: int | None = None
    """Test rows that `average` was measured on; None: nothing was."""
    contender: bool = False
    """The version was not let through, and is tried on the experiences that arrive next."""
    settings: tuple[str, ...] = ()
    """Keys of `[gates]` that kept it back; none where no setting did."""
    arrival: Arrival | None = None
    """What it showed in this step before anything learned from it; None: there was nothing to
    measure, or an earlier step measured it."""
    drift: Drift | None = None
    """How far it is from what the champion learned from; None: it was not compared."""

    @property
    def kept_back(self) -> bool:
        """Whether something is held now that was not: the experience, or what went back."""
        moved = self.arrival.action if self.verdict == "postponed" and self.arrival else None
        return bool(self.reasons) and moved != "promoted"


@dataclass(frozen=True)
class Retrained:
    """What a retraining did."""

    learned: tuple[Learned, ...]
    champion: int | None
    challenger: int | None
    metric: str
    """The configured metric: that of the gates."""
    profile: str | None = None
    """The folder of the profile that was asked for; None: none was, or nothing was trained."""


@dataclass(frozen=True)
class Promoted:
    """A promotion by hand."""

    version: int
    replaced: int | None
    forced: bool
    changed: bool
    """False: it was the champion already."""


@dataclass(frozen=True)
class Approval:
    """What became of a version that waited for approval."""

    version: int
    outcome: Literal["approved", "refused", "superseded"]
    """Superseded: it does not wait any more, and nothing was changed."""
    reason: str | None = None
    held: tuple[str, ...] = ()
    """Experiences set aside, for only a refused version had learned them."""


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
class Pinned:
    """The anchor, pinned or unpinned."""

    version: int
    pinned: bool
    changed: bool
    """False: it was so already."""


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
    """The command or setting that mends it; where `ok`, that improves it."""


Applied = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True)
class DeployedFlow:
    """One deployment in Prefect."""

    name: str
    """Flow and deployment, as in `retrain/retrain-weather`."""
    change: Applied
    pool: str
    schedule: str | None
    paused: bool
    """It was paused in Prefect by a person, and stays paused."""
    page: str | None


@dataclass(frozen=True)
class DeployedAutomation:
    """One automation in Prefect."""

    name: str
    change: Applied
    paused: bool
    """It was paused in Prefect by a person, and stays paused."""


@dataclass(frozen=True)
class Deployed:
    """What stands in Prefect for a workspace."""

    api: str
    flows: tuple[DeployedFlow, ...]
    automations: tuple[DeployedAutomation, ...]
