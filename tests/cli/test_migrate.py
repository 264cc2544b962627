"""`perdure migrate`: what a person sees, and what a program reads."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Cli


def test_what_would_be_copied_what_was_and_what_is_refused(
    cli: Cli, lived: Path, tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path / 'team.db'}"
    result = cli("migrate", "--to", uri, "-w", lived)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == f"From sqlite:///{lived / '.perdure' / 'mlflow.db'}"
    assert lines[1] == f"To   {uri}"
    assert lines[2].startswith("3 versions (")
    assert lines[2].endswith(" of the history would be copied; nothing was changed.")
    assert lines[3] == "To do it: the same command with --yes"
    assert not (tmp_path / "team.db").exists()

    result = cli("migrate", "--to", uri, "--yes", "-w", lived)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[2].startswith("Copied and compared: 3 versions (")
    assert lines[2].endswith(" Version 1 is the champion.")
    assert lines[4:7] == [r"  [tracking]", f'  uri = "{uri}"', "  in perdure.toml"]
    assert lines[7].startswith("→ then perdure verify")

    again = cli("migrate", "--to", uri, "--yes", "-w", lived)
    assert again.code == 2
    assert "has the whole copy of the model small already" in again.err
    wrong = cli("migrate", "--to", "http://admin:hunter2@127.0.0.1:1", "-w", lived)
    assert wrong.code == 5
    assert "hunter2" not in wrong.err
