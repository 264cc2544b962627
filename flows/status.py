"""What stands: status, history and single versions. Reads only, and never waits for Prefect."""

from __future__ import annotations

from typing import Any

from perdure import disk, running
from perdure.config import Workspace
from perdure.errors import ConfigError
from perdure.flows.inbox import waiting
from perdure.flows.pending import pending
from perdure.records import Event, Experience, Registered, Version, to_json
from perdure.secrets import without_secrets
from perdure.tasks import data_versions, experiences
from perdure.tasks.registry import Registry
from perdure.workspace import open_workspace

Json = dict[str, Any]


def status(workspace: str) -> Json:
    """The state of a workspace.

    Returns:
        `model`; `task`; `metric`; `champion` and `challenger`: None, or `version`, `score` (None,
        or `metric`, `value`, `baseline`, `rows`), `promoted_at`, `weights_sha256`,
        `state_sha256`, `cursor`, `data`; `latest`: None, or how the champion of then did on the
        newest experience before anything learned from it, with `experience`, `rows`, `version`,
        `metric`, `value`; `tournament`: who is measured beside
        the champion, each with `version`, `role`, `experience`, `rows`, `experiences`,
        `difference` (mean loss of the version that serves less its own), `evidence` (the e-value
        that it is better), `needed`, `left` (experiences that a contender is tried on still);
        `moved_in_mlflow`: aliases that a person moved, and that are not recorded yet; `pending`:
        ids; `held`: `id`,
        `reasons`, `at`, `by`; `quarantined`: `file`, `reason`, `rows`, `at`, `folder`;
        `experiences`: how many; `rows`; `min_rows`: how many make an experience; `waiting_files`:
        small files that wait for more rows, in order of arrival, each with `file`, `rows`, `since`
        and `joins` (False: as the schema or the configuration is now, it does not join);
        `inbox`: files that wait there; `data_missing`: on a
        fresh clone, before anything fetched the data; `disk_free_bytes`; `running`: what
        `perdure up` runs here, or None.
    """
    ws = open_workspace(workspace)
    now = _standing(ws)
    arrived = experiences.list_experiences(ws)
    held = [one for one in now.held.values() if not one.quarantined]
    by_hand = [one for one in now.held.values() if one.quarantined]
    sources = {one.id: one for one in arrived}
    return {
        "model": ws.config.model.name,
        "task": ws.config.data.task,
        "champion": _learner(now.champion, now.champion_since),
        "challenger": _learner(now.challenger, now.challenger_since),
        "metric": ws.config.metric,
        "latest": _latest(ws, now),
        "tournament": _tournament(ws, now),
        "moved_in_mlflow": list(now.moved),
        "pending": [one.id for one in pending(ws, now)],
        "held": [
            {"id": one.id, "reasons": list(one.reasons), "at": one.at, "by": one.by}
            for one in sorted(held, key=lambda one: one.id)
        ],
        "quarantined": [
            {**to_json(one), "experience": None} for one in experiences.list_quarantined(ws)
        ]
        + [
            {
                "file": sources[one.id].source if one.id in sources else one.id,
                "reason": "; ".join(one.reasons),
                "rows": sources[one.id].rows if one.id in sources else 0,
                "at": one.at,
                "folder": None,
                "by": one.by,
                "experience": one.id,
            }
            for one in by_hand
        ],
        "experiences": len(arrived),
        "rows": sum(one.rows for one in arrived),
        "min_rows": ws.config.data.min_rows,
        "waiting_files": _waiting_files(ws, arrived),
        "inbox": [path.name for path in waiting(ws)],
        "data_missing": data_versions.missing(ws),
        "disk_free_bytes": disk.free_bytes(ws.root),
        "running": to_json(running.read(ws.state)),
    }


def _waiting_files(ws: Workspace, known: tuple[Experience, ...]) -> list[Json]:
    found = experiences.waiting_files(ws, known)
    form = _form(ws) if found else None
    return [
        {
            "file": one.file.name,
            "rows": one.file.rows,
            "since": one.since,
            "joins": bool(ws.config.data.join) and form in (None, one.form),
        }
        for one in found
    ]


def _form(ws: Workspace) -> str | None:
    from perdure.tasks.tables import schema  # not before it is needed

    try:
        return schema.load(ws.schema).form
    except ConfigError:  # `perdure doctor` names what is wrong
        return None


def _standing(ws: Workspace) -> Registered:
    """What the registry says; what a person moved in MLflow is recorded first."""
    now = Registry(ws).read()
    if not now.moved and not now.entrants_moved:
        return now
    from perdure.flows import line  # not before it is needed: it takes longer to import

    return line.noticed(ws, now)


