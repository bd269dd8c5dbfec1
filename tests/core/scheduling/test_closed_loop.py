"""Two hundred scenarios: the scheduler against an exact model of the server, in virtual time.

Limits, latency, token mixes, wrong estimates and wrong guesses, how the server samples and
charges; in half of them another program, a limit that changes, an outage or a limit that is
enforced by the second behind the headers' back. See `tests/support/scenarios.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.support.closed_loop import Outcome
from tests.support.forms import first
from tests.support.scenarios import TROUBLES, scenario

TWENTIES = [range(start, start + 20) for start in range(0, 200, 20)]

HANDFUL = 10
"""429s that learning a limit may cost, whatever its size."""

Outcomes = Mapping[int, Outcome]
"""What scenarios came to, by their seeds."""


@pytest.fixture(scope="module", params=first(2, TWENTIES), ids=str)
def outcomes(request: pytest.FixtureRequest) -> Outcomes:
    return {seed: scenario(seed).loop.run() for seed in request.param}


def with_trouble(outcomes: Outcomes, *troubles: str) -> Iterator[tuple[int, Outcome]]:
    """Yield the scenarios in which one of these goes wrong."""
    return (each for each in outcomes.items() if TROUBLES[each[0] % len(TROUBLES)] in troubles)


def test_every_request_ends_exactly_once(outcomes: Outcomes) -> None:
    counts = {seed: scenario(seed).loop.load.count for seed in outcomes}
    assert [
        seed
        for seed, out in outcomes.items()
        if sorted(out.ended) != list(range(1, counts[seed] + 1))
    ] == []


def test_no_request_is_passed_by_one_behind_it(outcomes: Outcomes) -> None:
    assert [
        seed for seed, out in outcomes.items() if out.first_launches != sorted(out.first_launches)
    ] == []


def test_the_limits_are_used(outcomes: Outcomes) -> None:
    up = with_trouble(outcomes, *(set(TROUBLES) - {"outage"}))
    assert {seed: out.used for seed, out in up if out.used < 0.95} == {}


def test_on_average_next_to_nothing_of_the_limits_is_left_unused(outcomes: Outcomes) -> None:
    used = [out.used for _, out in with_trouble(outcomes, "none")]
    assert sum(used) / len(used) >= 0.98


def test_429s_are_next_to_none(outcomes: Outcomes) -> None:
    assert {
        seed: len(out.refused_at)
        for seed, out in with_trouble(outcomes, "none")
        if len(out.refused_at) > max(HANDFUL, 0.005 * out.attempts)
    } == {}


def test_429s_are_next_to_none_whatever_goes_wrong(outcomes: Outcomes) -> None:
    attempts = sum(out.attempts for out in outcomes.values())
    assert sum(len(out.refused_at) for out in outcomes.values()) <= 0.005 * attempts


def test_once_the_limits_are_known_429s_stay_away(outcomes: Outcomes) -> None:
    shares = {seed: out.share_refused(after_s=30) for seed, out in with_trouble(outcomes, "none")}
    assert {seed: share for seed, share in shares.items() if share > 0.012} == {}
