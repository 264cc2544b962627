"""What an arriving experience shows, decided from predictions alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from perdure.config import Config, DataConfig, ModelConfig
from perdure.flows import arrival, tournament
from perdure.records import Entrant, Experience, Registered, Tournament, to_json
from tests.flows.test_decisions import BY, version


def test_an_r2_that_is_not_a_number_is_left_out_and_the_rows_are_evidence_all_the_same() -> None:
    """An experience whose target does not vary: a machine that stood still for a night."""
    settings = Config(
        model=ModelConfig(name="m"), data=DataConfig(target="load", task="regression")
    )
    first, second = version(1, ("000001-a",)), version(2, ("000001-a", "000002-b"), 1)
    now = Registered(second, second, None, None, {}, entrants={1: first})
    assert settings.metric == "r2"
    state, _ = tournament.enter(Tournament(2), Entrant(1, "contender"))
    truth = np.full(80, 3.0)
    outputs = {1: np.full(80, 3.1), 2: np.full(80, 3.1)}
    found, change = arrival.weigh(
        settings,
        now,
        state,
        Experience("000003-c", 3, "c", 80, "night.csv", Path()),
        arrival.Measured(truth, outputs),
        {1: first, 2: second},
        None,
        0.9,
        BY,
    )
    assert found.champion_value is None
    assert [one.value for one in found.standings] == [None]
    assert "NaN" not in json.dumps(to_json(found))
    assert change.tournament is not None
    # A constant predicts these rows without an error, so they tell who is better, not who is worse.
    [entrant] = change.tournament.entrants
    assert entrant.better.rows == 80
    assert change.events == ()
