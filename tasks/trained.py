"""A trained learner that is not registered yet, kept on disk under its learning key.

Where MLflow is down when a training of an hour has ended, or the process is killed, the next try
goes on from here instead of training again. Same key, same learner: see `training.learning_key`.

```
.perdure/trained/<learning key>/
  version/learner/   the learner
  candidate.json     what the training did; written last, so a folder without it is not whole
```
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from contextlib import suppress
from pathlib import Path

from perdure import atomic
from perdure.config import Workspace
from perdure.errors import Corrupt
from perdure.records import Candidate, Epoch, Trained
from perdure.strategies.learner import files

CANDIDATE = "candidate.json"


def folder_of(ws: Workspace, learning_key: str) -> Path:
    """Return the folder of a learning step; those of others are removed.

    Needs the model's lock.
    """
    folder = ws.state / "trained" / learning_key
    with suppress(FileNotFoundError):
        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
    return folder


def clear(ws: Workspace) -> None:
    """Remove what was kept: it is registered. Needs the model's lock."""
    shutil.rmtree(ws.state / "trained", ignore_errors=True)


def find(folder: Path, learner: Path) -> Candidate | None:
    """Return what an earlier try has trained; what it has packaged beside the learner is removed.

    Args:
        folder: See `folder_of`.
        learner: Where in it the learner is.

    Returns:
        None: there is nothing, or it is not whole; `learner` is missing then.
    """
    version = learner.parent
    try:
        value = json.loads((folder / CANDIDATE).read_text(encoding="utf-8"))
        files.verify(learner)
        trained = value["trained"]
        epochs = tuple(Epoch(**epoch) for epoch in trained["epochs"])
        candidate = Candidate(
            Trained(**{**trained, "epochs": epochs}),
            value["weights_sha256"],
            value["state_sha256"],
            tuple(value["cursor"]),
        )
    except (OSError, ValueError, LookupError, TypeError, Corrupt):
        shutil.rmtree(folder, ignore_errors=True)
        version.mkdir(parents=True)
        return None
    for other in version.iterdir():
        if other == learner:
            continue
        shutil.rmtree(other) if other.is_dir() else other.unlink()
    return candidate


def keep(folder: Path, candidate: Candidate) -> None:
    """Note that the learner in the folder is whole.

    Raises:
        OSError: It cannot be written.
    """
    atomic.write_text(folder / CANDIDATE, json.dumps(dataclasses.asdict(candidate)))
