"""`perdure prune`: what a person sees, and what a program reads."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Cli


def test_what_would_go_and_why_the_rest_stays(cli: Cli, lived: Path) -> None:
    result = cli("prune", "--keep", "1", "--keep-days", "0", "-w", lived)
    assert (result.code, result.err) == (0, "")
    assert "why it stays" in result.out
    assert "has the alias" in result.out
    assert "nothing was changed" in result.out
    assert "perdure prune -w" in result.out or "perdure prune --yes" in result.out
    value = json.loads(cli("prune", "--keep-days", "0", "--keep", "1", "--json", "-w", lived).out)
    assert value["removed"] is False
    assert sorted(one["version"] for one in value["goes"] + value["stays"]) == [1, 2, 3]
    assert value["size"] == sum(one["size"] for one in value["goes"]) > 0
    assert all(one["size"] is None for one in value["stays"])
    assert cli("show", "2", "-w", lived).code == 0
    assert "Nothing would go." in cli("prune", "-w", lived).out


def test_wrong_numbers(cli: Cli, lived: Path) -> None:
    for option in (("--keep", "0"), ("--keep-days", "-1")):
        assert cli("prune", *option, "-w", lived).code == 2
