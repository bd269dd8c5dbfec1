"""The journal: torn at any byte, damaged, or not to be written."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from claude_batch.config.options import Options
from claude_batch.config.reading import read_settings
from claude_batch.config.settings import RunSettings
from claude_batch.core.batch.history import BatchCreated, BatchIntent, ModeChosen
from claude_batch.core.model.events import Canaries, Event, Launched, Waited
from claude_batch.core.model.minutes import (
    FailureExample,
    LaneFigures,
    LimitFigures,
    Minute,
    Traffic,
)
from claude_batch.core.model.requests import FailureKind, LimitKind
from claude_batch.engine.live.run import MOST_MARKED
from claude_batch.errors import CheckpointError, CheckpointWriteError
from claude_batch.storage.run.batch_journal import history_of, read_batches
from claude_batch.storage.run.journal import (
    Closed,
    JournalFile,
    Opened,
    RunIdentity,
    create_journal,
    journal_path,
    read_journal,
    read_records,
)
from claude_batch.storage.run.status import run_status

IDENTITY = RunIdentity(
    run_id="r1",
    version="0",
    started_at="2026-11-24T00:00:00.000Z",
    mode="live",
    prompts="/p",
    prompts_path="/p",
    results="/r",
    size=1,
    sha256="00",
    total=3,
    invalid=0,
    options=Options(),
)
OPENED = Opened(at="t", process=7, done=0)
CLOSED = Closed(at="t", state="finished", exit_code=0, why="")

CREATED = BatchCreated(chunk=1, id="msgbatch_1", created_at=1.0, expires_at=2.0)
INTENT = BatchIntent(
    chunk=1, api_version="1", lines="1-3", count=3, size=9, sha256="0", at=1.0, expected_usd=0.1
)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "r.jsonl"


def begin(results: Path) -> JournalFile:
    create_journal(results, IDENTITY, RunSettings())
    return JournalFile(results)


def full(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_journal_torn_at_any_byte_is_none_or_tells_whose_run_it_is(results: Path) -> None:
    journal = begin(results)
    first = len(journal_path(results).read_bytes().splitlines(keepends=True)[0])
    journal.opened(OPENED)
    journal.closed(CLOSED)
    journal.close()
    whole = journal_path(results).read_bytes()
    for cut in range(len(whole) + 1):
        journal_path(results).write_bytes(whole[:cut])
        told = read_journal(results)
        assert (told and told.identity) == (IDENTITY if cut >= first - 1 else None), cut


def test_what_is_written_after_a_tear_is_read(results: Path) -> None:
    journal = begin(results)
    whole = journal_path(results).stat().st_size
    journal.opened(OPENED)
    journal.close()
    written = journal_path(results).read_bytes()
    for cut in range(whole - 1, len(written) + 1):
        journal_path(results).write_bytes(written[:cut])
        after = JournalFile(results)
        after.closed(CLOSED)
        after.close()
        told = read_journal(results)
        assert told is not None
        assert (told.identity, told.closed) == (IDENTITY, CLOSED), cut


def test_a_journal_that_was_torn_as_it_was_begun_can_be_begun_again(results: Path) -> None:
    journal_path(results).write_bytes(b'{"type":"run","run_i')
    begin(results).close()
    told = read_journal(results)
    assert told is not None
    assert told.identity == IDENTITY


def test_nul_bytes_of_a_power_loss_cost_no_record_after_them(results: Path) -> None:
    journal = begin(results)
    with journal_path(results).open("ab") as file:
        file.write(b"\0" * 100)
    journal.closed(CLOSED)
    journal.close()
    told = read_journal(results)
    assert told is not None
    assert told.closed == CLOSED


def test_a_journal_whose_first_line_is_damaged_is_refused(results: Path) -> None:
    journal = begin(results)
    journal.opened(OPENED)
    journal.close()
    written = journal_path(results).read_bytes()
    journal_path(results).write_bytes(b"\0" * 30 + written[30:])
    with pytest.raises(CheckpointError, match="does not say which run"):
        read_journal(results)


def test_results_that_there_have_been_are_counted(results: Path) -> None:
    journal = begin(results)
    journal.opened(replace(OPENED, done=5))
    with journal_path(results).open("ab") as file:
        file.write(b'{"type":"minute","succeeded":2,"failed":1}\n')
    journal.close()
    told = read_journal(results)
    assert told is not None
    assert told.seen == 8


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_journal_that_can_not_be_written_says_what_to_do(
    results: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    journal = begin(results)
    monkeypatch.setattr(os, call, full)
    with pytest.raises(CheckpointWriteError, match="No space left") as caught:
        journal.closed(CLOSED)
    journal.close()
    assert "all results so far are kept" in caught.value.hint


def test_a_short_write_is_an_error_and_costs_no_other_record(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, write = begin(results), os.write
    waited = Waited(at=0.0, lane="l", why="w", until=1.0)
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", lambda fd, data: write(fd, data[:9]))
        with pytest.raises(CheckpointWriteError):
            asyncio.run(journal.note([waited]))
    journal.close()
    again = JournalFile(results)
    again.closed(CLOSED)
    again.close()
    assert [record["type"] for record in read_records(results)] == ["run", "settings", "closed"]


def test_a_journal_that_may_not_be_opened_is_an_error_that_says_so(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(results).close()
    monkeypatch.setattr(os, "open", full)
    with pytest.raises(CheckpointWriteError):
        JournalFile(results)


def test_a_disk_that_hangs_is_not_waited_for_at_the_end(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    journal = begin(results)
    monkeypatch.setattr("claude_batch.storage.run.journal.CLOSING_S", 0.05)
    monkeypatch.setattr("claude_batch.storage.run.journal.HANGING_S", 0.05)
    monkeypatch.setattr(os, "fsync", lambda _fd: release.wait())
    with pytest.raises(CheckpointWriteError, match="the disk does not answer"):
        journal.closed(CLOSED)
    journal.close()
    release.set()


def test_what_a_journal_tells_of_batches_is_read_with_the_rest(results: Path) -> None:
    journal = begin(results)
    journal.durable("batch_created", CREATED)
    journal.durable("mode_chosen", ModeChosen(asked="batch"))
    journal.opened(OPENED)
    journal.close()
    read = read_journal(results)
    assert read is not None
    assert history_of(read.batches) == read_batches(results)
    assert read_batches(results).mode == ModeChosen(asked="batch")


ODD: list[Any] = [
    None,
    True,
    -1,
    2**63,
    2**64,
    1e300,
    "text",
    "\ud83d",
    [],
    [[]],
    {},
    {"a": [1]},
    ["a", 1],
]
RECORDS = [
    ("run", {**{n: getattr(IDENTITY, n) for n in ("mode", "total", "routes", "sha256")}}),
    ("settings", {"flags": {"rpm": 5}, "variables": {}, "endpoints": []}),
    ("opened", {"at": "t", "process": 1, "done": 0}),
    ("closed", {"at": "t", "state": "finished", "exit_code": 0, "why": "", "enough_usd": 1.0}),
    ("minute", {"succeeded": 1, "failed": 0, "attempts": 1, "failures": {}}),
    ("batch_intent", {**asdict(INTENT)}),
    ("batch_created", {**asdict(CREATED)}),
    ("batch_collected", {"chunk": 1, "id": "b", "retry": "1-2"}),
    ("batch_cancel_requested", {"id": "b", "by": "user", "at": 1.0}),
    ("batch_shapes_proved", {"shapes": ["a"]}),
    ("mode_chosen", {"asked": "batch", "deadline_at": 1.0, "endpoint": "main"}),
]


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, record in RECORDS for name in record]
)
def test_a_value_of_a_wrong_type_is_refused_with_its_place(
    results: Path, kind: str, name: str
) -> None:
    begin(results).close()
    path = journal_path(results)
    whole = path.read_text().splitlines(keepends=True)
    record = {**json.loads(whole[0]), **dict(RECORDS)[kind]}
    for odd in ODD:
        line = json.dumps({**record, "type": kind, name: odd}) + "\n"
        path.write_text(line + "".join(whole[1:]) if kind == "run" else "".join(whole) + line)
        try:
            journal = read_journal(results)
            assert journal is not None
            history_of(journal.batches)
            read_settings({}, {}, run=journal.settings)
            run_status(results)
        except CheckpointError as error:
            refused = str(error.message)
            assert refused.startswith(f"{path}:") or "the options in the journal" in refused


def test_counts_beyond_64_bits_and_half_characters_are_noted(results: Path) -> None:
    journal = begin(results)
    journal.durable("minute", Opened(at="\ud83d", process=2**70, done=0))
    journal.close()
    assert [record["at"] for record in read_records(results) if "at" in record] == ["?"]
    assert read_journal(results) is not None


def a_full_minute() -> Minute:
    """Return a minute of a pool with three lanes at 10,000 requests per minute."""
    limits = tuple(
        LimitFigures(kind=kind.value, per_minute=10_000_000.0, least=1_234_567.1, source="api")
        for kind in LimitKind
    )
    traffic = tuple(
        Traffic(
            lane=f"organization-{n}: Haiku 5.5",
            endpoint=f"endpoint-{n}",
            model="claude-haiku-5-5",
            attempts=3_333,
            succeeded=3_333,
            input_tokens=12_345_678,
            cache_read_tokens=12_345_678,
            cache_write_tokens=12_345_678,
            output_tokens=1_234_567,
            cost_usd=12.345678901,
        )
        for n in range(3)
    )
    waits = {"pace:input_tokens": 55.1, "limit:requests": 3.2, "concurrency": 1.0}
    lanes = tuple(
        LaneFigures(lane=each.lane, in_flight=288, limits=limits, waits=waits) for each in traffic
    )
    kinds = [kind.value for kind in FailureKind]
    return Minute(
        at=1_796_000_000.123456,
        seconds=60.012,
        attempts=10_000,
        succeeded=9_990,
        failures=dict.fromkeys(kinds, 3),
        limited={kind.value: 123 for kind in LimitKind},
        examples={kind: FailureExample(custom_id="line-123456", what="x" * 200) for kind in kinds},
        latency=dict.fromkeys(range(-10, 50), 166),
        traffic=traffic,
        lanes=lanes,
    )


def test_a_day_at_ten_thousand_a_minute_stays_below_50_mb(results: Path) -> None:
    """The worst: every kind of failure each minute, --max-cost, a pause every five seconds."""
    journal = begin(results)
    before = journal_path(results).stat().st_size
    waited = Waited(at=1.7e9 + 0.123, lane="organization-1: Haiku 5.5", why="w" * 30, until=1.7e9)
    marks = [Launched(line=10_000_000 + n) for n in range(10_000 // (MOST_MARKED + 1))]
    asyncio.run(journal.note([a_full_minute(), *marks, *[waited] * 36]))
    journal.close()
    per_minute = journal_path(results).stat().st_size - before
    assert per_minute * 24 * 60 < 50_000_000


@pytest.mark.parametrize(
    ("events", "unreported", "at_most_usd"),
    [
        ([Canaries(requests=2, at_most_usd=0.5)], 2, 0.5),
        ([Canaries(requests=2, at_most_usd=0.5), Canaries()], 0, 0.0),
    ],
)
def test_canaries_that_were_in_flight_when_a_process_was_killed_may_have_been_charged(
    results: Path, events: list[Event], unreported: int, at_most_usd: float
) -> None:
    create_journal(results, IDENTITY, RunSettings())
    for _ in range(2):
        journal = JournalFile(results)
        journal.opened(OPENED)
        asyncio.run(journal.note(events))
        journal.close()
    found = read_journal(results)
    assert found is not None
    expenses = found.expenses
    assert (expenses.unreported, expenses.at_most_usd) == (2 * unreported, 2 * at_most_usd)
