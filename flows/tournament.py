"""The tournament: who might serve in the champion's place, decided on data that none has learned.

Pure functions of records and losses; no outside system. `flows/arrival.py` measures the versions,
and `flows/decisions/` makes the change of the registry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from perdure.config import TournamentConfig
from perdure.records import Entrant, Evidence, Registered, Role, Tournament
from perdure.tasks import evidence as tests

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_CONTENDERS = 2
"""So the cost of an arrival is bounded: champion, predecessor, anchor and two contenders."""


@dataclass(frozen=True)
class Outcome:
    """What the losses on one experience decide."""

    state: Tournament
    """The evidence with this experience, before anything is moved."""
    winner: Entrant | None
    """It takes the place of the version that serves."""
    let_go: tuple[tuple[Entrant, str], ...]
    """Contenders that are tried no longer, each with the reason."""


def begin(state: Tournament, now: Registered, *, going_back: bool) -> Tournament:
    """The entrants as they are to be measured: with the champion's predecessor, if it is one.

    Args:
        state: As the registry has it.
        now: The aliases.
        going_back: Whether an older version may take the champion's place. If not, an anchor is
            measured all the same, for a person to see.
    """
    champion = now.champion
    serving = {one.version for one in (champion, now.challenger) if one is not None}
    kept = []
    predecessor = champion.replaced if champion is not None else None
    for entrant in state.entrants:
        if entrant.role == "contender" and entrant.version in serving:
            continue  # a person promoted it
        if entrant.role == "predecessor" and (not going_back or entrant.version != predecessor):
            continue
        kept.append(entrant)
    known = {entrant.version for entrant in kept}
    if going_back and predecessor is not None and predecessor not in known:
        kept.append(Entrant(predecessor, "predecessor"))
    return replace(state, entrants=tuple(kept))


def measured(
    state: Tournament,
    number: int,
    losses: Mapping[int, NDArray[np.float64]],
    incumbents: Mapping[Role, int],
    settings: TournamentConfig,
    alpha: float,
    *,
    going_back: bool = True,
    constant: float = 1.0,
) -> Outcome:
    """Add the evidence of one experience, and decide.

    Rows that both versions predict no better than a constant does, such as those of a file with
    flipped labels, do not show which of two older models is to serve: the worse one looks better.
    They are evidence for a contender alone, for it may be the first that knows a changed world.

    Args:
        state: As `begin` gives it.
        number: The experience's number.
        losses: `(rows,)` in [0, 1] by version; of those that have not learned the experience.
        incumbents: By role the version that would be replaced.
        settings: Margin, and how long a contender is tried.
        alpha: The largest probability of a false alarm, of each entrant over its whole life.
        going_back: Whether a predecessor or an anchor may win.
        constant: Mean loss of always predicting the most frequent class, or the mean.
    """
    entrants = [_collect(one, losses, incumbents, settings, constant) for one in state.entrants]
    after = replace(state, measured=number, entrants=tuple(entrants))
    winners = [
        entrant
        for entrant in entrants
        if (going_back or entrant.role == "contender")
        and entrant.better.rows
        and tests.shows(entrant.better, alpha)
    ]
    # The anchor often learned less long ago: going back to it would hold good experiences, too.
    # Where the predecessor is not enough, the anchor is shown against it in its turn.
    if any(entrant.role == "predecessor" for entrant in winners):
        winners = [entrant for entrant in winners if entrant.role != "anchor"]
    winner = max(winners, key=lambda e: e.better.log_e, default=None)
    let_go = []
    for entrant in after.of("contender"):
        if entrant is winner:
            continue
        if entrant.worse.rows and tests.shows(entrant.worse, alpha):
            turned = replace(entrant.worse, difference=-entrant.worse.difference)
            let_go.append((entrant, f"shown to be worse on {words(turned)}"))
        elif entrant.better.experiences >= settings.contender_for:
            let_go.append((entrant, f"not shown to be better on {words(entrant.better)}"))
    return Outcome(after, winner, tuple(let_go))


def enter(state: Tournament, contender: Entrant) -> tuple[Tournament, Entrant | None]:
    """Add a contender; of more than two the one with the least evidence is let go.

    The version that a person pinned stays the anchor, and is no contender.

    Returns:
        The state, and the contender that was let go for it.
    """
    if contender.version == state.pinned:
        return state, None
    others = [e for e in state.entrants if e.version != contender.version]
    contenders = [e for e in others if e.role == "contender"]
    least = None
    if len(contenders) >= MOST_CONTENDERS:
        least = min(contenders, key=lambda e: (e.better.log_e, e.version))
        others = [e for e in others if e is not least]
    return replace(state, entrants=(*others, contender)), least


def without(state: Tournament, versions: Sequence[int]) -> Tournament:
    """The state without some entrants."""
    kept = tuple(e for e in state.entrants if e.version not in versions)
    return replace(state, entrants=kept)


def promoted(state: Tournament, champion: int, settings: TournamentConfig) -> Tournament:
    """The state after a candidate became champion: a new predecessor, and perhaps a new anchor.

    Contenders and the anchor keep their evidence: it says that they are better than what served.
    """
    kept = [
        e
        for e in state.entrants
        if e.role == "anchor" or (e.role == "contender" and e.version != champion)
    ]
    count = state.promotions + 1
    anchored = any(e.role == "anchor" for e in kept) or state.pinned is not None
    every = settings.anchor_every
    due = every is not False and (not anchored or count >= every)
    if due and state.pinned is None:
        kept = [e for e in kept if e.role != "anchor"]
        kept.append(Entrant(champion, "anchor"))
        count = 0
    return replace(state, entrants=tuple(kept), promotions=count)


def restarted(state: Tournament, champion: int | None) -> Tournament:
    """The state after the champion was replaced for another reason: all evidence ends.

    A version that takes part goes on with none. Where the champion stays, and the challenger alone
    was moved (None), that is the evidence of the contenders.
    """
    kept = []
    for entrant in state.entrants:
        if champion is None and entrant.role != "contender":
            kept.append(entrant)
            continue
        serves = entrant.version == champion and entrant.role != "anchor"
        if entrant.role == "predecessor" or serves:
            continue
        kept.append(replace(entrant, better=Evidence(), worse=Evidence()))
    return replace(state, entrants=tuple(kept))


def aliases(state: Tournament) -> dict[str, int | None]:
    """Where the aliases of a tournament belong; None: nowhere."""
    contenders = [entrant.version for entrant in state.of("contender")]
    anchor = next((entrant.version for entrant in state.of("anchor")), None)
    return {
        "contender": contenders[-1] if contenders else None,
        "contender-2": contenders[-2] if len(contenders) > 1 else None,
        "anchor": anchor,
    }


def words(evidence: Evidence) -> str:
    """What evidence stands on: `1,344 rows of 2 experiences, loss lower by 0.031, e = 45`."""
    experiences = f"{evidence.experiences} experience{'' if evidence.experiences == 1 else 's'}"
    side = "lower" if evidence.difference >= 0 else "higher"
    return (
        f"{evidence.rows:,} rows of {experiences}: loss {side} by {abs(evidence.difference):.3f}, "
        f"e = {evidence.e_value:.3g}"
    )


def _collect(
    entrant: Entrant,
    losses: Mapping[int, NDArray[np.float64]],
    incumbents: Mapping[Role, int],
    settings: TournamentConfig,
    constant: float,
) -> Entrant:
    incumbent = incumbents.get(entrant.role)
    if (
        incumbent is None
        or incumbent == entrant.version
        or not {incumbent, entrant.version} <= set(losses)
    ):
        return entrant
    gains = losses[incumbent] - losses[entrant.version]
    useful = min(losses[incumbent].mean(), losses[entrant.version].mean()) < constant
    if entrant.role != "contender":
        better = tests.collect(entrant.better, gains, settings.rollback_margin)
        return replace(entrant, better=better) if useful else entrant
    worse = tests.collect(entrant.worse, -gains) if useful else entrant.worse
    return replace(entrant, better=tests.collect(entrant.better, gains), worse=worse)
