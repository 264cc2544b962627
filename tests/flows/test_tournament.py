"""The laws of the tournament: who takes part, what gives evidence, who wins and who is let go."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.config import TournamentConfig
from perdure.flows import tournament
from perdure.records import Entrant, Evidence, Registered, Role, Tournament
from tests.flows.test_decisions import version

SETTINGS = TournamentConfig()
ALPHA = 0.05
INCUMBENTS: dict[Role, int] = {"contender": 1, "predecessor": 1, "anchor": 1}


def standing(champion: int, replaced: int | None = None, challenger: int | None = None) -> Any:
    serving = dataclasses.replace(version(champion, ("e1",)), replaced=replaced)
    other = serving if challenger in (None, champion) else version(challenger or 0, ("e1", "e2"))
    return Registered(serving, other, None, None)


def of(*entrants: Entrant, **more: Any) -> Tournament:
    return Tournament(entrants=entrants, **more)


def named(state: Tournament) -> list[tuple[int, Role]]:
    return [(entrant.version, entrant.role) for entrant in state.entrants]


def rows(share: float, count: int = 200) -> np.ndarray:
    """Losses of 0 and 1, of which a share is wrong."""
    return (np.arange(count) < share * count).astype(np.float64)


SOME = Evidence(200, 2, 0.01, (0.1, 0.2, 0.3, 0.2, -0.5))


def test_the_predecessor_takes_part_and_keeps_its_evidence() -> None:
    begun = tournament.begin(of(Entrant(5, "contender")), standing(3, 2), going_back=True)
    assert named(begun) == [(5, "contender"), (2, "predecessor")]
    kept = of(Entrant(2, "predecessor", better=SOME))
    assert tournament.begin(kept, standing(3, 2), going_back=True) == kept
    # also where it is what training goes on from
    assert tournament.begin(kept, standing(3, 2, challenger=2), going_back=True) == kept


def test_a_predecessor_that_is_one_no_longer_takes_no_part() -> None:
    state = of(Entrant(2, "predecessor", better=SOME))
    assert named(tournament.begin(state, standing(4, 3), going_back=True)) == [(3, "predecessor")]
    assert named(tournament.begin(state, standing(4, None), going_back=True)) == []


def test_a_version_takes_part_once() -> None:
    state = of(Entrant(2, "anchor", better=SOME))
    assert tournament.begin(state, standing(3, 2), going_back=True) == state


def test_a_contender_that_serves_is_none() -> None:
    state = of(Entrant(3, "contender"), Entrant(4, "contender"), Entrant(5, "contender"))
    assert named(tournament.begin(state, standing(3, challenger=4), going_back=True)) == [
        (5, "contender")
    ]


def test_where_nothing_goes_back_by_itself_an_anchor_is_measured_and_does_not_win() -> None:
    """Or else the version that a person pinned would be forgotten."""
    state = of(Entrant(2, "anchor"), Entrant(3, "predecessor"), pinned=2)
    begun = tournament.begin(state, standing(1, 3), going_back=False)
    assert named(begun) == [(2, "anchor")]
    losses = {1: rows(1.0), 2: rows(0.0)}
    there = tournament.measured(begun, 7, losses, INCUMBENTS, SETTINGS, ALPHA, going_back=False)
    assert there.winner is None
    assert there.state.entrants[0].better.rows == 200
    other = tournament.measured(begun, 7, losses, INCUMBENTS, SETTINGS, ALPHA, going_back=True)
    assert other.winner == there.state.entrants[0]


@pytest.mark.parametrize("role", ["contender", "predecessor", "anchor"])
def test_who_is_shown_to_be_better_wins(role: Role) -> None:
    losses = {1: rows(0.5), 2: rows(0.2)}
    found = tournament.measured(of(Entrant(2, role)), 7, losses, INCUMBENTS, SETTINGS, ALPHA)
    assert found.winner == found.state.entrants[0]
    assert found.let_go == ()
    assert found.state.measured == 7
    assert found.winner is not None
    assert found.winner.better.difference == pytest.approx(0.3)


@pytest.mark.parametrize("role", ["predecessor", "anchor"])
def test_going_back_needs_a_margin(role: Role) -> None:
    state, losses = of(Entrant(2, role)), {1: rows(0.12), 2: rows(0.0)}
    eager = TournamentConfig(rollback_margin=0.0)
    careful = TournamentConfig(rollback_margin=0.12)
    assert tournament.measured(state, 7, losses, INCUMBENTS, eager, ALPHA).winner is not None
    assert tournament.measured(state, 7, losses, INCUMBENTS, careful, ALPHA).winner is None
    # A contender's step is forward: it needs none.
    state = of(Entrant(2, "contender"))
    assert tournament.measured(state, 7, losses, INCUMBENTS, careful, ALPHA).winner is not None


def test_of_several_the_one_with_the_most_evidence_wins() -> None:
    state = of(Entrant(2, "contender"), Entrant(3, "anchor"), Entrant(4, "contender"))
    losses = {1: rows(0.5), 2: rows(0.3), 3: rows(0.2), 4: rows(0.1)}
    found = tournament.measured(state, 7, losses, INCUMBENTS, SETTINGS, ALPHA)
    assert found.winner is not None
    assert found.winner.version == 4
    assert found.let_go == ()


def test_going_back_stops_at_the_predecessor_where_that_is_enough() -> None:
    state = of(Entrant(2, "predecessor"), Entrant(3, "anchor"))
    losses = {1: rows(0.5), 2: rows(0.2), 3: rows(0.1)}
    found = tournament.measured(state, 7, losses, INCUMBENTS, SETTINGS, ALPHA)
    assert found.winner is not None
    assert (found.winner.version, found.winner.role) == (2, "predecessor")
    slide = {1: rows(0.5), 2: rows(0.49), 3: rows(0.1)}
    found = tournament.measured(state, 7, slide, INCUMBENTS, SETTINGS, ALPHA)
    assert found.winner is not None
    assert (found.winner.version, found.winner.role) == (3, "anchor")


def test_evidence_of_several_experiences_adds_up() -> None:
    state, looks = of(Entrant(2, "contender")), 0
    found = None
    while found is None and looks < 5:
        looks += 1
        losses = {1: rows(0.10, 40), 2: rows(0.0, 40)}
        outcome = tournament.measured(state, looks, losses, INCUMBENTS, SETTINGS, ALPHA)
        state, found = outcome.state, outcome.winner
    assert looks > 1
    assert found is not None
    assert (found.better.rows, found.better.experiences) == (40 * looks, looks)


def test_a_contender_that_is_shown_to_be_worse_is_let_go() -> None:
    losses = {1: rows(0.2), 2: rows(0.5), 3: rows(0.2)}
    state = of(Entrant(2, "contender"), Entrant(3, "contender"))
    found = tournament.measured(state, 7, losses, INCUMBENTS, SETTINGS, ALPHA)
    [(gone, why)] = found.let_go
    assert gone.version == 2
    assert why.startswith(
        "shown to be worse on 200 rows of 1 experience: loss higher by 0.300, e ="
    )


def test_no_older_version_is_let_go_for_being_worse() -> None:
    losses = {1: rows(0.2), 2: rows(0.5), 3: rows(0.9)}
    state = of(Entrant(2, "predecessor"), Entrant(3, "anchor"))
    found = tournament.measured(state, 7, losses, INCUMBENTS, SETTINGS, ALPHA)
    assert (found.winner, found.let_go) == (None, ())


def test_a_contender_is_tried_on_so_many_experiences() -> None:
    state, settings = of(Entrant(2, "contender")), TournamentConfig(contender_for=3)
    equal = {1: rows(0.2), 2: rows(0.2)}
    for number in (1, 2):
        found = tournament.measured(state, number, equal, INCUMBENTS, settings, ALPHA)
        assert found.let_go == ()
        state = found.state
    # One that it is not measured on does not count.
    unknown = tournament.measured(state, 3, {1: rows(0.2)}, INCUMBENTS, settings, ALPHA)
    assert unknown.let_go == ()
    found = tournament.measured(unknown.state, 4, equal, INCUMBENTS, settings, ALPHA)
    [(gone, why)] = found.let_go
    assert gone.version == 2
    assert why.startswith("not shown to be better on 600 rows of 3 experiences")


@pytest.mark.parametrize("known", [(), (1,), (2,)])
def test_a_version_that_has_learned_the_experience_gives_no_evidence(known: tuple[int]) -> None:
    """Nor does one that is compared with it."""
    state = of(Entrant(2, "contender", better=SOME), Entrant(1, "anchor"))
    losses = {number: rows(0.5 if number == 1 else 0.0) for number in known}
    found = tournament.measured(state, 7, losses, INCUMBENTS, SETTINGS, ALPHA)
    assert found.state.entrants == state.entrants
    assert found.winner is None
    assert found.state.measured == 7


def test_a_contender_is_compared_with_what_training_goes_on_from() -> None:
    """And an older version with what serves."""
    incumbents: dict[Role, int] = {"contender": 2, "anchor": 1}
    losses = {1: rows(0.5), 2: rows(0.0), 3: rows(0.2), 4: rows(0.2)}
    state = of(Entrant(3, "contender"), Entrant(4, "anchor"))
    found = tournament.measured(state, 7, losses, incumbents, SETTINGS, ALPHA)
    assert [e.better.difference for e in found.state.entrants] == pytest.approx([-0.2, 0.3])


def test_at_most_two_contend() -> None:
    state = of(Entrant(9, "anchor"))
    lost = []
    for number in (2, 3, 4):
        state, least = tournament.enter(state, Entrant(number, "contender"))
        lost.append(least and least.version)
    assert lost == [None, None, 2]
    assert named(state) == [(9, "anchor"), (3, "contender"), (4, "contender")]


def test_the_one_with_the_least_evidence_gives_way() -> None:
    strong = Evidence(200, 1, 0.1, (1.0,) * 5)
    weak = Evidence(200, 1, -0.1, (-1.0,) * 5)
    state = of(Entrant(2, "contender", better=strong), Entrant(3, "contender", better=weak))
    state, least = tournament.enter(state, Entrant(4, "contender"))
    assert least is not None
    assert least.version == 3


def test_the_version_that_a_person_pinned_does_not_become_a_contender() -> None:
    state = of(Entrant(2, "anchor"), pinned=2)
    assert tournament.enter(state, Entrant(2, "contender")) == (state, None)
    moves = of(Entrant(2, "anchor"))
    assert named(tournament.enter(moves, Entrant(2, "contender"))[0]) == [(2, "contender")]


def test_the_anchor_moves_every_so_many_promotions() -> None:
    settings, state, anchors = TournamentConfig(anchor_every=3), Tournament(), []
    for champion in range(1, 9):
        state = tournament.promoted(state, champion, settings)
        [anchor] = state.of("anchor")
        anchors.append(anchor.version)
    assert anchors == [1, 1, 1, 4, 4, 4, 7, 7]


def test_the_anchor_does_not_move_where_it_is_pinned_or_switched_off() -> None:
    pinned = of(Entrant(1, "anchor", better=SOME), pinned=1)
    off = Tournament()
    for champion in range(2, 30):
        pinned = tournament.promoted(pinned, champion, TournamentConfig(anchor_every=2))
        off = tournament.promoted(off, champion, TournamentConfig(anchor_every=False))
    assert pinned.entrants == (Entrant(1, "anchor", better=SOME),)
    assert off.entrants == ()


def test_a_promotion_leaves_contenders_and_the_anchor_their_evidence() -> None:
    state = of(
        Entrant(1, "anchor", better=SOME),
        Entrant(2, "predecessor", better=SOME),
        Entrant(3, "contender", better=SOME, worse=SOME),
        Entrant(4, "contender"),
    )
    after = tournament.promoted(state, 4, SETTINGS)
    assert after.entrants == (state.entrants[0], state.entrants[2])


def test_a_pinned_version_that_becomes_the_champion_stays_pinned() -> None:
    """It was taken back, and is learned again: the same version."""
    state = of(Entrant(4, "anchor"), pinned=4)
    assert tournament.promoted(state, 4, SETTINGS).entrants == state.entrants
    assert tournament.restarted(state, 4).entrants == state.entrants


def test_a_restart_ends_all_evidence() -> None:
    state = of(
        Entrant(1, "anchor", better=SOME),
        Entrant(2, "predecessor", better=SOME),
        Entrant(3, "contender", better=SOME, worse=SOME, experience="e3", waits=True),
        Entrant(4, "contender"),
        measured=9,
    )
    after = tournament.restarted(state, 4)
    assert after.entrants == (
        Entrant(1, "anchor"),
        Entrant(3, "contender", experience="e3", waits=True),
    )
    assert after.measured == 9


def test_where_the_aliases_belong() -> None:
    state = of(Entrant(5, "contender"), Entrant(7, "contender"), Entrant(6, "anchor"))
    assert tournament.aliases(state) == {"contender": 7, "contender-2": 5, "anchor": 6}
    assert tournament.aliases(Tournament()) == {
        "contender": None,
        "contender-2": None,
        "anchor": None,
    }


@given(st.data())
def test_one_retraining_or_many_leave_the_same(data: st.DataObject) -> None:
    """A state that was written down and read again goes on bit for bit."""
    import json

    from perdure.tasks.registry import codec

    batches = data.draw(
        st.lists(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1), max_size=6)
    )
    kept = of(Entrant(2, "contender", experience="000002-aaaaaaaa"), Entrant(3, "anchor"))
    through = kept
    for number, batch in enumerate(batches, 1):
        ours, theirs = (np.array(side) for side in zip(*batch, strict=True))
        losses = {1: ours, 2: theirs, 3: ours[::-1]}
        kept = tournament.measured(kept, number, losses, INCUMBENTS, SETTINGS, ALPHA).state
        read = codec.tournament(json.loads(codec.dumps(through)))
        assert read == through
        through = tournament.measured(read, number, losses, INCUMBENTS, SETTINGS, ALPHA).state
    assert through == kept
    assert codec.dumps(through) == codec.dumps(kept)


def test_rows_that_neither_predicts_better_than_a_constant_are_evidence_for_a_contender_alone() -> (
    None
):
    """Flipped labels: the worse of two older versions looks better."""
    losses = {1: rows(0.9), 2: rows(0.6), 3: rows(0.6), 4: rows(0.6)}
    state = of(Entrant(2, "predecessor"), Entrant(3, "anchor"), Entrant(4, "contender"))
    found = tournament.measured(state, 7, losses, INCUMBENTS, SETTINGS, ALPHA, constant=0.5)
    assert [entrant.better.rows for entrant in found.state.entrants] == [0, 0, 200]
    assert found.winner == found.state.entrants[2]
    # Where one of the two is better than that, it is.
    other = tournament.measured(state, 7, losses, INCUMBENTS, SETTINGS, ALPHA, constant=0.7)
    assert [entrant.better.rows for entrant in other.state.entrants] == [200, 200, 200]


def test_the_predecessor_goes_before_the_anchor() -> None:
    """It has learned more."""
    state = of(Entrant(2, "predecessor"), Entrant(3, "anchor"))
    losses = {1: rows(0.5), 2: rows(0.2), 3: rows(0.1)}
    found = tournament.measured(state, 7, losses, INCUMBENTS, SETTINGS, ALPHA)
    assert found.winner == found.state.entrants[0]
    losses[2] = rows(0.5)
    found = tournament.measured(state, 7, losses, INCUMBENTS, SETTINGS, ALPHA)
    assert found.winner == found.state.entrants[1]
