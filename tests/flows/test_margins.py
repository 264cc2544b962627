"""Default margins in a real retraining: the unit of the target decides nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perdure.flows.ingest import ingest
from perdure.flows.initialise import initialise
from perdure.flows.retrain import retrain
from perdure.flows.status import show
from tests.promises import kit

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own use of pandas warns


def prices(seed: int, rows: int, more: float = 0.0) -> str:
    """Prices in the thousands, with a standard deviation of 1,400; `more` is added to each."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, rows))
    price = 5_000 + 1_000 * (a + b) + 20 * rng.normal(size=rows) + more
    lines = [f"{x:.3f},{y:.3f},{p:.1f}" for x, y, p in zip(a, b, price, strict=True)]
    return "\n".join(["a,b,price", *lines]) + "\n"


@pytest.mark.parametrize("written", ["", "past_margin = 0.02\n"])
def test_a_harmless_file_is_learned_whatever_the_unit(tmp_path: Path, written: str) -> None:
    """Prices 4 % of a standard deviation higher: some 10 more of error on the earlier rows."""
    root, first = tmp_path / "w", tmp_path / "first.csv"
    first.write_text(prices(1, 2_000))
    initialise(root, first, "price", name="price")
    path = root / "perdure.toml"
    text = path.read_text()
    assert text.count("\n[gates]") == 1
    head, _, tail = text.partition("\n[gates]")
    gates = tail.partition("\n")
    path.write_text(
        f'{head}\n[evaluation]\nmetric = "mae"\n\n[gates]{gates[0]}\n{written}{gates[2]}'
    )
    kit.git(root, "commit", "--quiet", "--all", "-m", "test: mae")
    kit.arrive(root, "second.csv", prices(101, 1_000, 60.0))
    ingest.fn(str(root))
    _, second = retrain.fn(str(root)).learned

    [past] = [one for one in show(str(root), 2)["findings"].reasons if one.gate == "past"]
    assert past.champion is not None
    assert past.high is not None
    assert past.value > past.champion
    assert past.high < -0.02  # in the unit of the target any difference is too much
    if written:
        assert not second.promoted
        assert past.answer == "refused"
        assert past.message.endswith("[gates] past_margin = 0.02")
    else:
        assert second.promoted
        assert past.answer == "passed"
        assert "0.02 of what a constant prediction reaches)" in past.message
        assert past.limit is not None
        assert 20 < past.limit - past.champion < 28
