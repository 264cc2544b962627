"""The laws of the cursor: whatever is decided, in whatever order, no experience is lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from perdure.config import TournamentConfig
from perdure.errors import UsageError
from perdure.flows import decisions, line, tournament
from perdure.records import (
    NO_NUMBER,
    Arrival,
    Change,
    DataRevision,
    Entrant,
    Evidence,
    Held,
    Reason,
    Registered,
    Role,
    Tournament,
    Verdict,
    Version,
)

PASS, FAIL = Verdict("passed", ()), Verdict("refused", ())
INSANE = Verdict("refused", (Reason("sanity", "refused", NO_NUMBER, 3, 0, None, "diverged"),))
BY = "a person"
SETTINGS = TournamentConfig(anchor_every=2, contender_for=3)


def version(number: int, cursor: tuple[str, ...], parent: int | None = None) -> Version:
    return Version(
        version=number,
        learning_key=f"{number:064d}",
        parent=parent,
        experience=cursor[-1],
        weights_sha256="w",
        state_sha256="s",
        cursor=cursor,
        data=DataRevision(None, None),
        code=None,
        strategy=("replay",),
        verdict="passed",
        reasons=(),
        replaced=None,
        run_id="r",
        created_at="2026-01-01T00:00:00+00:00",
    )


class Model(RuleBasedStateMachine):
    """A registry of plain values, moved by the changes that the flows decide on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = Registered(None, None, None, None, {})
        self.versions: dict[int, Version] = {}
        self.parents: dict[int, int | None] = {}
        self.count = 0
        self.arrived: list[str] = []

    def apply(self, change: Change) -> None:
        assert change.expects in ({}, decisions.expected(self.now))
        assert change.expects_tournament in (None, self.now.tournament.digest())
        for number, replaced in change.replaced.items():
            self.versions[number] = dataclasses.replace(
                self.versions[number], replaced=replaced, promoted=True
            )
        held = {**self.now.held, **{one.id: one for one in change.hold}}
        for id_ in change.release:
            del held[id_]  # a decision names only what is held
        aliases = {**self.now.aliases, **change.aliases}
        lines = {alias: aliases.get(alias) for alias in ("champion", "challenger")}
        before = {alias: self.now.aliases.get(alias) for alias in lines}
        recorded = {**before, **(self.now.recorded or {}), **change.recorded}
        recorded |= {alias: lines[alias] for alias in lines if alias in change.aliases}
        self.now = dataclasses.replace(
            self.now,
            held=held,
            tournament=change.tournament or self.now.tournament,
            recorded=recorded,
        )
        self.point(aliases)

    def point(self, aliases: Mapping[str, int | None]) -> None:
        """Put the aliases there; None is nowhere."""
        kept = {alias: number for alias, number in aliases.items() if number is not None}
        found = {number: self.versions[number] for number in kept.values()}
        state = self.now.tournament
        self.now = dataclasses.replace(
            self.now,
            champion=found.get(kept.get("champion", 0)),
            challenger=found.get(kept.get("challenger", 0)),
            aliases=kept,
            entrants={e.version: found[e.version] for e in state.entrants if e.version in found},
        )

    # What `line` asks the registry.

    def recover(self) -> None:
        """No change is ever cut short here."""

    def read(self) -> Registered:
        return self.now

    def version(self, number: int) -> Version:
        if number not in self.versions:
            raise UsageError(f"there is no version {number}")
        return self.versions[number]

    def line(self, one: Version | None) -> tuple[int, ...]:
        found = [] if one is None else [one.version]
        while found and (parent := self.parents.get(found[-1])) is not None:
            found.append(parent)
        return tuple(found)

    def settle(self) -> None:
        registry = cast(Any, Registry(self))
        line.settle(registry)
        events = self.now
        line.settle(registry)
        assert self.now == events, "what was recorded is recorded once"

    def pending(self) -> list[str]:
        learned = self.now.challenger.cursor if self.now.challenger else ()
        return [id_ for id_ in self.arrived if id_ not in learned and id_ not in self.now.held]

    @rule()
    def ingest(self) -> None:
        self.arrived.append(f"{len(self.arrived) + 1:06d}-aaaaaaaa")

    @precondition(lambda self: self.pending())
    @rule(verdict=st.sampled_from([PASS, PASS, FAIL, INSANE]), automatic=st.booleans())
    def learn(self, verdict: Verdict, automatic: bool) -> None:
        parent, id_ = self.now.challenger, self.pending()[0]
        cursor = (*(parent.cursor if parent else ()), id_)
        number = parent.version if parent else None
        known = [v for v in self.versions.values() if (v.cursor, v.parent) == (cursor, number)]
        if not known:
            self.count += 1
            known = [version(self.count, cursor, number)]
            self.versions[self.count], self.parents[self.count] = known[0], number
        [made] = known
        before = self.now
        if verdict.passed:
            self.apply(decisions.passed(self.now, made, verdict, automatic, BY, SETTINGS))
            assert self.now.challenger == self.versions[made.version]
        else:
            self.apply(decisions.refused(self.now, made, verdict, BY))
            assert (self.now.champion, self.now.challenger) == (before.champion, before.challenger)
            assert id_ in self.now.held
            entered = made.version in {e.version for e in self.now.tournament.of("contender")}
            pinned = self.now.tournament.pinned == made.version
            assert entered == (verdict.contends and parent is not None and not pinned)

    @precondition(
        lambda self: self.now.challenger and int(self.fresh()[:6]) > self.now.tournament.measured
    )
    @rule(data=st.data(), automatic=st.booleans(), going_back=st.booleans())
    def measure(self, data: st.DataObject, automatic: bool, going_back: bool) -> None:
        """An experience arrives: each version that takes part is wrong on a share of its rows."""
        id_, before = self.fresh(), self.now
        number = int(id_[:6])
        state = tournament.begin(self.now.tournament, self.now, going_back=going_back)
        serving = [v.version for v in (self.now.champion, self.now.challenger) if v]
        losses = {
            one: np.full(60, data.draw(st.sampled_from([0.0, 0.4, 0.45, 1.0])))
            for one in sorted({*serving, *(e.version for e in state.entrants)})
            if one in self.versions and id_ not in self.versions[one].cursor
        }
        assert self.now.challenger is not None
        incumbents: dict[Role, int] = {"contender": self.now.challenger.version}
        if self.now.champion:
            incumbents |= dict.fromkeys(("predecessor", "anchor"), self.now.champion.version)
        outcome = tournament.measured(
            state, number, losses, incumbents, SETTINGS, 0.05, going_back=going_back
        )
        winner = self.versions[outcome.winner.version] if outcome.winner else None
        shown = Arrival(id_, 60, None, None)
        pending, learned = set(self.pending()), set(self.now.challenger.cursor)
        self.apply(decisions.arrived(self.now, shown, outcome, winner, BY, automatic=automatic))
        now = self.now
        assert now.tournament.measured == number
        assert now.tournament.latest == shown
        assert now.challenger is not None
        if winner is None:
            assert (now.champion, now.challenger) == (before.champion, before.challenger)
            assert now.held == before.held
            return
        assert now.challenger.version == winner.version
        assert self.evidence() <= {0}
        if outcome.winner in outcome.state.of("contender"):
            assert (now.champion != before.champion) == automatic
            # What only the other line had learned is learned again.
            assert set(self.pending()) == (pending | learned) - {*winner.cursor, *before.held}
        else:
            assert now.champion == now.challenger
            assert set(self.pending()) <= pending  # what it had learned is held
            assert before.champion is not None
            contends = {e.version for e in now.tournament.of("contender")}
            assert before.champion.version in {*contends, now.tournament.pinned}

    @precondition(lambda self: self.versions)
    @rule(data=st.data(), keep=st.booleans())
    def roll_back(self, data: st.DataObject, keep: bool) -> None:
        target = self.versions[data.draw(st.sampled_from(sorted(self.versions)))]
        pending = self.pending()
        self.apply(decisions.rolled_back(self.now, target, "why", keep, BY))
        assert self.now.champion == self.now.challenger == self.versions[target.version]
        self.nothing_undoes_it(target)
        if not keep:  # nothing that was learned before is learned again by itself
            assert set(self.pending()) <= set(pending)

    def nothing_undoes_it(self, target: Version) -> None:
        """All evidence is gone, and who goes on from what was abandoned takes part no longer."""
        assert self.evidence() <= {0}
        for entrant in self.now.tournament.entrants:
            if entrant.version == self.now.tournament.pinned:
                continue
            one = self.versions[entrant.version]
            assert set(one.cursor) - {one.experience} <= set(target.cursor)

    @precondition(lambda self: self.versions)
    @rule(data=st.data(), forced=st.booleans())
    def promote(self, data: st.DataObject, forced: bool) -> None:
        wanted = self.versions[data.draw(st.sampled_from(sorted(self.versions)))]
        before = self.now.champion.version if self.now.champion else None
        ancestors = self.line(self.now.challenger)
        challenger = self.now.challenger
        self.apply(decisions.promoted_by_hand(self.now, wanted, forced, "why", BY, ancestors))
        assert self.now.champion is not None
        assert self.now.champion.version == wanted.version
        assert self.now.champion.replaced == before
        assert self.evidence() <= {0}
        assert self.now.challenger is not None
        if wanted.version in ancestors:
            assert challenger is not None
            assert self.now.challenger.version == challenger.version
        else:
            assert self.now.challenger.version == wanted.version

    @precondition(lambda self: self.versions)
    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        wanted = self.versions[data.draw(st.sampled_from(sorted(self.versions)))]
        self.apply(decisions.pinned(self.now, wanted, None, BY))
        assert self.now.aliases["anchor"] == self.now.tournament.pinned == wanted.version

    @precondition(lambda self: self.now.tournament.pinned)
    @rule()
    def unpin(self) -> None:
        pinned = self.now.tournament.pinned
        assert pinned is not None
        self.apply(decisions.unpinned(self.now, self.versions[pinned], BY))
        assert "anchor" not in self.now.aliases

    @precondition(lambda self: self.now.recorded and self.versions)
    @rule(data=st.data(), which=st.sets(st.sampled_from(["champion", "challenger"]), min_size=1))
    def move_in_mlflow(self, data: st.DataObject, which: set[str]) -> None:
        there = {
            alias: data.draw(st.sampled_from([*sorted(self.versions), None]))
            for alias in sorted(which)
        }
        before, ancestors = self.now, self.line(self.now.champion)
        self.point({**self.now.aliases, **there})
        moved = self.now.moved
        self.settle()
        assert self.now.moved == ()
        champion = self.now.champion and self.now.champion.version
        if "champion" in there:
            assert champion == there["champion"]
        else:
            assert champion == (before.champion and before.champion.version)
        if "challenger" in moved:
            challenger = self.now.challenger and self.now.challenger.version
            assert challenger == there["challenger"]
        if "champion" in moved and champion is not None:
            assert self.evidence() <= {0}
            if champion in ancestors:
                self.nothing_undoes_it(self.versions[champion])

    @precondition(lambda self: self.now.recorded and self.versions)
    @rule(data=st.data(), alias=st.sampled_from(["contender", "contender-2", "anchor"]))
    def move_an_entrant_in_mlflow(self, data: st.DataObject, alias: str) -> None:
        number = data.draw(st.sampled_from([*sorted(self.versions), None]))
        was = self.now.aliases.get(alias)
        self.point({**self.now.aliases, alias: number})
        moved = self.now.aliases.get(alias) != was
        self.settle()
        if alias == "anchor" and moved and number is not None:
            assert self.now.tournament.pinned == number
        if moved and number is None and was is not None:
            assert was not in {e.version for e in self.now.tournament.entrants}

    @precondition(lambda self: self.now.entrants)
    @rule(data=st.data())
    def delete_in_mlflow(self, data: st.DataObject) -> None:
        """MLflow takes a version's aliases with it."""
        number = data.draw(st.sampled_from(sorted(self.now.entrants)))
        if number in (self.now.aliases.get("champion"), self.now.aliases.get("challenger")):
            return
        del self.versions[number]
        self.point({alias: n for alias, n in self.now.aliases.items() if n != number})
        self.settle()
        assert number not in {e.version for e in self.now.tournament.entrants}

    @precondition(lambda self: self.versions)
    @rule(keep=st.integers(1, 3))
    def prune(self, keep: int) -> None:
        """What goes is missed by no rollback, and by nobody who takes part."""
        wanted, before = self.rollbacks(keep), self.now
        rules = decisions.PruneRules(keep, 0, datetime.now(UTC))
        goes, stays = decisions.prunable(
            [*self.versions.values()], self.now, self.now.aliases, (), self.pending(), rules
        )
        assert sorted([*goes, *stays]) == sorted(self.versions)
        assert {*self.now.aliases.values(), *self.now.entrants} <= stays.keys()
        for number in goes:
            del self.versions[number]
        assert self.rollbacks(keep) == wanted
        self.settle()
        assert self.now == before

    def rollbacks(self, count: int) -> list[int]:
        """The champions of so many rollbacks in a row, done and undone again."""
        found: list[int] = []
        now, versions = self.now, dict(self.versions)
        while len(found) < count and self.now.champion and self.now.champion.replaced:
            target = self.versions.get(self.now.champion.replaced)
            if target is None:  # a person deleted it in MLflow
                break
            self.apply(decisions.rolled_back(self.now, target, None, False, BY))
            found.append(target.version)
        self.now, self.versions = now, versions
        return found

    def fresh(self) -> str:
        """The next experience to be learned, if any."""
        return next(iter(self.pending()), "000000")

    def evidence(self) -> set[int]:
        """Rows that anyone's evidence stands on."""
        return {e.better.rows + e.worse.rows for e in self.now.tournament.entrants}

    @precondition(lambda self: self.now.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.now.held)))
        self.apply(decisions.released([id_], None, BY))
        learned = self.now.challenger.cursor if self.now.challenger else ()
        assert id_ in self.pending() or id_ in learned

    @precondition(lambda self: self.pending())
    @rule()
    def quarantine(self) -> None:
        id_ = self.pending()[0]
        self.apply(decisions.quarantined([id_], "why", BY))
        assert self.now.held[id_].quarantined

    @invariant()
    def every_experience_is_in_one_place(self) -> None:
        learned = set(self.now.challenger.cursor) if self.now.challenger else set()
        held, pending = set(self.now.held), set(self.pending())
        assert learned | held | pending == set(self.arrived)
        assert not pending & (learned | held)

    @invariant()
    def what_the_challenger_has_learned_is_not_held(self) -> None:
        if self.now.challenger is not None:
            assert not set(self.now.challenger.cursor) & set(self.now.held)

    @invariant()
    def a_cursor_names_nothing_twice(self) -> None:
        for one in self.versions.values():
            assert len(set(one.cursor)) == len(one.cursor)

    @invariant()
    def the_aliases_show_the_tournament(self) -> None:
        wanted = tournament.aliases(self.now.tournament)
        assert {alias: self.now.aliases.get(alias) for alias in wanted} == wanted
        assert not self.now.entrants_moved

    @invariant()
    def each_takes_part_once_and_few_do(self) -> None:
        state = self.now.tournament
        numbers = [entrant.version for entrant in state.entrants]
        assert len(set(numbers)) == len(numbers)
        assert len(state.of("contender")) <= tournament.MOST_CONTENDERS
        assert len(state.of("anchor")) <= 1
        if state.pinned is not None:
            assert [one.version for one in state.of("anchor")] == [state.pinned]


