"""What happened in a run, read back; odd records do no harm."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from claude_batch.core.history.run import Adjustment
from claude_batch.core.model.events import Switched, Waited
from claude_batch.core.model.minutes import Minute
from claude_batch.storage.run.history import read_history
from claude_batch.storage.run.journal import JournalFile, Opened, journal_path
from tests.storage.run.test_journal import CLOSED, a_full_minute, begin

ODD: list[Any] = [None, -1, 1e300, "x", [], {"a": []}, [1], True, {"lane": {}}]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "r.jsonl"


def opened(journal: JournalFile, second: int) -> None:
    journal.opened(Opened(at=f"2026-11-30T00:00:{second:02}.000Z", process=1, done=0))


def append(results: Path, **record: Any) -> None:
    with journal_path(results).open("ab") as file:
        file.write(orjson.dumps(record) + b"\n")


def test_a_minute_comes_back_as_it_was_written(results: Path) -> None:
    journal = begin(results)
    opened(journal, 1)
    asyncio.run(journal.note([a_full_minute()]))
    journal.close()
    (session,) = read_history(results).sessions
    assert session.minutes == (a_full_minute(),)


def test_each_process_has_its_minutes(results: Path) -> None:
    journal = begin(results)
    for second in (1, 2):
        opened(journal, second)
        asyncio.run(journal.note([replace(a_full_minute(), at=float(second))]))
    journal.closed(replace(CLOSED, state="stopped", why="no credit"))
    journal.close()
    killed, stopped = read_history(results).sessions
    assert (killed.state, killed.minutes[0].at, killed.closed_at) == ("", 1.0, None)
    assert (stopped.state, stopped.why, stopped.minutes[0].at) == ("stopped", "no credit", 2.0)


def test_pauses_endpoints_and_batches_are_on_the_time_line(results: Path) -> None:
    journal = begin(results)
    opened(journal, 1)
    waited = Waited(at=1.0, lane="l", why="w", until=2.0)
    switched = Switched(at=1.0, endpoint="e", state="out", why="401")
    asyncio.run(journal.note([waited, switched]))
    journal.close()
    append(results, type="batch_intent", chunk=1, count=7, at=5.0)
    append(results, type="batch_created", chunk=1, id="b", created_at=6.0)
    append(results, type="batch_collected", chunk=1, id="b", ended_at=8.0, at=9.0)
    append(results, type="batch_intent", chunk=2, count=7, at=5.0)
    append(results, type="batch_refused", chunk=2)
    append(results, type="adjusted", at=7.0, changes={"rpm": 200, "max_cost": None}, pause=True)
    history = read_history(results)
    assert history.adjustments == (
        Adjustment(at=7.0, changes={"rpm": 200, "max_cost": None}, pause=True),
    )
    assert (history.pauses, history.switches) == ((waited,), (switched,))
    (batch,) = history.batches
    assert (batch.id, batch.requests, batch.created_at) == ("b", 7, 6.0)
    assert (batch.ended_at, batch.collected_at) == (8.0, 9.0)


def test_an_older_minute_is_a_whole_one(results: Path) -> None:
    journal = begin(results)
    opened(journal, 1)
    journal.close()
    append(results, type="minute", at=60.0, attempts=5, succeeded=4, failed=1, failures={"x": 1})
    (minute,) = read_history(results).minutes
    assert (minute.seconds, minute.attempts, minute.failures) == (60.0, 5, {"x": 1})


def test_a_process_that_ended_at_once_leaves_a_short_minute(results: Path) -> None:
    journal = begin(results)
    opened(journal, 1)
    asyncio.run(journal.note([replace(a_full_minute(), seconds=0.0)]))
    journal.close()
    assert read_history(results).minutes[0].seconds == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("odd", ODD)
def test_odd_values_count_as_absent(results: Path, odd: Any) -> None:
    journal = begin(results)
    opened(journal, 1)
    journal.close()
    for kind in (
        "minute",
        "waited",
        "switched",
        "closed",
        "batch_intent",
        "batch_created",
        "adjusted",
    ):
        names = (
            *Minute.__slots__,
            "lane",
            "why",
            "until",
            "state",
            "chunk",
            "count",
            "created_at",
            "changes",
        )
        append(results, **{**dict.fromkeys(names, odd), "at": 90.0}, type=kind)
    history = read_history(results)
    assert len(history.minutes) == 1
    assert len(history.pauses) == 1


@pytest.mark.parametrize("odd", ODD)
def test_a_minute_without_a_time_is_passed_over(results: Path, odd: Any) -> None:
    journal = begin(results)
    opened(journal, 1)
    journal.close()
    append(results, type="minute", at=odd, seconds=60.0, attempts=5)
    append(results, type="minute", attempts=5)
    assert read_history(results).minutes == ()


def test_kinds_that_are_not_known_are_passed_over(results: Path) -> None:
    begin(results).close()
    append(results, type="something new", at=1)
    append(results, type=7)
    assert read_history(results).sessions == ()
