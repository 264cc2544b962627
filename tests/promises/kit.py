"""Small workspaces, and what stands in one as plain data that can be compared."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from perdure.records import to_json

MODEL = "small"
FEATURES = ("a", "b", "colour")
REPLAY = '["replay"]'

_CONFIG = """\
[model]
name = "small"
parameters = {{ hidden = [8] }}

[data]
target = "kind"
task = "classification"

[training]
strategies = {strategies}
epochs = 2
batch_size = 16
learning_rate = 0.05
device = "cpu"

[gates]
floor = {floor}
new_margin = false
past_margin = {past}

[promotion]
mode = "{mode}"
"""


def table(number: int, rows: int = 60, *, labels: tuple[str, str] = ("no", "yes")) -> str:
    """Experience `number` as CSV: two numbers and a category; a few numbers are missing."""
    rng = np.random.default_rng(number)
    a, b = rng.normal(0, 2, rows), rng.normal(0, 1, rows)
    colour = rng.choice(["red", "green"], rows)
    kind = np.array(labels)[(a + b * np.cos(number) + (colour == "red") > 0).astype(int)]
    lines = [
        f"{'' if i % 17 == 5 else f'{a[i]:.4f}'},{b[i]:.4f},{colour[i]},{kind[i]}"
        for i in range(rows)
    ]
    return "\n".join(["a,b,colour,kind", *lines]) + "\n"


def turned(number: int, rows: int = 60) -> str:
    """The same with its labels turned round."""
    return table(number, rows, labels=("yes", "no"))


def steady(number: int, rows: int = 120, *, turned: bool = False) -> str:
    """Experience `number` of a world that stands still, or with its labels turned round."""
    rng = np.random.default_rng(number)
    a, b = rng.normal(0, 2, rows), rng.normal(0, 2, rows)
    colour = rng.choice(["red", "green"], rows)
    kind = np.where((a + b > 0) != turned, "yes", "no")
    lines = [f"{a[i]:.4f},{b[i]:.4f},{colour[i]},{kind[i]}" for i in range(rows)]
    return "\n".join(["a,b,colour,kind", *lines]) + "\n"


def partly(number: int) -> str:
    """The same with one row that the schema refuses."""
    head, first, *rows = table(number).splitlines()
    return "\n".join([head, f"much{first}", *rows]) + "\n"


def few(number: int, rows: int = 6) -> str:
    """The same with a few rows of a class that the first experience does not have."""
    head, *lines = table(number).splitlines()
    third = [f"{line.rpartition(',')[0]},maybe" for line in lines[:rows]]
    return "\n".join([head, *third, *lines[rows:]]) + "\n"


def configure(
    root: Path,
    *,
    strategies: str = '[{ name = "replay", size = 40 }]',
    floor: str = "false",
    past: str = "false",
    mode: str = "automatic",
    more: str = "",
) -> None:
    """Write a configuration with a model that trains in no time, and commit it."""
    text = _CONFIG.format(strategies=strategies, floor=floor, past=past, mode=mode) + more
    (root / "perdure.toml").write_text(text, encoding="utf-8")
    git(root, "commit", "--quiet", "--allow-empty", "--all", "-m", "test: a small model")


def edit_schema(root: Path, old: str, new: str) -> None:
    """Change a text of the schema file, and commit it."""
    path = root / "schema.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    git(root, "commit", "--quiet", "--all", "-m", "test: schema")


def make(root: Path, rows: int = 120, *, text: str | None = None, **settings: str) -> Path:
    """A workspace with one experience, pending."""
    from perdure.flows.initialise import initialise

    first = root.parent / f"{root.name}-first.csv"
    first.write_text(text or table(1, rows), encoding="utf-8")
    initialise(root, first, "kind", name=MODEL)
    configure(root, **settings)
    return root


def arrive(root: Path, name: str, text: str) -> Path:
    """Put a file into the inbox."""
    path = root / "inbox" / name
    path.write_text(text, encoding="utf-8")
    return path


def rows_of(root: Path, label: str) -> list[tuple[str, float]]:
    """The rows of a class in all experiences: each's experience, and its value of `b`."""
    from perdure import config
    from perdure.tasks import experiences
    from perdure.tasks.tables import content

    ws = config.read(root)
    return [
        (one.id, float(value))
        for one in experiences.list_experiences(ws)
        for value, kind in experiences.read_experience(ws, one.id, content.content_sha256)[
            ["b", "kind"]
        ].itertuples(index=False)
        if kind == label
    ]


def ingest(root: Path, *texts: str) -> list[str]:
    """Ingest tables through the inbox, one after the other; their experiences' ids."""
    from perdure.flows.ingest import ingest as flow

    found = []
    for text in texts:
        arrive(root, f"{hashlib.sha256(text.encode()).hexdigest()[:8]}.csv", text)
        found += [str(one.experience) for one in flow.fn(str(root)).files]
    return found


