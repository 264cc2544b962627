"""The command line in this process, and a workspace with a past to look at."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from perdure.cli import app
from perdure.flows.ingest import ingest
from perdure.flows.retrain import retrain
from perdure.flows.rollback import rollback
from tests.promises import kit
from tests.promises.journey import Completed

Cli = Callable[..., Completed]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`cli("status", "--json")`: what the command says, and its exit code."""

    def run(*arguments: str | Path) -> Completed:
        monkeypatch.setattr(sys, "argv", ["perdure", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.main()
        output = capsys.readouterr()
        return Completed(int(ended.value.code or 0), output.out, output.err)

    return run


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """With one experience of 120 rows, pending."""
    return kit.make(tmp_path / "workspace")


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions promoted, a third refused, a file quarantined, a rollback; to be looked at.

    Experience 1 is learned by the champion, 2 held after the rollback, 3 held by a gate, and
    4 is pending.
    """
    root = kit.make(tmp_path_factory.mktemp("lived") / "workspace")
    kit.ingest(root, kit.table(2))
    retrain.fn(str(root))
    kit.configure(root, past="0.2")
    kit.ingest(root, kit.turned(3, 240))
    retrain.fn(str(root))
    kit.arrive(root, "broken.csv", kit.table(5).replace("a,b,", "a,c,"))
    kit.arrive(root, "partly.csv", kit.partly(4))
    ingest.fn(str(root))
    rollback.fn(str(root), reason="complaints")
    kit.arrive(root, "waiting.csv", kit.table(6))
    return root
