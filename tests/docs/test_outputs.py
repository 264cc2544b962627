"""What the commands give on a real workspace has the shapes that docs/commands.md describes.

The workspace learns with the model of docs/configuration.md, so that is tried out here too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from perdure.cli.app import app
from perdure.records import to_json
from tests.docs import pages, shapes

Json = Any


def _table(number: int, rows: int = 90, *, broken: bool = False) -> str:
    rng = np.random.default_rng(number)
    a, b = rng.normal(0, 2, rows), rng.normal(0, 1, rows)
    colour = rng.choice(["red", "green"], rows)
    lines = [
        f"{a[i]:.4f},{b[i]:.4f},{colour[i]},{'yes' if a[i] + b[i] > 0 else 'no'}"
        for i in range(rows)
    ]
    return "\n".join([f"a,{'c' if broken else 'b'},colour,kind", *lines]) + "\n"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Json]:
    """The JSON of every command but the demo, on one workspace."""
    from perdure.flows.ingest import ingest
    from perdure.flows.initialise import initialise
    from perdure.flows.retrain import retrain

    folder = tmp_path_factory.mktemp("docs")
    root, first = folder / "workspace", folder / "first.csv"
    first.write_text(_table(1))
    found: dict[str, Json] = {"init": to_json(initialise(root, first, "kind", name="small"))}
    _configure(root)
    found["first retrain"] = to_json(retrain.fn(str(root)))
    for number in (2, 3):
        (root / "inbox" / f"{number}.csv").write_text(_table(number))
    (root / "inbox" / "4-broken.csv").write_text(_table(4, broken=True))
    found["ingest"] = to_json(ingest.fn(str(root)))
    found["schema"] = _json(root, "schema", "--diff", str(_other(folder)))
    second, third = (file["experience"] for file in found["ingest"]["files"][:2])
    _json(root, "quarantine", third, "--reason", "sensor was off")
    found["retrain"] = to_json(retrain.fn(str(root)))
    found["evaluate"] = _json(root, "evaluate", "1")
    found["rollback"] = _json(root, "rollback", "--reason", "complaints")
    found["pin"] = _json(root, "pin", "1", "--reason", "audited")
    found["status"] = _json(root, "status")
    found["unpin"] = _json(root, "unpin")
    found["promote"] = _json(root, "promote", "2")
    found["release"] = _json(root, "release", third)
    found["quarantine"] = _json(root, "quarantine", third, "--reason", "again")
    found["history"] = _json(root, "history")
    found["show"] = _json(root, "show", "2")
    found["trace"] = _json(root, "trace", "3.csv")
    found["verify"] = _json(root, "verify", "2")
    found["reproduce"] = _json(root, "reproduce", "2")
    found["served"] = _json(root, "history", "--at", found["history"][-1]["at"])
    found["doctor"] = _json(root, "doctor")
    found["down"] = _json(root, "down")
    found["logs"] = _json(root, "logs")
    found["prune"] = _json(root, "prune")
    found["migrate"] = _json(root, "migrate", "--to", f"sqlite:///{folder / 'other.db'}", "--yes")
    found["forget"] = _json(root, "forget", "--where", "colour == 'red'", "--reason", "88")
    found["backup"] = _json(root, "backup", str(folder / "backups"))
    again = [str(folder / "backups"), str(folder / "again"), "--json"]
    result = CliRunner().invoke(app, ["restore", *again])
    assert result.exit_code == 0, result.output
    found["restore"] = json.loads(result.stdout)
    assert second in found["show"]["cursor"]
    return found


def _other(folder: Path) -> Path:
    """A file with another column and another class."""
    head, first, *rows = _table(5).splitlines()
    lines = [f"{head},more", f"{first}x,1", *(f"{row},1" for row in rows)]
    (folder / "other.csv").write_text("\n".join(lines) + "\n")
    return folder / "other.csv"


def _configure(root: Path) -> None:
    (root / "models").mkdir()
    (root / "models" / "mine.py").write_text(
        next(pages.blocks(pages.text("configuration.md"), "python"))
    )
    text = (root / "perdure.toml").read_text()
    model, _, rest = text.partition("[data]")
    assert 'name = "small"' in model
    rest = rest.replace("# epochs = 10", "epochs = 1").replace("# floor =", "floor = false #")
    documented = next(
        block
        for block in pages.blocks(pages.text("configuration.md"), "toml")
        if "models/mine.py:network" in block
    )
    (root / "perdure.toml").write_text(
        documented.replace("weather-mine", "small") + "\n[data]" + rest
    )


def _json(root: Path, *arguments: str) -> Json:
    result = CliRunner().invoke(app, [*arguments, "--workspace", str(root), "--json"])
    assert result.exit_code in (0, 3), result.output
    return json.loads(result.stdout)


NAMES = (
    "init",
    "ingest",
    "schema",
    "retrain",
    "promote",
    "rollback",
    "pin",
    "unpin",
    "release",
    "quarantine",
    "evaluate",
    "status",
    "history",
    "show",
    "doctor",
    "down",
    "logs",
    "backup",
    "restore",
    "prune",
    "migrate",
    "forget",
    "trace",
    "served",
    "verify",
    "reproduce",
)


@pytest.mark.parametrize("name", NAMES)
def test_the_output_has_the_shape(outputs: dict[str, Json], name: str) -> None:
    kind = "list of history" if name == "history" else name
    assert list(shapes.faults(outputs[name], kind, shapes.described())) == []


def test_the_outputs_have_something_in_every_list(outputs: dict[str, Json]) -> None:
    """Else a shape inside a list would be compared with nothing."""
    status = outputs["status"]
    assert status["champion"]
    assert status["held"]
    assert {entry["folder"] is None for entry in status["quarantined"]} == {True, False}
    assert outputs["retrain"]["learned"][0]["prequential"]
    assert outputs["retrain"]["learned"][0]["arrival"]["standings"]
    assert status["tournament"]
    assert outputs["rollback"]["held"]
    assert outputs["evaluate"]["champion_metrics"]
    assert outputs["evaluate"]["verdict"]["reasons"]
    assert outputs["show"]["metrics"]["champion"]
    assert outputs["show"]["metrics"]["comparisons"]
    assert outputs["show"]["drift"]["columns"]
    assert outputs["show"]["findings"]["reasons"]
    assert outputs["show"]["drift_history"]
    assert outputs["show"]["arrival"]["standings"]
    assert outputs["doctor"]["checks"]
    assert outputs["forget"]["experiences"]
    assert len(outputs["schema"]["differences"]) == 2
    actions = {event["action"] for event in outputs["history"]}
    assert actions == {
        "promoted", "rolled back", "held", "released", "quarantined", "pinned", "unpinned"
    }  # fmt: skip


def test_the_documented_model_learns_and_is_registered(outputs: dict[str, Json]) -> None:
    assert [one["verdict"] for one in outputs["first retrain"]["learned"]] == ["passed"]
    assert outputs["promote"]["version"] == 2
