"""A batch run in virtual time, against a pretend Message Batches API."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from claude_batch.core.batch.chunk import Chunk
from claude_batch.core.batch.events import (
    BatchRefusedForGood,
    CannotAffordBatch,
    ChunkReserved,
    EvenSmallBatchesTooLarge,
    WaitingForBatches,
)
from claude_batch.core.batch.reserve import AnswerLengths, BatchPrice
from claude_batch.core.model.adjustment import Adjustment, Bounds
from claude_batch.core.model.batches import ChunkState, Detached, LeftForLive
from claude_batch.core.model.line_ranges import LineRanges
from claude_batch.core.model.minutes import Minute
from claude_batch.core.model.requests import (
    SAMPLING_API_VERSION,
    Failure,
    FailureKind,
    Request,
    ResultType,
)
from claude_batch.core.scheduling.decisions import Stop, StopKind
from claude_batch.core.scheduling.guards import MARGIN, OVERHEAD_TOKENS, UNPROVED_FACTOR
from tests.support.batch_world import World, every, settings, some
from tests.support.fake_batches import (
    EPOCH,
    PretendBatches,
    a_refusal,
)
from tests.support.fakes import a_failure


def long(count: int) -> list[Request]:
    """Return requests of some 4,000 bytes each."""
    return [replace(each, body=b'{"pad":"%s"}' % (b"x" * 4_000)) for each in some(count)]


def test_every_request_ends_exactly_once() -> None:
    world = World(some(250))
    assert world.run() is None
    assert world.lines == every(250)


def test_chunks_are_no_larger_than_asked_for() -> None:
    world = World(some(250), max_requests=100)
    world.run()
    assert [len(batch.wire_ids) for batch in world.server.batches] == [100, 100, 50]


def test_requests_of_another_api_version_go_into_a_batch_of_their_own() -> None:
    requests = [
        replace(each, api_version=SAMPLING_API_VERSION) if each.line % 2 else each
        for each in some(10)
    ]
    world = World(requests)
    world.run()
    assert [len(batch.wire_ids) for batch in world.server.batches] == [5, 5]


def test_polling_slows_down_and_stays_within_reason() -> None:
    world = World(some(10), PretendBatches(duration_s=3600.0))
    world.run()
    assert world.server.polls < 75


def test_a_full_queue_holds_the_next_chunk_back() -> None:
    world = World(some(300), PretendBatches(most_queued=150))
    assert world.run() is None
    assert world.lines == every(300)
    assert world.server.creates < 40


def test_chunks_beyond_the_queue_are_not_even_tried() -> None:
    world = World(some(300), PretendBatches(most_queued=200), settings(max_queued=200))
    world.run()
    assert world.server.creates == 3


def test_a_batch_too_large_for_a_gateway_is_made_smaller() -> None:
    world = World(long(10), PretendBatches(most_bytes=25_000))
    assert world.run() is None
    assert world.lines == every(10)
    assert world.server.creates < 6


def test_a_request_too_large_for_a_gateway_fails_alone() -> None:
    requests = [
        replace(each, body=b'{"pad":"%s"}' % (b"x" * 40_000)) if each.line == 3 else each
        for each in long(10)
    ]
    world = World(requests, PretendBatches(most_bytes=20_000))
    assert world.run() is None
    assert world.lines == every(10)
    assert [each.line for each in world.store.results if each.type is ResultType.ERRORED] == [3]


def test_a_gateway_for_which_everything_is_too_large_stops_the_run() -> None:
    end = World(some(10), PretendBatches(most_bytes=10)).run()
    assert isinstance(end, EvenSmallBatchesTooLarge)


def test_a_refused_batch_stops_the_run_with_the_words_of_the_api() -> None:
    world = World(some(10), PretendBatches(refuse={1: a_refusal(400, message="bad batch")}))
    end = world.run()
    assert end == BatchRefusedForGood(a_refusal(400, message="bad batch"))


def test_a_spent_budget_stops_the_run() -> None:
    refuse = {1: a_refusal(402, FailureKind.RUN_REFUSED, "no credit")}
    world = World(some(10), PretendBatches(refuse=refuse))
    assert world.run() == Stop(kind=StopKind.REFUSED, message="no credit")


def test_an_endpoint_without_batches_leaves_the_run_to_live_mode() -> None:
    world = World(some(10), PretendBatches(unsupported=True))
    assert world.run() == LeftForLive(a_refusal(404), nothing_sent=True)


@pytest.mark.parametrize(
    ("failure", "lists"),
    [
        (a_refusal(404), 1),
        (a_refusal(501, FailureKind.SERVER_ERROR), 1),
        (a_refusal(400), 1),
    ],
)
def test_an_endpoint_that_lists_no_batches_may_take_some_all_the_same(
    failure: Failure, lists: int
) -> None:
    world = World(some(10), PretendBatches(unlisted=failure))
    assert world.run() is None
    assert (world.lines, world.server.lists) == (every(10), lists)


def test_batches_under_way_are_collected_though_there_is_no_list() -> None:
    world = World(some(10))
    world.run((100.0, signal.SIGINT))
    world.server.unlisted = a_refusal(404)
    assert world.run() is None
    assert world.lines == every(10)


def test_an_endpoint_whose_list_is_a_web_page_has_no_batches() -> None:
    page = a_refusal(200, FailureKind.INVALID_RESPONSE)
    world = World(some(10), PretendBatches(unlisted=page))
    assert world.run() == LeftForLive(page, nothing_sent=True)
    assert (world.server.lists, world.server.creates) == (3, 0)


def test_batches_that_only_err_are_reported_once_and_waited_for() -> None:
    world = World(some(10), PretendBatches(unlisted=a_refusal(500, FailureKind.SERVER_ERROR)))
    end = world.run()
    assert isinstance(end, Stop)
    assert end.kind is StopKind.PATIENCE
    assert world.events == [WaitingForBatches(a_refusal(500, FailureKind.SERVER_ERROR))]


def test_batches_that_only_err_are_left_for_live_mode_soon_where_either_will_do() -> None:
    server = PretendBatches(unlisted=a_refusal(500, FailureKind.SERVER_ERROR))
    world = World(some(10), server, settings(probe_patience_s=60.0))
    assert isinstance(world.run(), LeftForLive)
    assert 60 < world.took_s < 130


def test_an_overloaded_api_is_waited_for_where_either_will_do() -> None:
    server = PretendBatches(unlisted=a_refusal(529, FailureKind.OVERLOADED))
    end = World(some(10), server, settings(probe_patience_s=60.0)).run()
    assert isinstance(end, Stop)
    assert end.kind is StopKind.PATIENCE


def test_batches_under_way_are_waited_for_though_a_page_for_people_comes() -> None:
    world = World(some(10))
    world.run((100.0, signal.SIGINT))
    world.server.unlisted = a_refusal(200, FailureKind.INVALID_RESPONSE)
    end = world.run()
    assert isinstance(end, Stop)
    assert end.kind is StopKind.PATIENCE


def test_ctrl_c_leaves_batches_running_and_the_next_run_collects_them() -> None:
    world = World(some(10))
    end = world.run((100.0, signal.SIGINT))
    assert isinstance(end, Stop)
    assert end.kind is StopKind.INTERRUPTED
    assert world.run() is None
    assert (world.lines, world.server.creates) == (every(10), 1)


def test_ctrl_c_waits_for_a_create_under_way() -> None:
    world = World(some(10))
    world.run((0.6, signal.SIGINT))
    assert [chunk.batch_id for chunk in world.journal.history().open_chunks] == ["msgbatch_1"]


def test_detaching_leaves_once_everything_is_submitted() -> None:
    world = World(some(250), settings=settings(detach=True))
    assert world.run() == Detached(running=3, is_all=True)
    assert world.took_s < 10


def test_detaching_again_collects_what_has_ended_meanwhile() -> None:
    world = World(some(10), settings=settings(detach=True))
    world.run()
    world.server.batches[0].ends_at = 0.0
    assert world.run() is None
    assert world.lines == every(10)


def test_detaching_says_what_the_queue_did_not_take() -> None:
    world = World(some(250), PretendBatches(most_queued=150), settings(detach=True))
    assert world.run() == Detached(running=1, is_all=False)


def test_a_batch_that_is_late_for_the_deadline_is_canceled_and_left_for_live_mode() -> None:
    world = World(some(10), PretendBatches(duration_s=7200.0), settings(live_at=1800.0))
    end = world.run()
    assert isinstance(end, LeftForLive)
    assert world.outcomes == {ResultType.SUCCEEDED: 5}
    assert world.took_s < 2000


def test_chunks_not_submitted_by_the_deadline_are_left_for_live_mode() -> None:
    server = PretendBatches(duration_s=7200.0, most_queued=100)
    world = World(some(300), server, settings(live_at=600.0))
    assert isinstance(world.run(), LeftForLive)
    assert len(world.store.results) == 50


def test_the_screen_sees_chunks_and_no_invented_end() -> None:
    world = World(some(250))
    world.run()
    states = {chunk.state for snapshot in world.snapshots for chunk in snapshot.chunks}
    assert {ChunkState.WAITING, ChunkState.COLLECTED} <= states
    assert {snapshot.eta_s for snapshot in world.snapshots} == {None}


def test_the_screen_sees_no_rate_that_nobody_counted() -> None:
    world = World(some(250))
    world.run()
    assert {snapshot.requests_per_minute for snapshot in world.snapshots} == {None}


def test_requests_are_in_flight_until_their_results_have_come() -> None:
    world = World(some(10), PretendBatches(cuts=3))
    world.run()
    ended = [
        snapshot.in_flight
        for snapshot in world.snapshots
        if [chunk.state for chunk in snapshot.chunks] == [ChunkState.ENDED]
    ]
    assert set(ended) == {10}
    assert all(snapshot.in_flight + snapshot.done <= 10 for snapshot in world.snapshots)


def test_no_batch_is_made_that_the_bound_on_cost_might_not_cover() -> None:
    world = World(some(250), settings=settings(max_cost_usd=210.5))
    end = world.run()
    assert isinstance(end, CannotAffordBatch)
    assert len(world.store.results) == 210


def test_a_batch_takes_no_more_than_the_bound_on_cost_allows_with_the_longest_answers() -> None:
    world = World(some(250), settings=settings(max_cost_usd=260.0), max_requests=250)
    assert world.run() is None
    sizes = [len(batch.wire_ids) for batch in world.server.batches]
    assert sizes == [136, 114]  # at 1.90 each, then at the 1.00 that answers so far have cost
    [reserved] = [each for each in world.events if isinstance(each, ChunkReserved)]
    assert (reserved.chunk, reserved.tokens) == (2, 10)
    assert (round(reserved.usd), round(reserved.excess_usd, 1)) == (114, 102.6)


def test_what_answers_have_shown_frees_what_a_waiting_chunk_reserved() -> None:
    lengths = AnswerLengths()
    chunk = Chunk(number=1, api_version="v", lines=LineRanges())
    chunk.reserve.add(BatchPrice(1.0, 0.1), 100)
    assert chunk.expect(lengths.usual) == 11.0
    for tokens in range(1, 101):
        lengths.add(tokens % 50)
    assert (lengths.usual, round(chunk.expect(lengths.usual), 6)) == (49, 5.9)
    assert round(chunk.excess_usd, 6) == 5.1


def test_prompts_may_be_longer_than_estimated_until_replies_show_by_how_much() -> None:
    world = World(some(250), settings=settings(max_cost_usd=260.0))
    seen: list[float] = []

    def price(_request: Request, tokens: float) -> BatchPrice:
        seen.append(tokens)
        return BatchPrice(0.9, 0.01)

    world.batch_price_of = price
    assert world.run() is None
    [estimate] = {request.input_tokens for request in world.requests}
    assert seen[0] == UNPROVED_FACTOR * estimate + OVERHEAD_TOKENS
    assert seen[-1] == pytest.approx(MARGIN * estimate + OVERHEAD_TOKENS)


def test_a_run_that_leaves_requests_for_want_of_money_says_so_when_it_detaches() -> None:
    world = World(some(250), settings=settings(max_cost_usd=210.0, detach=True))
    end = world.run()
    assert isinstance(end, Detached)
    assert not end.is_all


def test_a_higher_bound_on_cost_goes_on() -> None:
    world = World(some(250), settings=settings(max_cost_usd=160.0))
    world.run()
    world.settings = settings(max_cost_usd=500.0)
    assert world.run() is None
    assert world.lines == every(250)


def test_an_account_without_credit_stops_the_run_and_records_nothing_for_it() -> None:
    spent = PretendBatches(outcome=lambda line, _: "billing_error" if line > 6 else "succeeded")
    world = World(some(30), spent, max_requests=10)
    world.settings = settings(max_queued=10)
    end = world.run()
    assert end == Stop(kind=StopKind.REFUSED, message="billing_error: broken")
    assert (world.lines, world.server.creates) == ([1, 2, 3, 4, 5, 6], 1)
    world.settings, spent.outcome = settings(), lambda _line, _time: "succeeded"
    assert world.run() is None
    assert world.lines == every(30)
    assert set(world.server.successes.values()) == {1}


def test_batches_that_a_workspace_may_not_have_are_left_for_live_mode() -> None:
    why = replace(a_refusal(400), error=b'{"details":"workspace_human_review_disabled"}')
    world = World(some(10), PretendBatches(refuse={1: why}))
    assert world.run() == LeftForLive(why)


def test_batches_refused_to_a_key_leave_the_rest_for_live_mode_once_others_are_collected() -> None:
    why = a_refusal(403, FailureKind.MODEL_FORBIDDEN, "not for this key")
    world = World(some(30), PretendBatches(refuse={2: why}), max_requests=10)
    assert world.run() == LeftForLive(why)
    assert (world.lines, world.server.creates) == (every(10), 2)


def test_a_list_refused_to_a_key_leaves_the_run_to_live_mode() -> None:
    why = a_refusal(403, FailureKind.MODEL_FORBIDDEN, "not for this key")
    assert World(some(10), PretendBatches(unlisted=why)).run() == LeftForLive(
        why, nothing_sent=True
    )


@pytest.mark.parametrize("unlisted", [True, False])
def test_a_wait_longer_than_patience_ends_the_run_at_once(*, unlisted: bool) -> None:
    why = a_failure(FailureKind.RATE_LIMITED, retry_after_s=7_200.0)
    server = PretendBatches(unlisted=why) if unlisted else PretendBatches(refuse={1: why})
    world = World(some(10), server)
    end = world.run()
    assert isinstance(end, Stop)
    assert end.kind is StopKind.PATIENCE
    assert end.retry_in_s == pytest.approx(7_200.0)
    assert world.took_s < 60


def test_a_batch_at_the_api_is_waited_for_though_the_next_has_to_wait_for_long() -> None:
    why = a_failure(FailureKind.RATE_LIMITED, retry_after_s=7_200.0)
    world = World(some(20), PretendBatches(refuse={2: why}), max_requests=10)
    assert world.run() is None
    assert world.lines == every(20)


def test_every_request_of_a_batch_is_observed_with_its_batch() -> None:
    world = World(some(3))
    world.run()
    assert sorted(each.line for each in world.records) == [1, 2, 3]
    assert {each.batch_id for each in world.records} == {each.id for each in world.server.batches}
    assert {each.cost_usd for each in world.records} == {1.0}


def test_what_batches_bring_is_in_the_minutes_of_the_journal() -> None:
    world = World(some(250), max_requests=100)
    world.run()
    minutes = [event for event in world.log.events if isinstance(event, Minute)]
    assert sum(minute.succeeded for minute in minutes) == 250
    (traffic,) = {(t.lane, t.model): t for minute in minutes for t in minute.traffic}.values()
    assert traffic.lane == ""
    assert not any(minute.is_empty for minute in minutes)


def test_the_journal_knows_when_a_batch_ended_and_was_collected() -> None:
    world = World(some(5))
    world.run()
    (chunk,) = world.journal.history().chunks.values()
    assert chunk.view.ended_at is not None


PAUSED = Adjustment(bounds=Bounds(concurrency=1), is_paused=True)
CONTINUED = Adjustment(bounds=Bounds(concurrency=1))


def test_a_pause_holds_back_new_batches_and_collects_those_there_are() -> None:
    world = World(some(250), PretendBatches(duration_s=600.0, most_queued=100))
    world.adjustments.script = [(60.0, PAUSED), (7_200.0, CONTINUED)]
    assert world.run() is None
    created = [batch.created_at for batch in world.server.batches]
    assert [at < 60.0 for at in created] == [True, False, False]
    assert all(at >= 7_200.0 for at in created[1:])
    collected = [each.succeeded for each in world.snapshots if (each.at or 0.0) < EPOCH + 7_200.0]
    assert collected[-1] == 100
    assert world.outcomes == {ResultType.SUCCEEDED: 250}


def test_a_deadline_stands_still_in_a_pause() -> None:
    server = PretendBatches(duration_s=7200.0)
    world = World(some(10), server, settings(live_at=1800.0))
    world.adjustments.script = [(60.0, PAUSED), (7_000.0, CONTINUED)]
    assert world.run() is None
    assert world.outcomes == {ResultType.SUCCEEDED: 10}


def test_a_raised_bound_on_the_cost_lets_further_batches_go() -> None:
    raised = Adjustment(bounds=Bounds(concurrency=1, max_cost_usd=1_000.0))
    world = World(some(250), PretendBatches(duration_s=600.0), settings(max_cost_usd=200.0))
    world.adjustments.script = [(60.0, raised)]
    assert world.run() is None
    assert world.outcomes == {ResultType.SUCCEEDED: 250}
