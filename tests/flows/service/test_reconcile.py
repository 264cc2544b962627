"""What waits is started sooner or later, and never by force: decided from plain facts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.flows.service.reconcile import (
    FIRST_PAUSE_S,
    GRACE_S,
    LONGEST_AFTER_CRASH_S,
    LONGEST_IN_VAIN_S,
    LONGEST_PAUSE_S,
    LONGEST_WHILE_AWAY_S,
    UNTAKEN_S,
    Decision,
    Facts,
    How,
    IngestHere,
    Reconciler,
    Run,
    Start,
    Wait,
)


def told(at: float = 0.0, **more: Any) -> Facts:
    """A file that waits and was told of at a moment."""
    found: dict[str, Any] = {"now": at, "inbox": {"a.csv": "1"}, "inbox_told": at, **more}
    return Facts(**found)


def pending(*rows: int | None, **more: Any) -> Facts:
    """Experiences that wait."""
    found = {f"{number:06d}-aaaaaaaa": one for number, one in enumerate(rows, 1)}
    return Facts(**{"now": 0.0, "pending": found, **more})


def after(reconciler: Reconciler, facts: Facts, seconds: float) -> Decision:
    """What is decided later, with nothing changed."""
    return reconciler.decide(replace(facts, now=facts.now + seconds))


def test_nothing_waits() -> None:
    assert Reconciler().decide(Facts(now=0.0)) == Wait("nothing waits", quiet=True)


def test_an_event_has_its_chance_and_then_the_run_is_started() -> None:
    reconciler, facts = Reconciler(), told(min_rows=20)
    assert isinstance(reconciler.decide(facts), Wait)
    assert isinstance(after(reconciler, facts, GRACE_S - 0.1), Wait)
    found = after(reconciler, facts, GRACE_S)
    assert isinstance(found, Start)
    assert (found.min_rows, found.why) == (20, "1 in the inbox")


def test_while_the_debounce_runs_nothing_is_started() -> None:
    reconciler, facts = Reconciler(), told(inbox_told=None)
    for seconds in (0, 5, 60, 599):
        assert isinstance(after(reconciler, facts, seconds), Wait)
    assert isinstance(after(reconciler, facts, 600), Start)  # whatever became of it


@pytest.mark.parametrize(
    "more",
    [{"deployed": False}, {"paused": True}, {"busy": True}, {"runs": [Run("1", "active")]}],
    ids=str,
)
def test_what_stands_in_the_way_is_respected(more: dict[str, Any]) -> None:
    reconciler, facts = Reconciler(), told()
    facts = replace(facts, **more)
    for seconds in (0, 100, 10_000):
        assert isinstance(after(reconciler, facts, seconds), Wait)


def test_an_experience_that_nobody_retrained_on_is_learned() -> None:
    reconciler, facts = Reconciler(), pending(None, debounce=10.0)
    assert isinstance(reconciler.decide(facts), Wait)
    assert isinstance(after(reconciler, facts, 9), Wait)
    assert after(reconciler, facts, 10) == Start(0, reconciler._key(facts), "1 pending")


def test_too_few_rows_wait_for_more_but_not_for_ever() -> None:
    reconciler, facts = Reconciler(), pending(40, 50, min_rows=100, max_wait=600.0)
    for seconds in (0, 20, 599):
        now = replace(facts, now=float(seconds), pending_s=float(seconds))
        assert isinstance(reconciler.decide(now), Wait)
    found = reconciler.decide(replace(facts, now=600.0, pending_s=600.0))
    assert isinstance(found, Start)
    assert found.min_rows == 0
    reconciler, facts = Reconciler(), pending(40, 60, min_rows=100, max_wait=600.0)
    reconciler.decide(facts)
    found = after(reconciler, facts, 20)
    assert isinstance(found, Start)
    assert found.min_rows == 100


def test_two_that_see_the_same_start_one_run_and_another_after_it() -> None:
    facts = told(runs=[Run("7", "completed")])
    keys = []
    for _ in range(2):
        reconciler = Reconciler()
        reconciler.decide(facts)
        found = after(reconciler, facts, GRACE_S)
        assert isinstance(found, Start)
        keys.append(found.key)
    assert keys[0] == keys[1]
    # It was cancelled, or failed: the same key would give the same dead run again.
    later = replace(facts, now=1000.0, runs=[Run("8", "cancelled"), *facts.runs])
    reconciler.decide(later)
    found = after(reconciler, later, 1000)
    assert isinstance(found, Start)
    assert found.key != keys[0]


@dataclass
class World:
    """Runs that end badly, one after the other, on a clock of its own."""

    how: How
    reconciler: Reconciler = field(default_factory=Reconciler)
    now: float = 0.0
    runs: list[Run] = field(default_factory=list)
    facts: Facts = field(default_factory=told)

    def until_started(self) -> float:
        """How long it takes until the next run; it then ends as all do."""
        begun = self.now
        while self.now < begun + 10_000:
            facts = replace(self.facts, now=self.now, runs=list(self.runs))
            if isinstance(self.reconciler.decide(facts), Start):
                self.runs.insert(0, Run(str(len(self.runs)), self.how))
                return self.now - begun
            self.now += 1.0
        raise AssertionError("nothing was started")


def test_failures_are_repeated_with_growing_pauses() -> None:
    world = World("failed")
    found = [world.until_started() for _ in range(9)]
    assert found[0] == GRACE_S
    wanted = [min(FIRST_PAUSE_S * 2**n, LONGEST_PAUSE_S) for n in range(8)]
    assert wanted[-1] == LONGEST_PAUSE_S
    assert all(0 <= one - least <= 1 for one, least in zip(found[1:], wanted, strict=True))


@pytest.mark.parametrize("how", ["crashed", "cancelled"])
def test_a_run_that_was_killed_is_repeated_within_a_minute(how: How) -> None:
    world = World(how)
    assert max(world.until_started() for _ in range(12)) <= LONGEST_AFTER_CRASH_S + 1


def test_what_was_away_is_tried_again_within_two_minutes_of_its_return() -> None:
    world = World("hindered")
    pauses = [world.until_started() for _ in range(12)]
    assert pauses[1:4] == [15, 30, 60]
    assert max(pauses) == LONGEST_WHILE_AWAY_S <= 110  # and some seconds until the run begins
    world.how = "failed"  # its own pauses begin with the first
    assert world.until_started() == LONGEST_WHILE_AWAY_S
    assert [world.until_started() for _ in range(6)] == [90, 90, 90, 120, 240, 480]


@pytest.mark.parametrize("change", [{"inbox": {"a.csv": "1", "b.csv": "1"}}, {"inbox": {}}])
def test_new_data_or_progress_ends_the_pauses(change: dict[str, Any]) -> None:
    world = World("failed", facts=replace(told(), pending={"000001-aaaaaaaa": None}))
    for _ in range(6):
        world.until_started()
    world.now += 1
    world.facts = replace(world.facts, **change, inbox_told=world.now)
    assert world.until_started() <= 11


def test_a_run_that_went_on_before_the_file_came_is_not_held_against_it() -> None:
    reconciler, facts = Reconciler(), told(runs=[Run("1", "active")])
    assert reconciler.decide(facts) == Wait("a run is on its way")
    ended = replace(facts, runs=[Run("1", "completed")])
    assert isinstance(after(reconciler, ended, 20), Start)


def test_files_that_runs_elsewhere_do_not_see_are_ingested_here() -> None:
    reconciler, facts = Reconciler(), told()
    reconciler.decide(facts)
    assert isinstance(after(reconciler, facts, 5), Start)
    done = replace(facts, now=20.0, runs=[Run("1", "completed")])
    assert isinstance(reconciler.decide(done), Wait)
    assert isinstance(after(reconciler, done, FIRST_PAUSE_S), IngestHere)
    assert isinstance(after(reconciler, done, FIRST_PAUSE_S + 1), Wait)
    assert isinstance(after(reconciler, done, 3 * FIRST_PAUSE_S), Start)  # it did not help


def test_what_others_published_is_pending_until_a_run_that_came_after_has_ended() -> None:
    reconciler = Reconciler()
    old = [Run("2", "active"), Run("1", "completed")]
    facts = Facts(now=0.0, behind="c1", runs=old)
    assert reconciler.decide(facts) == Wait("a run is on its way")
    facts = replace(facts, runs=[Run("2", "completed"), *old[1:]])  # perhaps it looked before
    assert isinstance(after(reconciler, facts, 10), Start)
    for how in ("failed", "cancelled"):
        facts = replace(facts, runs=[Run(how, how), *facts.runs])
        assert isinstance(after(reconciler, facts, 20), Wait)
    assert isinstance(after(reconciler, facts, 200), Start)
    facts = replace(facts, runs=[Run("3", "completed"), *facts.runs])  # on another machine, say
    for seconds in (201, 10_000):
        assert after(reconciler, facts, seconds) == Wait("nothing waits", quiet=True)
    facts = replace(facts, behind="c2", runs=facts.runs[:1])
    assert isinstance(after(reconciler, facts, 10_000), Wait)
    assert isinstance(after(reconciler, facts, 10_010), Start)
    assert after(reconciler, replace(facts, behind=None), 10_020) == Wait(
        "nothing waits", quiet=True
    )


def test_two_that_are_behind_start_one_run() -> None:
    keys = []
    for _ in range(2):
        reconciler, facts = Reconciler(), Facts(now=0.0, behind="c1", behind_s=700.0, min_rows=9)
        assert isinstance(reconciler.decide(facts), Wait)
        found = after(reconciler, facts, 10)
        assert isinstance(found, Start)
        assert found.min_rows == 0  # it has waited for max_wait
        keys.append(found.key)
    assert keys[0] == keys[1]


def test_a_run_that_no_worker_takes_is_told_of() -> None:
    reconciler, waits = Reconciler(), Run("1", "active", begun=False)
    facts = told(runs=[waits])
    for seconds in (0, UNTAKEN_S - 1):
        assert after(reconciler, facts, seconds) == Wait("a run is on its way")
    late = Wait("a run is on its way", untaken="1")
    assert after(reconciler, facts, UNTAKEN_S) == late
    assert after(reconciler, replace(facts, runs=[Run("1", "active")]), 301) == Wait(late.why)
    assert after(reconciler, facts, 302) == Wait(late.why)  # it waits again, since now


def in_a_day(*hows: How) -> tuple[int, int]:
    """How many runs and ingests here one file costs that nobody can take away."""
    reconciler, facts, runs = Reconciler(), told(), list[Run]()
    starts = here = 0
    for now in range(0, 86_400, 5):
        found = reconciler.decide(replace(facts, now=float(now), runs=list(runs)))
        starts += isinstance(found, Start)
        here += isinstance(found, IngestHere)
        if isinstance(found, Start):
            runs.insert(0, Run(str(len(runs)), hows[len(runs) % len(hows)]))
    return starts, here


@pytest.mark.parametrize("hows", [("completed",), ("completed", "cancelled")], ids=str)
def test_a_file_that_cannot_be_removed_costs_little(hows: tuple[How, ...]) -> None:
    starts, here = in_a_day(*hows)
    assert 12 <= starts <= 31
    assert 1 <= here <= starts
    assert LONGEST_IN_VAIN_S == 3600  # somebody who mends it need not wait for long
    assert sum(in_a_day("completed", "failed")) > 100  # something is wrong that may be right soon


states = st.sampled_from(["active", "completed", "failed", "hindered", "crashed", "cancelled"])


@given(st.lists(st.tuples(st.integers(1, 30), states, st.integers(0, 3)), max_size=30))
def test_whatever_happened_it_is_tried_again(history: list[tuple[int, How, int]]) -> None:
    reconciler, now, runs = Reconciler(), 0.0, [Run("0", "completed")]
    for seconds, how, files in history:
        now += seconds
        if runs[0].how == "active":
            runs[0] = Run(runs[0].id, "failed")
        runs.insert(0, Run(str(len(runs)), how))
        inbox = {f"{number}.csv": "1" for number in range(files)}
        reconciler.decide(Facts(now, inbox=inbox, inbox_told=now, runs=list(runs)))
    runs = [Run(one.id, "failed") if one.how == "active" else one for one in runs]
    facts = told(now, runs=runs)
    reconciler.decide(facts)
    found = [
        after(reconciler, facts, seconds) for seconds in (LONGEST_PAUSE_S, 2 * LONGEST_PAUSE_S)
    ]
    assert any(isinstance(one, Start) for one in found)
