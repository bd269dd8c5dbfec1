"""The rate finder: values in, values out."""

from __future__ import annotations

import math

from claude_batch.core.pacing.in_flight_limit import InFlightLimit
from claude_batch.core.pacing.rate_finder import RateFinder


def launch(finder: RateFinder, count: int, *, from_s: float, until_s: float) -> list[float]:
    """Launch `count` requests evenly; return when."""
    times = [from_s + (until_s - from_s) * number / count for number in range(count)]
    for at in times:
        finder.record_launch(1, at)
    return times


def refuse(finder: RateFinder, times: list[float], *, wait_s: float | None = None) -> bool:
    """Refuse what was launched at `times`; return whether the server is then taken for shut."""
    return [finder.record_429(at, 1, at + 0.05, wait_s=wait_s) for at in times][-1]


def test_nothing_is_held_back_before_a_refusal() -> None:
    assert RateFinder().ready_at(7.0) == 7.0


def test_a_single_refusal_does_not_shut_the_lane() -> None:
    finder = RateFinder()
    times = launch(finder, 100, from_s=0.0, until_s=10.0)
    assert not refuse(finder, times[50:51])


def test_refusals_in_a_row_shut_the_lane_until_a_probe() -> None:
    finder = RateFinder()
    times = launch(finder, 100, from_s=0.0, until_s=10.0)
    assert refuse(finder, times[-4:])
    assert 10.0 < finder.ready_at(10.0) < 11.0


def test_while_shut_one_probe_goes_at_a_time() -> None:
    finder = RateFinder()
    refuse(finder, launch(finder, 100, from_s=0.0, until_s=10.0)[-4:])
    finder.record_launch(1, 10.6)
    assert finder.ready_at(10.7) == math.inf


def test_after_a_probe_that_failed_otherwise_the_next_may_go() -> None:
    finder = RateFinder()
    refuse(finder, launch(finder, 100, from_s=0.0, until_s=10.0)[-4:])
    finder.record_launch(1, 10.6)
    finder.record_failure(10.6, 12.0)
    assert finder.ready_at(12.0) == 12.0


def test_a_long_wait_that_is_asked_for_is_kept_after_one_refusal() -> None:
    finder = RateFinder()
    times = launch(finder, 1, from_s=0.0, until_s=1.0)
    assert refuse(finder, times, wait_s=20.0)
    assert finder.ready_at(1.0) == 20.05


def test_retry_after_0_means_now() -> None:
    finder = RateFinder()
    refuse(finder, launch(finder, 100, from_s=0.0, until_s=10.0)[-3:], wait_s=0.0)
    assert finder.ready_at(10.0) == 10.0


def test_what_was_taken_between_two_exhaustions_is_the_rate() -> None:
    finder = RateFinder()
    refuse(finder, launch(finder, 50, from_s=0.0, until_s=10.0)[-4:])
    finder.record_launch(1, 11.0)
    finder.record_reply(11.0, 11.1)
    refuse(finder, launch(finder, 104, from_s=11.2, until_s=20.0)[-4:])
    assert finder.per_s is not None
    assert 9.0 < finder.per_s < 11.5


def test_a_limit_on_what_is_in_flight_is_believed_when_all_above_it_are_refused() -> None:
    limit = InFlightLimit()
    for round_ in range(10):
        for in_flight in range(1, 13):
            limit.record_launch(in_flight, float(round_))
            if in_flight > 10:
                limit.record_429(in_flight, round_ + 0.5)
    assert limit.limit == 10
