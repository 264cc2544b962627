"""Evaluation: the budget, the metrics against plain formulas, and what was forgotten."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.records import Comparison, Matrix, Predicted
from perdure.tasks import evaluation
from perdure.tasks.evaluation import comparing
from perdure.tasks.evaluation.scores import Groups
from perdure.tasks.gates import findings


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


def test_all_metrics_are_those_of_scikit_learn() -> None:
    from sklearn import metrics

    chance = np.random.default_rng(0)
    for _ in range(40):
        rows, classes = chance.integers(1, 60), chance.integers(2, 6)
        truth = chance.integers(0, classes, rows)
        outputs = chance.dirichlet(np.ones(classes), rows)
        named, present = outputs.argmax(axis=1), np.unique(truth)
        scored = evaluation.score("classification", truth, outputs)
        recall = metrics.recall_score(
            truth, named, labels=present, average="macro", zero_division=0
        )
        assert scored["balanced_accuracy"] == pytest.approx(recall)
        seen = np.union1d(present, np.unique(named))
        f1 = metrics.f1_score(truth, named, labels=seen, average="macro", zero_division=0)
        assert scored["macro_f1"] == pytest.approx(f1)
        values = chance.normal(size=rows + 1)
        guess = values + chance.normal(size=rows + 1)
        r2 = evaluation.score("regression", values, guess)["r2"]
        assert r2 == pytest.approx(metrics.r2_score(values, guess))


@given(st.integers(0, 2**32 - 1))
def test_each_experience_is_scored_as_if_alone(seed: int) -> None:
    chance = np.random.default_rng(seed)
    owners = np.sort(chance.integers(0, 5, 40)).astype(str)
    truth, outputs = chance.integers(0, 3, 40), chance.dirichlet(np.ones(3), 40)
    found = evaluation.measure("classification", truth, outputs, owners.tolist(), owners[-1])
    for name in np.unique(owners):
        alone = evaluation.score("classification", truth[owners == name], outputs[owners == name])
        assert found.by_experience[name] == pytest.approx(alone)


def two_models(
    task: str, rows: int, chance: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A truth, and the outputs of two models that have much in common."""
    if task == "regression":
        values, common = chance.normal(1, 3, rows), chance.normal(0, 1, rows)
        first, second = (values + common + chance.normal(0, s, rows) for s in (0.3, 0.6))
        return values, first, second
    truth = chance.choice(4, rows, p=[0.5, 0.3, 0.15, 0.05])
    shared = chance.normal(size=(rows, 4)) + 1.5 * np.eye(4)[truth]
    one, other = (np.exp(shared + s * chance.normal(size=(rows, 4))) for s in (0.5, 0.7))
    return truth, one / one.sum(axis=1, keepdims=True), other / other.sum(axis=1, keepdims=True)


METRICS = [
    *(
        ("classification", name)
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "log_loss")
    ),
    *(("regression", name) for name in ("mae", "rmse", "r2")),
]


@pytest.mark.parametrize(("task", "metric"), METRICS)
def test_standard_errors_are_those_of_the_bootstrap(task: Any, metric: str) -> None:
    chance = np.random.default_rng(5)
    truth, one, other = two_models(task, 1_000, chance)
    weights = chance.choice([1.0, 0.5, 0.25], len(truth))

    def difference(rows: np.ndarray) -> Comparison:
        return comparing.paired(
            metric, truth[rows], one[rows], other[rows], Groups.one(weights[rows])
        )

    found = difference(np.arange(len(truth)))
    drawn = [difference(chance.integers(0, 1_000, 1_000)).difference for _ in range(400)]
    assert found.standard_error == pytest.approx(np.std(drawn), rel=0.15)
    assert found.rows == pytest.approx(weights.sum() ** 2 / np.square(weights).sum())


