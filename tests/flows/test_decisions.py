"""The laws of the cursor: whatever is decided, in whatever order, no experience is lost."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from perdure.flows import decisions
from perdure.records import Change, DataRevision, Registered, Verdict, Version

PASS, FAIL = Verdict("passed", ()), Verdict("refused", ())
BY = "somebody"


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
        self.arrived: list[str] = []

    def apply(self, change: Change) -> None:
        assert change.expects in ({}, decisions.expected(self.now))
        for number, replaced in change.replaced.items():
            self.versions[number] = dataclasses.replace(self.versions[number], replaced=replaced)
        held = {**self.now.held, **{one.id: one for one in change.hold}}
        for id_ in change.release:
            del held[id_]  # a decision names only what is held
        names: dict[str, Any] = {
            alias: self.versions.get(target) if target is not None else None
            for alias, target in change.aliases.items()
        }
        self.now = dataclasses.replace(self.now, **names, held=held)

    def pending(self) -> list[str]:
        learned = self.now.challenger.cursor if self.now.challenger else ()
        return [id_ for id_ in self.arrived if id_ not in learned and id_ not in self.now.held]

    @rule()
    def ingest(self) -> None:
        self.arrived.append(f"{len(self.arrived) + 1:06d}-aaaaaaaa")

    @precondition(lambda self: self.pending())
    @rule(passed=st.booleans(), automatic=st.booleans())
    def learn(self, passed: bool, automatic: bool) -> None:
        parent, id_ = self.now.challenger, self.pending()[0]
        cursor = (*(parent.cursor if parent else ()), id_)
        made = version(len(self.versions) + 1, cursor, parent.version if parent else None)
        self.versions[made.version] = made
        if passed:
            self.apply(decisions.passed(self.now, made, PASS, automatic, BY))
            assert self.now.challenger == self.versions[made.version]
        else:
            before = self.now
            self.apply(decisions.refused(self.now, made, FAIL, BY))
            assert (self.now.champion, self.now.challenger) == (before.champion, before.challenger)
            assert id_ in self.now.held

    @precondition(lambda self: self.versions)
    @rule(data=st.data(), keep=st.booleans())
    def roll_back(self, data: st.DataObject, keep: bool) -> None:
        target = self.versions[data.draw(st.sampled_from(sorted(self.versions)))]
        pending = self.pending()
        self.apply(decisions.rolled_back(self.now, target, "why", keep, BY))
        assert self.now.champion == self.now.challenger == self.versions[target.version]
        if not keep:  # nothing that was learned before is learned again by itself
            assert set(self.pending()) <= set(pending)

    @precondition(lambda self: self.versions)
    @rule(data=st.data(), forced=st.booleans())
    def promote(self, data: st.DataObject, forced: bool) -> None:
        wanted = self.versions[data.draw(st.sampled_from(sorted(self.versions)))]
        before = self.now.champion.version if self.now.champion else None
        self.apply(decisions.promoted_by_hand(self.now, wanted, forced, "why", BY))
        assert self.now.champion is not None
        assert self.now.champion.version == wanted.version
        assert self.now.champion.replaced == before

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


TestCursor = Model.TestCase
TestCursor.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.booleans())
def test_a_refused_year_is_held_with_its_reasons(automatic: bool) -> None:
    now = Registered(None, None, None, None, {})
    change = decisions.passed(now, version(1, ("000001-a",)), PASS, automatic, BY)
    assert ("champion" in change.aliases) == automatic
    assert [event.action for event in change.events] == (["promoted"] if automatic else [])
