"""Accuracy of whole streams, each experience learned in a fresh process through the saved learner.

Three chains of processes beside each other, from the same seeds: the strategy; the negative
control, which is the same but that what the strategy keeps is dropped between processes; and
naive fine-tuning with the same training.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Iterator

from benchmarks import chains
from benchmarks.chains import Chain
from benchmarks.data import mnist_file
from benchmarks.results import Row
from benchmarks.scenarios import CHOSEN, HELD_OUT, SCENARIOS, SEEDS, Scenario, chosen
from perdure.strategies import catalogue

PART = "quality"
MISSING = "skipped: {path} is not there; PERDURE_MNIST=FILE says where MNIST is"


def wanted(only: str) -> list[Scenario]:
    """The scenarios whose name contains `only` and whose strategy is there."""
    known = catalogue.discover()
    return [one for one in SCENARIOS if only in one.name and one.strategy in known]


def measure(only: str, begins: Callable[[str, int], Callable[[int], None]]) -> Iterator[Row]:
    """One row for each scenario.

    Args:
        only: Scenarios whose name contains this.
        begins: Called with what begins and its number of steps; gives what counts them.
    """
    for scenario in wanted(only):
        if not mnist_file().exists():
            yield _skipped(scenario)
            continue
        best = scenario.chosen()
        kinds = {
            "kept": [(seed, False, False) for seed in SEEDS],
            "dropped": [(seed, True, False) for seed in SEEDS],
            "naive": [(seed, False, True) for seed in SEEDS],
        }
        asked = [
            Chain(scenario.stream(seed), scenario.config(seed, best, naive=naive), dropped=dropped)
            for one in kinds.values()
            for seed, dropped, naive in one
        ]
        count = begins(scenario.name, len(asked) * scenario.experiences)
        outcomes = chains.learn(asked, count)
        kept, dropped, naive = (
            outcomes[place : place + len(SEEDS)] for place in range(0, len(asked), len(SEEDS))
        )
        cpu = statistics.mean(one.cpu for one in kept)
        slow = scenario.seconds is not None and cpu > scenario.seconds
        yield Row(
            part=PART,
            name=scenario.name,
            value=chains.mean(kept),
            target=scenario.target,
            repeats=tuple(one.accuracy for one in kept),
            beside=scenario.published,
            control=chains.mean(dropped),
            naive=chains.mean(naive),
            note=f"{cpu:.0f} s of CPU a seed"
            + (f", the limit is {scenario.seconds:.0f}" if slow else ""),
        )


def _skipped(scenario: Scenario) -> Row:
    return Row(
        part=PART,
        name=scenario.name,
        value=None,
        target=scenario.target,
        beside=scenario.published,
        note=MISSING.format(path=mnist_file().name),
    )


def choose(
    only: str, begins: Callable[[str, int], Callable[[int], None]], say: Callable[[str], None]
) -> None:
    """Try every combination on validation rows, and keep the best in `chosen.json`."""
    for scenario in wanted(only):
        tried = scenario.combinations()
        asked = [
            Chain(scenario.stream(seed, HELD_OUT), scenario.config(seed, one), "validation")
            for one in tried
            for seed in scenario.choice
        ]
        count = begins(scenario.name, len(asked) * scenario.experiences)
        outcomes = iter(chains.learn(asked, count))
        found = [statistics.fmean(next(outcomes).accuracy for _ in scenario.choice) for _ in tried]
        _keep(scenario, zip(tried, found, strict=True), say)


def _keep(
    scenario: Scenario,
    found: Iterable[tuple[dict[str, object], float]],
    say: Callable[[str], None],
) -> None:
    ranked = sorted(found, key=lambda pair: -pair[1])
    say(scenario.name)
    for settings, accuracy in ranked:
        say(f"{accuracy:.4f}  {json.dumps(settings)}")
    everything = chosen()
    everything[scenario.name] = {
        "best": ranked[0][0],
        "validation": round(ranked[0][1], 4),
        "tried": {key: list(values) for key, values in scenario.grid.items()},
    }
    text = json.dumps(dict(sorted(everything.items())), indent=1)
    CHOSEN.write_text(text + "\n", encoding="utf-8")
