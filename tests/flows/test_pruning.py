"""Which versions may be removed: case by case, and whatever happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.config import TournamentConfig
from perdure.flows import decisions
from perdure.flows.decisions import PruneRules, prunable
from perdure.records import (
    Change,
    DataRevision,
    Entrant,
    Registered,
    Tournament,
    Verdict,
    Version,
)

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
OLD, YOUNG = "2026-01-01T00:00:00+00:00", "2026-06-20T00:00:00+00:00"


def version(number: int, **fields: Any) -> Version:
    """A version that passed and was promoted long ago, in place of the one before."""
    base = Version(
        version=number,
        learning_key=str(number),
        parent=number - 1 or None,
        experience=f"{number:06d}-aaaaaaaa",
        weights_sha256="w",
        state_sha256="s",
        cursor=tuple(f"{n:06d}-aaaaaaaa" for n in range(1, number + 1)),
        data=DataRevision(None, None),
        code=None,
        strategy=("replay",),
        verdict="passed",
        reasons=(),
        replaced=number - 1 or None,
        run_id="",
        created_at=OLD,
        promoted=True,
    )
    return replace(base, **fields)


def refused(number: int, **fields: Any) -> Version:
    return version(number, **{"verdict": "refused", "promoted": False, "replaced": None, **fields})


def going(
    versions: list[Version],
    champion: int,
    *,
    keep: int = 2,
    days: int = 30,
    aliases: Mapping[str, int] | None = None,
    tournament: Tournament | None = None,
    recent: tuple[int, ...] = (),
    pending: tuple[str, ...] = (),
) -> tuple[dict[int, str], dict[int, str]]:
    known = {one.version: one for one in versions}
    serves = known[champion]
    now = Registered(serves, serves, None, None, tournament=tournament or Tournament())
    named = {"champion": champion, "challenger": champion, **(aliases or {})}
    return prunable(versions, now, named, recent, pending, PruneRules(keep, days, NOW))


LINE = [version(n) for n in range(1, 8)]
"""Seven, each promoted in the place of the one before."""


def test_the_newest_that_were_promoted_stay_and_so_do_rollbacks() -> None:
    goes, stays = going(LINE, 7)
    assert sorted(goes) == [1, 2, 3, 4]
    assert stays == {
        7: "has the alias challenger, champion",
        6: "rollbacks from version 7 reach it",
        5: "rollbacks from version 7 reach it",
    }
    assert goes[1] == "promoted, and not among the newest 2; nothing happened to it for 30 days"
    assert going(LINE, 7, keep=10)[0] == {}
    # After a rollback to the third, rollbacks go on from there; the newest stay, too.
    goes, stays = going(LINE, 3)
    assert sorted(goes) == [4, 5]
    assert stays[6] == "is among the newest 2 that were promoted"
    assert stays[1] == "rollbacks from version 3 reach it"


@pytest.mark.parametrize(
    ("more", "stays", "why"),
    [
        ({"aliases": {"audited": 2}}, 2, "has the alias audited"),
        (
            {"tournament": Tournament(entrants=(Entrant(2, "anchor"),), pinned=2)},
            2,
            "is measured beside the champion: anchor",
        ),
        (
            {"tournament": Tournament(entrants=(Entrant(2, "anchor"),))},
            1,
            "rollbacks from version 2 reach it",
        ),
        ({"recent": (2,)}, 2, "something happened to it in the last 30 days"),
        (
            {"pending": ("000002-aaaaaaaa",)},
            2,
            "000002-aaaaaaaa is pending: it may be judged again",
        ),
        ({"keep": 5}, 2, "rollbacks from version 7 reach it"),
    ],
)
def test_what_else_keeps_a_version(more: dict[str, Any], stays: int, why: str) -> None:
    assert stays in going(LINE, 7)[0], "or else nothing is shown"
    goes, kept = going(LINE, 7, **more)
    assert stays not in goes
    assert kept[stays] == why


def test_a_refused_version_goes_when_its_days_are_over() -> None:
    versions = [version(1), refused(2), refused(3, created_at=YOUNG), version(4, replaced=1)]
    goes, stays = going(versions, 4)
    assert goes == {2: "refused; nothing happened to it for 30 days"}
    assert stays[3] == "something happened to it in the last 30 days"
    assert going(versions, 4, recent=(2,))[0] == {}, "a contender until a week ago"
    assert sorted(going(versions, 4, days=0)[0]) == [2, 3]
    assert going(versions, 4, days=0)[0][2] == "refused"


def test_what_is_not_judged_yet_stays() -> None:
    """It was registered, and the retraining was killed: the next one judges it."""
    versions = [version(1), refused(2, verdict=None)]
    assert going(versions, 1, days=0)[0] == {}


def test_a_version_that_passed_and_was_never_promoted() -> None:
    versions = [version(1), version(2, promoted=False, replaced=None), version(3, replaced=1)]
    assert going(versions, 3)[0] == {2: "never promoted; nothing happened to it for 30 days"}


def test_rollbacks_that_go_round() -> None:
    """The first was promoted again in place of the third: back and forth for ever."""
    versions = [version(1, replaced=3), version(2), version(3), version(4, replaced=None)]
    goes, _ = going(versions, 1, keep=1)
    assert sorted(goes) == [2]
    assert sorted(going(versions, 1, keep=2)[0]) == []


class World:
    """A registry in memory, moved by what the flows decide."""

    def __init__(self) -> None:
        self.versions: dict[int, Version] = {}
        self.aliases: dict[str, int] = {}
        self.tournament = Tournament()

    def now(self) -> Registered:
        at = {alias: self.versions[number] for alias, number in self.aliases.items()}
        return Registered(
            at.get("champion"), at.get("challenger"), None, None, tournament=self.tournament
        )

    def apply(self, change: Change) -> None:
        moved = {**self.aliases, **change.aliases}
        self.aliases = {alias: number for alias, number in moved.items() if number is not None}
        for number, before in change.replaced.items():
            self.versions[number] = replace(self.versions[number], replaced=before, promoted=True)
        self.tournament = change.tournament or self.tournament

    def learn(self, passes: bool) -> None:
        now, number = self.now(), len(self.versions) + 1
        self.versions[number] = one = refused(number)
        verdict = Verdict("passed" if passes else "refused", ())
        self.apply(
            decisions.passed(now, one, verdict, True, "me", TournamentConfig(anchor_every=3))
            if passes
            else decisions.refused(now, one, verdict, "me")
        )

    def promote(self, number: int) -> None:
        if number in self.versions and number != self.aliases.get("champion"):
            one = self.versions[number]
            self.apply(decisions.promoted_by_hand(self.now(), one, True, None, "me", ()))

    def rollbacks(self, most: int) -> list[int]:
        """So many rollbacks in a row, as far as there are any; the champion after each."""
        found: list[int] = []
        while len(found) < most and (champion := self.now().champion) and champion.replaced:
            target = self.versions[champion.replaced]
            self.apply(decisions.rolled_back(self.now(), target, None, False, "me"))
            found.append(self.aliases["champion"])
        return found

    def copy(self) -> World:
        other = World()
        other.versions, other.aliases = dict(self.versions), dict(self.aliases)
        other.tournament = self.tournament
        return other


STEPS = st.one_of(
    st.tuples(st.just("learn"), st.booleans()),
    st.tuples(st.just("promote"), st.integers(1, 9)),
    st.tuples(st.just("rollbacks"), st.integers(1, 3)),
)


@settings(max_examples=150)
@given(st.lists(STEPS, min_size=4, max_size=20), st.integers(1, 4))
def test_as_many_rollbacks_in_a_row_as_before(story: list[tuple[str, Any]], keep: int) -> None:
    world = World()
    for what, choice in story:
        getattr(world, what)(choice)
    wanted = world.copy().rollbacks(keep)
    rules = PruneRules(keep, 0, NOW)
    versions = [*world.versions.values()]
    goes, stays = prunable(versions, world.now(), world.aliases, (), (), rules)
    assert sorted([*goes, *stays]) == sorted(world.versions)
    assert {*world.aliases.values(), *(e.version for e in world.tournament.entrants)} <= {*stays}
    for number in goes:
        del world.versions[number]
    assert world.rollbacks(keep) == wanted
