"""Whether what MLflow has of a version is, file by file, what was registered."""

from __future__ import annotations

from pathlib import Path

from perdure import manifest
from perdure.errors import Corrupt
from perdure.records import Version
from perdure.strategies.learner import files
from perdure.tasks.registry import package

_HINT = "perdure rollback --to VERSION chooses a version that is whole"


def check(folder: Path, version: Version) -> None:
    """Check that a version folder is, file by file, the one that was registered.

    Of a version that an older Perdure registered its learner is compared with the registry, by
    what is in it; the other files only with the manifest beside them.

    Raises:
        Corrupt: It is not.
    """
    manifest.verify(folder)
    check_manifest(folder, version)
    if version.manifest_sha256 is None:
        check_learner(folder / "learner", version)


def check_manifest(folder: Path, version: Version) -> None:
    """Compare a version folder's manifest with the registry, where that has its digest.

    Raises:
        Corrupt: It was written by somebody else.
    """
    if version.manifest_sha256 not in (None, manifest.digest(folder)):
        raise Corrupt(
            f"{folder / manifest.NAME} is not that of version {version.version}: it was changed "
            "after the version was registered",
            hint=_HINT,
        )


def check_learner(learner: Path, version: Version) -> None:
    """Compare what is in a learner with what the registry says of it.

    Raises:
        Corrupt: They differ, naming what does; or a file is not what a learner has.
    """
    weights, state = files.digests_of(learner)
    pairs = {
        "weights": (weights, version.weights_sha256),
        "state": (state, version.state_sha256),
        "cursor": (files.look(learner).cursor, version.cursor),
    }
    if wrong := [name for name, (found, recorded) in pairs.items() if found != recorded]:
        raise Corrupt(
            f"the learner of version {version.version} is not the one that was registered: other "
            f"{', '.join(wrong)}",
            hint=_HINT,
        )


def checked_folder(model: Path, version: Version) -> Path:
    """The version folder inside a pyfunc, after a check of what is around it.

    Raises:
        Corrupt: There is none, or what is around it is not what was registered.
    """
    found = version_folder(model, version.version)
    package.check(package.on_this_machine(model), version)
    return found


def version_folder(model: Path, number: int) -> Path:
    """The version folder inside a downloaded pyfunc, whatever MLflow called it.

    Raises:
        Corrupt: There is none.
    """
    found = sorted(model.glob(f"data/*/{manifest.NAME}"))
    if len(found) != 1:
        raise Corrupt(
            f"version {number} has {len(found)} version folders in {model}; it needs one",
            hint=_HINT,
        )
    return found[0].parent
