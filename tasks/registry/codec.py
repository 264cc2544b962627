"""Records as MLflow tags, and back.

A tag of a registered model holds 5000 characters in MLflow's tables, one of a run 8000, so
a longer text is cut into `name`, `name.1`, `name.2` …; the first says how many there are.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from perdure.errors import Corrupt
from perdure.records import (
    Answer,
    Arrival,
    Change,
    DataRevision,
    Entrant,
    Evaluation,
    Event,
    Evidence,
    Held,
    Lineage,
    Reason,
    Score,
    Standing,
    Tournament,
    Verdict,
    Version,
    to_json,
)

PREFIX = "perdure."
KEY = PREFIX + "learning_key"
"""The tag of each version that Perdure wrote."""
CHUNK = 4000
_PART = re.compile(r"(?:#(\d{1,12})-)?([0-9a-f]{8})")
"""An experience in a cursor, without its number where it follows the one before."""
HELD = PREFIX + "held."
INTENT = PREFIX + "intent"
EVENTS = PREFIX + "events"
FINDINGS = PREFIX + "findings"
SCORE = PREFIX + "score"
"""A version's metric on its test rows, as JSON."""
PACKAGE = PREFIX + "package_sha256"
"""Digest of what MLflow wrote around a version folder, `MLmodel` among it."""
REMOVED = PREFIX + "removed"
"""A version that is being removed, and its run for good: when, by which command, who, and why."""
NUMBER = PREFIX + "version"
"""Of the run of a removed version: its number."""
MANIFEST = PREFIX + "manifest_sha256"
"""Digest of a version folder's manifest, and so of every file in it."""
COPYING = PREFIX + "copying"
"""Of a registered model: it is an unfinished copy, and from where, as JSON."""
COPIED = PREFIX + "copied_from"
"""Of a registered model: from where it was copied, and when, as JSON."""
CREATED = PREFIX + "created"
"""Of a version that was copied: when it was registered at first, in MLflow's milliseconds."""
LAST_CHANGE = PREFIX + "last_change"
RECORDED = PREFIX + "aliases"
"""Champion and challenger as the last change left them, as JSON."""
TOURNAMENT = PREFIX + "tournament"
LINE = ("champion", "challenger")
"""The aliases that decide what serves and what is trained on."""
ALIASES = (*LINE, "contender", "contender-2", "anchor")
NONE = "none"
_REVISION = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{32}(\.dir)?")


