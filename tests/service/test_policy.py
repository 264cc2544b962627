"""What waits is started sooner or later, and never by force: decided from plain facts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.service.policy import (
    FIRST_PAUSE_S,
    LONGEST_IN_VAIN_S,
    LONGEST_PAUSE_S,
    LONGEST_WHILE_AWAY_S,
    STARTING_S,
    TAKEN_PAUSE_S,
    UNTAKEN_S,
    Decision,
    Ended,
    Facts,
    Policy,
    Run,
    Start,
    Wait,
)

ON_ITS_WAY = Wait("a run is on its way")


def waiting(at: float = 0.0, **more: Any) -> Facts:
    """A file that is complete and has rested."""
    return Facts(**{"now": at, "inbox": {"a.csv": "1"}, "inbox_since": at, **more})


def pending(*rows: int | None, **more: Any) -> Facts:
    """Experiences that wait."""
    found = {f"{number:06d}-aaaaaaaa": one for number, one in enumerate(rows, 1)}
    return Facts(**{"now": 0.0, "pending": found, **more})


def after(policy: Policy, facts: Facts, seconds: float) -> Decision:
    """What is decided later, with nothing changed."""
    return policy.decide(replace(facts, now=facts.now + seconds))


def test_nothing_waits() -> None:
    assert Policy().decide(Facts(now=0.0)) == Wait("nothing waits", quiet=True)


def test_a_file_starts_a_run_at_once() -> None:
    found = Policy().decide(waiting(min_rows=20))
    assert isinstance(found, Start)
    assert (found.min_rows, found.reason) == (20, "1 in the inbox")


@pytest.mark.parametrize("more", [{"deployed": False}, {"paused": True}, {"locked": True}], ids=str)
def test_what_stands_in_the_way_is_respected(more: dict[str, Any]) -> None:
    policy, facts = Policy(), waiting(**more)
    for seconds in (0, 100, 10_000):
        assert isinstance(after(policy, facts, seconds), Wait)


def test_a_run_that_comes_is_waited_for_and_a_dead_one_is_not() -> None:
    policy, facts = Policy(), waiting(runs=[Run("1", taken=False)])
    for seconds in (0, UNTAKEN_S - 1):
        assert after(policy, facts, seconds) == ON_ITS_WAY
    assert after(policy, facts, UNTAKEN_S) == replace(ON_ITS_WAY, untaken="1")
    taken = replace(facts, runs=[Run("1", taken=True)])
    for seconds in (301, 300 + STARTING_S):
        assert after(policy, taken, seconds) == ON_ITS_WAY
    # It does not hold the lock, whatever Prefect believes of it.
    assert isinstance(after(policy, taken, 302 + STARTING_S), Start)


def test_a_slot_that_is_taken_is_tried_now_and_then() -> None:
    """The run that finds it so takes over the slot of a holder that died."""
    policy, facts = Policy(), waiting(taken=True)
    assert isinstance(policy.decide(facts), Wait)
    assert isinstance(after(policy, facts, TAKEN_PAUSE_S - 1), Wait)
    assert isinstance(after(policy, facts, TAKEN_PAUSE_S), Start)
    assert isinstance(after(policy, facts, 2 * TAKEN_PAUSE_S - 1), Wait)
    assert isinstance(after(policy, facts, 2 * TAKEN_PAUSE_S), Start)


def test_an_experience_that_nobody_retrained_on_is_learned() -> None:
    policy, facts = Policy(), pending(None, debounce=10.0)
    assert isinstance(policy.decide(facts), Wait)
    assert isinstance(after(policy, facts, 9), Wait)
    found = after(policy, facts, 10)
    assert isinstance(found, Start)
    assert found.reason == "1 pending"


def test_too_few_rows_wait_for_more_but_not_for_ever() -> None:
    policy, facts = Policy(), pending(40, 50, min_rows=100, max_wait=600.0)
    for seconds in (0, 20, 599):
        now = replace(facts, now=float(seconds), pending_s=float(seconds))
        assert isinstance(policy.decide(now), Wait)
    found = policy.decide(replace(facts, now=600.0, pending_s=600.0))
    assert isinstance(found, Start)
    assert found.min_rows == 0
    policy, facts = Policy(), pending(40, 60, min_rows=100, max_wait=600.0)
    policy.decide(facts)
    found = after(policy, facts, 20)
    assert isinstance(found, Start)
    assert found.min_rows == 100


def test_two_that_see_the_same_start_one_run_and_each_try_is_another_one() -> None:
    facts = waiting(latest="7")
    one, two = Policy(), Policy()
    first, same = one.decide(facts), two.decide(facts)
    assert isinstance(first, Start)
    assert first == same
    # A run that is dead and never ended: the same key would give it again.
    again = after(one, facts, 1000)
    assert isinstance(again, Start)
    assert again.key != first.key
    # After a restart the run that ended last makes the difference.
    later = Policy().decide(replace(facts, latest="8"))
    assert isinstance(later, Start)
    assert later.key not in (first.key, again.key)


@dataclass
class World:
    """Runs that end badly, one after the other, on a clock of its own."""

    ended: Ended
    policy: Policy = field(default_factory=Policy)
    now: float = 0.0
    runs: int = 0
    facts: Facts = field(default_factory=waiting)

    def until_started(self) -> float:
        """How long it takes until the next run; it then ends as all do."""
        begun = self.now
        while self.now < begun + 10_000:
            facts = replace(self.facts, now=self.now, latest=str(self.runs), ended=self.ended)
            if isinstance(self.policy.decide(facts), Start):
                self.runs += 1
                return self.now - begun
            self.now += 1.0
        raise AssertionError("nothing was started")


@pytest.mark.parametrize(
    ("ended", "longest"),
    [
        ("badly", LONGEST_PAUSE_S),
        ("hindered", LONGEST_WHILE_AWAY_S),
        ("well", LONGEST_IN_VAIN_S),
    ],
)
def test_it_is_tried_again_with_growing_pauses(ended: Ended, longest: float) -> None:
    world = World(ended)
    found = [world.until_started() for _ in range(12)]
    assert found == [0, *(min(FIRST_PAUSE_S * 2**n, longest) for n in range(11))]
    assert found[-1] == longest


@pytest.mark.parametrize("change", [{"inbox": {"a.csv": "1", "b.csv": "1"}}, {"inbox": {}}])
def test_new_data_or_progress_ends_the_pauses(change: dict[str, Any]) -> None:
    world = World("badly", facts=replace(waiting(), pending={"000001-aaaaaaaa": None}))
    for _ in range(6):
        world.until_started()
    world.now += 1
    world.facts = replace(world.facts, **change)
    assert world.until_started() <= 10


def test_what_others_published_is_learned_by_a_run_that_ended_after_it_was_seen() -> None:
    policy = Policy()
    facts = Facts(now=0.0, behind="c1", latest="1")
    assert isinstance(policy.decide(facts), Wait)  # who ingests by hand may retrain next
    assert isinstance(after(policy, facts, 10), Start)
    facts = replace(facts, latest="2", ended="badly")
    assert isinstance(after(policy, facts, 20), Wait)
    assert isinstance(after(policy, facts, 200), Start)
    facts = replace(facts, latest="3", ended="well")  # on another machine, say
    for seconds in (201, 10_000):
        assert after(policy, facts, seconds) == Wait("nothing waits", quiet=True)
    facts = replace(facts, behind="c2")
    assert isinstance(after(policy, facts, 10_000), Wait)
    assert isinstance(after(policy, facts, 10_010), Start)
    gone = replace(facts, behind=None)
    assert after(policy, gone, 10_020) == Wait("nothing waits", quiet=True)


def test_two_that_are_behind_start_one_run() -> None:
    keys = []
    for _ in range(2):
        found = Policy().decide(Facts(now=0.0, behind="c1", behind_s=700.0, min_rows=9))
        assert isinstance(found, Start)
        assert found.min_rows == 0  # it has waited for max_wait
        keys.append(found.key)
    assert keys[0] == keys[1]


endings = st.sampled_from(["well", "badly", "hindered"])


@given(st.lists(st.tuples(st.integers(1, 30), endings, st.integers(0, 3)), max_size=30))
def test_whatever_happened_it_is_tried_again(history: list[tuple[int, Ended, int]]) -> None:
    policy, now = Policy(), 0.0
    for number, (seconds, ended, files) in enumerate(history):
        now += seconds
        inbox = {f"{file}.csv": "1" for file in range(files)}
        policy.decide(Facts(now, inbox=inbox, latest=str(number), ended=ended))
    facts = waiting(now, latest="9")
    found = [after(policy, facts, seconds) for seconds in (0, 2 * LONGEST_IN_VAIN_S)]
    assert any(isinstance(one, Start) for one in found)
