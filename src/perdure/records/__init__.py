"""What passes between the steps: frozen results, with no behaviour but their JSON form."""

from perdure.records.base import Action, Metrics, to_json
from perdure.records.data import DataRevision, Experience, Ingested, Quarantined
from perdure.records.learning import (
    Candidate,
    Epoch,
    Evaluation,
    Matrix,
    Measured,
    Reason,
    Trained,
    Verdict,
)
from perdure.records.registry import Change, Event, Held, Registered, Version
from perdure.records.results import (
    Check,
    Evaluated,
    Ingest,
    Initialised,
    Learned,
    Promoted,
    Retrained,
    RolledBack,
    SetAside,
)

__all__ = [
    "Action",
    "Candidate",
    "Change",
    "Check",
    "DataRevision",
    "Epoch",
    "Evaluated",
    "Evaluation",
    "Event",
    "Experience",
    "Held",
    "Ingest",
    "Ingested",
    "Initialised",
    "Learned",
    "Matrix",
    "Measured",
    "Metrics",
    "Promoted",
    "Quarantined",
    "Reason",
    "Registered",
    "Retrained",
    "RolledBack",
    "SetAside",
    "Trained",
    "Verdict",
    "Version",
    "to_json",
]
