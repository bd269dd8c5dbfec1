"""What becomes of the results of a batch, in virtual time."""

from __future__ import annotations

import signal

import pytest

from claude_batch.core.model.requests import ResultType
from tests.support.batch_world import World, every, settings, some
from tests.support.fake_batches import (
    EPOCH,
    PretendBatches,
)


def test_a_result_has_the_message_as_the_api_wrote_it() -> None:
    world = World(some(1))
    world.run()
    raw = world.server.batches[0].results
    assert world.store.results[0].payload in raw


def test_a_result_costs_the_batch_price() -> None:
    world = World(some(1))
    world.run()
    assert world.store.results[0].cost_usd == 1.0


def test_a_result_took_from_the_creation_of_its_batch_to_its_end() -> None:
    world = World(some(1))
    world.run()
    assert world.store.results[0].latency_s == pytest.approx(600.0)


def test_what_expired_goes_into_another_batch() -> None:
    server = PretendBatches(outcome=lambda _line, time: "expired" if time == 1 else "succeeded")
    world = World(some(10), server)
    world.run()
    assert world.outcomes == {ResultType.SUCCEEDED: 10}


def test_attempts_count_submissions() -> None:
    server = PretendBatches(outcome=lambda _line, time: "api_error" if time < 3 else "succeeded")
    world = World(some(2), server)
    world.run()
    assert [result.attempts for result in world.store.results] == [3, 3]


def test_what_keeps_failing_ends_under_its_own_type_after_max_attempts() -> None:
    server = PretendBatches(outcome=lambda line, _time: "expired" if line == 1 else "api_error")
    world = World(some(2), server, settings(max_attempts=3))
    world.run()
    assert (world.outcomes[ResultType.EXPIRED], world.outcomes[ResultType.ERRORED]) == (1, 1)
    assert world.server.submissions == {1: 3, 2: 3}


def test_an_invalid_request_is_submitted_once() -> None:
    server = PretendBatches(outcome=lambda _line, _time: "invalid_request_error")
    world = World(some(3), server)
    world.run()
    assert world.server.submissions == {1: 1, 2: 1, 3: 1}


def test_results_that_break_off_are_fetched_on_from_there() -> None:
    world = World(some(50), PretendBatches(cuts=3))
    world.run()
    assert world.lines == every(50)


def test_results_that_are_gone_end_their_requests_as_errored() -> None:
    world = World(some(3))
    world.run((100.0, signal.SIGINT))
    world.server.batches[0].archived_at = EPOCH + 1
    world.server.batches[0].ends_at = 0.0
    assert world.run() is None
    assert world.outcomes == {ResultType.ERRORED: 3}
    assert world.snapshots[-1].attempts == 3


def test_a_request_that_the_results_lack_is_errored_and_not_bought_again() -> None:
    world = World(some(3))
    world.run((100.0, signal.SIGINT))
    batch = world.server.batches[0]
    batch.ends_at, batch.results = 0.0, batch.results.partition(b"\n")[2]
    world.run()
    assert (world.outcomes[ResultType.ERRORED], world.server.creates) == (1, 1)


def test_a_result_that_cannot_be_read_is_errored_and_not_bought_again() -> None:
    world = World(some(3))
    world.run((100.0, signal.SIGINT))
    batch = world.server.batches[0]
    batch.ends_at, batch.results = 0.0, batch.results.replace(b'"usage"', b"usage", 1)
    world.run()
    (lost,) = [each for each in world.store.results if each.type is ResultType.ERRORED]
    assert b"cannot be read; it is kept in r.damaged" in lost.payload
    assert (len(world.store.results), world.server.creates) == (3, 1)


def test_strange_and_second_lines_of_results_are_skipped() -> None:
    world = World(some(3))
    world.run((100.0, signal.SIGINT))
    batch = world.server.batches[0]
    batch.ends_at = 0.0
    batch.results = batch.results * 2 + b'{"custom_id":"x-1-1","result":{"type":"expired"}}\n!\n'
    world.run()
    assert world.lines == every(3)
    assert world.collected()[0].strays == 4


def test_what_the_user_canceled_is_not_bought_again() -> None:
    world = World(some(10), PretendBatches(outcome=lambda _line, _time: "canceled"))
    world.journal.user_cancels["msgbatch_1"] = "user"
    world.run()
    assert (world.outcomes, world.server.creates) == ({ResultType.CANCELED: 10}, 1)


def test_a_canceled_batch_whose_results_lack_requests_has_canceled_them() -> None:
    world = World(some(10), PretendBatches(outcome=lambda _line, _time: "left out"))
    world.server.console_cancels = True
    assert world.run() is None
    assert {result.type for result in world.store.results} == {ResultType.CANCELED}
    assert world.collected()[0].canceled == 10
    assert world.server.creates == 1


def test_what_was_canceled_in_the_console_is_not_bought_again() -> None:
    world = World(some(10), PretendBatches(outcome=lambda _line, _time: "canceled"))
    world.run()
    assert (world.outcomes, world.server.creates) == ({ResultType.CANCELED: 10}, 1)
    assert world.collected()[0].canceled == 10
