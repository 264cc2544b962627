"""Every command: one sentence of help, and one example that can be copied."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
import typer.main

from perdure.cli.app import app
from perdure.errors import EXIT_CODES
from tests.cli.conftest import Cli

COMMANDS = [
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
    "demo",
    "doctor",
    "up",
    "down",
    "logs",
    "open",
    "deploy",
    "worker",
    "backup",
    "restore",
    "prune",
    "migrate",
    "forget",
    "trace",
    "verify",
    "reproduce",
]
GROUP: Any = typer.main.get_command(app)
HEAVY = [
    "torch",
    "avalanche",
    "mlflow",
    "dvc",
    "pandas",
    "prefect",
    "matplotlib",
    "sklearn",
    "scipy",
]


def command(name: str) -> Any:
    return GROUP.commands[name]


def test_the_commands_are_these() -> None:
    assert list(GROUP.commands) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_its_help_is_one_sentence(name: str, cli: Cli) -> None:
    text = " ".join((command(name).help or "").split())
    assert re.fullmatch(r"[A-Z][^.]{10,120}\.", text), text
    shown = cli(name, "--help")
    assert shown.code == 0
    assert "Example: perdure" in shown.out
    assert shown.err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_its_example_can_be_copied(name: str) -> None:
    example = (command(name).epilog or "").removeprefix("Example: ")
    program, called, *arguments = shlex.split(example)
    assert (program, called) == ("perdure", name)
    with command(name).make_context(name, arguments) as context:
        assert context.args == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    options = [p for p in command(name).params if p.param_type_name == "option"]
    if name != "worker":  # which works until it is ended, and gives no result
        assert "--json" in {text for option in options for text in option.opts}
    for option in options:
        assert option.help, option.opts
    if name not in {"init", "demo", "restore"}:
        assert "--workspace" in {text for option in options for text in option.opts}


def test_the_exit_codes_stand_in_the_help(cli: Cli) -> None:
    shown = " ".join(cli("--help").out.split())
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in shown


def test_help_and_version_import_nothing_heavy() -> None:
    code = (
        "import sys; from perdure.cli import app; sys.argv = ['perdure', sys.argv[1]]\n"
        "try: app.main()\nexcept SystemExit as e: assert not e.code\n"
        f"assert not [m for m in {HEAVY} if m in sys.modules], 'heavy'"
    )
    for argument in ("--help", "--version"):
        subprocess.run(
            [sys.executable, "-c", code, argument], check=True, capture_output=True, timeout=60
        )


@pytest.mark.parametrize("argument", ["", "frobnicate", "--frobnicate"])
def test_what_is_no_command_is_wrong_use(cli: Cli, argument: str) -> None:
    result = cli(*argument.split())
    assert result.code == (2 if argument else result.code)
    assert "Traceback" not in result.err + result.out
    assert "perdure" in result.err + result.out
