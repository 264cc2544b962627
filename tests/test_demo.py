"""The demo, as a newcomer starts it: the whole main job on real data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def perdure(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "perdure", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, str]:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    done = perdure("demo", "--dir", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), done.stderr


def test_what_was_learned_is_kept(told: tuple[Path, Any, str]) -> None:
    _, result, _ = told
    gained = result["perdure"] - result["naive"] >= 0.02
    close = result["perdure"] >= result["scratch"] - 0.01
    assert gained or close
    assert result["perdure"] > result["naive"]


def test_the_turned_year_alone_is_refused(told: tuple[Path, Any, str]) -> None:
    _, result, story = told
    verdicts = {line["what"]: line["verdict"] for line in result["lines"]}
    assert len(verdicts) == 1 + 10 + 1 + 2
    assert {what for what, verdict in verdicts.items() if verdict == "refused"} == {"labels turned"}
    assert "✗ past: accuracy" in story
    assert "missing column 'sea_level_pressure_mb'" in story


def test_the_workspace_says_the_same(told: tuple[Path, Any, str]) -> None:
    folder, _, story = told
    status = json.loads(perdure("status", "--json", "-w", str(folder)).stdout)
    assert status["champion"] == status["challenger"]
    assert len(status["champion"]["cursor"]) == 11
    assert status["pending"] == []
    assert len(status["held"]) == 1
    assert {one["file"] for one in status["quarantined"]} == {"first-ten-years.csv", "broken.csv"}
    history = json.loads(perdure("history", "--json", "-w", str(folder)).stdout)
    actions = [event["action"] for event in history]
    assert actions.count("promoted") == 1 + 10 + 2
    assert actions.count("rolled back") == 1
    assert actions.count("refused") == 1
    assert "bit for bit" in story


def test_the_picture_is_a_picture(told: tuple[Path, Any, str]) -> None:
    folder, result, _ = told
    assert result["picture"] == str(folder / "matrix.png")
    assert (folder / "matrix.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = perdure("demo", "--dir", str(tmp_path))
    assert done.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
