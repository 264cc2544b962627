"""What the commands suggest works as it is printed, in the folder where they were called."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from perdure.cli import console
from perdure.cli.app import app
from tests.cli.conftest import Cli
from tests.promises import kit

COMMANDS: Any = vars(typer.main.get_command(app))["commands"]


def suggested(text: str) -> list[list[str]]:
    """The arguments of every command of Perdure's in a text, up to the end of its line."""
    return [shlex.split(found) for found in re.findall(r"perdure ((?:\S+ -w \S+)[^;,\n]*)", text)]


def test_the_commands_that_work_at_a_workspace_are_these() -> None:
    with_option = [
        name
        for name, command in COMMANDS.items()
        if any("--workspace" in parameter.opts for parameter in command.params)
    ]
    assert list(console.AT_A_WORKSPACE) == with_option


def test_a_suggestion_names_the_workspace_where_it_is_not_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "my model"
    place.mkdir()
    (place / "perdure.toml").touch()
    monkeypatch.chdir(tmp_path)
    try:
        console.work_at(Path("my model"))
        text = console.command("perdure ingest && perdure retrain; perdure demo")
        assert text == (
            "perdure ingest -w 'my model' && perdure retrain -w 'my model'; perdure demo"
        )
        assert console.command(text) == text
        monkeypatch.chdir(place)
        for nearest in (None, Path(), place):
            console.work_at(nearest)
            assert console.command("perdure retrain") == "perdure retrain"
    finally:
        console.work_at(None)


@pytest.mark.slow
def test_what_follows_the_first_promotion_works_from_any_folder(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = kit.make(tmp_path / "work space", mode="manual")
    monkeypatch.chdir(tmp_path)
    result = cli("retrain", "-w", root.name)
    assert result.code == 0
    assert "Champion: none. Challenger: version 1." in result.out
    assert "MLFLOW_TRACKING_URI" not in result.out  # nothing serves yet
    [promote] = suggested(result.out)
    assert promote == ["promote", "-w", "work space", "1"]
    result = cli(*promote)
    assert result.code == 0
    assert "rollback" not in result.out  # there is nothing to go back to

    line = next(line for line in result.out.splitlines() if "mlflow models serve" in line)
    env, setting, *words = shlex.split(line)
    assert env == "env"
    name, _, uri = setting.partition("=")
    assert uri == f"sqlite:///{root / '.perdure' / 'mlflow.db'}"
    model = words[words.index("-m") + 1]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "rows.csv").write_text(kit.table(7, 4))
    code = (
        "import sys, mlflow, perdure\n"
        "model = mlflow.pyfunc.load_model(sys.argv[1])\n"
        "print(len(model.predict(perdure.read_table('rows.csv').drop(columns='kind'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, model],
        cwd=elsewhere,
        env={**os.environ, name: uri},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["4"], done.stderr

    # The second promotion has one before it: that suggestion works, too.
    kit.ingest(root, kit.table(2))
    [promote] = suggested(cli("retrain", "-w", root.name).out)
    result = cli(*promote)
    assert "mlflow models serve" not in result.out
    [rollback] = suggested(result.out)
    assert cli(*rollback).code == 0
    assert cli("status", "-w", root, "--json").json["champion"]["version"] == 1


@pytest.mark.slow
def test_the_ways_out_of_a_first_refusal_work(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = kit.make(tmp_path / "w", floor="0.9999")
    monkeypatch.chdir(tmp_path)
    result = cli("retrain", "-w", "w")
    assert result.code == 3
    for part in ("Nothing serves yet", "[gates] floor", "training.class_weights"):
        assert part in result.out
    shown = cli("status", "-w", "w").out
    assert "champion    none: nothing serves yet" in shown
    ways = {words[0]: words for words in suggested(result.out.replace(" and perdure", "\nperdure"))}
    assert ways["release"] == ["release", "-w", "w", "000001" + ways["release"][3][6:]]
    # The setting that it names, and the two commands.
    kit.configure(root, floor="false")
    assert cli(*ways["release"]).code == 0
    assert cli(*ways["retrain"]).code == 0
    assert cli("status", "-w", root, "--json").json["champion"]["version"] == 1

    # Or against the gates.
    other = kit.make(tmp_path / "v", floor="0.9999")
    result = cli("retrain", "-w", "v")
    [force] = [words for words in suggested(result.out) if words[0] == "promote"]
    assert force == ["promote", "-w", "v", "1", "--force", "--reason", "TEXT"]
    assert cli(*force).code == 0
    assert cli("status", "-w", other, "--json").json["champion"]["version"] == 1


def test_the_hint_of_an_error_works_here(
    cli: Cli, lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("promote", "3", "-w", lived)
    assert result.code == 3
    assert f"perdure promote -w {lived} 3 --force --reason TEXT" in result.err
    monkeypatch.chdir(lived)
    assert "→ perdure promote 3 --force" in cli("promote", "3").err
