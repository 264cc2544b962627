"""Gates are laws of numbers: three answers, and what each of them may rest on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.config import GatesConfig, SliceConfig, parse
from perdure.errors import ConfigError
from perdure.records import Answer, Evaluation, Reason, Verdict
from perdure.tasks import evaluation, gates


def evaluated(
    truth: np.ndarray,
    candidate: np.ndarray,
    champion: np.ndarray | None,
    owners: list[str] | None = None,
    *,
    metric: str = "accuracy",
    slices: Mapping[str, np.ndarray] | None = None,
) -> Evaluation:
    """What a learning step would measure of these outputs."""
    regression = metric in ("mae", "rmse", "r2")
    task: Any = "regression" if regression else "classification"
    names = owners if owners is not None else ["old"] * (len(truth) - 1) + ["new"]
    outputs = 1 if regression else candidate.shape[1]

    def of(one: np.ndarray) -> Any:
        return evaluation.measure(task, truth, one, names, names[-1])

    finite = np.isfinite(candidate).reshape(len(candidate), -1).all(axis=1)
    return evaluation.summarise(
        metric=metric,
        candidate=of(candidate),
        champion=None if champion is None else of(champion),
        baseline=of(evaluation.constant(task, truth, outputs)).average,
        prequential=None,
        earlier=None,
        newest=names[-1],
        window=10,
        rows_measured=len(truth),
        comparisons=evaluation.compare(
            task, metric, truth, candidate, champion, names, names[-1], half_life=10, slices=slices
        ),
        classes=None if regression else evaluation.predicted(truth, candidate, champion),
        not_finite=int((~finite).sum()),
    )


def outputs(right: np.ndarray, truth: np.ndarray, sure: float = 0.9) -> np.ndarray:
    """Probabilities of two classes that are right where asked."""
    named = np.where(right, truth, 1 - truth)
    return np.where(np.arange(2) == named[:, None], sure, 1 - sure)


def pair(
    rows: int, chance: np.random.Generator, *, worse: float = 0.0, apart: float = 0.1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A truth and two models that disagree on `apart` of the rows; one is worse by `worse`."""
    truth = chance.integers(0, 2, rows)
    theirs = chance.random(rows) < 0.8
    kind = chance.random(rows)
    ours = theirs.copy()
    # Of the rows that they disagree on, the candidate loses the larger part.
    ours[kind < apart] = False
    theirs[kind < apart] = True
    gains = kind < (apart - worse) / 2
    ours[gains], theirs[gains] = True, False
    return truth, outputs(ours, truth), outputs(theirs, truth)


def answers(verdict: Verdict) -> dict[str, Answer]:
    return {reason.gate: reason.answer for reason in verdict.reasons}


def named(verdict: Verdict, gate: str) -> Reason:
    [found] = [reason for reason in verdict.reasons if reason.gate == gate]
    return found


ORDER: dict[Answer, int] = {"refused": 0, "undecided": 1, "passed": 2}


@pytest.mark.parametrize("rows", [73, 200, 2_000])
def test_equal_models_are_rarely_refused(rows: int) -> None:
    chance = np.random.default_rng(rows)
    refused = 0
    for _ in range(400):
        verdict = gates.judge(evaluated(*pair(rows, chance)), GatesConfig())
        refused += named(verdict, "past").answer == "refused"
    assert refused <= 0.05 * 400


def test_harm_on_enough_rows_is_refused() -> None:
    chance = np.random.default_rng(1)
    refused = 0
    for _ in range(100):
        verdict = gates.judge(evaluated(*pair(2_000, chance, worse=0.06)), GatesConfig())
        refused += verdict.answer == "refused"
    assert refused >= 95


def test_what_detectable_says_is_refused_in_four_of_five_cases() -> None:
    chance = np.random.default_rng(2)
    shown = named(gates.judge(evaluated(*pair(1_000, chance)), GatesConfig()), "past").detectable
    assert shown is not None
    refused = 0
    for _ in range(300):
        models = pair(1_000, chance, worse=shown, apart=0.1)
        refused += named(gates.judge(evaluated(*models), GatesConfig()), "past").answer == "refused"
    assert 0.7 <= refused / 300 <= 0.9


