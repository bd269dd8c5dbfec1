"""What shards did one after another, and at the same time, is shown minute by minute."""

from __future__ import annotations

from claude_batch.core.history.run import RunHistory, Session, by_minute, joined
from claude_batch.core.model.minutes import Minute


def minute(at: float, seconds: float, attempts: int) -> Minute:
    return Minute(at=at, seconds=seconds, attempts=attempts, succeeded=attempts)


def session(begin: float, end: float, *minutes: Minute) -> RunHistory:
    return RunHistory(sessions=(Session(opened_at=begin, closed_at=end, minutes=minutes),))


def test_short_shards_one_after_another_make_whole_minutes() -> None:
    shards = [session(at, at + 20.0, minute(at + 20.0, 20.0, 10)) for at in range(0, 120, 20)]
    (one,) = by_minute(joined(shards))
    assert [each.attempts for each in one.whole_minutes] == [30, 30]


def test_shards_at_the_same_time_are_added_up() -> None:
    shards = [session(0.0, 60.0, minute(60.0, 60.0, 100)), session(5.0, 60.0, minute(60.0, 55, 50))]
    (one,) = by_minute(joined(shards))
    assert [each.attempts for each in one.whole_minutes] == [150]


def test_what_was_resumed_later_stands_apart() -> None:
    shards = [session(0.0, 60.0, minute(60.0, 60.0, 9)), session(900.0, 960.0, minute(960, 60, 7))]
    assert [each.begin for each in by_minute(joined(shards))] == [0.0, 900.0]


def test_nothing_begun_is_no_session() -> None:
    assert by_minute(joined([])) == ()