def dumps(value: Any) -> str:
    """A record as compact JSON, the same text every time."""
    return json.dumps(to_json(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def split(name: str, text: str) -> dict[str, str]:
    """A JSON object or list as tags; `join` puts it together again.

    A short one is a tag as it stands, for people to read. Of a long one the head, `name`,
    begins with the number of parts, and comes last.
    """
    if len(text) <= CHUNK:
        return {name: text}
    parts = [text[at : at + CHUNK] for at in range(0, len(text), CHUNK)]
    tags = {f"{name}.{number}": part for number, part in enumerate(parts[1:], 1)}
    return {**tags, name: f"{len(parts)}:{parts[0]}"}


def join(name: str, tags: Mapping[str, str]) -> str | None:
    """The text that `split` wrote; None where there is none.

    Raises:
        Corrupt: A part is missing.
    """
    head = tags.get(name)
    if head is None:
        return None
    if not head[:1].isdecimal():
        return head
    count, _, text = head.partition(":")
    try:
        return text + "".join(tags[f"{name}.{number}"] for number in range(1, int(count)))
    except (KeyError, ValueError) as error:
        raise Corrupt(f"the registry's tag {name} is incomplete: {error}") from error


def names(name: str, tags: Mapping[str, str]) -> Iterator[str]:
    """The tags of a split text that are there, the head first."""
    yield from (tag for tag in (name,) if tag in tags)
    yield from (t for t in tags if t.startswith(name + ".") and t[len(name) + 1 :].isdecimal())


def since(alias: str) -> str:
    """The tag that says since when an alias stands where it does."""
    return f"{PREFIX}{alias}_since"


def stamp(milliseconds: int) -> str:
    """MLflow's time as UTC, ISO 8601, to the second."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def milliseconds(at: str) -> int:
    """UTC, ISO 8601, as MLflow's time."""
    return int(datetime.fromisoformat(at).timestamp() * 1000)


def verdict_tags(verdict: Verdict | None) -> dict[str, str]:
    """Return the tags of a verdict; none for a version not yet judged."""
    if verdict is None:
        return {}
    reasons = split(PREFIX + "reasons", dumps(list(verdict.refusals)))
    whole = split(FINDINGS, dumps(verdict))
    return {**whole, **reasons, PREFIX + "verdict": verdict.answer}


def whole_verdict(tags: Mapping[str, str]) -> Verdict | None:
    """The verdict of a version with every number; None: not judged, or by an older Perdure."""
    text = join(FINDINGS, tags)
    return None if text is None else _verdict(json.loads(text))


def version_tags(lineage: Lineage, score: Score) -> dict[str, str]:
    """The tags that a version is created with; it never exists without them."""
    plain = {
        "learning_key": lineage.learning_key,
        "parent": NONE if lineage.parent is None else str(lineage.parent),
        "experience": lineage.experience,
        "weights_sha256": lineage.weights_sha256,
        "state_sha256": lineage.state_sha256,
        "data_git": lineage.data.git or NONE,
        "data_dvc": lineage.data.dvc or NONE,
        "code": lineage.code or NONE,
        "strategy": dumps(list(lineage.strategy)),
        SCORE.removeprefix(PREFIX): dumps(score),
        **({"processes": str(lineage.processes)} if lineage.processes > 1 else {}),
    }
    tags = {PREFIX + name: value for name, value in plain.items()}
    return tags | split(PREFIX + "cursor", _cursor_text(lineage.cursor))


def version(number: int, run_id: str, created: int, tags: Mapping[str, str]) -> Version:
    """A version from its tags.

    Raises:
        Corrupt: A tag is missing or unreadable: Perdure did not write this version.
    """
    try:
        verdict = tags.get(PREFIX + "verdict")
        return Version(
            version=number,
            learning_key=tags[KEY],
            parent=parent(tags),
            experience=tags[PREFIX + "experience"],
            weights_sha256=tags[PREFIX + "weights_sha256"],
            state_sha256=tags[PREFIX + "state_sha256"],
            cursor=_cursor(join(PREFIX + "cursor", tags) or ""),
            data=DataRevision(
                _revision(tags[PREFIX + "data_git"]), _revision(tags[PREFIX + "data_dvc"])
            ),
            code=_revision(tags[PREFIX + "code"]),
            strategy=tuple(json.loads(tags[PREFIX + "strategy"])),
            verdict=cast(Any, verdict),
            reasons=tuple(json.loads(join(PREFIX + "reasons", tags) or "[]")),
            replaced=_number(tags.get(PREFIX + "replaced", NONE)),
            run_id=run_id,
            created_at=stamp(int(tags.get(CREATED, created))),
            score=_score(tags.get(SCORE)),
            package_sha256=tags.get(PACKAGE),
            manifest_sha256=tags.get(MANIFEST),
            promoted=PREFIX + "replaced" in tags,
            processes=int(tags.get(PREFIX + "processes", 1)),
        )
    except (KeyError, ValueError) as error:
        raise Corrupt(
            f"version {number} in the registry lacks or has spoilt tags ({error}); "
            f"was it registered by something else?",
            hint="perdure rollback --to VERSION chooses another",
        ) from error


def _cursor_text(cursor: Sequence[str]) -> str:
    """A cursor as short text: `#1-aaaaaaaa,bbbbbbbb,#7-cccccccc`.

    Every version has its whole cursor, so the number of an experience that follows the one before
    is left out: 9 characters for each, where a list of ids has 19.
    """
    parts: list[str] = []
    following = None
    for id_ in cursor:
        number, _, digest = id_.partition("-")
        parts.append(digest if int(number) == following else f"#{int(number)}-{digest}")
        following = int(number) + 1
    return ",".join(parts)


def _cursor(text: str) -> tuple[str, ...]:
    """The ids that `_cursor_text` wrote, or a JSON list of them, which an older Perdure wrote."""
    if text.startswith("["):
        return tuple(json.loads(text))
    found: list[str] = []
    number = 0
    for part in text.split(",") if text else ():
        match = _PART.fullmatch(part)
        if match is None or not (match[1] or found):
            raise ValueError(f"no experience: {part!r:.60}")
        number = int(match[1]) if match[1] else number + 1
        found.append(f"{number:06d}-{match[2]}")
    return tuple(found)


def parent(tags: Mapping[str, str]) -> int | None:
    """The version that a version goes on from, by the tags of it or of its run."""
    return _number(tags[PREFIX + "parent"])


def score(evaluation: Evaluation) -> Score:
    """What stands of an evaluation in the tags of its version."""
    metric = evaluation.metric
    value, baseline = evaluation.candidate.average[metric], evaluation.baseline.get(metric)
    return Score(metric, _finite(value), _finite(baseline), evaluation.rows)


def _score(text: str | None) -> Score | None:
    return None if text is None else Score(**_known(Score, json.loads(text)))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def held(tags: Mapping[str, str]) -> dict[str, Held]:
    """The experiences set aside, from the registered model's tags; in order of their ids."""
    ids = sorted({t[len(HELD) :] for t in tags if t.startswith(HELD) and "." not in t[len(HELD) :]})
    found = {}
    for name in ids:
        value = json.loads(join(HELD + name, tags) or "{}")
        found[name] = Held(**{**value, "reasons": tuple(value["reasons"])})
    return found


def change(value: Mapping[str, Any]) -> Change:
    """A change from the JSON of an intent."""
    return Change(
        key=value["key"],
        expects=dict(value["expects"]),
        aliases=dict(value["aliases"]),
        replaced={int(number): before for number, before in value["replaced"].items()},
        verdicts={int(number): _verdict(v) for number, v in value["verdicts"].items()},
        hold=tuple(Held(**{**h, "reasons": tuple(h["reasons"])}) for h in value["hold"]),
        release=tuple(value["release"]),
        events=tuple(Event(**event) for event in value["events"]),
        tournament=tournament(value["tournament"]) if value.get("tournament") else None,
        expects_tournament=value.get("expects_tournament"),
        recorded=dict(value.get("recorded", {})),
    )


def recorded(tags: Mapping[str, str]) -> dict[str, int | None] | None:
    """Champion and challenger as the last change left them; None: an older Perdure wrote it."""
    text = tags.get(RECORDED)
    return None if text is None else dict(json.loads(text))


def tournament_in(tags: Mapping[str, str]) -> Tournament:
    """The tournament of a registered model; without entrants, where there is none yet."""
    text = join(TOURNAMENT, tags)
    return Tournament() if text is None else tournament(json.loads(text))


def tournament(value: Mapping[str, Any]) -> Tournament:
    """A tournament from its JSON; what a later Perdure added is left out."""
    entrants = tuple(
        Entrant(**{
            **_known(Entrant, one),
            "better": _evidence(one["better"]),
            "worse": _evidence(one["worse"]),
        })
        for one in value["entrants"]
    )  # fmt: skip
    latest = arrival(value["latest"]) if value.get("latest") else None
    return Tournament(**{**_known(Tournament, value), "entrants": entrants, "latest": latest})


def arrival(value: Mapping[str, Any]) -> Arrival:
    """What an experience showed, from its JSON."""
    standings = tuple(Standing(**_known(Standing, one)) for one in value["standings"])
    lists = {name: tuple(value[name]) for name in ("let_go", "reasons")}
    return Arrival(**{**_known(Arrival, value), **lists, "standings": standings})


def _evidence(value: Mapping[str, Any]) -> Evidence:
    return Evidence(**{**_known(Evidence, value), "log_wealth": tuple(value["log_wealth"])})


def removal(command: str, reason: str, by: str) -> str:
    """The mark of a version that is being removed, as of now."""
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    return dumps({"at": at, "command": command, "reason": reason[:1000], "by": by})


def _known(record: type, value: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(record)}
    return {name: item for name, item in value.items() if name in names}


def event(tags: Mapping[str, str]) -> Event:
    """An event from its run's tags."""
    value = json.loads(join(PREFIX + "record", tags) or "{}")
    known = {field.name for field in dataclasses.fields(Event)}
    return Event(**{name: item for name, item in value.items() if name in known})


def _verdict(value: Mapping[str, Any]) -> Verdict:
    reasons = tuple(_reason(reason) for reason in value["reasons"])
    return Verdict(_answer(value), reasons, value.get("undecided", "pass"))


def _reason(value: Mapping[str, Any]) -> Reason:
    known = {field.name for field in dataclasses.fields(Reason)} - {"answer"}
    plain = {name: item for name, item in value.items() if name in known}
    # JSON has no word for what is not a number.
    return Reason(**{**plain, "value": _float(value["value"]), "answer": _answer(value)})


def _float(value: float | None) -> float:
    return math.nan if value is None else value


def _answer(value: Mapping[str, Any]) -> Answer:
    """The answer of a gate or verdict; an older Perdure wrote `passed`, yes or no."""
    if "answer" in value:
        return cast(Answer, value["answer"])
    return "passed" if value["passed"] else "refused"


def _number(text: str) -> int | None:
    return None if text == NONE else int(text)


def _revision(text: str) -> str | None:
    """A commit, or DVC's hash of a folder: git and paths are given no other text from a tag."""
    if text == NONE:
        return None
    if not _REVISION.fullmatch(text):
        raise ValueError(f"no revision: {text!r:.80}")
    return text