class Registry:
    """What `line.settle` asks of one."""

    def __init__(self, model: Model) -> None:
        self.recover = model.recover
        self.read = model.read
        self.version = model.version
        self.apply = model.apply
        self.parents = lambda: model.parents


TestCursor = Model.TestCase
TestCursor.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


@given(st.booleans())
def test_with_manual_promotion_only_the_challenger_moves(automatic: bool) -> None:
    now = Registered(None, None, None, None, {})
    made = version(1, ("000001-a",))
    change = decisions.passed(now, made, PASS, automatic, BY, SETTINGS)
    assert ("champion" in change.aliases) == automatic
    [event] = change.events
    assert event.action == ("promoted" if automatic else "moved")
    assert (decisions.WAITS in (event.reason or "")) != automatic


def test_a_challenger_that_is_not_approved_is_taken_back_to_the_champion() -> None:
    first, second = version(1, ("000001-a",)), version(2, ("000001-a", "000002-b"))
    now = Registered(first, second, None, None, {})
    change = decisions.not_approved(now, second, "too slow", BY)
    assert {a: n for a, n in change.aliases.items() if a in ("champion", "challenger")} == {
        "champion": 1,
        "challenger": 1,
    }
    assert [held.id for held in change.hold] == ["000002-b"]
    assert change.events[0].action == "rolled back"
    assert change.events[0].reason == "version 2 was not approved: too slow"


