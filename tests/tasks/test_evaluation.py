"""Evaluation: the budget, the metrics against plain formulas, and what was forgotten."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.records import Matrix
from perdure.tasks import evaluation


def frame(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"x": rng.normal(size=rows)}), rng.integers(0, 2**63, rows, dtype=np.uint64)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.integers(100, 200))
def test_the_rows_stay_within_the_budget(sizes: list[int], budget: int) -> None:
    rows = None
    for number, size in enumerate(sizes):
        rows = evaluation.rows(rows, *frame(size, number), f"{number:06}", budget)
    assert rows is not None
    assert len(rows) <= budget
    share = budget // len(sizes)
    kept = rows.groupby(evaluation.EXPERIENCE).size().to_dict()
    assert kept == {f"{n:06}": min(size, share) for n, size in enumerate(sizes)}


def test_the_kept_rows_do_not_depend_on_the_way_there() -> None:
    parts = [frame(50, n) for n in range(4)]
    small = large = None
    for number, (data, keys) in enumerate(parts):
        large = evaluation.rows(large, data, keys, str(number), 10_000)
        small = evaluation.rows(small, data, keys, str(number), 100)
    assert small is not None
    assert large is not None
    for name, kept in small.groupby(evaluation.EXPERIENCE):
        all_keys = np.sort(large[large[evaluation.EXPERIENCE] == name][evaluation.KEY].to_numpy())
        assert set(kept[evaluation.KEY]) == set(all_keys[: len(kept)])


def test_classification_metrics_against_their_formulas() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2])
    outputs = np.array(
        [
            [0.8, 0.1, 0.1],
            [0.6, 0.3, 0.1],
            [0.2, 0.7, 0.1],
            [0.1, 0.8, 0.1],
            [0.5, 0.4, 0.1],
            [0.3, 0.3, 0.4],
        ]
    )
    scored = evaluation.score("classification", truth, outputs)
    assert scored["accuracy"] == pytest.approx(4 / 6)
    assert scored["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    f1 = [2 * 2 / (2 * 2 + 1 + 1), 2 * 1 / (2 * 1 + 1 + 1), 1.0]
    assert scored["macro_f1"] == pytest.approx(np.mean(f1))
    expected = -np.mean(np.log([0.8, 0.6, 0.2, 0.8, 0.4, 0.4]))
    assert scored["log_loss"] == pytest.approx(expected)


def test_a_batch_of_one_class_has_its_metrics() -> None:
    scored = evaluation.score(
        "classification", np.array([1, 1]), np.array([[0.4, 0.6], [0.9, 0.1]])
    )
    assert scored["balanced_accuracy"] == pytest.approx(0.5)
    assert all(np.isfinite(value) for value in scored.values())


def test_regression_metrics_against_their_formulas() -> None:
    truth, outputs = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0])
    scored = evaluation.score("regression", truth, outputs)
    assert scored["mae"] == pytest.approx(1.0)
    assert scored["rmse"] == pytest.approx(np.sqrt(5 / 3))
    assert scored["r2"] == pytest.approx(1 - 5 / np.sum((truth - truth.mean()) ** 2))
    assert np.isnan(evaluation.score("regression", np.array([2.0]), np.array([2.5]))["r2"])


def test_an_impossible_label_costs_much_but_not_everything() -> None:
    scored = evaluation.score("classification", np.array([1]), np.array([[1.0, 0.0]]))
    assert scored["log_loss"] == pytest.approx(-np.log(1e-12))


def test_past_pools_rows_and_average_averages_experiences() -> None:
    truth = np.array([0, 0, 0, 0, 1])
    outputs = np.eye(2)[[0, 0, 0, 1, 1]]
    result = evaluation.measure("classification", truth, outputs, ["a", "a", "a", "b", "c"], "c")
    assert result.past is not None
    assert result.past["accuracy"] == pytest.approx(3 / 4)
    assert result.new == {**result.by_experience["c"]}
    assert result.average["accuracy"] == pytest.approx((1 + 0 + 1) / 3)


MATRIX = Matrix(
    "accuracy",
    ("a", "b", "c"),
    ((0.9, None, None), (0.6, 0.8, None), (0.7, 0.5, 0.9)),
)


def test_forgetting_and_backward_transfer_by_hand() -> None:
    assert evaluation.forgetting(MATRIX) == pytest.approx(((0.9 - 0.7) + (0.8 - 0.5)) / 2)
    assert evaluation.backward_transfer(MATRIX) == pytest.approx(((0.7 - 0.9) + (0.5 - 0.8)) / 2)


def test_their_sign_turns_where_less_is_better() -> None:
    turned = Matrix("rmse", MATRIX.experiences, MATRIX.values)
    # The best that column a had was 0.6, and column b 0.8; now they are 0.7 and 0.5.
    assert evaluation.forgetting(turned) == pytest.approx(((0.7 - 0.6) + (0.5 - 0.8)) / 2)
    assert evaluation.backward_transfer(turned) == pytest.approx(0.25)


def test_nothing_is_forgotten_at_first() -> None:
    first = Matrix("accuracy", ("a",), ((0.9,),))
    assert evaluation.forgetting(first) is None
    assert evaluation.backward_transfer(first) is None


def test_the_matrix_grows_within_its_window() -> None:
    matrix = None
    for number in range(5):
        names = [str(n) for n in range(number + 1)]
        measured = evaluation.measure(
            "classification",
            np.zeros(number + 1, dtype=int),
            np.eye(2)[[0] * (number + 1)],
            names,
            names[-1],
        )
        matrix = evaluation.extend(matrix, "accuracy", measured, names[-1], window=3)
    assert matrix is not None
    assert matrix.experiences == ("2", "3", "4")
    assert matrix.values == ((1.0, None, None), (1.0, 1.0, None), (1.0, 1.0, 1.0))


def test_a_matrix_of_another_metric_begins_anew() -> None:
    measured = evaluation.measure("classification", np.array([0]), np.eye(2)[[0]], ["d"], "d")
    assert evaluation.extend(MATRIX, "log_loss", measured, "d", 10).experiences == ("d",)


def test_the_constant_prediction_is_the_baseline() -> None:
    truth = np.array([0, 0, 1])
    outputs = evaluation.constant("classification", truth, 2)
    assert evaluation.score("classification", truth, outputs)["accuracy"] == pytest.approx(2 / 3)
    assert evaluation.constant("regression", np.array([1.0, 3.0]), 1).tolist() == [2.0, 2.0]