def test_identical_models_pass_where_there_are_rows_enough() -> None:
    truth = np.arange(1_000) % 2
    model = outputs(np.arange(1_000) % 10 > 0, truth)
    assert gates.judge(evaluated(truth, model, model), GatesConfig()).answer == "undecided"
    half = ["old"] * 500 + ["new"] * 500
    verdict = gates.judge(evaluated(truth, model, model, half), GatesConfig())
    assert verdict.answer == "passed"
    few = gates.judge(evaluated(truth[:40], model[:40], model[:40]), GatesConfig())
    assert named(few, "past").answer == "undecided"


def test_a_turned_year_is_seen_by_the_past_gate_alone() -> None:
    chance = np.random.default_rng(3)
    truth = chance.integers(0, 2, 400)
    owners = ["old"] * 300 + ["turned"] * 100
    old = np.arange(400) < 300
    ours = outputs(np.where(old, chance.random(400) < 0.65, chance.random(400) < 0.45), truth)
    theirs = outputs(np.where(old, chance.random(400) < 0.8, chance.random(400) < 0.2), truth)
    verdict = gates.judge(evaluated(truth, ours, theirs, owners), GatesConfig())
    assert verdict.answer == "refused"
    assert not verdict.passed
    assert verdict.contends
    assert [gate for gate, answer in answers(verdict).items() if answer == "refused"] == ["past"]
    (refusal,) = verdict.refusals
    for part in (
        "past: accuracy 0.",
        "on 300 rows of earlier experiences (half-life 10 experiences)",
        "at least 0.",
        "champion: 0.",
        "difference -0.",
        "shown to be worse by more than the margin",
        "so many rows show a loss of 0.",
        "[gates] past_margin = 0.02",
    ):
        assert part in refusal


right = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=120)


