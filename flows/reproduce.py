"""Reproduce: train a version again, from what it was made of, and compare the bits.

Everything that it needs is written into a folder of its own, outside of the workspace. Nothing is
registered, nothing in the workspace is written, and no lock is waited for.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from perdure import config
from perdure.config import Workspace
from perdure.errors import ConfigError, UsageError
from perdure.flows import measuring
from perdure.flows.opening import open_to_learn
from perdure.records import Experience, LearningRun, Version
from perdure.records.provenance import Machine, Reproduced
from perdure.strategies.features.columns import FeatureSpec
from perdure.tasks import data_versions, experiences, git, packaging, training
from perdure.tasks.registry import Registry

MOST = 8
"""So many settings that differ are named."""


@dataclass(frozen=True)
class _Lesson:
    """What a version was made of, in a folder of its own."""

    version: Version
    run: LearningRun
    parent: Version | None
    learner: Path | None
    """The parent's learner."""
    spec: FeatureSpec
    experience: Experience
    data: Workspace
    """A workspace with nothing but the experience."""


@dataclass(frozen=True)
class _Settings:
    """A configuration to train with."""

    where: Literal["of now", "as committed then"]
    workspace: Workspace


class _ImpossibleError(Exception):
    """It cannot be trained again; its text says why."""


def reproduce(workspace: str, number: int) -> Reproduced:
    """Train a version again from its parent, its data and its configuration, and compare.

    Args:
        workspace: Folder of the workspace.
        number: The version.

    Raises:
        UsageError: There is no such version.
        Corrupt: The version or its parent is not what was registered.
        Unreachable: MLflow or the DVC remote does not answer.
    """
    ws = open_to_learn(workspace)
    registry = Registry(ws)
    version = registry.version(number)
    with tempfile.TemporaryDirectory(prefix="perdure-reproduce-") as folder:
        try:
            lesson = _lesson(ws, registry, version, Path(folder))
            settings = _settings(ws, lesson, Path(folder))
            return _trained(settings, lesson, Path(folder))
        except _ImpossibleError as error:
            return Reproduced(number, "impossible", (str(error),), None, None, None, ())


def _lesson(ws: Workspace, registry: Registry, version: Version, place: Path) -> _Lesson:
    parent = None
    if version.parent is not None:
        try:
            parent = registry.version(version.parent)
        except UsageError as error:  # pruned, as its message says then
            raise _ImpossibleError(f"its parent is not there: {error.message}") from None
    folder, data = _checked(registry, version, place / "version"), Workspace(place, ws.config)
    before = None if parent is None else _checked(registry, parent, place / "parent")
    return _Lesson(
        version,
        registry.run(version),
        parent,
        before and before / packaging.LEARNER,
        packaging.look(folder).spec,
        _experience(data, ws, version),
        data,
    )


def _checked(registry: Registry, version: Version, place: Path) -> Path:
    """The folder of a version, whole, and with the learner that was registered."""
    place.mkdir()
    folder = registry.as_now(version, place)
    registry.check_files(folder, version)
    registry.check_learner(folder, version)
    return folder


def _experience(there: Workspace, ws: Workspace, version: Version) -> Experience:
    """What it learned last, from the data of then, brought to a workspace of its own."""
    there.experiences.mkdir(parents=True)
    name, revision = f"{version.experience}.parquet", version.data.dvc
    if revision is None:
        raise _ImpossibleError("the revision of its data was not recorded")
    if not data_versions.fetch(ws, revision, f"experiences/{name}", there.experiences / name):
        raise _ImpossibleError(
            f"its data is gone: neither DVC's cache nor its remote has {version.experience} of the "
            f"revision {revision}"
        )
    found = experiences.recorded(there, version.experience)
    if found is None:
        raise _ImpossibleError(f"{version.experience} of the revision {revision} cannot be read")
    return found


def _settings(ws: Workspace, lesson: _Lesson, place: Path) -> _Settings:
    """The configuration that the learning key was made with: that of now, or as committed then."""
    version, found = lesson.version, list(_candidates(ws, lesson, place))
    for one in found:
        if _key(one, lesson) == version.learning_key:
            return one
    recorded = lesson.run.configuration
    if recorded is None:
        raise _ImpossibleError(
            "configuration, files of your own or Perdure are others than then, now and at the "
            f"commit {(version.code or 'none')[:12]}; which settings is not recorded: "
            "an older Perdure registered it"
        )
    changed = [(one, _changed(recorded, one.workspace)) for one in found]
    for one, differences in changed:
        if not differences:  # but for settings that a later Perdure added
            return one
    named = changed[0][1]
    more = f" and {len(named) - MOST} more" if len(named) > MOST else ""
    raise _ImpossibleError(
        "the configuration is another, now and at the commit "
        f"{(version.code or 'none')[:12]}: {'; '.join(named[:MOST])}{more}"
    )


