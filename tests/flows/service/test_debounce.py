"""A burst is acted on a few times, and nothing waits longer than it may."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perdure.flows.service.debounce import Debounce

STEP = 0.25
"""How often somebody asks whether it is time, in seconds."""


def firings(arrivals: list[float], quiet: float, longest: float) -> list[float]:
    """When it is acted, if it is asked every STEP until all is quiet."""
    debounce, acted, waiting, now = Debounce(quiet, longest), [], sorted(arrivals), 0.0
    while waiting or debounce.due is not None:
        while waiting and waiting[0] <= now:
            debounce.arrived(waiting.pop(0))
        if debounce.is_due(now):
            debounce.acted()
            acted.append(now)
        now += STEP
    return acted


seconds = st.floats(0, 300)


@given(st.lists(seconds, min_size=1, max_size=200), st.floats(0, 30), st.floats(0, 300))
def test_every_arrival_is_acted_on_in_time(
    arrivals: list[float], quiet: float, more: float
) -> None:
    longest = quiet + more
    acted = firings(arrivals, quiet, longest)
    assert acted
    for one in arrivals:
        assert any(one <= at <= one + longest + 2 * STEP for at in acted)


@given(st.lists(seconds, min_size=1, max_size=200), st.floats(1, 30), st.floats(0, 300))
def test_it_is_acted_on_when_it_is_quiet_or_has_waited_long(
    arrivals: list[float], quiet: float, more: float
) -> None:
    acted = firings(arrivals, quiet, quiet + more)
    assert len(acted) == len(set(acted))
    for before, at in zip([-1.0, *acted], acted, strict=False):
        inside = [one for one in arrivals if before < one <= at]
        assert inside
        is_quiet = at - max(inside) >= quiet
        assert is_quiet or at - min(inside) >= quiet + more


@given(st.integers(0, 2**32), st.floats(0, 40))
def test_a_burst_of_a_thousand_is_acted_on_a_few_times(seed: int, length: float) -> None:
    random = np.random.default_rng(seed)
    burst = [float(one) for one in random.uniform(0, length, 1000)]
    assert 1 <= len(firings(burst, quiet=5, longest=60)) <= 2


def test_a_stream_that_never_stops_is_acted_on_all_the_same() -> None:
    acted = firings([0.5 * number for number in range(1000)], quiet=5, longest=60)
    assert len(acted) == 9
    assert max(after - before for before, after in pairwise(acted)) <= 61


def test_what_arrived_before_the_last_look_counts_from_when_it_came() -> None:
    assert Debounce(10, 60).due is None
    assert not Debounce(10, 60).is_due(1e9)
    debounce = Debounce(10, 60)
    debounce.arrived(3)
    debounce.arrived(2)
    assert debounce.due == 13
    assert not debounce.is_due(12.9)
    assert debounce.is_due(13)