def test_a_first_challenger_that_is_not_approved_leaves_none_and_its_contenders_go() -> None:
    first = version(1, ("000001-a",))
    entrants = (Entrant(2, "contender", experience="000002-b"),)
    now = Registered(None, first, None, None, {}, tournament=Tournament(2, entrants))
    change = decisions.not_approved(now, first, None, BY)
    assert change.aliases["challenger"] is None
    assert [held.id for held in change.hold] == ["000001-a"]
    assert [event.action for event in change.events] == ["refused", "held", "let go"]
    assert change.tournament is not None
    assert change.tournament.entrants == ()


def test_a_contender_that_wins_and_what_follows_is_one_change() -> None:
    """The evidence, the aliases, what is released, and the history: together or not at all."""
    first, other = version(1, ("000001-a",)), version(2, ("000001-a", "000002-b"), 1)
    now = Registered(first, first, None, None, aliases={"champion": 1, "challenger": 1})
    now = dataclasses.replace(now, held={"000002-b": Held("000002-b", ("x",), "t", BY)})
    state, _ = tournament.enter(
        Tournament(measured=2), Entrant(2, "contender", experience="000002-b")
    )
    losses = {1: np.ones(60), 2: np.zeros(60)}
    outcome = tournament.measured(state, 3, losses, {"contender": 1}, SETTINGS, 0.05)
    change = decisions.arrived(
        now, Arrival("000003-c", 60, 1, 0.0), outcome, other, BY, automatic=True
    )
    assert {a: n for a, n in change.aliases.items() if n is not None} == {
        "champion": 2,
        "challenger": 2,
    }
    assert change.release == ("000002-b",)
    assert change.replaced == {2: 1}
    [event] = change.events
    assert (event.action, event.version, event.replaced) == ("promoted", 2, 1)
    assert event.reason is not None
    assert event.reason.startswith("contender shown to be better on 60 rows of 1 experience")
    assert change.tournament is not None
    assert change.tournament.entrants == ()
    assert change.tournament.measured == 3


