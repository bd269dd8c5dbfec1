"""Canaries before a batch, in virtual time."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from claude_batch.core.batch.canary import CanaryResult
from claude_batch.core.batch.events import CanaryRefused, CannotAffordCanaries, NotForBatches
from claude_batch.core.model.events import Canaries, Spent
from claude_batch.core.model.requests import Failure, FailureKind, Reply, Request, ResultType, Usage
from claude_batch.engine.batch.canary import LiveCanary
from claude_batch.engine.clock import LoopClock
from claude_batch.ports import CountTokens, Transport
from tests.support.batch_world import World, a_live, every, settings, some
from tests.support.fake_batches import ScriptedLive, a_refusal
from tests.support.fakes import ScriptedTransport, a_failure, a_reply, a_request, steady_draw
from tests.support.virtual_time import run_virtually


def test_the_first_line_of_each_shape_goes_live_and_is_left_out_of_the_batch() -> None:
    requests = [replace(each, model=f"model-{each.line % 2}") for each in some(10)]
    world = World(requests, live=a_live())
    world.run()
    assert world.live is not None
    assert (world.live.sent, len(world.server.batches[0].wire_ids)) == ([1, 2], 8)
    assert world.lines == every(10)


def test_a_canary_costs_the_live_price() -> None:
    world = World(some(2), live=a_live())
    world.run()
    assert {each.line: each.cost_usd for each in world.store.results} == {1: 2.0, 2: 1.0}


def test_a_rejected_canary_stops_the_run_before_anything_is_submitted() -> None:
    live = ScriptedLive(lambda _request: a_refusal(400, message="typo"))
    world = World(some(10), live=live)
    end = world.run()
    assert end == CanaryRefused(world.requests[0], a_refusal(400, message="typo"), more=2)
    assert (world.server.creates, world.lines, live.sent) == (0, [], [1, 2, 3])


def test_a_line_that_is_refused_for_itself_fails_alone() -> None:
    live = ScriptedLive(lambda request: a_refusal(400) if request.line == 1 else a_reply())
    world = World(some(10), live=live)
    assert world.run() is None
    assert world.outcomes == {ResultType.ERRORED: 1, ResultType.SUCCEEDED: 9}
    assert (live.sent, len(world.server.batches[0].wire_ids)) == ([1, 2], 8)


def test_a_shape_that_is_refused_stops_the_run_though_others_go_through() -> None:
    requests = [replace(each, model=f"model-{each.line % 2}") for each in some(10)]
    live = ScriptedLive(lambda request: a_refusal(400) if request.line % 2 else a_reply())
    world = World(requests, live=live)
    assert isinstance(world.run(), CanaryRefused)
    assert (world.server.creates, world.lines, live.sent) == (0, [2], [1, 2, 3, 5])


def test_lines_that_were_held_and_not_needed_fill_chunks_like_others() -> None:
    world = World(some(6), live=a_live(), max_requests=2)
    world.run()
    assert [len(batch.wire_ids) for batch in world.server.batches] == [2, 2, 1]
    assert world.lines == every(6)


def test_no_canary_is_sent_that_the_bound_on_cost_might_not_cover() -> None:
    world = World(some(10), settings=settings(max_cost_usd=2.9), live=a_live())
    end = world.run()
    assert isinstance(end, CannotAffordCanaries)
    assert (world.live and world.live.sent, world.lines) == ([], [])


def test_a_shape_once_proved_is_not_tried_again() -> None:
    world = World(some(10), live=a_live())
    world.run((100.0, signal.SIGINT))
    world.run()
    assert world.live is not None
    assert world.live.sent == [1]


def test_a_run_of_one_line_needs_no_batch_after_its_canary() -> None:
    world = World(some(1), live=a_live())
    assert world.run() is None
    assert (world.lines, world.server.creates) == ([1], 0)


def test_params_that_batches_do_not_take_stop_the_run() -> None:
    request = replace(a_request(1), body=b'{"model":"m","max_tokens":1,"speed":"fast"}')
    end = World([request], live=a_live()).run()
    assert end == NotForBatches(request, ("speed: fast",))


@dataclass
class Counted:
    """The free endpoint, giving one answer."""

    answer: int | Failure
    asked: int = 0

    async def __call__(self, request: Request, /) -> int | Failure:
        self.asked += request.line
        return self.answer


def outcome(transport: Transport, count: CountTokens | None = None) -> CanaryResult:
    """Return what becomes of one canary."""

    async def tried() -> CanaryResult:
        canary = LiveCanary(
            transport=transport,
            count=count,
            clock=LoopClock(wall=0.0),
            rng=steady_draw,
            observe=None,
            price=lambda _model, _usage: None,
        )
        (tried,) = await canary.try_lines([a_request(1)])
        return tried

    return run_virtually(tried())


def test_a_request_that_cannot_be_counted_is_not_sent() -> None:
    transport = ScriptedTransport()
    tried = outcome(transport, Counted(a_refusal(400, message="typo")))
    assert isinstance(tried.outcome, Failure)
    assert not transport.began


def test_an_endpoint_that_cannot_count_is_no_verdict() -> None:
    tried = outcome(ScriptedTransport(), Counted(a_refusal(404)))
    assert isinstance(tried.outcome, Reply)


@pytest.mark.parametrize(
    "kind", [FailureKind.RATE_LIMITED, FailureKind.OVERLOADED, FailureKind.SERVER_ERROR]
)
def test_a_canary_is_tried_until_the_api_has_made_up_its_mind(kind: FailureKind) -> None:
    transport = ScriptedTransport(
        script=lambda _request, nth: a_failure(kind) if nth < 4 else a_reply()
    )
    tried = outcome(transport)
    assert (isinstance(tried.outcome, Reply), tried.attempts) == (True, 4)


def test_the_attempts_of_a_canary_count_and_so_do_its_429s() -> None:
    answers: Iterator[Failure | Reply] = iter([a_failure(FailureKind.RATE_LIMITED), a_reply()])
    world = World(some(1), live=ScriptedLive(lambda _request: next(answers)))
    world.run()
    assert (world.snapshots[-1].attempts, world.snapshots[-1].rate_limited) == (2, 1)


def test_a_canary_that_keeps_failing_ends_after_its_attempts() -> None:
    tried = outcome(ScriptedTransport(lambda _r, _n: a_failure(FailureKind.SERVER_ERROR)))
    assert tried.attempts == 6


def test_an_outage_ends_with_patience() -> None:
    tried = outcome(ScriptedTransport(lambda _r, _n: a_failure(FailureKind.UNREACHABLE)))
    assert isinstance(tried.outcome, Failure)
    assert tried.attempts > 100


def test_what_a_canary_discards_is_counted_in_cost_and_tokens() -> None:
    broken = replace(a_failure(FailureKind.INVALID_RESPONSE), usage=Usage(output_tokens=7))
    ends: list[Reply | Failure] = [broken, a_failure(FailureKind.TIMED_OUT), a_reply()]
    answers = iter(ends)
    world = World(some(2), live=ScriptedLive(lambda _request: next(answers)))
    assert world.run() is None
    last = world.snapshots[-1]
    assert (last.output_tokens, last.unreported) == (7 + 10 + 10, 1)
    assert last.cost_usd == 2.0 + 2.0 + 1.0
    assert sum(isinstance(event, Spent) for event in world.log.events) == 2


def test_canaries_in_flight_are_in_the_journal_where_there_is_a_bound_on_cost() -> None:
    world = World(some(2), live=ScriptedLive(lambda _request: a_reply()))
    world.settings = replace(world.settings, max_cost_usd=100.0)
    assert world.run() is None
    noted = [event for event in world.log.events if isinstance(event, Canaries)]
    assert noted == [Canaries(requests=1, at_most_usd=3.8), Canaries()]
