"""Decisions by evidence: false alarms, power, and whole streams under rules beside each other.

1. Equal models: how often one is promoted, taken back or called drifting although nothing differs.
2. How many rows decide a difference.
3. Streams, spoiled and not, learned by the real learner under each rule.
4. A spoiled experience that was promoted all the same: how long it serves.
5. Drift of known size and place: how soon it is reported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks import injected_drift, judged
from benchmarks.data import mnist, mnist_file
from benchmarks.judged import RULES, Rule
from benchmarks.results import Row
from perdure.cli.demo import sample
from perdure.config import GatesConfig, TournamentConfig
from perdure.config.gates import MARGINS
from perdure.flows import tournament
from perdure.records import Entrant, Evidence, Role, Tournament
from perdure.tasks import evaluation, evidence, gates

PART = "decisions"
ALPHA = 1.0 - GatesConfig().confidence
STREAMS = 1000
EXPERIENCES, ROWS = 50, 200
DISAGREE = 0.10
"""Share of the rows on which two equal models disagree."""
DIFFERENCES = (0.01, 0.02, 0.05, 0.1)
POWER_DISAGREE = 0.15
POWER_STREAMS = 200
WORSE_STREAMS = 200
PAST, NEW, FILE = 1000, 200, 1000
"""Earlier and new test rows of a candidate, and rows of an arriving experience."""
SEEDS = (0, 1)
SPOILED = 3
ROOT = Path(__file__).resolve().parents[1]
ELECTRICITY = Path(
    os.environ.get("PERDURE_ELECTRICITY", ROOT.parent / "shared" / "data" / "electricity.csv.gz")
)

Begins = Callable[..., Callable[[int], None]]
"""Called with what is being done, and the number of steps; gives what moves the bar on."""
Frames = list[pd.DataFrame]


def measure(only: str, begins: Begins) -> Iterator[Row]:
    """All five simulations."""
    yield from _equal(only, begins)
    yield from _worse(only, begins)
    yield from _power(only, begins)
    yield from _learned(only, begins)
    yield from _taken_back(only, begins)
    yield from injected_drift.measure(only, begins)


def _losses(
    rng: np.random.Generator, rows: int, disagree: float, better: float
) -> NDArray[np.float64]:
    """`(rows,)`: what serves is wrong and the other right (1), or the other way round (-1)."""
    draws = rng.random(rows)
    up = (disagree + better) / 2
    return np.where(draws < up, 1.0, np.where(draws < disagree, -1.0, 0.0))


def _equal(only: str, begins: Begins) -> Iterator[Row]:
    names: dict[Role, str] = {
        "contender": f"equal models: a contender is promoted, of {STREAMS} streams",
        "predecessor": f"equal models: the champion is taken back, of {STREAMS} streams",
    }
    settings = TournamentConfig()
    for role, name in names.items():
        if only not in name:
            continue
        advance = begins(name, STREAMS)
        alarms = 0
        for seed in range(STREAMS):
            alarms += _alarm(seed, role, settings)
            advance(1)
        lives = settings.contender_for if role == "contender" else EXPERIENCES
        yield Row(
            PART,
            name,
            alarms / STREAMS,
            ALPHA,
            most=True,
            note=f"{lives} experiences of {ROWS} rows, {DISAGREE:.0%} disagreement; "
            "a decision after each",
        )


def _alarm(seed: int, role: Role, settings: TournamentConfig) -> bool:
    rng = np.random.default_rng(seed)
    state = Tournament(entrants=(Entrant(1, role),))
    for number in range(1, EXPERIENCES + 1):
        gains = _losses(rng, ROWS, DISAGREE, 0.0)
        both = {1: np.zeros(ROWS), 2: gains}
        outcome = tournament.measured(state, number, both, {role: 2}, settings, ALPHA)
        if outcome.winner is not None:
            return True
        if outcome.let_go:
            return False
        state = outcome.state
    return False


def _worse(only: str, begins: Begins) -> Iterator[Row]:
    """A candidate that is worse by twice the margin: whether it passes, and how long it serves."""
    name = "a model worse by twice the margin: experiences that it serves for"
    if only not in name:
        return
    advance = begins(name, WORSE_STREAMS)
    worse = 2.0 * MARGINS["past_margin"]
    served = []
    for seed in range(WORSE_STREAMS):
        rng = np.random.default_rng(seed)
        served.append(_serves(rng, worse) if _passes(rng, worse) else 0)
        advance(1)
    passed = sum(count > 0 for count in served) / len(served)
    yield Row(
        PART,
        name,
        float(np.mean(served)),
        note=f"{passed:.0%} of {WORSE_STREAMS} pass the gates on {PAST} earlier and {NEW} new test "
        f"rows with {POWER_DISAGREE:.0%} disagreement, and serve for "
        f"{np.mean([c for c in served if c] or [0]):.1f} experiences of {FILE:,} rows",
    )


def _passes(rng: np.random.Generator, worse: float) -> bool:
    """Whether the gates let a candidate through that is worse by so much on every row."""
    rows = PAST + NEW
    gains = _losses(rng, rows, POWER_DISAGREE, -worse)
    both = rng.random(rows) < 0.8
    candidate, champion = (
        np.where(gains == 0, both, gains > 0),
        np.where(gains == 0, both, gains < 0),
    )
    truth = rng.integers(2, size=rows)
    outputs = [
        np.eye(2)[np.where(right, truth, 1 - truth)] * 0.8 + 0.1 for right in (candidate, champion)
    ]
    owners = [f"{at // NEW:06d}" for at in range(rows)]
    numbers = evaluation.summarise(
        metric="accuracy",
        candidate=evaluation.measure("classification", truth, outputs[0], owners, owners[-1]),
        champion=evaluation.measure("classification", truth, outputs[1], owners, owners[-1]),
        baseline={"accuracy": 0.5},
        prequential=None,
        earlier=None,
        newest=owners[-1],
        window=100,
        rows_measured=rows,
        comparisons=evaluation.compare(
            "classification",
            "accuracy",
            truth,
            outputs[0],
            outputs[1],
            owners,
            owners[-1],
            half_life=GatesConfig().past_half_life or np.inf,
        ),
        classes=evaluation.predicted(truth, outputs[0], outputs[1]),
    )
    return gates.judge(numbers, GatesConfig()).passed


def _serves(rng: np.random.Generator, worse: float) -> int:
    """Experiences until the predecessor takes its place."""
    state, settings = Tournament(entrants=(Entrant(1, "predecessor"),)), TournamentConfig()
    for number in range(1, 1000):
        losses = {1: np.zeros(FILE), 2: _losses(rng, FILE, POWER_DISAGREE, worse)}
        outcome = tournament.measured(state, number, losses, {"predecessor": 2}, settings, ALPHA)
        if outcome.winner is not None:
            return number
        state = outcome.state
    return 1000


def _power(only: str, begins: Begins) -> Iterator[Row]:
    for better in DIFFERENCES:
        name = f"rows until a difference of {better:g} decides"
        if only not in name:
            continue
        begins(name)
        margin = TournamentConfig().rollback_margin
        forward = _rows_until(better, 0.0)
        note = f"{POWER_DISAGREE:.0%} disagreement; median of {POWER_STREAMS} streams; "
        back = _rows_until(better, margin) if better > margin else None
        note += f"for going back, by more than {margin:g}: " + (
            "never" if back is None else f"{back:,.0f}"
        )
        yield Row(PART, name, forward, note=note)


def _rows_until(better: float, margin: float) -> float:
    """Median number of rows, looked at in batches of 20."""
    found = []
    for seed in range(POWER_STREAMS):
        rng, now = np.random.default_rng(seed), Evidence()
        disagree = max(POWER_DISAGREE, better)
        while not evidence.shows(now, ALPHA) and now.rows < 200_000:
            now = evidence.collect(now, _losses(rng, 20, disagree, better), margin)
        found.append(now.rows)
    return float(np.median(found))


def _learned(only: str, begins: Begins) -> Iterator[Row]:
    """Mean accuracy of the champion on each clean experience, before anything learned it."""
    for stream, make in MAKERS.items():
        for kind in ("clean", "spoiled"):
            for rule in RULES:
                name = f"{stream}, {kind}: {rule}"
                if only not in name:
                    continue
                begins(name)
                yield _under(name, make, kind == "spoiled", rule)


def _under(
    name: str, make: Callable[[int], tuple[Frames, str] | None], spoil: bool, rule: Rule
) -> Row:
    values, learned, of, bad = [], 0, 0, 0
    moves = [0, 0, 0]
    for seed in SEEDS:
        made = make(seed)
        if made is None:
            return Row(PART, name, None, note="its data is missing")
        frames, target = made
        spoiled: list[int] = []
        if spoil:
            frames, spoiled = spoilt(frames, target, seed)
        trial = judged.learn(frames, target, rule, seed)
        values.append(trial.accuracy(spoiled))
        learned += len(trial.learned - set(spoiled))
        of += len(frames) - len(spoiled)
        bad += len(trial.learned & set(spoiled))
        moves[0] += trial.promoted
        moves[1] += trial.rolled_back
        moves[2] += len(trial.broken)
    note = f"{learned} of {of} learned in the end"
    if spoil:
        note += f", and {bad} of {SPOILED * len(SEEDS)} spoiled"
    note += f"; contenders promoted {moves[0]}, taken back {moves[1]}, held as broken {moves[2]}"
    return Row(PART, name, float(np.mean(values)), repeats=tuple(values), note=note)


def _taken_back(only: str, begins: Begins) -> Iterator[Row]:
    """A spoiled experience is promoted by force; experiences until the champion lacks it."""
    name = "a spoiled champion: experiences that it serves for"
    if only not in name:
        return
    served, costs = [], []
    for make in MAKERS.values():
        for seed in SEEDS:
            made = make(seed)
            if made is None:
                continue
            begins(name)
            frames, target = made
            place = len(frames) // 2
            frames = [*frames[:place], flipped(frames[place], target), *frames[place + 1 :]]
            trial = judged.learn(frames[: place + 7], target, "tournament", seed, forced=place)
            after = [n for n in sorted(trial.served) if n > place]
            count = next((i for i, n in enumerate(after) if place not in trial.served[n]), None)
            served.append(len(after) if count is None else count)
            costs.append(trial.before[place - 1] - trial.before[place + 1])
    yield Row(
        PART,
        name,
        float(np.mean(served)),
        1.0,
        most=True,
        repeats=tuple(map(float, served)),
        note=f"labels flipped; it cost {np.mean(costs):.2f} of accuracy on average",
    )


def spoilt(frames: Frames, target: str, seed: int) -> tuple[Frames, list[int]]:
    """Three spoiled experiences: labels flipped, labels at random, a column times -50."""
    rng = np.random.default_rng(seed + 100)
    places = sorted(rng.choice(np.arange(4, len(frames) - 1), SPOILED, replace=False).tolist())
    kinds = rng.permutation(SPOILED)
    found = list(frames)
    for place, kind in zip(places, kinds, strict=True):
        frame = frames[place].copy()
        if kind == 0:
            frame = flipped(frame, target)
        elif kind == 1:
            frame[target] = rng.permutation(frame[target].to_numpy())
        else:
            columns = [n for n in frame.columns if n != target and frame[n].nunique() > 5]
            column = columns[int(rng.integers(len(columns)))]
            frame[column] = frame[column] * -50.0
        found[place] = frame
    return found, places


def flipped(frame: pd.DataFrame, target: str) -> pd.DataFrame:
    """Each label becomes the next one."""
    labels = sorted(frame[target].unique())
    following = dict(zip(labels, [*labels[1:], labels[0]], strict=True))
    return frame.assign(**{target: frame[target].map(following)})


def _blocks(frame: pd.DataFrame, rows: int) -> Frames:
    return [
        frame.iloc[at : at + rows].reset_index(drop=True)
        for at in range(0, len(frame) - rows + 1, rows)
    ]


def electricity(_seed: int) -> tuple[Frames, str] | None:
    """The electricity market of New South Wales, four weeks in each experience."""
    if not ELECTRICITY.exists():
        return None
    return _blocks(pd.read_csv(ELECTRICITY), 1344)[:33], "direction"


def weather(_seed: int) -> tuple[Frames, str] | None:
    """Daily weather, a year in each experience."""
    return _blocks(sample.record(), sample.YEAR)[:40], sample.TARGET


def classes(seed: int) -> tuple[Frames, str] | None:
    """MNIST in 10 × 10 pixels; another digit joins with every second experience."""
    if not mnist_file().exists():
        return None
    images, labels = mnist()["x_train"], mnist()["y_train"]
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(labels))[:12_000]
    small = images[chosen].reshape(-1, 28, 28)[:, 4:24, 4:24].reshape(-1, 10, 2, 10, 2)
    pixels, digits = small.mean(axis=(2, 4)).reshape(-1, 100), labels[chosen]
    weights, free, found = rng.random(10) + 0.3, np.ones(len(digits), dtype=bool), []
    for number in range(20):
        shares = np.where(np.arange(10) < 3 + number // 2, weights, 0.0)
        counts = np.bincount(rng.choice(10, 400, p=shares / shares.sum()), minlength=10)
        rows = np.concatenate(
            [np.flatnonzero((digits == d) & free)[:count] for d, count in enumerate(counts)]
        )
        free[rows] = False
        rng.shuffle(rows)
        frame = pd.DataFrame(pixels[rows], columns=[f"p{i}" for i in range(100)])
        found.append(frame.assign(digit=[f"d{d}" for d in digits[rows]]))
    return found, "digit"


def turning(seed: int) -> tuple[Frames, str]:
    """A hyperplane that turns slowly, and jumps twice."""
    rng, found = np.random.default_rng(seed), []
    weights = rng.normal(size=8)
    for number in range(30):
        if number in (10, 20):
            weights = rng.normal(size=8)
        weights = weights + 0.15 * rng.normal(size=8)
        found.append(_plane(rng, weights, 500, 1.0))
    return found, "y"


def seasons(seed: int) -> tuple[Frames, str]:
    """A hyperplane that goes and comes back, twelve experiences to a year."""
    rng = np.random.default_rng(seed)
    here, away = rng.normal(size=6), rng.normal(size=6)
    return [
        _plane(rng, here + np.sin(number / 12 * 2 * np.pi) * away, 600, 1.5) for number in range(36)
    ], "y"


def still(seed: int) -> tuple[Frames, str]:
    """Nothing changes."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=8)
    return [_plane(rng, weights, 300, 2.0) for _ in range(30)], "y"


def _plane(
    rng: np.random.Generator, weights: NDArray[np.float64], rows: int, noise: float
) -> pd.DataFrame:
    x = rng.normal(size=(rows, len(weights)))
    y = x @ weights + noise * rng.normal(size=rows) > 0
    frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(len(weights))])
    return frame.assign(y=np.where(y, "above", "below"))


MAKERS: dict[str, Callable[[int], tuple[Frames, str] | None]] = {
    "electricity": electricity,
    "weather": weather,
    "new classes": classes,
    "turning": turning,
    "seasons": seasons,
    "still": still,
}
