"""The e-process: false alarms however often it is looked at, rows that it needs, and losses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from perdure.records import Evidence
from perdure.tasks import evidence

ALPHA = 0.05
STREAMS, LOOKS, BATCH = 1000, 60, 50

Rows = NDArray[np.float64]


def differences(
    chance: np.random.Generator, shape: Any, better: float, disagree: float = 0.15
) -> Rows:
    """The loss of one model less that of another, each 0 or 1.

    They disagree on a share of the rows; the other's mean loss is lower by `better`.
    """
    drawn = chance.random(shape)
    wins, losses = (disagree + better) / 2, (disagree - better) / 2
    return np.where(drawn < wins, 1.0, np.where(drawn < wins + losses, -1.0, 0.0))


def ever_shown(streams: Rows, margin: float = 0.0) -> NDArray[np.bool_]:
    """Of `(streams, looks, batch)` differences: whether a look after any batch shows it."""
    found = np.zeros(len(streams), dtype=bool)
    for number, batches in enumerate(streams):
        state = Evidence()
        for batch in batches:
            state = evidence.collect(state, batch, margin)
            if evidence.shows(state, ALPHA):
                found[number] = True
                break
    return found


def rows_needed(better: float, streams: int, most: int, margin: float = 0.0) -> NDArray[np.int64]:
    """Rows after which each stream shows it, looked at after every ten; `most`: it does not."""
    chance = np.random.default_rng(7)
    found = np.full(streams, most)
    for number in range(streams):
        state = Evidence()
        for batch in differences(chance, (most // 10, 10), better):
            state = evidence.collect(state, batch, margin)
            if evidence.shows(state, ALPHA):
                found[number] = state.rows
                break
    return found


@given(st.data())
def test_the_order_of_the_rows_and_the_cutting_into_batches_do_not_matter(
    data: st.DataObject,
) -> None:
    values = data.draw(st.lists(st.floats(-1, 1), min_size=1, max_size=60))
    margin = data.draw(st.sampled_from([0.0, 0.01, 0.2]))
    at_once = evidence.collect(Evidence(), np.array(values), margin)
    other = data.draw(st.permutations(values))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=5)))
    state = Evidence()
    for batch in np.split(np.array(other), cuts):
        state = evidence.collect(state, batch, margin)
    assert state.rows == at_once.rows == len(values)
    assert state.experiences == len(cuts) + 1
    assert state.difference == pytest.approx(np.mean(values), abs=1e-9)
    assert state.log_wealth == pytest.approx(at_once.log_wealth, abs=1e-6)
    assert evidence.shows(state, 0.5) == evidence.shows(at_once, 0.5) or (
        at_once.log_e == pytest.approx(math.log(2), abs=1e-6)
    )


def test_before_the_first_row_there_is_no_evidence() -> None:
    assert Evidence().log_e == 0.0
    assert not evidence.shows(Evidence(), ALPHA)
    nothing = evidence.collect(Evidence(), np.array([]))
    assert nothing.rows == 0
    assert nothing.log_e == pytest.approx(0.0, abs=1e-12)


def test_the_worst_rows_are_not_the_ruin() -> None:
    """At the largest margin every bet keeps something, so that later rows may win it back."""
    state = evidence.collect(Evidence(), -np.ones(500), 0.2499)
    assert all(math.isfinite(one) for one in state.log_wealth)
    again = evidence.collect(state, np.ones(5000), 0.2499)
    assert evidence.shows(again, ALPHA)


@pytest.mark.parametrize(("better", "margin"), [(0.0, 0.0), (0.01, 0.01)])
def test_false_alarms_over_the_whole_life_stay_below_what_is_stated(
    better: float, margin: float
) -> None:
    """Equal models, and one that is better by exactly the margin; a look after every batch."""
    chance = np.random.default_rng(20261128)
    streams = differences(chance, (STREAMS, LOOKS, BATCH), better, disagree=0.10)
    false = ever_shown(streams, margin).mean()
    assert 0.0 < false <= ALPHA


def test_a_test_of_each_look_by_itself_exceeds_it() -> None:
    """The negative control: a z-test of all rows so far, at the same level, at each look."""
    chance = np.random.default_rng(20261128)
    streams = differences(chance, (STREAMS, LOOKS, BATCH), 0.0, disagree=0.10)
    rows = np.arange(1, LOOKS + 1) * BATCH
    totals = streams.sum(axis=2).cumsum(axis=1)
    squares = (streams**2).sum(axis=2).cumsum(axis=1)
    z = totals / np.sqrt(np.maximum(squares - totals**2 / rows, 1e-9))
    assert (z > 1.645).any(axis=1).mean() > 3 * ALPHA


def test_rows_until_a_difference_shows() -> None:
    """With models that disagree on 15 % of the rows."""
    needed = rows_needed(0.05, 200, 4000)
    assert 400 <= np.median(needed) <= 900
    assert np.median(rows_needed(0.10, 200, 4000)) <= 250
    assert (rows_needed(0.02, 40, 12000) < 12000).mean() >= 0.9


def test_a_margin_must_be_exceeded() -> None:
    assert (rows_needed(0.05, 40, 6000, margin=0.01) < 6000).all()
    assert (rows_needed(0.05, 40, 6000, margin=0.08) == 6000).all()


def test_losses_of_classes() -> None:
    truth = np.array([0, 1, 1, 0])
    outputs = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [np.nan, np.nan]], dtype=np.float32)
    accuracy = evidence.losses("classification", "accuracy", truth, outputs)
    assert accuracy.tolist() == [0, 0, 1, 1]
    nats = evidence.losses("classification", "log_loss", truth, outputs)
    wanted = [-math.log(p) / 5 for p in (0.9, 0.6, 0.2)]
    assert nats.tolist() == pytest.approx([*wanted, 1.0], abs=1e-6)


def test_a_probability_of_nothing_is_the_largest_loss() -> None:
    outputs = np.array([[1.0, 0.0], [0.995, 0.005], [0.0, 1.0], [np.inf, 0.0], [0.0, np.inf]])
    truth = np.array([1, 1, 1, 1, 1])
    found = evidence.losses("classification", "log_loss", truth, outputs)
    assert found.tolist() == [1.0, 1.0, 0.0, 1.0, 1.0]
    found = evidence.losses("classification", "accuracy", truth, outputs)
    assert found.tolist() == [1.0, 1.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1"])
def test_each_class_counts_alike_where_the_metric_does(metric: str) -> None:
    truth = np.array([0] * 8 + [1] * 2)
    always = np.tile([1.0, 0.0], (10, 1))
    never = always[:, ::-1]
    one = evidence.losses("classification", metric, truth, always)
    other = evidence.losses("classification", metric, truth, never)
    assert one.tolist() == [0.0] * 8 + [1.0] * 2
    assert other.tolist() == pytest.approx([0.25] * 8 + [0.0] * 2)
    assert one.sum() == pytest.approx(other.sum())


def test_a_class_that_no_row_has_takes_no_weight() -> None:
    truth = np.array([0, 0, 2])
    found = evidence.losses("classification", "balanced_accuracy", truth, np.eye(3)[[1, 1, 1]])
    assert found.tolist() == [0.5, 0.5, 1.0]


@pytest.mark.parametrize(("metric", "power"), [("mae", 1), ("rmse", 2), ("r2", 2)])
def test_losses_of_values(metric: str, power: int) -> None:
    """In standard deviations of the target, of which an error counts two at most."""
    truth = np.array([0.0, 10.0, 0.0, 0.0, 0.0])
    outputs = np.array([10.0, 10.0, -500.0, np.nan, np.inf])
    found = evidence.losses("regression", metric, truth, outputs, spread=10.0)
    assert found.tolist() == [0.5**power, 0.0, 1.0, 1.0, 1.0]


def test_values_that_do_not_vary() -> None:
    found = evidence.losses("regression", "mae", np.zeros(2), np.array([0.5, 9.0]), spread=0.0)
    assert found.tolist() == [0.25, 1.0]


@given(st.data())
def test_a_loss_is_between_0_and_1(data: st.DataObject) -> None:
    metric = data.draw(st.sampled_from(["accuracy", "balanced_accuracy", "macro_f1", "log_loss"]))
    rows = data.draw(st.integers(1, 20))
    truth = np.array(data.draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows)))
    cells = st.floats(0, 1) | st.just(math.nan)
    flat = data.draw(st.lists(cells, min_size=3 * rows, max_size=3 * rows))
    outputs = np.array(flat, dtype=np.float32).reshape(rows, 3)
    found = evidence.losses("classification", metric, truth, outputs)
    assert found.shape == (rows,)
    assert ((found >= 0) & (found <= 1)).all()