def _candidates(ws: Workspace, lesson: _Lesson, place: Path) -> Iterator[_Settings]:
    now = _Settings("of now", ws)
    yield now
    code = lesson.version.code
    if _key(now, lesson) == lesson.version.learning_key or code is None:
        return
    # What runs as the user's own code must be of a commit that the user has taken over.
    if not git.has(ws.root, code):
        return
    there = git.export(ws.root, code, place / "code")
    try:
        then = config.read(there)
    except (ConfigError, UsageError):
        return
    _bring_weights(ws.root, then)
    yield _Settings("as committed then", then)


def _bring_weights(root: Path, then: Workspace) -> None:
    """Copy the file of trained weights that a model begins with, which git may not keep."""
    weights = then.config.model.parameters.get("weights")
    if not isinstance(weights, str) or not (root / weights).is_file():
        return
    target = then.root / weights
    if not target.exists() and target.resolve().is_relative_to(then.root.resolve()):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / weights, target)


def _key(settings: _Settings, lesson: _Lesson) -> str:
    ws = settings.workspace
    return training.learning_key(lesson.parent, lesson.experience, lesson.spec, ws.config, ws.root)


def _changed(recorded: Mapping[str, Any], ws: Workspace) -> list[str]:
    """The settings of then that are others now; those that did not exist then are left out."""
    then, now = _flat(recorded), _flat(training.configuration(ws.config, ws.root))
    return [
        f"{key} is {now.get(key)!r}, then {value!r}"
        for key, value in then.items()
        if now.get(key) != value
    ]


def _flat(value: Any, at: str = "") -> dict[str, Any]:
    """Settings by their whole names; a list is a value."""
    if not isinstance(value, dict):
        return {at: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= _flat(item, f"{at}.{key}" if at else str(key))
    return found


def _trained(settings: _Settings, lesson: _Lesson, place: Path) -> Reproduced:
    version, ws = lesson.version, settings.workspace
    rows = measuring.split_rows(_reading(settings, lesson), lesson.spec, lesson.experience)
    found = training.train(
        ws,
        lesson.spec,
        lesson.learner,
        version.experience,
        rows.frame,
        rows.splits,
        place / "learner",
    )
    machine = _machine(lesson.run.environment, found.trained.environment)
    same = (found.weights_sha256, found.state_sha256, found.cursor) == (
        version.weights_sha256, version.state_sha256, version.cursor,
    )  # fmt: skip
    return Reproduced(
        version=version.version,
        outcome="same" if same else "other",
        reasons=() if same else tuple(_reasons(machine, _key(settings, lesson), version)),
        weights_sha256=found.weights_sha256,
        state_sha256=found.state_sha256,
        configuration=settings.where,
        machine=machine,
    )


def _reading(settings: _Settings, lesson: _Lesson) -> Workspace:
    """The workspace with the experience, whose rows are split as the configuration says."""
    found = settings.workspace.config
    gates = found.gates.model_copy(update={"slices": ()})  # they judge, and change nothing
    data = found.data.model_copy(update={"path": lesson.data.config.data.path})
    return Workspace(lesson.data.root, found.model_copy(update={"gates": gates, "data": data}))


def _machine(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[Machine, ...]:
    return tuple(Machine(name, then.get(name), value) for name, value in now.items())


def _reasons(machine: tuple[Machine, ...], key: str, version: Version) -> Iterator[str]:
    """What differs of the machine, or else what is not compared."""
    yield from (
        f"the {one.name} is {one.now}, then {one.then}"
        for one in machine
        if one.then not in (None, one.now)
    )
    unknown = [one.name for one in machine if one.then is None]
    if unknown:
        yield f"not recorded then: {', '.join(unknown)}"
    if key != version.learning_key:
        yield "this Perdure has settings that did not exist then"
    if all(one.then == one.now for one in machine):
        yield "nothing that is recorded differs; files that your own code imports are not"
    if any(one.name == "device" and one.now != "cpu" for one in machine):
        yield "only on a CPU are the bits the same each time"
