"""The journal's records about batches."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from claude_batch.core.batch.history import (
    BY_USER,
    BatchCancelRequested,
    BatchCollected,
    BatchCreated,
    BatchHistory,
    BatchIntent,
    BatchLost,
    BatchRecord,
    BatchRefused,
    BatchShapesProved,
    ModeChosen,
    fold_batches,
)
from claude_batch.core.model.batches import ChunkState
from claude_batch.errors import CheckpointError
from claude_batch.storage.run.batch_journal import (
    BatchJournalFile,
    note_mode,
    read_batches,
    request_cancel,
)
from claude_batch.storage.run.journal import JournalFile, Opened, journal_path


def test_a_record_is_where_other_hosts_find_it_before_anything_follows(tmp_path: Path) -> None:
    results = tmp_path / "r.jsonl"
    journal_path(results).write_bytes(b"")
    shipped: list[bytes] = []

    def ship() -> None:
        shipped.append(journal_path(results).read_bytes())

    with closing(JournalFile(results, ship=ship)) as journal:
        asyncio.run(BatchJournalFile(results, journal).record(an_intent()))
        journal.durable("opened", Opened(at="now", process=1, done=0))
    (content,) = shipped
    assert b'"batch_intent"' in content


def an_intent(chunk: int = 1, lines: str = "1-3,7") -> BatchIntent:
    return BatchIntent(
        chunk=chunk, api_version="v", lines=lines, count=4, size=9, sha256="s", at=5.0
    )


def a_creation(chunk: int = 1) -> BatchCreated:
    return BatchCreated(chunk=chunk, id=f"msgbatch_{chunk}", created_at=6.0, expires_at=7.0)


ALL: tuple[BatchRecord, ...] = (
    an_intent(),
    a_creation(),
    BatchCancelRequested(id="msgbatch_1", by=BY_USER, at=8.0),
    BatchCollected(chunk=1, id="msgbatch_1", retry="2,7"),
    BatchShapesProved(shapes=("a", "b")),
    an_intent(2),
    BatchRefused(chunk=2, why="full"),
    an_intent(3),
    BatchLost(chunk=3, why="none came"),
    an_intent(4, "2,7"),
    ModeChosen(asked="auto", deadline_at=9.0, endpoint="main"),
)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "r.jsonl"
    journal_path(path).touch()
    return path


def write(results: Path, *records: BatchRecord) -> None:
    async def all_of_them() -> None:
        with closing(JournalFile(results)) as journal:
            journal.opened(Opened(at="now", process=1, done=0))
            for record in records:
                await BatchJournalFile(results, journal).record(record)

    asyncio.run(all_of_them())


def test_what_is_recorded_reads_back(results: Path) -> None:
    write(results, *ALL)
    assert read_batches(results) == fold_batches(ALL)


def test_the_journal_may_be_cut_at_any_byte(results: Path) -> None:
    write(results, *ALL)
    whole = journal_path(results).read_bytes()
    prefixes = [fold_batches(ALL[:count]) for count in range(len(ALL) + 1)]
    for size in range(len(whole)):
        journal_path(results).write_bytes(whole[:size])
        assert read_batches(results) in prefixes


def test_a_cancel_of_another_process_is_seen_by_the_run(results: Path) -> None:
    async def canceled() -> str:
        with closing(JournalFile(results)) as journal:
            mine = BatchJournalFile(results, journal)
            request_cancel(results, BatchCancelRequested(id="b", by=BY_USER, at=1.0))
            await mine.record(an_intent())
            return (await mine.cancels())["b"]

    assert asyncio.run(canceled()) == BY_USER


def test_the_mode_that_was_asked_for_last_holds(results: Path) -> None:
    note_mode(results, ModeChosen(asked="batch"))
    note_mode(results, ModeChosen(asked="live"))
    assert read_batches(results).mode == ModeChosen(asked="live")


def test_a_record_that_lacks_a_field_is_of_another_version(results: Path) -> None:
    journal_path(results).write_bytes(b'{"type":"batch_created","chunk":1}\n')
    with pytest.raises(CheckpointError, match="lacks a field"):
        read_batches(results)


def folded(*records: BatchRecord) -> BatchHistory:
    return fold_batches(records)


def test_an_intent_without_an_id_is_unsettled() -> None:
    (chunk,) = folded(an_intent()).open_chunks
    assert (chunk.state, chunk.lines.text) == (ChunkState.UNSETTLED, "1-3,7")


def test_a_refused_chunk_and_a_lost_one_are_forgotten() -> None:
    gone = (BatchRefused(chunk=1, why=""), BatchLost(chunk=1, why=""))
    assert [folded(an_intent(), each).open_chunks for each in gone] == [(), ()]


def test_a_number_is_never_given_twice() -> None:
    assert folded(an_intent(3), BatchLost(chunk=3, why="")).last_chunk == 3


def test_lines_that_go_again_have_been_tried_once() -> None:
    history = folded(*ALL[:4])
    assert (history.attempts, history.open_chunks) == ({2: 1, 7: 1}, ())


def test_a_line_that_ended_begins_again_when_it_is_taken_up_again() -> None:
    ended = (an_intent(4, "2,7"), a_creation(4), BatchCollected(chunk=4, id="b", retry="7"))
    assert folded(*ALL[:4], *ended).attempts == {7: 2}