def _tournament(ws: Workspace, now: Registered) -> list[Json]:
    settings, alpha = ws.config.tournament, 1.0 - ws.config.gates.confidence
    return [
        {
            "version": one.version,
            "role": one.role,
            "pinned": one.version == now.tournament.pinned,
            "experience": one.experience,
            "rows": one.better.rows,
            "experiences": one.better.experiences,
            "difference": one.better.difference,
            "evidence": one.better.e_value,
            "needed": round(1.0 / alpha, 6),
            "left": max(0, settings.contender_for - one.better.experiences)
            if one.role == "contender"
            else None,
        }
        for one in now.tournament.entrants
    ]


def _latest(ws: Workspace, now: Registered) -> Json | None:
    """How the champion of then did on the newest experience, before anything learned from it."""
    found = now.tournament.latest
    if found is None or found.champion is None:
        return None
    return {
        "experience": found.experience,
        "rows": found.rows,
        "version": found.champion,
        "metric": ws.config.metric,
        "value": found.champion_value,
    }


def serving(workspace: str) -> tuple[str, str]:
    """The tracking URI and the model URI by which MLflow loads what serves.

    A SQLite file is named absolutely, so that they work in every folder; a password is left out.
    """
    ws = open_workspace(workspace)
    uri = without_secrets(Registry(ws).client.uri)
    return uri, f"models:/{ws.config.model.name}@champion"


def _learner(version: Version | None, since: str | None) -> Json | None:
    if version is None:
        return None
    return {
        "version": version.version,
        "score": to_json(version.score),
        "promoted_at": since,
        "weights_sha256": version.weights_sha256,
        "state_sha256": version.state_sha256,
        "cursor": list(version.cursor),
        "data": to_json(version.data),
    }


def history(workspace: str) -> list[Json]:
    """What happened, oldest first.

    Returns:
        Each with `at`, `action`, `version`, `replaced`, `experience`, `reason`, `by`. Files
        refused at the door stand among the registry's events by their time.
    """
    ws = open_workspace(workspace)
    _standing(ws)
    events = list(Registry(ws).history())
    door = [
        Event(one.at, "quarantined", reason=f"{one.file}, {one.rows} rows: {one.reason}", by=one.by)
        for one in experiences.list_quarantined(ws)
    ]
    return [to_json(event) for event in _merged(events, door)]


def _merged(events: list[Event], door: list[Event]) -> list[Event]:
    """The registry's events in their own order; each refused file before the first later one."""
    result: list[Event] = []
    waiting = sorted(door, key=lambda event: event.at)
    for event in events:
        while waiting and waiting[0].at <= event.at:
            result.append(waiting.pop(0))
        result.append(event)
    return result + waiting


def show(workspace: str, number: int) -> Json:
    """One version, whole.

    Returns:
        What `status` says of a champion, and `parent`, `verdict`, `reasons`, `findings` (the
        whole `Verdict`; None: not judged, or by an older Perdure), `metrics`
        (candidate, champion, baseline, prequential, forgetting, backward transfer), `matrix`,
        `drift` and `arrival` (how far its experience was from what the champion knew, and what it
        showed of those that might serve, before it was learned; None: not measured),
        `drift_history` (of the latest experiences of its line), `strategy`, `processes` (how many
        learned its experience together), `code`, `run_id`,
        `experience`, `rows` and `distinct_rows` of the experience (None: it is not on this
        machine, or does not say), `files` whose rows it has, each with `file` and `rows` (without
        rows of classes that had been set aside; empty: it is not on this machine), `aliases`,
        `learning_key`, `created_at`.

    Raises:
        UsageError: There is no such version.
    """
    ws = open_workspace(workspace)
    registry = Registry(ws)
    version, now = registry.version(number), _standing(ws)
    numbers = registry.evaluation(version)
    aliases = {
        "champion": now.champion and now.champion.version,
        "challenger": now.challenger and now.challenger.version,
        **{alias: n for alias, n in now.aliases.items() if alias not in ("champion", "challenger")},
    }
    since = {"champion": now.champion_since, "challenger": now.challenger_since}
    held_by = [name for name, one in aliases.items() if one == number]
    learned = experiences.recorded(ws, version.experience)
    matrix = numbers.pop("matrix")
    # An older Perdure measured neither.
    before = {key: numbers.pop(key, None) for key in ("drift", "arrival", "drift_history")}
    return {
        **(_learner(version, since.get(held_by[0]) if held_by else None) or {}),
        "aliases": held_by,
        "parent": version.parent,
        "experience": version.experience,
        "rows": learned and learned.rows,
        "distinct_rows": learned and learned.distinct_rows,
        "files": [{"file": f.name, "rows": f.rows} for f in learned.files] if learned else [],
        "verdict": version.verdict,
        "reasons": list(version.reasons),
        "findings": registry.verdict(number),
        "metrics": numbers,
        "matrix": matrix,
        **before,
        "strategy": list(version.strategy),
        "processes": version.processes,
        "code": version.code,
        "run_id": version.run_id,
        "learning_key": version.learning_key,
        "created_at": version.created_at,
    }
