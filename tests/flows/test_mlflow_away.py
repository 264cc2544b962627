"""MLflow goes away after a training, before its version is registered: no training is lost."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest

from perdure.errors import Unreachable
from perdure.flows.retrain import retrain
from perdure.tasks import trained
from tests.promises import kit
from tests.tasks.server_kit import Server

MINE = """
import os, signal, time
from pathlib import Path

def ends_the_server(truth, candidate, champion, rows):
    note = Path(__file__).with_name("server.pid")
    if note.exists():
        os.killpg(int(note.read_text()), signal.SIGKILL)
        note.unlink()
    return {"value": 1, "passed": True}
"""
"""The gates are asked between the training and the first write to MLflow."""


def test_a_trained_learner_waits_on_disk_until_it_is_registered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mlflow").mkdir()
    server = Server(tmp_path / "mlflow")
    try:
        server.wait()
        gate = '[[gates.own]]\nfactory = "mine.py:ends_the_server"\n'
        tracking = f'[tracking]\nuri = "{server.uri}"\n'
        root = kit.make(tmp_path / "workspace", rows=60, more=gate + tracking)
        (root / "mine.py").write_text(MINE)
        (root / "server.pid").write_text(str(server.process.pid))
        with pytest.raises(Unreachable):
            retrain.fn(str(root))
    finally:
        server.stop()

    [note] = (root / ".perdure" / "trained").glob("*/candidate.json")
    kept = json.loads(note.read_text())
    damaged = tmp_path / "damaged"
    shutil.copytree(note.parent, damaged)
    weights = damaged / "version" / "learner" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert trained.find(damaged, damaged / "version" / "learner") is None
    assert list(damaged.rglob("*.safetensors")) == []

    again = Server(tmp_path / "mlflow", server.port)
    try:
        again.wait()
        with caplog.at_level(logging.INFO, logger="perdure"):
            [learned] = retrain.fn(str(root)).learned
        assert (learned.version, learned.promoted) == (1, True)
        assert "trained already by an earlier try" in caplog.text
        version = kit.registry(root).version(1)
        assert version.weights_sha256 == kept["weights_sha256"]
        assert version.state_sha256 == kept["state_sha256"]
        assert not (root / ".perdure" / "trained").exists()
    finally:
        again.stop()
