"""The demo, as a newcomer starts it: the whole main job on real data."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # the whole demo, where others use the processor, too
]
ROOT = Path(__file__).parents[1]
YEARS = 10
"""That arrive one by one after the first ten."""


def perdure(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "perdure", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, str]:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    done = perdure("demo", "--dir", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), done.stderr


def lines(result: Any, what: str) -> list[Any]:
    found = [line for line in result["lines"] if line["what"] == what]
    assert found, what
    return found


def test_what_was_learned_is_kept(shown: tuple[Path, Any, str]) -> None:
    _, result, _ = shown
    gained = result["perdure"] - result["naive"] >= 0.02
    close = result["perdure"] >= result["scratch"] - 0.01
    assert gained or close
    assert result["perdure"] > result["naive"]


def test_a_file_without_a_column_is_refused_at_the_door(shown: tuple[Path, Any, str]) -> None:
    assert "missing column 'sea_level_pressure_mb'" in shown[2]


def test_a_column_in_other_units_is_held_before_it_is_learned(
    shown: tuple[Path, Any, str],
) -> None:
    _, result, story = shown
    [line] = lines(result, "pressure in pascals")
    assert (line["verdict"], line["version"], line["average"]) == ("held", None, None)
    drift = result["broken"]
    assert drift["level"] == "broken"
    levels = {one["column"]: one["level"] for one in drift["columns"]}
    assert len(levels) == 9
    assert [name for name, level in levels.items() if level == "broken"] == [
        "sea_level_pressure_mb"
    ]
    assert "×100" in drift["reasons"][0]
    # The table shows every column, and all together.
    table = story.partition("what differs")[2].partition("all together")[0]
    assert all(name in table for name in levels)


def test_flipped_labels_are_refused_with_intervals(shown: tuple[Path, Any, str]) -> None:
    _, result, story = shown
    [line] = lines(result, "labels flipped")
    assert line["verdict"] == "refused"
    assert line["version"] is not None
    assert result["refused"]["answer"] == "refused"
    reasons = {one["gate"]: one for one in result["refused"]["reasons"]}
    past = reasons["past"]
    assert past["answer"] == "refused"
    assert past["low"] < past["difference"] < past["high"] < -0.02
    assert past["detectable"] > 0
    assert past["rows"] > 500
    assert f"{past['difference']:+.4f} ({past['low']:+.4f} to {past['high']:+.4f})" in story
    assert {"sanity", "floor", "new", "past"} <= set(reasons)


def test_what_a_person_forced_is_taken_back_by_itself(shown: tuple[Path, Any, str]) -> None:
    folder, result, story = shown
    [bad] = lines(result, "labels flipped")
    moved = result["rolled_back"]
    assert moved["action"] == "rolled back"
    assert moved["champion"] == bad["version"]
    back = next(one for one in moved["standings"] if one["version"] == moved["version"])
    assert back["role"] == "predecessor"
    assert back["evidence"] >= 20
    assert back["loss"] < back["incumbent_loss"]
    forced, after = history(folder, "forced"), history(folder, "rolled back")
    assert [one["version"] for one in forced] == [bad["version"]]
    assert forced[0]["reason"]
    assert (after[0]["replaced"], after[0]["version"]) == (bad["version"], moved["version"])
    assert "the model went back to it by itself" in story
    # The year that showed it is learned from there, and good versions follow.
    first, again = lines(result, "year 15")
    assert (first["verdict"], first["average"]) == ("rolled back", None)
    assert again["version"] > bad["version"]
    assert again["before"] > first["before"]
    # On trial once more, that version is shown to be worse.
    gone = history(folder, "let go")
    assert any(one["version"] == bad["version"] and "worse" in one["reason"] for one in gone)


def test_what_a_lasting_change_taught_proves_right(shown: tuple[Path, Any, str]) -> None:
    folder, result, story = shown
    [refused] = lines(result, "years 21 and 22, 1 is dry")
    assert refused["verdict"] == "refused"
    moved, learned, *_ = lines(result, "years 23 and 24, 1 is dry")
    assert (moved["verdict"], moved["version"]) == ("promoted", refused["version"])
    shown_by = result["promoted"]
    assert (shown_by["action"], shown_by["version"]) == ("promoted", refused["version"])
    contender = next(o for o in shown_by["standings"] if o["version"] == refused["version"])
    assert contender["role"] == "contender"
    assert contender["evidence"] >= 20
    assert contender["value"] > shown_by["champion_value"]
    # What comes is learned from there.
    assert learned["before"] == pytest.approx(contender["value"])
    assert "it serves now, and training goes on from it" in story
    befores = [
        line["before"] for line in result["lines"]
        if line["what"].endswith("1 is dry") and line["average"]
    ]  # fmt: skip
    assert len(befores) == 3
    assert befores[-1] > befores[0]
    assert any("contender" in one["reason"] for one in history(folder, "promoted"))


def test_no_good_year_is_refused(shown: tuple[Path, Any, str]) -> None:
    _, result, _ = shown
    good = [line for line in result["lines"] if line["what"].startswith("year")]
    good = [line for line in good if "dry" not in line["what"] and line["average"]]
    assert len(good) == 1 + YEARS + 2
    assert {line["verdict"] for line in good} <= {"passed", "undecided"}


def test_the_workspace_says_the_same(shown: tuple[Path, Any, str]) -> None:
    folder, result, story = shown
    status = json.loads(perdure("status", "--json", "-w", str(folder)).stdout)
    assert status["champion"] == status["challenger"]
    good = {
        line["experience"] for line in result["lines"]
        if line["average"] and "dry" not in line["what"] and line["what"] != "labels flipped"
    }  # fmt: skip
    assert len(good) == 1 + YEARS
    assert good <= set(status["champion"]["cursor"])
    assert status["pending"] == []
    held = {one["id"] for one in status["held"]}
    faulty = {lines(result, what)[0]["experience"] for what in ("pressure in pascals",
                                                                "labels flipped")}  # fmt: skip
    assert faulty <= held
    assert not held & good
    assert "no-pressure.csv" in {one["file"] for one in status["quarantined"]}
    assert len(history(folder, "rolled back")) == 2
    assert "bit for bit" in story
    assert len(history(folder, "drifted")) >= 1


def test_the_picture_is_a_picture(shown: tuple[Path, Any, str]) -> None:
    folder, result, _ = shown
    assert result["picture"] == str(folder / "matrix.png")
    assert (folder / "matrix.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = perdure("demo", "--dir", str(tmp_path))
    assert done.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def history(folder: Path, action: str) -> list[Any]:
    return [event for event in events(folder) if event["action"] == action]


@functools.cache
def events(folder: Path) -> list[Any]:
    found: list[Any] = json.loads(perdure("history", "--json", "-w", str(folder)).stdout)
    return found