@given(right, st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_a_better_candidate_never_fares_worse(
    rows: list[tuple[bool, bool]], data: st.DataObject, confidence: float
) -> None:
    truth = np.arange(len(rows)) % 2
    ours, theirs = np.array(rows, dtype=bool).T
    better = ours | np.array(
        data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    )
    settings = GatesConfig(floor=False, confidence=confidence)
    owners = ["old"] * len(rows) + ["new"]

    def judged(one: np.ndarray) -> dict[str, Answer]:
        more = np.append(truth, 0)
        candidate, champion = (outputs(np.append(m, True), more) for m in (one, theirs))
        return answers(gates.judge(evaluated(more, candidate, champion, owners), settings))

    before, after = judged(ours), judged(better)
    for gate in ("new", "past"):
        assert ORDER[after[gate]] >= ORDER[before[gate]]


@given(right, st.sampled_from(["accuracy", "balanced_accuracy", "macro_f1", "log_loss"]))
def test_nothing_better_than_the_champion_is_refused(
    rows: list[tuple[bool, bool]], metric: str
) -> None:
    truth = np.arange(len(rows)) % 2
    ours, theirs = (outputs(one, truth) for one in np.array(rows, dtype=bool).T)
    owners = ["old"] * len(rows)
    found = evaluated(truth, ours, theirs, [*owners[1:], "new"], metric=metric)
    for reason in gates.judge(found, GatesConfig()).reasons:
        if reason.difference is not None and reason.difference >= 0:
            assert reason.answer != "refused"


@pytest.mark.parametrize("metric", ["mae", "rmse"])
@pytest.mark.parametrize("seed", range(5))
def test_where_less_is_better_everything_turns_round(metric: str, seed: int) -> None:
    chance = np.random.default_rng(seed)
    truth = chance.normal(size=200)
    good, bad = (truth + s * chance.normal(size=200) for s in (0.5, 1.5))
    owners = ["old"] * 150 + ["new"] * 50
    settings = GatesConfig(floor=False)
    worse = gates.judge(evaluated(truth, bad, good, owners, metric=metric), settings)
    assert answers(worse) == {"new": "refused", "past": "refused"}
    assert "at most" in named(worse, "past").message
    better = gates.judge(evaluated(truth, good, bad, owners, metric=metric), settings)
    assert better.answer == "passed"
    limit, theirs = named(worse, "past").limit, named(worse, "past").champion
    assert limit is not None
    assert theirs is not None
    asked = theirs + 0.02 * evaluated(truth, good, None, owners, metric=metric).baseline[metric]
    assert limit == pytest.approx(asked)


@given(st.sampled_from(["mae", "rmse", "r2"]), st.integers(-6, 6), st.integers(0, 20))
def test_by_default_the_unit_of_the_target_decides_nothing(
    metric: str, power: int, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    truth = chance.normal(size=600)
    theirs = truth + 0.2 * chance.normal(size=600)
    ours = theirs + 0.05 * chance.normal(size=600)
    place, unit = np.arange(600), 10.0**power
    owners = ["old"] * 300 + ["new"] * 300
    settings = GatesConfig(slices=(SliceConfig(where="x == 1", name="s"),))

    def judged(unit: float) -> dict[str, Answer]:
        found = evaluated(
            unit * truth, unit * ours, unit * theirs, owners,
            metric=metric, slices={"s": place % 2 == 0},
        )  # fmt: skip
        return answers(gates.judge(found, settings))

    assert judged(unit) == judged(1.0)


def test_harm_in_the_thousands() -> None:
    """What is asked, from where, and that real harm is refused in any unit."""
    chance = np.random.default_rng(10)
    truth = 5_000 + 1_000 * chance.normal(size=800)
    theirs = truth + 200 * chance.normal(size=800)
    owners = ["old"] * 400 + ["new"] * 400
    little, much = theirs + np.sign(theirs - truth) * [[5], [100]]

    def judged(ours: np.ndarray, settings: GatesConfig) -> Verdict:
        return gates.judge(evaluated(truth, ours, theirs, owners, metric="mae"), settings)

    usual, in_unit = GatesConfig(), GatesConfig(past_margin=0.02, new_margin=0.1)
    assert judged(little, usual).answer == "passed"
    assert set(answers(judged(little, in_unit)).items()) >= {
        ("past", "refused"),
        ("new", "refused"),
    }
    past = named(judged(much, usual), "past")
    assert past.answer == "refused"
    constant = np.abs(truth - truth.mean()).mean()
    for part in (
        f"; margin {0.02 * constant:.4f}: 0.02 of what a constant prediction reaches)",
        "shown to be worse by more than the margin",
        "  [gates] past_margin",
    ):
        assert part in past.message
    assert judged(much, GatesConfig(past_margin=False, new_margin=120)).answer == "passed"
    written = named(judged(much, in_unit), "past").message
    assert "[gates] past_margin = 0.02" in written
    assert "constant" not in written


def test_without_a_champion_sanity_and_the_floor_stand() -> None:
    truth = np.arange(200) % 2
    verdict = gates.judge(evaluated(truth, outputs(truth == 0, truth), None), GatesConfig())
    assert answers(verdict) == {"sanity": "refused", "floor": "undecided"}
    good = gates.judge(evaluated(truth, outputs(truth < 2, truth), None), GatesConfig())
    assert answers(good) == {"sanity": "passed", "floor": "passed"}
    bad = gates.judge(
        evaluated(truth, outputs(np.arange(200) % 5 == 0, truth), None), GatesConfig()
    )
    assert answers(bad) == {"sanity": "passed", "floor": "refused"}


def test_a_useful_model_of_a_rare_class_is_not_refused_for_its_accuracy() -> None:
    truth = (np.arange(400) % 10 == 0).astype(int)
    # It finds most of the rare class, at the price of many false alarms.
    good = outputs(np.where(truth == 1, np.arange(400) % 40 > 0, np.arange(400) % 6 > 0), truth)
    found = evaluated(truth, good, None, ["old"] * 200 + ["new"] * 200)
    assert found.candidate.average["accuracy"] < found.baseline["accuracy"]
    assert named(gates.judge(found, GatesConfig()), "floor").answer == "passed"
    # A value that a person writes is one of the metric itself.
    asked = gates.judge(found, GatesConfig(floor=0.95))
    assert named(asked, "floor").metric == "accuracy"
    assert named(asked, "floor").answer == "refused"
    assert named(gates.judge(found, GatesConfig(floor=0.7)), "floor").answer == "passed"


def test_the_floor_refuses_nothing_that_the_champion_does_not_reach() -> None:
    truth = np.arange(400) % 2
    poor, poorer = (outputs(np.arange(400) % 10 < n, truth) for n in (4, 3))
    half = ["old"] * 200 + ["new"] * 200
    for floor in ("baseline", 0.9):
        settings = GatesConfig(floor=floor, new_margin=False, past_margin=False)
        verdict = gates.judge(evaluated(truth, poorer, poor, half), settings)
        assert named(verdict, "floor").answer == "passed"
        assert "does not reach it either" in named(verdict, "floor").message
        alone = gates.judge(evaluated(truth, poorer, None, half), settings)
        assert named(alone, "floor").answer == "refused"


@pytest.mark.parametrize("where", ["candidate", "champion"])
def test_not_a_number_is_no_model(where: str) -> None:
    truth = np.arange(200) % 2
    good = outputs(np.arange(200) % 10 > 0, truth)
    nothing = np.full((200, 2), np.nan)
    half = ["old"] * 100 + ["new"] * 100
    if where == "candidate":
        for champion in (good, nothing, None):
            verdict = gates.judge(evaluated(truth, nothing, champion, half), GatesConfig())
            assert named(verdict, "sanity").answer == "refused"
            assert not verdict.contends
            assert "200 of 200 test rows" in verdict.refusals[0]
    else:
        verdict = gates.judge(
            evaluated(truth, good, nothing, half, metric="log_loss"), GatesConfig()
        )
        assert verdict.answer == "passed"
        assert "the champion's is not a number" in named(verdict, "past").message


def test_right_for_one_class_only() -> None:
    # As of a table with 0.3 % of a class: 3 of 1,001 test rows.
    truth = np.zeros(1_001, dtype=int)
    truth[:3] = 1
    never = outputs(truth == 0, truth)
    verdict = gates.judge(evaluated(truth, never, None), GatesConfig())
    assert verdict.answer == "refused"
    assert verdict.contends  # what arrives next may show that it is right
    (refusal,) = verdict.refusals
    for part in (
        "of 1,001 test rows only those of one class",
        "3 are of another",
        "no better than a constant",
        "balanced",
    ):
        assert part in refusal
    # One that names the class, on the wrong rows, is right no more often than a constant.
    beside = outputs((truth == 0) & (np.arange(1_001) != 500), truth)
    assert not gates.judge(evaluated(truth, beside, None), GatesConfig()).passed
    # With a champion that does the same, or worse than a constant, it does not stop the learner.
    assert gates.judge(evaluated(truth, never, never), GatesConfig()).passed
    silly = outputs((truth == 0) & (np.arange(1_001) % 2 == 0), truth)
    assert gates.judge(evaluated(truth, never, silly), GatesConfig()).passed
    finds = outputs(np.ones(1_001, dtype=bool), truth)
    assert not gates.judge(evaluated(truth, never, finds), GatesConfig()).passed
    # Rows are wanting: one of two rows of another class may be missed by a good model too.
    few = np.array([1, 1] + [0] * 38)
    tiny = gates.judge(evaluated(few, outputs(few == 0, few), None), GatesConfig())
    assert named(tiny, "sanity").answer == "passed"
    assert "too few" in named(tiny, "sanity").message
    # Probabilities are not one class, where they are what counts.
    proper = gates.judge(evaluated(truth, never, None, metric="log_loss"), GatesConfig())
    assert "sanity" not in answers(proper)


def sliced(rows: int, worse: int, slices: int, chance: np.random.Generator) -> Verdict:
    """Of some slices of equal size the candidate is worse on the first `worse`."""
    truth = chance.integers(0, 2, rows * slices)
    place = np.arange(rows * slices) // rows
    theirs = chance.random(rows * slices) < 0.8
    ours = np.where(place < worse, chance.random(rows * slices) < 0.6, theirs)
    titles = [f"s{n}" for n in range(slices)]
    found = evaluated(
        truth,
        outputs(ours, truth),
        outputs(theirs, truth),
        slices={title: place == n for n, title in enumerate(titles)},
    )
    settings = GatesConfig(
        floor=False,
        new_margin=False,
        past_margin=False,
        slices=tuple(SliceConfig(where=f"place == {n}", name=f"s{n}") for n in range(slices)),
    )
    return gates.judge(found, settings)


def test_the_worst_slice() -> None:
    chance = np.random.default_rng(4)
    verdict = sliced(400, 1, 5, chance)
    refused = [gate for gate, answer in answers(verdict).items() if answer == "refused"]
    assert refused == ["slice s0"]
    assert "one of 5 slices" in verdict.refusals[0]
    few = sliced(6, 1, 5, chance)
    assert few.answer == "passed"
    assert "too few rows to decide, so it refuses nothing" in named(few, "slice s1").message
    assert "shown not to be" not in named(few, "slice s1").message


def test_many_slices_do_not_make_a_refusal_likely() -> None:
    chance = np.random.default_rng(5)
    refused = 0
    for _ in range(200):
        truth = chance.integers(0, 2, 2_000)
        ours, theirs = (outputs(chance.random(2_000) < 0.8, truth) for _ in range(2))
        place = np.arange(2_000) % 20
        found = evaluated(truth, ours, theirs, slices={f"s{n}": place == n for n in range(20)})
        settings = GatesConfig(
            slices=tuple(SliceConfig(where=f"p == {n}", name=f"s{n}", margin=0) for n in range(20))
        )
        reasons = gates.judge(found, settings).reasons
        refused += any(r.gate.startswith("slice") and r.answer == "refused" for r in reasons)
    assert refused <= 0.05 * 200 + 10


def test_rows_lost_and_calibration_are_reported_and_refuse_where_asked() -> None:
    chance = np.random.default_rng(6)
    truth = chance.integers(0, 2, 1_000)
    theirs = outputs(chance.random(1_000) < 0.8, truth, sure=0.8)
    ours = outputs(chance.random(1_000) < 0.8, truth, sure=0.99)
    found = evaluated(truth, ours, theirs)
    plain = gates.judge(found, GatesConfig())
    for gate in ("lost", "calibration"):
        assert named(plain, gate).answer == "passed"
        assert named(plain, gate).limit is None
    asked = gates.judge(found, GatesConfig(lost=0.05, calibration_margin=0.05))
    assert named(asked, "lost").answer == "refused"
    assert named(asked, "calibration").answer == "refused"
    ample = gates.judge(found, GatesConfig(lost=0.3, calibration_margin=0.5))
    assert named(ample, "lost").answer == "passed"
    assert named(ample, "calibration").answer == "passed"


@pytest.mark.parametrize(
    ("undecided", "passed", "contends", "held"),
    [("pass", True, False, 0), ("hold", False, False, 2), ("wait", False, True, 2)],
)
def test_what_becomes_of_the_undecided(
    undecided: Any, passed: bool, contends: bool, held: int
) -> None:
    models = pair(40, np.random.default_rng(7))
    verdict = gates.judge(evaluated(*models), GatesConfig(undecided=undecided, floor=False))
    assert verdict.answer == "undecided"
    assert verdict.passed == passed
    assert verdict.contends == contends
    assert len(verdict.refusals) == held
    sure = dataclasses.replace(verdict, answer="refused")
    assert not sure.passed
    assert sure.contends


def test_the_users_own_findings_count() -> None:
    models = pair(2_000, np.random.default_rng(8))
    mine = Reason("own cost", "refused", "cost", 3.0, 2.0, None, "own cost: 3 euros, at most 2")
    found = dataclasses.replace(evaluated(*models), own=(mine,))
    verdict = gates.judge(found, GatesConfig())
    assert verdict.refusals == (mine.message,)
    assert verdict.contends


def test_a_gate_that_is_off_says_nothing() -> None:
    off = GatesConfig(floor=False, new_margin=False, past_margin=False)
    truth, _, champion = pair(400, np.random.default_rng(9))
    bad = outputs(np.arange(400) % 7 == 0, truth)
    verdict = gates.judge(evaluated(truth, bad, champion), off)
    assert verdict.passed
    assert set(answers(verdict)) == {"sanity", "lost", "calibration"}


def test_configuration_of_gates() -> None:
    head = '[model]\nname = "m"\n[data]\ntarget = "y"\ntask = "{task}"\n[gates]\n'

    def read(text: str, task: str = "classification") -> GatesConfig:
        return parse(head.format(task=task) + text).gates

    old = read('floor = "baseline"\nnew_margin = 0.1\npast_margin = 0.02\n')
    assert (old.new_margin, old.past_margin) == (0.1, 0.02)
    assert old.model_copy(update={"new_margin": None, "past_margin": None}) == GatesConfig()
    both = read(
        '[[gates.slices]]\nwhere = "age > 65"\nname = "old"\n[[gates.slices]]\nwhere = "`a b` == 1"'
    )
    assert [one.title for one in both.slices] == ["old", "`a b` == 1"]
    for text, task, key in (
        ('[[gates.slices]]\nwhere = "len(age) > 3"', "classification", "gates.slices.0.where"),
        (
            '[[gates.slices]]\nwhere = "a > 3"\n[[gates.slices]]\nwhere = "a > 3"',
            "classification",
            "twice",
        ),
        ("lost = 0.1", "regression", "gates.lost"),
        ("calibration_margin = 0.1", "regression", "gates.calibration_margin"),
        ("confidence = 1.0", "classification", "gates.confidence"),
        ('[[gates.own]]\nfactory = "nothing"', "classification", "gates.own.0.factory"),
    ):
        with pytest.raises(ConfigError) as error:
            read(text, task)
        assert key in str(error.value)


@pytest.mark.parametrize(
    ("refusing", "keys"),
    [(("floor",), ("floor",)), (("new", "past"), ("new_margin", "past_margin")),
     (("lost", "calibration"), ("lost", "calibration_margin")), (("own cost",), ()),
     (("slice north", "slice past"), ("slices",)), (("sanity",), ()), (("own past",), ())],
)  # fmt: skip
def test_the_settings_that_kept_a_candidate_back(
    refusing: tuple[str, ...], keys: tuple[str, ...]
) -> None:
    def reason(gate: str, answer: Answer) -> Reason:
        return Reason(gate, answer, "accuracy", 0.5, 0.6, None, f"{gate}: …")

    others = [reason("floor", "passed")] if "floor" not in refusing else []
    reasons = (*others, *(reason(gate, "refused") for gate in refusing))
    assert gates.settings(Verdict("refused", reasons)) == keys
    assert all(key in GatesConfig.model_fields for key in keys)
    assert gates.settings(Verdict("passed", tuple(others))) == ()


@pytest.mark.parametrize(("undecided", "keys"), [("pass", ()), ("hold", ("undecided",))])
def test_the_setting_that_holds_the_undecided(undecided: Any, keys: tuple[str, ...]) -> None:
    models = pair(40, np.random.default_rng(7))
    verdict = gates.judge(evaluated(*models), GatesConfig(undecided=undecided, floor=False))
    assert verdict.answer == "undecided"
    assert gates.settings(verdict) == keys
