"""`resources.processes`: a whole retraining of several processes, and one of them killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.errors import Fault
from perdure.flows import status
from perdure.flows.reproduce import reproduce
from perdure.flows.retrain import retrain
from tests.promises import kit

MODEL = """
import os, pathlib, signal
from torch import nn

class Mortal(nn.Sequential):
    def forward(self, x):
        if self.training and os.environ.get("RANK") == "1" and DIES.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)

DIES = pathlib.Path(__file__).with_name("dies")

def make(inputs, outputs):
    return Mortal(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, outputs))
"""


def configure(root: Path, processes: int) -> None:
    """A model of the user's own, and so many processes."""
    kit.configure(root, more=f"\n[resources]\nprocesses = {processes}\n")
    settings = (root / "perdure.toml").read_text()
    own = settings.replace("parameters = { hidden = [8] }", 'factory = "model.py:make"')
    assert own != settings
    (root / "perdure.toml").write_text(own)
    kit.git(root, "commit", "--quiet", "--all", "-m", "test: processes")


@pytest.mark.timeout(600)  # processes that each import torch, and another load
def test_a_retraining_of_two_processes_goes_on_where_one_of_them_died(tmp_path: Path) -> None:
    root = kit.make(tmp_path / "workspace")
    (root / "model.py").write_text(MODEL)
    kit.git(root, "add", "model.py")
    configure(root, processes=1)
    assert [one.version for one in retrain.fn(str(root)).learned] == [1]
    before = kit.picture(root)
    configure(root, processes=2)

    (experience,) = kit.ingest(root, kit.table(2))
    (root / "dies").touch()
    with pytest.raises(Fault, match=r"process 1 of 2, .* was ended by SIGKILL"):
        retrain.fn(str(root))
    after = kit.picture(root)
    assert (after["versions"], after["aliases"]) == (before["versions"], before["aliases"])
    assert after["held"] == {}

    (root / "dies").unlink()
    (learned,) = retrain.fn(str(root)).learned
    assert (learned.experience, learned.version) == (experience, 2)
    registry = kit.registry(root)
    version = registry.version(2)
    assert (version.parent, version.processes, len(version.cursor)) == (1, 2, 2)
    assert registry.version(1).processes == 1
    assert "processes" not in registry.run(registry.version(1)).environment
    assert registry.run(version).environment["processes"] == "2"
    assert registry.run(version).configuration["processes"] == 2
    assert status.show(str(root), 2)["processes"] == 2

    # As many processes give the same bits again.
    configure(root, processes=1)
    again = reproduce(str(root), 2)
    assert (again.outcome, again.configuration) == ("same", "as committed then")
