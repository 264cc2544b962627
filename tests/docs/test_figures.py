"""docs/benchmarks.md and docs/strategies.md: what was measured, and what the strategies say."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks import pages as written
from benchmarks import results, scenarios, survey, table_sets, tables
from benchmarks.cases import CASES, MEAN
from perdure.strategies import catalogue
from tests.docs import pages

STORED = results.load()
CPU_PARTS = (
    "equal", "files", "growth", "quality", "speed", "survey", "tables", "unattended",
)  # fmt: skip

WANTED = {
    "equal": {"naive": 1.0, "replay": 1.0},
    "files": {"save": 50.0, "load": 50.0},
    "growth": {"ewc, a step": 1.1, "ewc, size of its state": 1.0, "replay, memory held": 1.2},
    "quality": {
        "Permuted MNIST, EWC": 0.945,
        "Split MNIST, DER++ 1,000": 0.94,
        "Split MNIST, replay 1,000, online": 0.92,
        "Split MNIST, GDumb 4,400": 0.96,
        "Split MNIST, LwF": 0.23,
        "Split MNIST by task, SI": 0.97,
        "Permuted MNIST, A-GEM, one pass": 0.81,
    },
    "speed": {
        **{
            f"{name}, batch {batch}": 0.9
            for batch in (64, 256)
            for name in (
                "naive", "replay 1,000", "replay 5,000", "ewc after 5",
                "si", "lwf", "agem", "der++",
            )
        },
        "table model, naive, batch 256": 0.85,
        MEAN: 0.95,
    },
    "unattended": {
        "ready, the second time": 15.0,
        "idle, all processes, of one core": 10.0,
        "idle, memory of all processes": 2.0,
        "from a file to the champion, beyond the debounce": 10.0,
    },
}  # fmt: skip
"""What was promised; lowered nowhere else without being lowered here."""


def measured(part: str) -> list[results.Row]:
    found = results.rows(STORED, part)
    assert found, f"not measured: python -m benchmarks {part} --write"
    return found


def table(mark: str, page: str) -> list[list[str]]:
    if mark.startswith("measured "):
        measured(mark.removeprefix("measured "))
    part = pages.after(f"<!-- generated: {mark} -->\n", pages.text(page)).partition("<!-- end")[0]
    return pages.rows(part[part.index("|") :])


@pytest.mark.parametrize("part", WANTED)
def test_everything_that_was_promised_is_measured_against_its_target(part: str) -> None:
    assert {row.name: row.target for row in measured(part)} == WANTED[part]
    assert {row.most for row in measured(part)} == {part in ("files", "growth", "unattended")}
    assert all(row.value is not None for row in measured(part))


SURVEYED = [" + ".join(names) for names in survey.combinations()]
ROWS = {
    "speed": [*(case.name for case in CASES), MEAN],
    "quality": [one.name for one in scenarios.SCENARIOS],
    "survey": SURVEYED,
    "tables": [*(one.name for one in table_sets.SETS), *tables.MEANS.values(), tables.ABOVE],
}


def test_every_strategy_of_a_classification_is_surveyed() -> None:
    classify = {n for n, s in catalogue.discover().items() if "classification" in s.fits}
    assert classify <= set(SURVEYED)


@pytest.mark.parametrize("part", ROWS)
def test_the_rows_are_those_of_the_code(part: str) -> None:
    assert [row.name for row in measured(part)] == ROWS[part]


@pytest.mark.parametrize("part", WANTED)
def test_the_page_says_what_was_measured_and_whether_it_is_enough(part: str) -> None:
    found = table(f"measured {part}", "benchmarks.md")
    assert [line[0] for line in found] == [row.name for row in measured(part)]
    for line, row in zip(found, measured(part), strict=True):
        assert row.value is not None
        assert row.target is not None
        enough = row.value <= row.target if row.most else row.value >= row.target
        assert (line[3] == "met") == enough
        assert ("not met, by" in line[3]) != enough
        if part != "equal":
            shown = float(re.sub(r"[^\d.]", "", line[1]))
            assert shown == pytest.approx(row.value, abs=0.51 if part == "files" else 0.0051)
    assert STORED[part]["machine"] in pages.text("benchmarks.md")


def test_what_misses_its_target_is_explained() -> None:
    part = pages.after("\n## What is not met, and why\n", pages.text("benchmarks.md"))
    for name in written.unmet():
        assert f"**{name}**" in part
    named = re.findall(r"^\*\*(.*?)\*\*", part, re.MULTILINE)
    assert sorted(named) == sorted(written.unmet())


def well_below(control: float, value: float) -> bool:
    """Lower by 0.02 at least, and by 0.05 or with twice the errors."""
    lost = value - control
    return lost >= 0.02 and (lost >= 0.05 or 1 - control >= 2 * (1 - value))


def test_without_its_state_a_strategy_falls_well_below() -> None:
    for row in measured("quality"):
        assert row.value is not None
        assert row.control is not None
        assert well_below(row.control, row.value), row.name


@pytest.mark.parametrize(
    ("control", "value", "enough"),
    [
        (0.9697, 0.9941, True),  # five times the errors
        (0.1814, 0.2790, True),
        (0.9880, 0.9941, False),  # twice the errors, of nearly none
        (0.8700, 0.9000, False),
        (0.9941, 0.9697, False),
    ],
)
def test_what_well_below_is(control: float, value: float, enough: bool) -> None:
    assert well_below(control, value) == enough


def test_settings_were_chosen_from_what_was_tried() -> None:
    chosen = scenarios.chosen()
    assert set(chosen) == {one.name for one in scenarios.SCENARIOS}
    for one in scenarios.SCENARIOS:
        assert one.chosen() in one.combinations()
        tried = json.loads(json.dumps(one.grid))
        assert chosen[one.name]["tried"] == tried
        assert one.choice
        assert not set(one.choice) & set(scenarios.SEEDS)


def test_every_strategy_has_its_line_and_its_section() -> None:
    known = catalogue.discover()
    page = pages.text("strategies.md")
    lines = table("strategies table", "strategies.md")
    assert [re.sub(r"\[`(.*)`\].*", r"\1", line[0]) for line in lines] == list(known)
    assert re.findall(r"^### (.*)$", page, re.MULTILINE) == list(known)
    for strategy in known.values():
        assert all((strategy.summary, strategy.memory, strategy.cost))
        assert strategy.name == "naive" or (strategy.fails and strategy.reference)
        section = pages.after(f"\n### {strategy.name}\n", page).partition("\n### ")[0]
        for words in (strategy.memory, strategy.cost, strategy.fails):
            assert words in section
        for key in strategy.settings.model_fields:
            (words,) = re.findall(rf"^\| `{key}` \|.*\| ([^|]+) \|$", section, re.MULTILINE)
            assert words.endswith("."), f"{strategy.name}.{key} needs a sentence"
        if strategy.reference:
            address = strategy.reference.rpartition("http")[2]
            assert f"(http{address})" in section


def test_the_figures_of_the_strategies_are_those_that_were_measured() -> None:
    found = table("measured survey", "strategies.md")
    for line, row in zip(found, measured("survey"), strict=True):
        assert line[0] == row.name
        assert float(line[1]) == pytest.approx(row.figures["classes"], abs=0.0051)
        assert float(line[2]) == pytest.approx(row.figures["inputs"], abs=0.0051)
        assert float(line[3]) == pytest.approx(row.figures["time"], abs=0.051)


def test_the_guide_recommends_strategies_that_there_are() -> None:
    guide = pages.text("strategies.md").partition("\n## ")[0]
    named = set(re.findall(r"\[`([^`]+)`\]", guide))
    assert len(named) >= 8
    assert named <= set(catalogue.discover())
