"""The causes of refusals that the rate finder tells apart: values in, values out."""

from __future__ import annotations

import random

from claude_batch.core.pacing.in_flight_limit import InFlightLimit
from claude_batch.core.pacing.minute_window import MinuteWindow
from claude_batch.core.pacing.random_refusals import RandomRefusals
from claude_batch.core.pacing.recent_requests import RecentRequests


def crowded(limit: InFlightLimit, most: int, *, rounds: int, from_s: float = 0.0) -> None:
    """Launch up to 12 at once, as far as the limit lets; refuse what is above `most`."""
    for second in range(rounds):
        for in_flight in range(1, 13):
            now = from_s + second
            if limit.is_full(in_flight - 1):
                break
            limit.record_launch(in_flight, now)
            if in_flight > most:
                limit.record_429(in_flight, now)


def test_a_limit_in_flight_is_believed_once_all_above_it_and_none_below_are_refused() -> None:
    limit = InFlightLimit()
    crowded(limit, 10, rounds=2)
    assert limit.limit is None
    crowded(limit, 10, rounds=8)
    assert limit.limit == 10


def test_a_limit_in_flight_that_holds_is_tried_ever_more_rarely() -> None:
    limit = InFlightLimit()
    crowded(limit, 10, rounds=10)
    crowded(limit, 10, rounds=300, from_s=10.0)
    assert limit.limit in {10, 11}


def test_a_higher_limit_in_flight_is_found_again() -> None:
    limit = InFlightLimit()
    crowded(limit, 6, rounds=10)
    assert limit.limit == 6
    crowded(limit, 12, rounds=60, from_s=10.0)
    assert not limit.is_full(11)


def test_refusals_at_any_number_in_flight_are_no_limit() -> None:
    limit, chance = InFlightLimit(), random.Random(1)
    for second in range(100):
        for in_flight in range(1, 13):
            limit.record_launch(in_flight, float(second))
            if chance.random() < 0.5:
                limit.record_429(in_flight, float(second))
    assert limit.limit is None


def test_a_window_of_a_minute_is_tried_halfway_through_what_is_known_and_at_its_end() -> None:
    window = MinuteWindow()
    window.record_opening(10.0, 16.0)
    assert window.next_try(40.0) == 73.0
    assert window.next_try(73.1) == 76.1


def test_a_second_opening_narrows_the_first_down() -> None:
    window = MinuteWindow()
    window.record_opening(10.0, 16.0)
    window.record_opening(73.0, 75.0)
    window.forget_tries()
    assert window.next_try(100.0) == 134.0


def test_a_window_that_is_shut_when_it_should_have_opened_is_none() -> None:
    window = MinuteWindow()
    window.record_opening(10.0, 10.5)
    assert window.next_try(40.0) == 70.6
    assert window.next_try(70.7) is None
    assert window.next_try(80.0) is None


def launched(requests: RecentRequests, count: int, refused: int, *, from_s: float) -> float:
    """Launch some, ten a second, and refuse some of them, evenly; return when it is over."""
    for number in range(count):
        at = from_s + number / 10
        requests.record_launch(at)
        if number * refused // count != (number + 1) * refused // count:
            requests.record_429(at)
    return from_s + count / 10


def test_random_refusals_are_counted_and_then_expected() -> None:
    requests, refusals = RecentRequests(), RandomRefusals()
    refusals.begin(requests)
    now = launched(requests, 100, 20, from_s=0.0)
    assert refusals.finish(requests)
    assert refusals.share == 0.2
    end = launched(requests, 100, 20, from_s=now)
    assert refusals.exceeded_since(now, requests, end) is None


def test_more_refusals_than_are_random_mean_a_limit() -> None:
    requests, refusals = RecentRequests(), RandomRefusals()
    refusals.begin(requests)
    now = launched(requests, 100, 20, from_s=0.0)
    refusals.finish(requests)
    end = launched(requests, 100, 35, from_s=now)
    assert refusals.exceeded_since(now, requests, end) == now


def test_a_count_without_refusals_shows_that_there_are_no_random_ones() -> None:
    requests, refusals = RecentRequests(), RandomRefusals()
    refusals.begin(requests)
    launched(requests, 100, 0, from_s=0.0)
    assert refusals.finish(requests)
    assert refusals.share == 0.0


def test_what_was_taken_is_counted_in_order_of_launch() -> None:
    requests = RecentRequests()
    launched(requests, 100, 10, from_s=0.0)
    assert requests.taken_before(5.0) == 45
    assert round(requests.taken_per_s(0.0, 10.0), 6) == 9.0


def test_a_row_is_made_of_refusals_launched_one_after_the_other() -> None:
    requests = RecentRequests()
    for at in (1.0, 2.0, 3.0, 4.0, 4.0, 4.0):
        requests.record_launch(at)
    assert requests.latest_row([1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]
    assert requests.latest_row([1.0, 3.0]) == [3.0]
    assert requests.latest_row([1.0, 4.0, 4.0]) == [4.0, 4.0]
