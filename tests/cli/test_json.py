"""`--json`: the documented shapes."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli
from tests.promises.journey import Journey

ID = r"\d{6}-[0-9a-f]{8}"
SHA256 = r"[0-9a-f]{64}"


def is_time(text: str) -> bool:
    return datetime.fromisoformat(text).utcoffset() is not None


def is_learner(value: dict[str, Any]) -> None:
    assert re.fullmatch(SHA256, value["weights_sha256"])
    assert re.fullmatch(SHA256, value["state_sha256"])
    assert all(re.fullmatch(ID, one) for one in value["cursor"])
    assert set(value["data"]) == {"git", "dvc"}
    assert re.fullmatch(r"[0-9a-f]{40}", value["data"]["git"])
    assert value["data"]["dvc"].endswith(".dir")


def asked(cli: Cli, *arguments: str | Path) -> Any:
    result = cli(*arguments, "--json")
    assert result.err == ""
    return json.loads(result.out)


def test_status(cli: Cli, lived: Path) -> None:
    value = asked(cli, "status", "-w", lived)
    assert set(value) >= {
        "model", "champion", "challenger", "pending", "held", "quarantined", "experiences",
    }  # fmt: skip
    assert value["model"] == "small"
    for alias in ("champion", "challenger"):
        one = value[alias]
        assert set(one) == {
            "version", "score", "promoted_at", "weights_sha256", "state_sha256", "cursor", "data",
        }  # fmt: skip
        is_learner(one)
        assert one["version"] == 1
        assert is_time(one["promoted_at"])
        assert one["score"]["metric"] == "accuracy"
        assert one["score"]["rows"] >= 1
        assert 0 <= one["score"]["baseline"] <= 1
    # What arrived last was measured with the champion of then, before it was learned.
    latest = value["latest"]
    assert set(latest) == {"experience", "rows", "version", "metric", "value"}
    assert (latest["experience"][:6], latest["rows"]) == ("000003", 240)
    assert 0 <= latest["value"] <= 1
    assert value["experiences"] == 4
    assert [one[:6] for one in value["pending"]] == ["000004"]
    assert [one["id"][:6] for one in value["held"]] == ["000002", "000003"]
    assert "rolled back" in value["held"][0]["reasons"][0]
    assert "past" in value["held"][1]["reasons"][0]
    assert {"file", "reason", "rows"} <= set(value["quarantined"][0])
    assert {(one["file"], one["rows"]) for one in value["quarantined"]} == {
        ("broken.csv", 60),
        ("partly.csv", 1),
    }


def test_status_of_a_new_workspace(cli: Cli, workspace: Path) -> None:
    value = asked(cli, "status", "-w", workspace)
    assert value["champion"] is None
    assert value["challenger"] is None
    assert len(value["pending"]) == value["experiences"] == 1
    assert value["held"] == value["quarantined"] == []
    assert value["latest"] is None


def test_history(cli: Cli, lived: Path) -> None:
    events = asked(cli, "history", "-w", lived)
    notes = ("metric fell", "drifted", "let go")
    decided = [e for e in events if e["action"] not in notes]
    assert [(e["action"], e["version"], e["replaced"]) for e in decided] == [
        ("promoted", 1, None),
        ("promoted", 2, 1),
        ("refused", 3, None),
        ("held", None, None),
        ("quarantined", None, None),
        ("quarantined", None, None),
        ("rolled back", 1, 2),
        ("held", None, None),
    ]
    for event in events:
        assert set(event) == {
            "at", "action", "version", "replaced", "experience", "reason", "by",
        }  # fmt: skip
        assert is_time(event["at"])
        assert event["by"]
        assert event["experience"] is None or re.fullmatch(ID, event["experience"])
    assert [e["at"] for e in events] == sorted(e["at"] for e in events)
    assert decided[6]["reason"] == "complaints"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_show(cli: Cli, lived: Path, number: int) -> None:
    value = asked(cli, "show", str(number), "-w", lived)
    is_learner(value)
    assert value["version"] == number
    assert set(value) >= {
        "promoted_at", "parent", "verdict", "reasons", "findings", "metrics", "matrix", "strategy",
        "code", "run_id", "experience", "aliases", "learning_key", "created_at", "rows",
        "distinct_rows",
    }  # fmt: skip
    assert 0 < value["distinct_rows"] <= value["rows"]
    assert value["parent"] == (None, 1, 2)[number - 1]
    assert value["verdict"] == ("passed", "passed", "refused")[number - 1]
    assert value["aliases"] == (["champion", "challenger"] if number == 1 else [])
    assert len(value["reasons"]) == (1 if number == 3 else 0)
    assert value["findings"]["answer"] == value["verdict"]
    found = {one["gate"]: one for one in value["findings"]["reasons"]}
    assert set(found) >= {"sanity"} | ({"past", "lost", "calibration"} if number == 3 else set())
    if number == 3:
        assert found["past"]["answer"] == "refused"
        assert found["past"]["low"] < found["past"]["difference"] < found["past"]["high"] < -0.2
    assert value["strategy"] == ["replay"]
    assert re.fullmatch(r"[0-9a-f]{40}", value["code"])
    assert re.fullmatch(r"[0-9a-f]{32}", value["run_id"])
    metrics = {"accuracy", "balanced_accuracy", "macro_f1", "log_loss"}
    assert set(value["metrics"]["candidate"]["average"]) == metrics
    matrix = value["matrix"]
    assert matrix["experiences"] == value["cursor"]
    assert len(matrix["values"]) == number
    for row, values in enumerate(matrix["values"]):
        assert len(values) == number
        assert all(one is not None for one in values[: row + 1])
        assert all(one is None for one in values[row + 1 :])


def test_evaluate(cli: Cli, lived: Path) -> None:
    result = cli("evaluate", "2", "-w", lived, "--json")
    value = result.json
    assert result.code == (3 if value["verdict"]["answer"] == "refused" else 0)
    assert set(value) == {
        "version", "champion", "rows", "metrics", "champion_metrics", "verdict",
    }  # fmt: skip
    assert (value["version"], value["champion"]) == (2, 1)
    assert len(value["metrics"]["by_experience"]) == 2


def test_doctor(cli: Cli, lived: Path) -> None:
    checks = asked(cli, "doctor", "-w", lived)["checks"]
    names = [one["name"] for one in checks]
    assert set(names) == {
        "versions", "git", "workspace", "disk", "inbox", "locks", "dvc", "remote", "git remote",
        "mlflow", "prefect", "device", "schema",
    }  # fmt: skip
    assert len(set(names)) == len(names)
    assert all(set(one) == {"name", "ok", "detail", "mend"} for one in checks)
    assert all(one["mend"] for one in checks if not one["ok"])


def test_init_ingest_retrain_and_rollback(journey: Journey) -> None:
    made = journey.results["init"].json
    assert set(made) == {"workspace", "model", "task", "first", "columns", "notes"}
    assert (made["model"], made["task"]) == ("small", "classification")
    assert made["first"]["outcome"] == "ingested"

    files = journey.results["ingest"].json["files"]
    keys = {
        "file", "outcome", "experience", "rows", "refused_rows", "reasons", "folder",
        "refused_share", "joined_rows", "notes", "distinct_rows", "files",
    }  # fmt: skip
    assert all(set(one) == keys for one in files)
    assert [(one["file"], one["outcome"], one["rows"]) for one in files] == [
        ("broken.csv", "quarantined", 0),
        ("good.csv", "ingested", 60),
    ]

    result = journey.results["retrain"].json
    assert set(result) == {"learned", "champion", "challenger", "metric", "profile"}
    assert result["profile"] is None
    assert [one["version"] for one in result["learned"]] == [1, 2]
    assert set(result["learned"][0]) == {
        "experience", "version", "verdict", "reasons", "promoted", "prequential", "average",
        "forgetting", "rows", "contender", "settings", "arrival", "drift",
    }  # fmt: skip
    assert result["metric"] == "accuracy"
    assert all(one["rows"] >= 1 for one in result["learned"])

    taken_back = journey.results["rollback"].json
    assert set(taken_back) == {"version", "replaced", "held", "changed"}
    assert (taken_back["version"], taken_back["replaced"]) == (1, 2)
    assert journey.results["status"].json["champion"]["version"] == 1