def git(root: Path, *arguments: str) -> str:
    """What git says; identity included, as a machine of CI may have none."""
    identity = ("-c", "user.name=Test", "-c", "user.email=test@localhost")
    return subprocess.run(
        ["git", "-C", str(root), *identity, *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def learner(version: Any) -> dict[str, Any]:
    """What makes two learners the same."""
    return {
        "weights": version.weights_sha256,
        "state": version.state_sha256,
        "cursor": list(version.cursor),
    }


def learners(root: Path) -> list[dict[str, Any]]:
    """Champion and challenger."""
    now = registry(root).read()
    return [learner(one) for one in (now.champion, now.challenger)]


def registry(root: Path) -> Any:
    """The workspace's registry."""
    from perdure import config
    from perdure.tasks.registry import Registry

    return Registry(config.read(root))


def picture(root: Path) -> dict[str, Any]:
    """Everything that stands in a workspace but times, authors, and git's own hashes."""
    from perdure import config
    from perdure.flows.pending import pending
    from perdure.tasks import data_versions, experiences
    from perdure.tasks.registry import Registry, codec

    ws = config.read(root)
    found = Registry(ws)
    now = found.read()
    begun = (ws.state / "mlflow.db").exists()  # or else asking would make it, which takes 2 s
    tags = dict(found.client.call("get_registered_model", MODEL).tags) if now.challenger else {}
    experiment = found.client.call("get_experiment_by_name", MODEL) if begun else None
    runs = found.client.call("search_runs", [experiment.experiment_id]) if experiment else []
    return {
        "versions": [
            # MLmodel, which the digest of the package covers, has ids and times.
            {
                **to_json(v),
                **dict.fromkeys(("run_id", "created_at", "code", "package_sha256")),
                "data": v.data.dvc,
            }
            for v in (found.versions() if begun else ())
        ],
        "aliases": {
            "champion": now.champion and now.champion.version,
            "challenger": now.challenger and now.challenger.version,
        },
        "tournament": tags.get(codec.TOURNAMENT),
        "others": {a: n for a, n in now.aliases.items() if a not in codec.LINE},
        "held": {one.id: list(one.reasons) for one in now.held.values()},
        "history": [
            {name: value for name, value in to_json(event).items() if name not in {"at", "by"}}
            for event in (found.history() if begun else ())
        ],
        "intent": sorted(tag for tag in tags if tag.startswith(codec.INTENT)),
        "events": tags.get(codec.EVENTS),
        "runs": sorted(
            (run.data.tags["mlflow.runName"], run.info.status)
            for run in runs
            if run.info.status != "KILLED"
        ),
        "experiences": [
            [e.id, e.sha256, e.rows, e.source] for e in experiences.list_experiences(ws)
        ],
        "waiting": [
            [one.number, one.file.name, one.file.rows, one.file.content, one.sha256, one.path.name]
            for one in experiences.waiting_files(ws, experiences.list_experiences(ws))
        ],
        "files": _digests(ws.data),
        "quarantined": [[q.file, q.reason, q.rows] for q in experiences.list_quarantined(ws)],
        "pending": [e.id for e in pending(ws, now)],
        "inbox": sorted(path.name for path in ws.inbox.iterdir()),
        "versioned": _versioned(root, str(data_versions.revision(ws))),
        "tree": [
            line
            for line in git(root, "ls-tree", "-r", "HEAD").splitlines()
            if "data.dvc" not in line
        ],
        "changed": git(root, "status", "--porcelain").splitlines(),
        "left": _left(ws.state),
    }


def _digests(folder: Path) -> dict[str, str]:
    """Every file's digest; only the name of those in which a time stands."""
    return {
        str(path.relative_to(folder)): ""
        if _has_time(str(path.relative_to(folder)))
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _has_time(name: str) -> bool:
    """Whether the time is in a file of the data: a record of the quarantine, or rows that wait."""
    return name.endswith("record.json") or name.startswith("waiting/")


def _left(state: Path) -> list[str]:
    """What a command that was killed may leave behind, and the next one must not."""
    notes = [*state.glob("locks/*.json"), *state.glob("ingesting.json")]
    scratch = [*state.glob("tmp/*"), *state.glob("scratch/*"), *state.glob("versions/.*")]
    return sorted(str(path.relative_to(state)) for path in notes + scratch)


def _versioned(root: Path, revision: str) -> dict[str, str]:
    """What `data.dvc` names, as DVC's remote has it; every file of it must be there.

    Digests of files in which a time stands are left out.
    """
    remote = root / ".perdure" / "dvc-remote" / "files" / "md5"
    listing = json.loads((remote / revision[:2] / revision[2:]).read_bytes())
    for entry in listing:
        content = (remote / entry["md5"][:2] / entry["md5"][2:]).read_bytes()
        assert hashlib.md5(content).hexdigest() == entry["md5"]
    return {
        entry["relpath"]: "" if _has_time(entry["relpath"]) else entry["md5"] for entry in listing
    }


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Where two pictures differ."""
    return [
        f"{key}: {_short(found[key])} instead of {_short(wanted[key])}"
        for key in wanted
        if found[key] != wanted[key]
    ]


def _short(value: Any) -> str:
    return json.dumps(value, sort_keys=True)[:1500]
