"""Drift: what is as ever, what drifts and what is broken, and how seldom that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure import drift_table
from perdure.config import DriftConfig, parse
from perdure.errors import ConfigError
from perdure.records import ColumnDrift, Drift, DriftPoint, to_json
from perdure.tasks import drift

DATA = Path(__file__).parents[3] / "shared"
COLUMNS = (("level", "number"), ("flow", "number"), ("count", "number"), ("site", "category"))
CONFIG = DriftConfig()


def file(seed: int, rows: int = 300) -> pd.DataFrame:
    """One file of a world that does not change."""
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "level": draw.normal(20.0, 4.0, rows),
            "flow": np.exp(draw.normal(1.0, 0.5, rows)),
            "count": draw.poisson(3.0, rows).astype(float),
            "site": draw.choice(["north", "south", "east"], rows),
            "fault": draw.choice(["no", "yes"], rows, p=[0.8, 0.2]),
        }
    )


def reference(files: Sequence[pd.DataFrame], share: int = 5) -> pd.DataFrame:
    """What a champion keeps of the files that it learned: every fifth row, in order."""
    parts = [f.iloc[::share].assign(_experience=f"{n:06d}-x") for n, f in enumerate(files)]
    return pd.concat(parts, ignore_index=True)


def compared(
    arriving: pd.DataFrame, past: int = 12, make: Callable[[int], pd.DataFrame] = file
) -> Drift:
    return drift.measure(
        reference([make(n) for n in range(past)]),
        arriving,
        COLUMNS,
        CONFIG,
        target=("fault", "classification"),
    )


def column(found: Drift, name: str) -> ColumnDrift:
    return next(one for one in found.columns if one.column == name)


def test_a_world_that_does_not_change_is_as_ever() -> None:
    found = compared(file(99))
    assert found.level == "as ever"
    assert found.reasons == ()
    assert found.rows == 300
    assert found.reference_rows == 720
    assert found.experiences == 12
    assert [one.column for one in found.columns] == ["level", "flow", "count", "site", "fault"]
    assert column(found, "fault").kind == "target"


@pytest.mark.parametrize("past", [1, 2, 5, 8, 12])
def test_a_level_that_moves_is_drifting_and_named(past: int) -> None:
    moved = file(99).assign(level=lambda f: f["level"] + 12)
    found = compared(moved, past)
    assert [one.column for one in found.drifting] == ["level"]
    assert found.broken == ()
    assert "median" in found.reasons[0]
    assert found.reasons[0].startswith("`level`")


def test_a_small_effect_is_no_drift_however_many_rows_show_it() -> None:
    # A shift of 0.1 standard deviations: a distance of 0.04, with a p-value of some 1e-20.
    large = file(99, 20_000).assign(level=lambda f: f["level"] + 0.4)
    assert compared(large).level == "as ever"


def test_a_dependence_that_turns_round_is_seen_only_by_all_columns_together() -> None:
    def tied(seed: int, sign: float = 1.0) -> pd.DataFrame:
        made = file(seed)
        return made.assign(flow=20 + sign * (made["level"] - 20))

    known = reference([tied(n) for n in range(12)])
    found = drift.measure(known, tied(99, -1.0), COLUMNS[:2], CONFIG)
    assert drift.measure(known, tied(98), COLUMNS[:2], CONFIG).level == "as ever"
    assert column(found, "flow").level == "as ever"
    assert found.joint > found.joint_threshold
    assert found.level == "drifting"
    assert found.reasons[-1].startswith("all columns together")


def test_what_past_experiences_did_is_as_ever() -> None:
    def uneven(seed: int) -> pd.DataFrame:
        return file(seed).assign(level=lambda f: f["level"] + 6 * (seed % 3))

    usual = compared(uneven(101), make=uneven)
    assert column(usual, "level").level == "as ever"
    # Negative control: the same file where all others were alike.
    assert column(compared(uneven(101)), "level").level == "drifting"


def spoiled() -> dict[str, pd.DataFrame]:
    clean = file(99)
    return {
        "times minus 50": clean.assign(flow=clean["flow"] * -50),
        "times 1000": clean.assign(level=clean["level"] * 1000),
        "a hundredth": clean.assign(level=clean["level"] / 100),
        "constant": clean.assign(level=21.5),
        "zero": clean.assign(level=0.0),
        "missing": clean.assign(level=np.nan),
        "no words": clean.assign(site=None),
        "swapped": clean.assign(level=clean["flow"], flow=clean["level"]),
        "few words, times -50": clean.assign(count=clean["count"] * -50),
    }


@pytest.mark.parametrize("past", [1, 12])
@pytest.mark.parametrize("fault", spoiled())
def test_a_fault_of_form_is_broken(fault: str, past: int) -> None:
    found = compared(spoiled()[fault], past)
    assert found.level == "broken"
    wanted = {
        "times minus 50": ["flow"],
        "no words": ["site"],
        "swapped": ["level", "flow"],
        "few words, times -50": ["count"],
    }
    assert [one.column for one in found.broken] == wanted.get(fault, ["level"])
    assert all(one.reason for one in found.broken)


def changed() -> dict[str, pd.DataFrame]:
    clean = file(99)
    return {
        "a doubled price": clean.assign(flow=clean["flow"] * 2),
        "a shift of ten deviations": clean.assign(level=clean["level"] + 40),
        "Celsius": clean.assign(level=(clean["level"] - 32) / 1.8),
        "an absurd value": clean.assign(level=clean["level"].where(clean.index != 7, 1e9)),
        "new words": clean.assign(site="west"),
        "one word": clean.assign(site="north"),
        "half missing": clean.assign(level=clean["level"].where(clean.index % 2 == 0)),
        "a class dies": clean.assign(fault="no"),
        "new classes": clean.assign(fault="perhaps"),
        "thirty rows": clean.iloc[:30],
        "infinite": clean.assign(level=clean["level"].where(clean.index != 7, np.inf)),
        "few rows of one kind": clean[clean["site"] == "east"].iloc[:12],
    }


@pytest.mark.parametrize("past", [1, 12])
@pytest.mark.parametrize("change", changed())
def test_a_world_that_changes_is_not_broken(change: str, past: int) -> None:
    assert compared(changed()[change], past).level != "broken"


@pytest.mark.parametrize("past", [1, 2, 5, 12])
def test_counters_dates_flags_and_codes_are_never_broken(past: int) -> None:
    def dated(seed: int) -> pd.DataFrame:
        rows = np.arange(300)
        return file(seed).assign(
            level=1e6 + 300 * seed + rows,  # an id that grows
            flow=float(seed),  # a day or a month: one value in each file
            count=float(seed % 2),  # a flag that is now on, now off
        )

    for later in (past, past + 1, past + 40):
        found = compared(dated(later), past, dated)
        assert found.broken == ()


def test_a_column_that_was_constant_may_begin_to_vary() -> None:
    def still(seed: int) -> pd.DataFrame:
        return file(seed).assign(level=0.41)

    found = compared(file(99).assign(level=lambda f: f["level"] / 40), make=still)
    assert column(found, "level").level == "drifting"
    # And what was constant for a while may be so again.
    mixed = reference([still(0), *(file(n) for n in range(1, 12))])
    again = drift.measure(mixed, still(99), COLUMNS, CONFIG)
    assert again.level != "broken"


def test_what_is_new_and_clamped_is_counted() -> None:
    clean = file(99)
    arriving = clean.assign(
        site=clean["site"].where(clean.index >= 30, "west"),
        level=clean["level"].where(clean.index >= 60, 1e6),
    )
    found = drift.measure(
        reference([file(n) for n in range(10)]),
        arriving,
        COLUMNS,
        CONFIG,
        statistics={"level": (20.0, 4.0)},
        vocabulary={"site": ("north", "south", "east")},
    )
    assert column(found, "site").unseen == pytest.approx(0.1)
    assert column(found, "level").clamped == pytest.approx(0.2)
    assert column(found, "flow").clamped is None
    assert column(found, "flow").unseen is None


def test_all_new_words_are_told_after_the_first_file_already() -> None:
    found = compared(file(99).assign(site="plant 7"), 1)
    assert [one.column for one in found.drifting] == ["site"]
    assert "100% of the words are new" in found.reasons[0]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), rows=st.integers(1, 80), order=st.randoms())
def test_the_order_of_the_arriving_rows_does_not_matter(
    seed: int, rows: int, order: object
) -> None:
    arriving = file(seed, rows).assign(site=lambda f: f["site"].where(f.index % 3 > 0, None))
    places = np.random.default_rng(seed + 1).permutation(rows)
    one = compared(arriving, 3)
    other = compared(arriving.iloc[places].reset_index(drop=True), 3)
    assert one == other


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), past=st.integers(1, 10))
def test_the_reference_itself_is_as_ever_and_survives_json(seed: int, past: int) -> None:
    known = reference([file(seed + n) for n in range(past)])
    found = drift.measure(known, known, COLUMNS, CONFIG, target=("fault", "classification"))
    assert found.level == "as ever"
    assert max(one.distance for one in found.columns) == pytest.approx(0.0)
    assert Drift.from_json(json.loads(json.dumps(to_json(found)))) == found


_CELLS = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True, width=32))


@settings(max_examples=25, deadline=None)
@given(
    before=st.lists(_CELLS, min_size=1, max_size=60),
    now=st.lists(_CELLS, min_size=1, max_size=60),
    words=st.lists(st.one_of(st.none(), st.sampled_from("abc")), min_size=60, max_size=60),
)
def test_any_cells_are_compared(
    before: list[float | None], now: list[float | None], words: list[str | None]
) -> None:
    def frame(cells: list[float | None]) -> pd.DataFrame:
        texts = np.array(words[: len(cells)], dtype=object)
        return pd.DataFrame({"x": np.array(cells, dtype=object), "w": texts})

    known = frame(before).assign(_experience="000000-x")
    found = drift.measure(known, frame(now), [("x", "number"), ("w", "category")], CONFIG)
    again = drift.measure(known, frame(now), [("x", "number"), ("w", "category")], CONFIG)
    assert found == again
    assert all(0 <= one.distance <= 1 and 0 < one.threshold <= 1 for one in found.columns)
    assert Drift.from_json(json.loads(json.dumps(to_json(found)))) == found


@pytest.mark.parametrize("rows", [0, 1, 4])
def test_few_rows_tell_nothing(rows: int) -> None:
    assert compared(file(99, rows)).level == "as ever"
    assert compared(file(99), 1, lambda seed: file(seed, 5 * rows)).level == "as ever"


def test_columns_that_are_not_there_are_passed_over() -> None:
    found = drift.measure(
        reference([file(0)]), file(1).drop(columns="flow"), (*COLUMNS, ("note", "ignore")), CONFIG
    )
    assert [one.column for one in found.columns] == ["level", "count", "site"]
    assert drift.measure(reference([file(0)]), file(1), (), CONFIG).columns == ()


def test_a_regression_target_is_compared_as_a_number() -> None:
    known = reference([file(n) for n in range(10)])
    found = drift.measure(
        known,
        file(99).assign(flow=lambda f: f["flow"] * 1000),
        COLUMNS[:1],
        CONFIG,
        target=("flow", "regression"),
    )
    assert [(one.column, one.kind, one.level) for one in found.columns] == [
        ("level", "number", "as ever"),
        ("flow", "target", "drifting"),
    ]


def test_texts_sequences_and_images_are_compared_by_a_few_numbers() -> None:
    draw = np.random.default_rng(0)

    def rows(scale: float, count: int = 100) -> pd.DataFrame:
        pixels = [draw.integers(0, int(200 * scale), 48).astype(np.uint8) for _ in range(count)]
        return pd.DataFrame(
            {
                "text": ["word " * int(n) for n in draw.integers(3, 12, count) * scale],
                "curve": [list(draw.normal(5, 1, 9) * scale) for _ in range(count)],
                "image": [p.tobytes() for p in pixels],
            }
        )

    known = pd.concat([rows(1.0).assign(_experience=f"{n:06d}-x") for n in range(9)])
    for name, kind in (("text", "text"), ("curve", "sequence"), ("image", "image")):
        assert drift.measure(known, rows(1.0), [(name, kind)], CONFIG).level == "as ever"
        moved = drift.measure(known, rows(0.3), [(name, kind)], CONFIG)
        assert moved.level == "drifting", name
        assert all(one.column.startswith(f"{name} (") for one in moved.columns)
    broken = drift.measure(known, rows(1.0).assign(image=b"\0" * 48), [("image", "image")], CONFIG)
    assert broken.level == "broken"


def test_the_cost_is_bounded_by_rows_and_groups() -> None:
    many = reference([file(n, 25) for n in range(150)])
    found = drift.measure(many, file(999, 300), COLUMNS, CONFIG)
    assert found.experiences == 100
    assert found.level == "as ever"
    assert drift.measure(many, file(999, 25_000), COLUMNS, CONFIG).rows == drift.MOST_ROWS


def test_false_alarms_are_at_most_what_is_stated() -> None:
    def effects(seed: int) -> pd.DataFrame:
        draw = np.random.default_rng(10_000 + seed)
        shift = draw.normal(0, 1.2, 2)
        return file(seed).assign(
            level=lambda f: f["level"] + shift[0],
            flow=lambda f: f["flow"] * np.exp(0.3 * shift[1]),
        )

    levels = []
    for stream in range(20):
        files = [effects(1000 * stream + n) for n in range(26)]
        for past in (1, 2, 4, 8, 14, 25):
            known = reference(files[:past])
            levels.append(drift.measure(known, files[past], COLUMNS, CONFIG).level)
    assert len(levels) == 120
    assert "broken" not in levels
    assert levels.count("drifting") <= 4  # at 1 %, five or more have a probability of 1 %


def test_switched_off_it_refuses_to_compare() -> None:
    with pytest.raises(ValueError, match="switched off"):
        drift.measure(reference([file(0)]), file(1), COLUMNS, DriftConfig(false_alarms=False))


BEGIN = '[model]\nname = "m"\n[data]\ntarget = "y"\ntask = "classification"\n'


def test_the_settings_have_defaults_and_limits() -> None:
    assert parse(BEGIN).drift == DriftConfig(false_alarms=0.01, broken="hold")
    assert parse(f"{BEGIN}[drift]\nfalse_alarms = false").drift.false_alarms is False
    for wrong in ("false_alarms = 0.5", "false_alarms = true", 'broken = "stop"', "level = 1"):
        with pytest.raises(ConfigError, match="drift"):
            parse(f"{BEGIN}[drift]\n{wrong}")


def test_the_table_shows_what_matters_first() -> None:
    moved = file(99).assign(level=0.0, site="we|st")
    found = compared(moved)
    table = drift_table.rows(found, most=3)
    assert [row[:2] for row in table[:2]] == [("level", "broken"), ("site", "drifting")]
    assert table[-1][0] == drift_table.ALL
    assert len(table) == 4
    assert all(len(row) == len(drift_table.HEADER) for row in table)
    assert drift_table.summary(found) == "broken: level"
    assert drift_table.summary(compared(file(98))) == "as ever"
    written = drift_table.markdown(found, most=3)
    assert written.endswith("… and 2 more columns")
    assert len(drift_table.markdown(found).splitlines()) == 2 + 6


def test_the_history_keeps_the_latest_experiences_and_the_columns_that_moved_most() -> None:
    def found(columns: int) -> Drift:
        ratios = [(f"c{n}", 0.002 * n) for n in range(columns)]
        each = [ColumnDrift(name, "number", "as ever", far, 0.5, 0, 0) for name, far in ratios]
        worst = ColumnDrift("wrong", "number", "broken", 0.1, 1.0, 0, 0, reason="why")
        return Drift("broken", 0.3, 0.6, 9, 9, 9, (*each, worst))

    history: tuple[DriftPoint, ...] = ()
    for number in range(1, 8):
        history = drift.extend(history, f"{number:06d}-a", found(300), window=3)
    assert [one.experience for one in history] == ["000005-a", "000006-a", "000007-a"]
    assert len(history[-1].columns) == drift.MOST_IN_HISTORY
    assert list(history[-1].columns)[:3] == ["wrong", "c299", "c298"]
    assert (history[-1].joint, history[-1].broken) == (0.5, ("wrong",))
    assert history[-1].columns["c299"] == pytest.approx(1.196)
    # Not compared, the history stays; judged again, an experience stands in it once.
    assert drift.extend(history, "000008-a", None, window=3) == history
    assert drift.extend(history, "000007-a", found(2), window=3)[:2] == history[:2]
    assert DriftPoint.from_json(to_json(history[-1])) == history[-1]


@pytest.mark.skipif(not (DATA / "data").exists(), reason=f"{DATA / 'data'} is missing")
def test_electricity_is_never_broken_and_a_spoiled_block_always() -> None:
    table = pd.read_csv(DATA / "data" / "electricity.csv.gz")
    blocks = [table[at : at + 1344] for at in range(0, 33 * 1344, 1344)]
    columns = [(name, "number") for name in table.columns if name != "direction"]
    for number in range(1, 33, 5):
        known = reference(blocks[:number])
        clean = drift.measure(
            known, blocks[number], columns, CONFIG, target=("direction", "classification")
        )
        assert clean.broken == (), number
        name = columns[number % len(columns)][0]
        wrong = blocks[number].assign(**{name: blocks[number][name] * -50})
        found = drift.measure(known, wrong, columns, CONFIG)
        assert [one.column for one in found.broken] == [name], number
