"""What must be true when the dust has settled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from perdure import config
from perdure.errors import Corrupt
from perdure.tasks import experiences
from perdure.tasks.registry import Registry, codec
from perdure.tasks.tables import content, finding
from perdure.tasks.tables import schema as schemas
from tests.promises import kit
from tests.soak.machine import Machine

OPEN = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING")


def settled(machine: Machine) -> bool:
    """Whether nothing waits, and nothing runs."""
    runs = machine.runs("PENDING", "RUNNING", "CANCELLING")
    if runs is None or runs:
        return False
    status = machine.status()
    return not status["inbox"] and not status["pending"] and bool(status["champion"])


def faults(machine: Machine, good: dict[str, int], bad: list[str]) -> Iterator[str]:
    """Everything that is not as it must be.

    Args:
        machine: On which everything has settled.
        good: Files that were put into the inbox and fit the schema, with their rows.
        bad: Files that do not.
    """
    yield from _data(machine.root, good, bad)
    yield from _registry(machine.root)
    yield from _prefect(machine)
    yield from _left(machine.root)


def _data(root: Path, good: dict[str, int], bad: list[str]) -> Iterator[str]:
    """Every file is one experience, or in quarantine; nothing is lost, and nothing twice."""
    ws = config.read(root)
    found = Counter(one.source for one in experiences.list_experiences(ws))
    for name, rows in good.items():
        if found[name] != 1:
            yield f"{name} ({rows} rows) is {found[name]} experiences"
    if extra := set(found) - set(good):
        yield f"experiences of files that nobody sent: {sorted(extra)}"
    refused = {one.file for one in experiences.list_quarantined(ws)}
    for name in bad:
        if name not in refused:
            yield f"{name} is not in quarantine"
    if left := sorted(path.name for path in ws.inbox.iterdir() if path.name[0] != "."):
        yield f"left in the inbox: {left}"
    if changed := kit.git(root, "status", "--porcelain").strip():
        yield f"not committed: {changed}"


def _registry(root: Path) -> Iterator[str]:
    """Each experience is learned once; aliases, history and cursor agree."""
    ws = config.read(root)
    registry = Registry(ws)
    now, versions = registry.read(), registry.versions()
    if now.champion is None or now.challenger is None:
        yield "there is no champion"
        return
    arrived = [one.id for one in experiences.list_experiences(ws)]
    events = registry.history()
    all_of = {one.version: one.experience for one in (*versions, *registry.removing())}
    all_of |= {one.version or 0: one.experience or "" for one in events if one.action == "removed"}
    learned = Counter(all_of.values())
    # What came after rows that were forgotten, or after a version that a person left, comes again.
    again = any(one.action in ("forgot", "released") for one in events)
    for one in arrived:
        right = learned[one] >= 1 if again else learned[one] == 1
        if not right and one not in now.held:
            yield f"{one} was learned {learned[one]} times"
    keys = Counter(one.learning_key for one in versions)
    if twice := [key for key, count in keys.items() if count > 1]:
        yield f"registered twice: {twice}"
    missing = [one for one in arrived if one not in now.challenger.cursor and one not in now.held]
    if missing or len(set(now.challenger.cursor)) != len(now.challenger.cursor):
        yield f"the cursor lacks {missing}, or has something twice"
    if now.champion.version != now.challenger.version:
        yield f"champion v{now.champion.version}, challenger v{now.challenger.version}"
    serving: int | None = None
    for event in events:
        moved = event.action == "forgot" and event.replaced is not None
        if moved or event.action in ("promoted", "forced", "rolled back"):
            serving = event.version
    if serving != now.champion.version:
        yield f"by the history v{serving} serves; the champion is v{now.champion.version}"
    tags = registry.client.call("get_registered_model", registry.name).tags
    if codec.INTENT in tags:
        yield "an intent is left"


def forgotten(root: Path, wheres: dict[str, tuple[str, str]]) -> Iterator[str]:
    """Rows that are still in the data, though `perdure forget` ended well."""
    ws = config.read(root)
    schema = schemas.load(ws.schema, ws.config.data)
    for one in experiences.list_experiences(ws):
        frame = experiences.read_experience(ws, one.id, content.content_sha256)
        for _, where in wheres.values():
            if finding.by_condition(where, schema).rows(frame).any():
                yield f"{one.id} still has a row with {where}"


def versions(root: Path) -> Iterator[str]:
    """After `perdure prune`: what stays is whole, and of what went nothing is left."""
    registry = Registry(config.read(root))
    if left := [one.version for one in registry.removing()]:
        yield f"half removed: {left}"
    for one in registry.versions():
        try:
            registry.download(one)
        except Corrupt as error:
            yield str(error)
    numbers = [one.version for one in registry.history() if one.action == "removed"]
    if len(set(numbers)) != len(numbers):
        yield f"removed twice: {numbers}"


def _prefect(machine: Machine) -> Iterator[str]:
    """No run is left behind, and no slot is taken."""
    runs = machine.runs(*OPEN)
    if runs is None:
        yield "Prefect does not answer"
        return
    for run in runs:
        if run["state_type"] != "SCHEDULED" or run["state_name"] in {"Late", "AwaitingRetry"}:
            yield f"the run {run['name']} is {run['state_name']}"
    limits: list[dict[str, Any]] = machine.api("/v2/concurrency_limits/filter", {}) or []
    for limit in limits:
        if limit["active_slots"]:
            yield f"{limit['active_slots']} slots of {limit['name']} are taken"


def _left(root: Path) -> Iterator[str]:
    """No lock is held, and no part of a file is left."""
    state = root / ".perdure"
    for name in ("model", "data"):
        try:
            with FileLock(state / "locks" / f"{name}.lock", timeout=0):
                pass
        except Timeout:
            yield f"the {name} lock is held"
    kinds = ("ingesting.json", "tmp/*", "scratch/*", "versions/.*")
    if left := [str(path.relative_to(state)) for kind in kinds for path in state.glob(kind)]:
        yield f"left behind: {left}"
