"""The histories of several runs are one: one after another as they were, at once added up."""

from __future__ import annotations

from claude_batch.core.history.run import RunHistory, Session, joined
from claude_batch.core.model.events import Waited
from claude_batch.core.model.minutes import Minute


def a_history(begin: float, *minutes: int) -> RunHistory:
    """Return a run that began then, with as many successes in each of its minutes."""
    figures = tuple(
        Minute(at=begin + 60.0 * number, seconds=60.0, succeeded=count)
        for number, count in enumerate(minutes, 1)
    )
    end = begin + 60.0 * len(minutes)
    session = Session(opened_at=begin, closed_at=end, state="finished", minutes=figures)
    pause = Waited(at=begin, lane="haiku", why="429", until=begin + 1.0)
    return RunHistory(sessions=(session,), pauses=(pause,))


def test_runs_one_after_another_stay_as_they_were() -> None:
    first, second = a_history(0.0, 10, 20), a_history(121.0, 30)
    found = joined([second, first])
    assert found.sessions == (*first.sessions, *second.sessions)
    assert [each.at for each in found.pauses] == [0.0, 121.0]


def test_runs_at_the_same_time_are_added_up_minute_by_minute() -> None:
    found = joined([a_history(0.0, 10, 20, 30), a_history(60.0, 1, 2)])
    assert [each.succeeded for each in found.minutes] == [10, 21, 32]
    assert [(each.at, each.seconds) for each in found.minutes] == [
        (60.0, 60.0),
        (120.0, 60.0),
        (180.0, 60.0),
    ]


def test_nothing_is_nothing() -> None:
    assert joined([]) == RunHistory()
