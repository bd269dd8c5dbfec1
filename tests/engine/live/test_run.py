"""A live run in virtual time, against scripted answers."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Sequence

import pytest

from claude_batch.core.model.account import Limits
from claude_batch.core.model.adjustment import Adjustment, Bounds
from claude_batch.core.model.requests import FailureKind, Request, Result, ResultType
from claude_batch.core.model.snapshot import WaitKind
from claude_batch.core.scheduling.decisions import Refusal, Stop, StopKind
from claude_batch.errors import CheckpointMismatchError, CheckpointWriteError
from tests.support.fakes import (
    ListedSource,
    MemoryStore,
    ScriptedTransport,
    a_failure,
    a_reply,
    a_request,
    noisy,
)
from tests.support.live_rig import Rig, some


def test_every_request_ends_exactly_once() -> None:
    rig = Rig(some(500))
    assert rig.run() is None
    assert rig.ids == sorted(request.custom_id for request in some(500))


def test_a_run_of_ten_thousand_keeps_the_ceiling_it_was_given() -> None:
    rig = Rig(some(10_000), ceilings=Limits(requests=6_000))
    rig.run()
    seconds = Counter(int(at) for at in rig.transport.began)
    assert max(seconds.values()) <= 101
    assert 99 <= rig.took_s <= 110


def test_failures_that_pass_are_tried_again_until_they_succeed() -> None:
    kinds = [FailureKind.SERVER_ERROR, FailureKind.OVERLOADED, FailureKind.INVALID_RESPONSE]

    def script(request: Request, tries: int) -> object:
        if tries < 4 and noisy(f"{request.custom_id}/{tries}") < 0.2:
            return a_failure(kinds[tries - 1])
        return a_reply()

    rig = Rig(some(1_000), transport=ScriptedTransport(script))  # type: ignore[arg-type]  # terse
    assert rig.run() is None
    assert rig.outcomes == {ResultType.SUCCEEDED: 1_000}


def test_a_request_that_never_succeeds_is_errored_after_its_attempts() -> None:
    transport = ScriptedTransport(lambda _r, _t: a_failure(FailureKind.SERVER_ERROR))
    rig = Rig(some(1), transport=transport, max_attempts=3)
    assert rig.run() is None
    assert rig.outcomes == {ResultType.ERRORED: 1}
    assert transport.tries["line-1"] == 3


def test_429s_do_not_count_against_a_request() -> None:
    transport = ScriptedTransport(
        lambda _r, tries: (
            a_reply() if tries > 9 else a_failure(FailureKind.RATE_LIMITED, retry_after_s=1)
        )
    )
    rig = Rig(some(1), transport=transport, max_attempts=2)
    rig.run()
    assert rig.outcomes == {ResultType.SUCCEEDED: 1}


def test_a_lane_waits_out_retry_after() -> None:
    transport = ScriptedTransport(
        lambda _r, tries: (
            a_reply() if tries > 1 else a_failure(FailureKind.RATE_LIMITED, retry_after_s=30)
        )
    )
    rig = Rig(some(1), transport=transport)
    rig.run()
    assert transport.began[1] - transport.began[0] >= 30


def test_an_outage_is_probed_and_its_end_noticed_within_five_seconds() -> None:
    def script(_request: Request, _tries: int) -> object:
        down = 5 < asyncio.get_running_loop().time() < 65
        return a_failure(FailureKind.OVERLOADED) if down else a_reply()

    transport = ScriptedTransport(script, latency_s=0.2)  # type: ignore[arg-type]  # terse
    rig = Rig(some(3_000), transport=transport, ceilings=Limits(requests=3_000))
    assert rig.run() is None
    after = [at for at in transport.began if at > 64.8]
    assert after[0] < 70
    assert sum(1 for at in after if at < after[0] + 1) <= 100


def test_patience_ends_a_run_that_nothing_helps() -> None:
    transport = ScriptedTransport(lambda _r, _t: a_failure(FailureKind.UNREACHABLE))
    rig = Rig(some(50), transport=transport, patience_s=600)
    stop = rig.run()
    assert stop is not None
    assert stop.kind is StopKind.PATIENCE
    assert rig.store.results == []


def test_a_spend_limit_ends_the_run_and_writes_no_line() -> None:
    transport = ScriptedTransport(
        lambda request, _t: (
            a_reply() if request.line < 10 else a_failure(FailureKind.RUN_REFUSED, message="spent")
        )
    )
    rig = Rig(some(100), transport=transport)
    assert rig.run() == Stop(kind=StopKind.REFUSED, refusals=(Refusal(reason="spent"),))
    assert rig.outcomes == {ResultType.SUCCEEDED: 9}


def test_identical_first_failures_stop_the_run_without_a_line() -> None:
    transport = ScriptedTransport(
        lambda request, _t: a_failure(
            FailureKind.REQUEST_REJECTED, message=f"messages.{request.line}: bad"
        )
    )
    rig = Rig(some(100), transport=transport)
    stop = rig.run()
    assert stop is not None
    assert stop.kind is StopKind.IDENTICAL_FAILURES
    assert rig.store.results == []


def test_a_few_requests_with_identical_failures_are_errored() -> None:
    transport = ScriptedTransport(lambda _r, _t: a_failure(FailureKind.REQUEST_REJECTED))
    rig = Rig(some(5), transport=transport)
    assert rig.run() is None
    assert rig.outcomes == {ResultType.ERRORED: 5}


def test_a_model_that_is_forbidden_leaves_the_others_running() -> None:
    requests = [a_request(n, model="closed" if n % 2 else "open") for n in range(1, 41)]
    transport = ScriptedTransport(
        lambda request, _t: (
            a_failure(FailureKind.MODEL_FORBIDDEN) if request.model == "closed" else a_reply()
        )
    )
    rig = Rig(requests, transport=transport)
    stop = rig.run()
    assert stop is not None
    assert stop.kind is StopKind.MODEL
    assert rig.outcomes == {ResultType.SUCCEEDED: 20}


def test_an_interrupted_run_lets_requests_in_flight_finish() -> None:
    rig = Rig(some(1_000), transport=ScriptedTransport(latency_s=4))
    stop = rig.run((6, signal.SIGINT))
    assert stop is not None
    assert stop.kind is StopKind.INTERRUPTED
    assert len(rig.store.results) == len(rig.transport.began)
    assert rig.took_s < 11


def test_what_is_in_flight_for_too_long_is_cut_off_after_ten_seconds() -> None:
    rig = Rig(some(3), transport=ScriptedTransport(latency_s=30))
    rig.run((1, signal.SIGTERM))
    assert rig.took_s == pytest.approx(11, abs=0.2)
    assert rig.interruption.signal_number == signal.SIGTERM


def test_a_second_signal_cuts_the_run_off_at_once() -> None:
    rig = Rig(some(3), transport=ScriptedTransport(latency_s=8))
    rig.run((1, signal.SIGINT), (2, signal.SIGINT))
    assert rig.took_s == pytest.approx(2, abs=0.2)


def test_requests_that_wait_for_their_turn_are_never_sent_after_a_stop() -> None:
    rig = Rig(some(50), ceilings=Limits(requests=60))
    rig.run((5.5, signal.SIGINT))
    assert max(rig.transport.began) <= 5.5


def test_results_that_arrive_together_share_a_commit() -> None:
    rig = Rig(some(8))
    rig.run()
    assert rig.store.commits == 1


def test_a_result_is_counted_only_once_it_is_durable() -> None:
    rig = Rig(some(16), store=MemoryStore(sync_s=2.0))
    rig.run()
    early = [snapshot.succeeded for snapshot in rig.snapshots if snapshot.elapsed_s < 2.9]
    assert set(early) == {0}
    assert rig.snapshots[-1].succeeded == 16


class FullDisk(MemoryStore):
    """A store that fails at once."""

    async def commit(self, results: Sequence[Result]) -> None:
        raise CheckpointWriteError(f"no room for {len(results)}")


def test_a_full_disk_ends_the_run_with_its_own_error() -> None:
    with pytest.raises(CheckpointWriteError, match="no room"):
        Rig(some(50), store=FullDisk()).run()


class HungDisk(MemoryStore):
    """A store that never comes back."""

    async def commit(self, results: Sequence[Result]) -> None:
        await asyncio.sleep(1e6 * len(results))


def test_a_disk_that_hangs_is_given_up_after_half_a_minute() -> None:
    rig = Rig(some(50), store=HungDisk())
    with pytest.raises(CheckpointWriteError, match="does not answer"):
        rig.run()


def test_a_second_signal_does_not_wait_for_a_disk_that_hangs() -> None:
    rig = Rig(some(50), store=HungDisk())
    with pytest.raises(CheckpointWriteError):
        rig.run((3, signal.SIGINT), (4, signal.SIGINT))
    assert rig.snapshots[-1].elapsed_s < 10


class BrokenSource(ListedSource):
    """A source that fails some seconds after its list has ended."""

    async def read(self) -> Sequence[Request]:
        if self.requests:
            return await super().read()
        await asyncio.sleep(5)
        raise CheckpointMismatchError("the prompts have changed")


def test_when_the_input_cannot_be_read_on_what_has_arrived_is_kept() -> None:
    rig = Rig(some(50), source=BrokenSource)
    with pytest.raises(CheckpointMismatchError):
        rig.run()
    assert len(rig.store.results) == 50


def test_a_commit_under_way_is_never_cut_off() -> None:
    rig = Rig(some(8), store=MemoryStore(sync_s=1.5), transport=ScriptedTransport(latency_s=1))
    rig.run((1.5, signal.SIGINT), (1.6, signal.SIGINT))
    assert len(rig.store.results) == 8


def test_a_result_carries_its_price() -> None:
    rig = Rig(some(3), price=lambda _model, usage: usage.output_tokens * 0.001)
    rig.run()
    assert [result.cost_usd for result in rig.store.results] == [0.01] * 3


def test_a_run_stops_before_its_bound_on_costs_is_crossed() -> None:
    rig = Rig(some(100), price=lambda _model, _usage: 0.01, max_cost_usd=0.205)
    stop = rig.run()
    assert stop is not None
    assert stop.kind is StopKind.COST
    assert len(rig.store.results) == 20


def test_a_full_lane_does_not_block_another() -> None:
    requests = [a_request(n, model="slow") for n in range(1, 101)]
    requests += [a_request(n, model="fast") for n in range(101, 201)]
    transport = ScriptedTransport(
        lambda request, tries: (
            a_failure(FailureKind.RATE_LIMITED, retry_after_s=500)
            if request.line == 1 and tries == 1
            else a_reply()
        )
    )
    rig = Rig(requests, transport=transport)
    rig.run()
    fast = [result.started_at for result in rig.store.results if result.line > 100]
    assert max(fast) < 1_000_000 + 30


def test_every_attempt_is_observed_with_its_number_and_outcome() -> None:
    transport = ScriptedTransport(
        script=lambda _, attempt: a_reply() if attempt > 1 else a_failure(FailureKind.SERVER_ERROR)
    )
    rig = Rig(some(1), transport=transport)
    rig.run()
    observed = [(each.custom_id, each.attempt, each.error_type) for each in rig.records]
    assert observed == [("line-1", 1, "server_error"), ("line-1", 2, None)]


def an_adjustment(*, is_paused: bool = False, **bounds: object) -> Adjustment:
    return Adjustment(bounds=Bounds(concurrency=1000, **bounds), is_paused=is_paused)  # type: ignore[arg-type]


def test_a_ceiling_set_in_mid_run_spreads_what_is_sent_from_then_on() -> None:
    rig = Rig(some(1_000), ceilings=Limits(requests=6_000))
    rig.adjustments.script = [(10.0, an_adjustment(ceilings=Limits(requests=600)))]
    assert rig.run() is None
    before, after = (
        sum(start < at <= start + 2.0 for at in rig.transport.began) for start in (8.0, 10.0)
    )
    assert before > 100
    assert after == pytest.approx(20, abs=1)


def test_a_pause_is_left_out_of_patience_and_shown() -> None:
    transport = ScriptedTransport(lambda _r, _t: a_failure(FailureKind.OVERLOADED))
    rig = Rig(some(1), transport=transport, patience_s=60.0)
    rig.adjustments.script = [
        (10.0, an_adjustment(is_paused=True)),
        (1_000.0, an_adjustment()),
    ]
    stop = rig.run()
    assert stop is not None
    assert stop.kind is StopKind.PATIENCE
    assert rig.took_s == pytest.approx(1_050, abs=5)
    assert not [at for at in transport.began if 10.0 < at < 1_000.0]
    paused = [each.wait.kind for each in rig.snapshots if each.wait is not None]
    assert WaitKind.PAUSED in paused


def test_a_paused_run_can_be_interrupted() -> None:
    rig = Rig(some(100), ceilings=Limits(requests=60))
    rig.adjustments.script = [(5.0, an_adjustment(is_paused=True))]
    stop = rig.run((50.0, signal.SIGINT))
    assert stop is not None
    assert stop.kind is StopKind.INTERRUPTED
