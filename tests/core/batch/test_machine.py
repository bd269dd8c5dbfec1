"""The state machine of batch mode: from what happened and the time follows what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claude_batch.core.batch.chunk import (
    Chunk,
    Collect,
    GiveUp,
    Inspect,
    LossReason,
    Pack,
    Poll,
    Probe,
    Search,
    Submit,
)
from claude_batch.core.batch.events import Undecided
from claude_batch.core.batch.history import (
    BatchCreated,
    BatchHistory,
    BatchIntent,
    BatchRecord,
    fold_batches,
)
from claude_batch.core.batch.machine import (
    LONGEST_CREATE_S,
    BatchMachine,
    BatchSettings,
    Decision,
    Over,
    Wait,
)
from claude_batch.core.batch.reserve import AnswerLengths
from claude_batch.core.model.batches import BatchCounts, BatchPage, BatchStatus, BatchView
from claude_batch.core.model.line_ranges import LineRanges
from claude_batch.core.model.requests import API_VERSION, FailureKind
from claude_batch.core.scheduling.decisions import Stop, StopKind
from claude_batch.core.scheduling.progress import Tally
from tests.support.fakes import a_failure, steady_draw

WALL = 1_000_000.0
DAY_S = 86_400.0
SETTINGS = BatchSettings(rng=steady_draw)


def a_chunk(number: int = 1, count: int = 10) -> Chunk:
    lines = LineRanges(((1, count),))
    return Chunk(number=number, api_version=API_VERSION, lines=lines)


def a_batch(
    name: str = "b1", *, count: int = 10, at: float = WALL, ended: bool = False
) -> BatchView:
    return BatchView(
        id=name,
        status=BatchStatus.ENDED if ended else BatchStatus.IN_PROGRESS,
        counts=BatchCounts(processing=count),
        created_at=at,
        expires_at=at + DAY_S,
    )


def a_page(*batches: BatchView) -> BatchPage:
    return BatchPage(batches=batches, has_more=False, last_id=None)


def a_machine(*records: BatchRecord, settings: BatchSettings = SETTINGS) -> BatchMachine:
    """Return a machine that knows that there are batches here."""
    machine = BatchMachine(
        settings, fold_batches(records), Tally(), AnswerLengths(), now=0.0, wall=WALL
    )
    machine.probed(a_page(), 0.0)
    return machine


def a_waiting_machine(*, settings: BatchSettings = SETTINGS) -> BatchMachine:
    """Return a machine with one chunk at the API and nothing else to do."""
    machine = a_machine(settings=settings)
    chunk = a_chunk()
    machine.packed([chunk], is_last=True)
    machine.submitting(chunk, 0.0)
    machine.submitted(chunk, a_batch(), 0.0)
    return machine


def an_intent(at: float = WALL) -> BatchIntent:
    return BatchIntent(
        chunk=1, api_version=API_VERSION, lines="1-10", count=10, size=1, sha256="", at=at
    )


def after(machine: BatchMachine, now: float) -> Decision:
    """Return the decision at `now`, having waited whenever that was decided."""
    decision = machine.next(now)
    while isinstance(decision, Wait):
        now = decision.until
        decision = machine.next(now)
    return decision


def test_the_endpoint_is_asked_first_whether_it_has_batches() -> None:
    machine = BatchMachine(SETTINGS, BatchHistory(), Tally(), AnswerLengths(), now=0.0, wall=WALL)
    assert machine.next(0.0) == Probe()


def test_then_the_input_is_packed() -> None:
    assert a_machine().next(0.0) == Pack(None)


def test_a_packed_chunk_is_submitted_before_more_is_packed() -> None:
    machine = a_machine()
    machine.packed([a_chunk()], is_last=False)
    assert machine.next(0.0) == Submit(a_chunk())


def test_a_batch_is_asked_for_after_a_while() -> None:
    machine = a_waiting_machine()
    assert (machine.next(0.0), machine.next(5.0)) == (Wait(5.0), Poll(1, "b1"))


def test_a_batch_that_has_ended_is_collected_at_once() -> None:
    machine = a_waiting_machine()
    machine.polled(1, a_batch(ended=True), 5.0)
    assert isinstance(machine.next(5.0), Collect)


def test_a_batch_in_the_archive_is_known_to_be_gone() -> None:
    machine = a_waiting_machine()
    machine.polled(1, replace(a_batch(ended=True), archived_at=WALL), 5.0)
    decision = machine.next(5.0)
    assert isinstance(decision, Collect)
    assert decision.is_gone


def test_when_all_is_collected_the_run_is_over() -> None:
    machine = a_waiting_machine()
    machine.polled(1, a_batch(ended=True), 5.0)
    machine.collected(1, LineRanges(), 6.0)
    assert machine.next(6.0) == Over()


def test_what_goes_again_is_a_pass_of_its_own() -> None:
    machine = a_waiting_machine()
    machine.polled(1, a_batch(ended=True), 5.0)
    machine.collected(1, LineRanges.of([3, 4]), 6.0)
    assert machine.next(6.0) == Pack(frozenset({3, 4}))
    assert machine.attempts(3) == 2


def test_an_intent_of_an_earlier_process_is_looked_for_before_anything_is_submitted() -> None:
    machine = a_machine(an_intent())
    assert machine.next(0.0) == Search(chunk=1, since=WALL - 60.0)


def test_the_search_goes_on_as_long_as_lists_may_lag() -> None:
    machine = a_machine(an_intent())
    machine.searched(1, [a_page()], 0.0)
    assert isinstance(after(machine, 0.0), Search)
    machine.searched(1, [a_page()], 299.0)
    assert isinstance(after(machine, 299.0), Search)


def test_after_that_the_chunk_is_given_up() -> None:
    machine = a_machine(an_intent())
    machine.searched(1, [a_page()], 300.0)
    assert machine.next(300.0) == GiveUp(1, LossReason.NOT_CREATED)


def test_given_up_requests_are_packed_again() -> None:
    machine = a_machine(an_intent())
    machine.packed([], is_last=True)
    machine.searched(1, [a_page()], 300.0)
    machine.gave_up(1)
    assert machine.next(300.0) == Pack(frozenset(range(1, 11)))


def test_an_intent_older_than_any_create_is_settled_by_one_list() -> None:
    machine = a_machine(an_intent(at=WALL - LONGEST_CREATE_S - 1000.0))
    machine.searched(1, [a_page()], 0.0)
    assert isinstance(machine.next(0.0), GiveUp)


def test_only_a_batch_of_its_size_and_time_may_be_the_chunks() -> None:
    machine = a_machine(an_intent())
    others = [a_batch("few", count=9), a_batch("old", at=WALL - 100), a_batch("new", at=WALL + 999)]
    machine.searched(1, [a_page(*others)], 300.0)
    assert isinstance(machine.next(300.0), GiveUp)


def test_a_batch_of_unknown_size_may_be_the_chunks() -> None:
    machine = a_machine(an_intent())
    machine.packed([], is_last=True)
    machine.searched(1, [a_page(replace(a_batch("b7", count=0), counts_reported=False))], 0.0)
    assert machine.next(0.0) == Poll(1, "b7")


def test_a_batch_that_is_another_chunks_cannot_be_the_chunks() -> None:
    created = BatchCreated(chunk=2, id="b2", created_at=WALL, expires_at=WALL + DAY_S)
    machine = a_machine(an_intent(), replace(an_intent(), chunk=2), created)
    machine.searched(1, [a_page(a_batch("b2"))], 300.0)
    assert isinstance(machine.next(300.0), GiveUp)


def test_a_batch_that_may_be_the_chunks_is_inspected_once_it_has_ended() -> None:
    machine = a_machine(an_intent())
    machine.packed([], is_last=True)
    machine.searched(1, [a_page(a_batch("b7"))], 0.0)
    assert machine.next(0.0) == Poll(1, "b7")
    machine.polled(1, a_batch("b7", ended=True), 0.0)
    assert machine.next(0.0) == Inspect(1, a_batch("b7", ended=True))


def test_other_chunks_are_submitted_while_a_found_batch_goes_on() -> None:
    machine = a_machine(an_intent())
    machine.packed([a_chunk(2)], is_last=True)
    machine.searched(1, [a_page(a_batch("b7"))], 0.0)
    machine.polled(1, a_batch("b7"), 0.0)
    assert machine.next(0.0) == Submit(a_chunk(2))


def test_a_404_is_accepted_for_some_minutes_and_no_longer() -> None:
    machine = a_waiting_machine()
    missing = a_failure(FailureKind.REQUEST_REJECTED)
    machine.failed(1, missing, 5.0)
    assert isinstance(after(machine, 5.0), Poll)
    machine.failed(1, missing, 299.0)
    machine.failed(1, missing, 306.0)
    assert machine.next(306.0) == Over(Undecided(("b1",)))


def test_a_full_queue_holds_creates_back_until_a_batch_has_ended() -> None:
    machine = a_waiting_machine()
    chunk = a_chunk(2)
    machine.packed([chunk], is_last=True)
    machine.submitting(chunk, 0.0)
    machine.submitted(chunk, a_failure(FailureKind.RATE_LIMITED, retry_after_s=999.0), 1.0)
    machine.polled(1, a_batch(ended=True), 5.0)
    machine.collected(1, LineRanges(), 6.0)
    assert machine.next(6.0) == Submit(chunk)


def test_patience_ends_when_nothing_has_been_answered_for_long() -> None:
    machine = a_waiting_machine()
    machine.failed(1, a_failure(FailureKind.UNREACHABLE), 3601.0)
    decision = machine.next(3601.0)
    assert isinstance(decision, Over)
    assert isinstance(decision.outcome, Stop)
    assert decision.outcome.kind is StopKind.PATIENCE


def test_a_batch_that_runs_for_hours_does_not_end_patience() -> None:
    machine = a_waiting_machine()
    for minute in range(1, 600):
        machine.polled(1, a_batch(), minute * 60.0)
    assert isinstance(machine.next(599 * 60.0), Wait)


def test_a_key_that_is_refused_ends_the_run() -> None:
    machine = a_waiting_machine()
    machine.failed(1, a_failure(FailureKind.ENDPOINT_REJECTED), 5.0)
    assert machine.next(5.0) == Over(Stop(kind=StopKind.ENDPOINT, message="no"))


@pytest.mark.parametrize("heard", [True, False])
def test_a_redirect_ends_the_run_unless_the_api_has_answered(*, heard: bool) -> None:
    machine = a_waiting_machine()
    if heard:
        machine.polled(1, a_batch(), 4.0)
    machine.failed(1, a_failure(FailureKind.ENDPOINT_UNUSABLE), 5.0)
    over = Over(Stop(kind=StopKind.UNUSABLE, message="no"))
    assert (machine.next(5.0) == over) is not heard


def test_the_queue_is_not_overfilled() -> None:
    machine = a_waiting_machine(settings=replace(SETTINGS, max_queued=15))
    machine.packed([a_chunk(2)], is_last=True)
    assert machine.next(0.0) == Wait(5.0)


def test_requests_are_in_flight_until_they_are_collected() -> None:
    machine = a_waiting_machine()
    machine.polled(1, a_batch(ended=True), 5.0)
    assert machine.in_flight == 10
    machine.collected(1, LineRanges(), 6.0)
    assert machine.in_flight == 0


def test_the_servers_time_is_that_of_its_last_list() -> None:
    machine = a_machine(an_intent())
    machine.searched(1, [replace(a_page(), server_time=WALL + 900.0)], 300.0)
    assert machine.wall(301.0) == WALL + 901.0