def test_gates_compare_with_the_champion_but_for_a_contender_that_waits_for_approval() -> None:
    first, second = version(1, ("000001-a",)), version(2, ("000001-a", "000002-b"), 1)
    refused = dataclasses.replace(second, verdict="refused")
    for champion, challenger, expected in [
        (None, None, None),
        (None, first, first),
        (first, first, first),
        (first, second, first),
        (first, refused, refused),
        (refused, refused, refused),
    ]:
        now = Registered(champion, challenger, None, None, {})
        assert decisions.compared_with(now) is expected


def test_a_challenger_that_alone_is_moved_in_mlflow_ends_the_evidence_of_contenders() -> None:
    """They are measured against it; the anchor is measured against the champion."""
    first = version(1, ("000001-a",))
    second = version(2, ("000001-a", "000002-b"), 1)
    third = version(3, ("000001-a", "000003-c"), 1)
    fourth = version(4, ("000001-a", "000002-b", "000004-d"), 2)
    shown = Evidence(rows=60, experiences=1)
    roles: list[tuple[int, Role]] = [(1, "anchor"), (3, "contender"), (4, "contender")]
    state = Tournament(4, tuple(Entrant(n, role, better=shown) for n, role in roles))
    now = Registered(
        second,
        first,
        None,
        None,
        {},
        tournament=state,
        aliases={"champion": 2, "challenger": 1, "anchor": 1, "contender": 4, "contender-2": 3},
        entrants={1: first, 3: third, 4: fourth},
        recorded={"champion": 2, "challenger": 2},
    )
    change = decisions.moved_in_mlflow(
        now, {"champion": second, "challenger": second}, {"champion": (2, 1), "challenger": (2, 1)}
    )
    assert change.tournament is not None
    # The fourth has learned from the second, which training no longer goes on from.
    assert [(e.version, e.better.rows) for e in change.tournament.entrants] == [(1, 60), (3, 0)]
    assert [e.version for e in change.events if e.action == "let go"] == [4]
    assert {change.aliases[a] for a in ("contender", "contender-2")} == {3, None}