@pytest.mark.parametrize(("task", "metric"), METRICS)
@pytest.mark.parametrize("rows", [60, 400])
def test_intervals_cover_the_true_difference(task: Any, metric: str, rows: int) -> None:
    chance = np.random.default_rng(6)
    whole = comparing.paired(
        metric, *two_models(task, 400_000, chance), Groups.one(np.ones(400_000))
    ).difference
    above = below = 0
    for _ in range(600):
        found = comparing.paired(metric, *two_models(task, rows, chance), Groups.one(np.ones(rows)))
        quantile = findings.quantile(0.95, found.degrees)
        above += whole > found.centre + quantile * found.standard_error
        below += whole < found.centre - quantile * found.standard_error
    # 5 % is stated; four standard errors of 600 draws are 3.6 %.
    assert above <= 0.086 * 600
    assert below <= 0.086 * 600


def test_the_interval_of_accuracy_is_that_of_bonett_and_price() -> None:
    truth = np.zeros(73, dtype=int)
    one, other = (
        np.eye(2)[(np.arange(73) < 4).astype(int)],
        np.eye(2)[(np.arange(73) > 70).astype(int)],
    )
    found = comparing.paired("accuracy", truth, one, other, Groups.one(np.ones(73)))
    ours, theirs = (2 + 1) / 75, (4 + 1) / 75
    assert found.difference == pytest.approx((2 - 4) / 73)
    assert found.centre == pytest.approx(ours - theirs)
    assert found.standard_error == pytest.approx(
        np.sqrt((ours + theirs - (ours - theirs) ** 2) / 75)
    )


def test_no_disagreement_on_few_rows_is_no_certainty() -> None:
    truth, outputs = np.array([0, 1] * 10), np.eye(2)[[0, 1] * 10]
    found = comparing.paired("accuracy", truth, outputs, outputs, Groups.one(np.ones(20)))
    assert found.difference == 0
    assert found.standard_error > 0.06
    alone = comparing.paired(
        "mae", np.array([1.0]), np.array([2.0]), np.array([1.0]), Groups.one(np.ones(1))
    )
    assert np.isinf(alone.standard_error)


def test_past_weighs_what_is_recent_more() -> None:
    truth = np.zeros(300, dtype=int)
    owners = ["a"] * 100 + ["b"] * 100 + ["c"] * 100
    good, bad = np.eye(2)[np.zeros(300, dtype=int)], np.eye(2)[np.ones(300, dtype=int)]
    forgets = np.where(np.array(owners)[:, None] == "a", bad, good)

    def past(half_life: float) -> Comparison:
        found = evaluation.compare(
            "classification", "accuracy", truth, forgets, good, owners, "c", half_life=half_life
        )
        return found["past"]

    assert past(np.inf).difference == pytest.approx(-1 / 2)
    assert past(1).difference == pytest.approx(-1 / 3)
    assert past(np.inf).rows == pytest.approx(200)
    assert past(1).rows == pytest.approx(150**2 / 125)


def test_rows_lost_and_calibration_by_hand() -> None:
    truth = np.array([0, 0, 1, 1])
    ours = np.array([[0.9, 0.1], [0.3, 0.7], [0.4, 0.6], [0.2, 0.8]])
    theirs = np.array([[0.9, 0.1], [0.6, 0.4], [0.9, 0.1], [0.2, 0.8]])
    found = evaluation.compare(
        "classification", "accuracy", truth, ours, theirs, ["a"] * 4, "a", half_life=np.inf
    )
    assert found["lost"].candidate == pytest.approx(1 / 4)
    assert found["lost"].difference == pytest.approx(-1 / 4)
    # Bins of a fifteenth: 0.9, 0.7, 0.6 and 0.8 lie in four of them.
    assert found["calibration"].candidate == pytest.approx((0.1 + 0.7 + 0.4 + 0.2) / 4)
    assert found["calibration"].champion == pytest.approx((2 * 0.4 + 0.4 + 0.2) / 4)
    assert "past" not in found
    assert evaluation.predicted(truth, ours, theirs) == Predicted(2, 2, 2, 2)
