"""A batch run in virtual time, against a pretend Message Batches API."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from claude_batch.core.batch_decisions import BatchSettings
from claude_batch.core.batch_model import ChunkState, ChunkView, Detached, LeftForLive
from claude_batch.core.model import (
    SAMPLING_API_VERSION,
    FailureKind,
    Reply,
    Request,
    ResultType,
)
from claude_batch.core.progress import Progress, RunFacts
from claude_batch.core.scheduler import Stop, StopKind
from claude_batch.core.snapshot import Snapshot
from claude_batch.engine.batch import BatchRun
from claude_batch.engine.batch_canary import LiveCanary
from claude_batch.engine.batch_parts import BatchParts
from claude_batch.engine.clock import LoopClock
from claude_batch.engine.shutdown import Interruption
from claude_batch.errors import CheckpointError
from tests.support.fake_batches import (
    EPOCH,
    CrashError,
    DyingStore,
    Fate,
    ListedPrompts,
    MemoryBodies,
    MemoryJournal,
    MemoryParts,
    PretendBatches,
    ScriptedLive,
    a_refusal,
)
from tests.support.fakes import a_reply, a_request, steady_draw
from tests.support.virtual_time import run_virtually

End = Stop | LeftForLive | Detached | None


@dataclass
class World:
    """What outlives a process: prompts, disk, server. Each `run` is a process of its own."""

    requests: list[Request]
    server: PretendBatches = field(default_factory=PretendBatches)
    settings: BatchSettings = field(default_factory=lambda: BatchSettings(draw=steady_draw))
    most_requests: int = 100
    live: ScriptedLive | None = None
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    store: DyingStore = field(default_factory=DyingStore)
    told: list[str] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    chunks: list[tuple[ChunkView, ...]] = field(default_factory=list)
    took_s: float = 0.0

    def run(self, *asides: tuple[float, int]) -> End:
        """Run once, to its end; each aside asks for a stop by a signal at a time."""
        return run_virtually(self.process(asides))

    async def process(self, asides: Sequence[tuple[float, int]] = ()) -> End:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.took_s - loop.time())  # time goes on between processes
        interruption = Interruption()
        for at, signal_number in asides:
            loop.call_at(at, interruption.ask, signal_number)
        clock = LoopClock(wall=EPOCH + loop.time())
        parts = BatchParts(
            run="abc123",
            settings=self.settings,
            history=self.journal.history(),
            api=self.server,
            prompts=ListedPrompts(self.requests, frozenset(r.line for r in self.store.results)),
            bodies=MemoryBodies(),
            downloads=MemoryParts(),
            journal=self.journal,
            results=self.store,
            canary=LiveCanary(transport=self.live, count=None, clock=clock, draw=steady_draw)
            if self.live
            else None,
            clock=clock,
            progress=Progress(started_at=clock.now()),
            facts=RunFacts(
                run_id="abc123",
                prompts="p",
                results="r",
                sandbox=False,
                host="h",
                total=len(self.requests),
            ),
            interruption=interruption,
            publish=self.snapshots.append,
            show=self.chunks.append,
            tell=self.told.append,
            price=lambda _model, usage: 1.0 if usage.service_tier == "batch" else 2.0,
            most_requests=self.most_requests,
        )
        end = await BatchRun(parts).run()
        self.took_s = loop.time()
        return end

    def share(self, fate: Fate) -> None:
        """Let everything that outlives a process count the same steps."""
        self.server.fate = self.journal.fate = self.store.fate = fate

    @property
    def lines(self) -> list[int]:
        return sorted(result.line for result in self.store.results)

    @property
    def outcomes(self) -> Counter[ResultType]:
        return Counter(result.type for result in self.store.results)


def some(count: int) -> list[Request]:
    return [a_request(line) for line in range(1, count + 1)]


def every(count: int) -> list[int]:
    return list(range(1, count + 1))


def settings(**changes: object) -> BatchSettings:
    return replace(BatchSettings(draw=steady_draw), **changes)  # type: ignore[arg-type]


def test_every_request_ends_exactly_once() -> None:
    world = World(some(250))
    assert world.run() is None
    assert world.lines == every(250)


def test_chunks_are_no_larger_than_asked_for() -> None:
    world = World(some(250), most_requests=100)
    world.run()
    assert [len(batch.wire_ids) for batch in world.server.batches] == [100, 100, 50]


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


def test_requests_of_another_api_version_go_into_a_batch_of_their_own() -> None:
    requests = [
        replace(each, api_version=SAMPLING_API_VERSION) if each.line % 2 else each
        for each in some(10)
    ]
    world = World(requests)
    world.run()
    assert [len(batch.wire_ids) for batch in world.server.batches] == [5, 5]


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


def test_polling_slows_down_and_stays_within_reason() -> None:
    world = World(some(10), PretendBatches(duration_s=3600.0))
    world.run()
    assert world.server.polls < 75


def test_a_create_whose_answer_was_lost_is_found_and_not_repeated() -> None:
    world = World(some(10), PretendBatches(lose={1: "after"}))
    world.run()
    assert (world.lines, world.server.creates) == (every(10), 1)


def test_a_lost_create_is_found_though_lists_lag() -> None:
    world = World(some(10), PretendBatches(lose={1: "after"}, list_lag_s=200.0))
    world.run()
    assert (world.lines, world.server.creates) == (every(10), 1)


def test_a_create_that_made_no_batch_is_repeated_once_that_is_certain() -> None:
    world = World(some(10), PretendBatches(lose={1: "before"}))
    world.run()
    assert world.lines == every(10)
    assert world.server.batches[0].created_at >= 300.0


def test_nothing_is_submitted_while_a_create_is_unsettled() -> None:
    world = World(some(300), PretendBatches(lose={1: "before"}))
    world.run()
    assert min(batch.created_at for batch in world.server.batches) >= 300.0


def test_of_two_batches_that_may_be_it_the_ids_tell() -> None:
    world = World(some(10), PretendBatches(lose={1: "after"}))
    world.server.add_foreign(10, created_at=0.5, ends_at=400.0)
    world.run()
    assert (world.lines, world.server.creates) == (every(10), 1)


def test_a_stranger_of_the_same_size_is_not_taken_for_it() -> None:
    world = World(some(10), PretendBatches(lose={1: "before"}))
    world.server.add_foreign(10, created_at=0.5, ends_at=400.0)
    world.run()
    assert (world.lines, world.server.creates) == (every(10), 2)


def test_a_candidate_without_results_has_to_be_looked_at_by_somebody() -> None:
    world = World(some(10), PretendBatches(lose={1: "before"}))
    foreign = world.server.add_foreign(10, created_at=0.5, ends_at=400.0)
    world.server.batches[0].archived_at = EPOCH + 1
    with pytest.raises(CheckpointError, match=foreign):
        world.run()


def test_a_short_404_after_a_create_means_nothing() -> None:
    world = World(some(10), PretendBatches(short_404_s=60.0))
    assert world.run() is None
    assert world.lines == every(10)


def test_a_batch_that_is_not_known_has_to_be_looked_at_by_somebody() -> None:
    world = World(some(10), PretendBatches(short_404_s=1e9))
    with pytest.raises(CheckpointError, match="msgbatch_1"):
        world.run()


def test_the_requests_of_a_batch_that_is_not_known_go_again_when_asked_to() -> None:
    world = World(some(10), PretendBatches(short_404_s=1e9))
    with pytest.raises(CheckpointError):
        world.run()
    world.server.short_404_s, world.server.batches = 0.0, []
    world.settings = settings(give_up_missing=True)
    world.run()
    assert world.lines == every(10)


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


def test_a_request_that_the_results_lack_is_errored_and_not_bought_again() -> None:
    world = World(some(3))
    world.run((100.0, signal.SIGINT))
    batch = world.server.batches[0]
    batch.ends_at, batch.results = 0.0, batch.results.partition(b"\n")[2]
    world.run()
    assert (world.outcomes[ResultType.ERRORED], world.server.creates) == (1, 1)


def test_strange_and_second_lines_of_results_are_passed_over() -> None:
    world = World(some(3))
    world.run((100.0, signal.SIGINT))
    batch = world.server.batches[0]
    batch.ends_at = 0.0
    batch.results = batch.results * 2 + b'{"custom_id":"x-1-1","result":{"type":"expired"}}\n!\n'
    world.run()
    assert world.lines == every(3)
    assert any("4 result lines were passed over" in each for each in world.told)


def test_a_full_queue_holds_the_next_chunk_back() -> None:
    world = World(some(300), PretendBatches(most_queued=150))
    assert world.run() is None
    assert world.lines == every(300)
    assert world.server.creates < 40


def test_chunks_beyond_the_queue_are_not_even_tried() -> None:
    world = World(some(300), PretendBatches(most_queued=200), settings(most_queued=200))
    world.run()
    assert world.server.creates == 3


def test_a_batch_too_large_for_a_gateway_is_made_smaller() -> None:
    refuse = {1: a_refusal(413)}
    world = World(some(10), PretendBatches(refuse=refuse))
    assert world.run() is None
    assert world.lines == every(10)


def test_a_refused_batch_stops_the_run_with_the_words_of_the_api() -> None:
    world = World(some(10), PretendBatches(refuse={1: a_refusal(400, message="bad batch")}))
    end = world.run()
    assert isinstance(end, Stop)
    assert "bad batch" in end.message


def test_a_spent_budget_stops_the_run() -> None:
    refuse = {1: a_refusal(402, FailureKind.RUN_REFUSED, "no credit")}
    world = World(some(10), PretendBatches(refuse=refuse))
    assert world.run() == Stop(kind=StopKind.REFUSED, message="no credit")


def test_an_endpoint_without_batches_leaves_the_run_to_live_mode() -> None:
    world = World(some(10), PretendBatches(unsupported=True))
    end = world.run()
    assert isinstance(end, LeftForLive)
    assert "no Message Batches" in end.reason


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
    assert world.run() == Detached(message="3 batches are left running")
    assert world.took_s < 10


def test_detaching_again_collects_what_has_ended_meanwhile() -> None:
    world = World(some(10), settings=settings(detach=True))
    world.run()
    world.server.batches[0].ends_at = 0.0
    assert world.run() is None
    assert world.lines == every(10)


def test_detaching_says_what_the_queue_did_not_take() -> None:
    world = World(some(250), PretendBatches(most_queued=150), settings(detach=True))
    end = world.run()
    assert isinstance(end, Detached)
    assert "not all is submitted" in end.message


def test_what_the_user_canceled_is_not_bought_again() -> None:
    world = World(some(10), PretendBatches(outcome=lambda _line, _time: "canceled"))
    world.journal.user_cancels["msgbatch_1"] = "user"
    world.run()
    assert (world.outcomes, world.server.creates) == ({ResultType.CANCELED: 10}, 1)


def test_what_nobody_of_ours_canceled_goes_again() -> None:
    server = PretendBatches(outcome=lambda _line, time: "canceled" if time == 1 else "succeeded")
    world = World(some(10), server)
    world.run()
    assert world.outcomes == {ResultType.SUCCEEDED: 10}


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


def a_live(answer: Reply | None = None) -> ScriptedLive:
    return ScriptedLive(lambda _request: answer or a_reply())


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
    assert isinstance(end, Stop)
    assert "line 1 (line-1)" in end.message
    assert "typo" in end.message
    assert (world.server.creates, world.lines) == (0, [])


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
    assert isinstance(end, Stop)
    assert "speed: fast" in end.message


def test_the_screen_sees_chunks_and_no_invented_end() -> None:
    world = World(some(250))
    world.run()
    states = {view.state for views in world.chunks for view in views}
    assert {ChunkState.WAITING, ChunkState.COLLECTED} <= states
    assert {snapshot.eta_s for snapshot in world.snapshots} == {None}


def troubled(fate: Fate) -> World:
    """Return a world with a bit of everything: lost answers, expiries, errors, cut results."""
    server = PretendBatches(
        duration_s=60.0,
        outcome=lambda line, time: (
            "succeeded" if time > 1 else {3: "expired", 7: "api_error"}.get(line % 10, "succeeded")
        ),
        lose={2: "after", 3: "before"},
        cuts=1,
        list_lag_s=20.0,
    )
    world = World(some(60), server, most_requests=25, live=a_live())
    world.share(fate)
    return world


async def until_done(world: World) -> int:
    """Start a process again and again until one comes to its end; return how many died."""
    died = 0
    while True:
        try:
            assert await world.process() is None
        except CrashError:
            died += 1
        else:
            return died


def steps_without_dying() -> int:
    fate = Fate()
    run_virtually(until_done(troubled(fate)))
    return fate.steps


def test_dying_at_any_step_loses_nothing_and_buys_nothing_twice() -> None:
    for step in range(1, steps_without_dying() + 1):
        world = troubled(Fate(at=step))
        died = run_virtually(until_done(world))
        assert died == 1
        ended = Counter(world.lines)
        assert [*ended] == every(60), f"step {step}"
        twice = [line for line, times in world.server.successes.items() if times > 1]
        assert not twice, f"step {step}: {twice}"
        assert max(ended.values()) == 1, f"step {step}"
