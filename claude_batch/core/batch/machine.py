"""The state machine of batch mode: what to pack, submit, search for, poll, collect, and when.

It does no I/O, has no clock and never waits. `next` returns what to do; a method takes the
outcome:

    Probe     probed                        Poll      polled
    Pack      packed                        Collect   progressed, then failed or collected
    Submit    submitting, then submitted    Cancel    canceled
    Search    searched                      GiveUp    gave_up
    Inspect   inspected

What has to be journaled is on disk before the machine hears of it. Times are monotonic seconds
unless they are called wall time. A create is sent only while the fate of no other is open, so that
a batch found later is that chunk's or not ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import assert_never

from claude_batch.core.batch.chunk import (
    Act,
    Cancel,
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
from claude_batch.core.batch.events import (
    BatchesNotAtEndpoint,
    BatchOutcome,
    BatchRefusedForGood,
    CannotAffordBatch,
    Undecided,
)
from claude_batch.core.batch.history import BatchHistory, count_attempts
from claude_batch.core.batch.reserve import AnswerLengths
from claude_batch.core.batch.rules import (
    LEAST_404S,
    RESULTS_KEPT_S,
    Refusal,
    fatal_stop,
    has_no_batches,
    is_no_list,
    list_is_refused,
    poll_interval_s,
    refusal,
)
from claude_batch.core.model.adjustment import Adjustment
from claude_batch.core.model.batches import (
    AnswerLost,
    BatchPage,
    BatchStatus,
    BatchView,
    ChunkState,
    ChunkView,
    Detached,
    LeftForLive,
)
from claude_batch.core.model.line_ranges import LineRanges
from claude_batch.core.model.requests import Failure, FailureKind
from claude_batch.core.model.snapshot import WaitKind, WaitReason
from claude_batch.core.scheduling.decisions import Stop, StopKind
from claude_batch.core.scheduling.progress import Tally
from claude_batch.core.scheduling.retry import COUNTED, SLIGHT_JITTER, backoff_s

FIRST_RETRY_S, MAX_RETRY_S = 1.0, 60.0
"""Waits after a question that failed."""

FIRST_SEARCH_S, MAX_SEARCH_S = 1.0, 60.0
"""Waits between two searches for the same batch."""

FIRST_HOLD_S, MAX_HOLD_S = 30.0, 600.0
"""Waits after a create for which the API has no room."""

_FREE_SHARE = 0.1
"""A chunk is packed when at least this share of what batches in flight reserve is free.

With less it would have a few requests; what these batches leave over makes a larger one.
"""

LONGEST_CREATE_S = 3600.0
"""A create that began longer ago than this has ended, whether it made a batch or not."""

_RANK: dict[type[Act], int] = {
    GiveUp: 0,
    Collect: 1,
    Inspect: 2,
    Cancel: 3,
    Search: 4,
    Submit: 5,
    Pack: 6,
    Poll: 7,
    Probe: 8,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """What the user and the API allow; `rng` returns numbers in [0, 1).

    `max_queued` requests may wait at the API; a batch may take `list_lag_s` to be listed or
    found; `detach`: leave once all is submitted; `give_up_missing`: submit the requests of batches
    that the API does not know again; no batch is created that `max_cost_usd` might not cover. From
    `live_at` (monotonic) on batches are canceled in favour of live mode; before any is created,
    they are given up where the endpoint fails for `probe_patience_s` to list batches.
    """

    rng: Callable[[], float]
    max_attempts: int = 6
    max_queued: int = 500_000
    list_lag_s: float = 300.0
    patience_s: float = 3600.0
    probe_patience_s: float = math.inf
    first_poll_s: float = 5.0
    detach: bool = False
    give_up_missing: bool = False
    live_at: float | None = None
    max_cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is to be done before `until`."""

    until: float


@dataclass(frozen=True, slots=True)
class Over:
    """Nothing more is to be done: every request has its result, or `outcome` says why not."""

    outcome: BatchOutcome | Undecided | None = None


Decision = Act | Wait | Over


class BatchMachine:
    """A run's requests on their way through batches.

    `tally` has what the run has cost so far, `lengths` how long answers were.
    """

    def __init__(
        self,
        settings: BatchSettings,
        history: BatchHistory,
        tally: Tally,
        lengths: AnswerLengths,
        *,
        now: float,
        wall: float,
    ) -> None:
        """Begin with what the journal says; its open chunks are the machine's from here on."""
        self._settings = settings
        self._tally = tally
        self._lengths = lengths
        self._chunks = {chunk.number: chunk for chunk in history.open_chunks}
        for chunk in self._chunks.values():
            chunk.next_at = now
        self._collected = [chunk.view for chunk in history.chunks.values() if not chunk.is_open]
        self._our_batches = {each.batch_id for each in history.chunks.values() if each.batch_id}
        self._packed: dict[int, Chunk] = {}
        self._attempts = dict(history.attempts)
        self._resubmit: set[int] = set()
        self._pass: Pack | None = Pack(None)
        self._probed = False
        self._probe_at = now
        self._probes = 0
        self._hold_until = now
        self._holds = 0
        self._is_going_live = False
        self._forbidden: Failure | None = None
        self._last_failure = ""
        self._asked_until = now
        self._began_at = self._last_success_at = now
        self._wall_ahead_s = wall - now
        self._end: BatchOutcome | None = None
        self._paused_at: float | None = None

    # what is known

    def wall(self, now: float) -> float:
        """Return the server's wall time, as its last Date header has it."""
        return now + self._wall_ahead_s

    def attempts(self, line: int) -> int:
        """Return how often a line has been submitted, the present time included."""
        return self._attempts.get(line, 0) + 1

    @property
    def in_flight(self) -> int:
        """Requests that are submitted and not collected."""
        return sum(chunk.count for chunk in self._chunks.values() if not chunk.is_stuck)

    def views(self) -> tuple[ChunkView, ...]:
        """Return all chunks for a screen, in order."""
        views = [*self._collected, *(chunk.view for chunk in self._chunks.values())]
        return tuple(sorted(views, key=attrgetter("chunk")))

    def can_afford(self, usd: float) -> bool:
        """Return whether the limit on cost allows this much beside all that is in flight."""
        most_usd = self._settings.max_cost_usd
        return most_usd is None or self._spent_usd + self._reserved_usd + usd <= most_usd

    @property
    def _reserved_usd(self) -> float:
        return sum(chunk.expected_usd for chunk in self._chunks.values())

    @property
    def _is_short_of_money(self) -> bool:
        """Whether so little is free of the limit on cost that it is better to wait."""
        return self._reserved_usd > 0 and not self.can_afford(self._reserved_usd * _FREE_SHARE)

    @property
    def _spent_usd(self) -> float:
        return self._tally.most_spent_usd

    @property
    def wait_reason(self) -> WaitReason | None:
        """Why no batch is submitted, where that is the user's wish."""
        if self._paused_at is None:
            return None
        return WaitReason(kind=WaitKind.PAUSED, in_flight=self.in_flight)

    def adjust(self, wanted: Adjustment, now: float) -> None:
        """Keep to another bound on the cost; in a pause no batch is submitted."""
        self._settings = replace(self._settings, max_cost_usd=wanted.bounds.max_cost_usd)
        if wanted.is_paused and self._paused_at is None:
            self._paused_at = now
        elif not wanted.is_paused and self._paused_at is not None:
            paused_at, self._paused_at = self._paused_at, None
            self._last_success_at += now - max(paused_at, self._last_success_at)
            live_at = self._settings.live_at
            if live_at is not None:
                self._settings = replace(self._settings, live_at=live_at + now - paused_at)

    # what to do

    def next(self, now: float) -> Decision:
        """Return what to do now."""
        if self._end is not None:
            return Over(self._end)
        if not self._probed:
            return Probe() if self._probe_at <= now else Wait(self._probe_at)
        if self._live_at is not None and now >= self._live_at:
            self._go_live(now)
        due = (chunk.act() for chunk in self._chunks.values() if chunk.next_at <= now)
        acts = [act for act in (*due, self._submit_or_pack(now)) if act is not None]
        return min(acts, key=lambda act: _RANK[type(act)]) if acts else self._rest(now)

    def end(self, outcome: BatchOutcome) -> None:
        """Do nothing more; the first reason holds."""
        self._end = self._end or outcome

    @property
    def _live_at(self) -> float | None:
        """When batches are given up for live mode; a deadline stands still in a pause."""
        return self._settings.live_at if self._paused_at is None else None

    def _submit_or_pack(self, now: float) -> Act | None:
        if (
            self._paused_at is not None
            or self._is_going_live
            or self._forbidden
            or self._creates_are_blocked
        ):
            return None
        if self._packed:
            chunk = next(iter(self._packed.values()))
            fits = self._has_room(chunk) and self._can_afford_chunk(chunk)
            if fits or not self._is_worth_splitting(chunk):
                return Submit(chunk) if self._hold_until <= now and fits else None
            del self._packed[chunk.number]
            self._resubmit.update(chunk.lines)
            return self._submit_or_pack(now)
        if self._pass is None and self._resubmit:
            self._pass = Pack(frozenset(self._resubmit))
            self._resubmit.clear()
        return None if self._is_short_of_money else self._pass

    def _is_worth_splitting(self, chunk: Chunk) -> bool:
        """Whether a part of a chunk is all that the limit on cost will ever allow."""
        return chunk.count > 1 and not self._reserved_usd and self._has_room(chunk)

    def is_packed(self, number: int) -> bool:
        """Return whether a chunk waits for being submitted."""
        return number in self._packed

    def _can_afford_chunk(self, chunk: Chunk) -> bool:
        return self.can_afford(chunk.expect(self._lengths.usual))

    @property
    def _is_held(self) -> bool:
        """Whether a pause holds back what is still to be submitted."""
        waits = self._packed or self._resubmit or self._pass is not None
        return self._paused_at is not None and bool(waits)

    @property
    def _creates_are_blocked(self) -> bool:
        return any(chunk.blocks_creates for chunk in self._chunks.values())

    def _has_room(self, chunk: Chunk) -> bool:
        queued = sum(each.count for each in self._chunks.values() if each.is_queued)
        return not queued or queued + chunk.count <= self._settings.max_queued

    @property
    def _moving(self) -> int:
        """How many chunks will still change."""
        return sum(not chunk.is_stuck for chunk in self._chunks.values())

    def _rest(self, now: float) -> Decision:
        """Return how long there is nothing to do, or that the run is over."""
        if self._settings.detach and not (self._creates_are_blocked or self._is_held):
            return self._detached()
        times = [chunk.next_at for chunk in self._chunks.values() if chunk.act() is not None]
        if self._packed and self._hold_until > now:
            times.append(self._hold_until)
        if self._live_at is not None and not self._is_going_live and self._moving:
            times.append(self._live_at)
        if self._is_held:
            times.append(math.inf)
        if not times:
            return self._over()
        return self._too_late(min(times), now) or Wait(min(times))

    def _too_late(self, until: float, now: float) -> Over | None:
        """End the run where all that is left to do has to wait for longer than patience lasts."""
        due = [chunk for chunk in self._chunks.values() if chunk.act() is not None]
        is_failing = all(chunk.failures for chunk in due) if due else self._holds > 0
        if (
            self._paused_at is not None
            or not is_failing
            or min(until, self._asked_until) <= self._gives_up_at
        ):
            return None
        self._stop_until(until, now)
        return Over(self._end)

    def _stop_until(self, until: float, now: float) -> None:
        self.end(Stop(kind=StopKind.PATIENCE, message=self._last_failure, retry_in_s=until - now))

    def _detached(self) -> Over:
        affordable = any(map(self._can_afford_chunk, self._packed.values()))
        if not self._moving and not affordable:
            return self._over()
        left = self._packed or self._pass or self._resubmit or self._forbidden
        return Over(Detached(running=self._moving, is_all=not left))

    def _over(self) -> Over:
        stuck = (chunk for chunk in self._chunks.values() if chunk.is_stuck)
        undecided = tuple(batch_id for chunk in stuck for batch_id in chunk.batch_ids)
        if undecided:
            return Over(Undecided(undecided))
        if self._is_going_live or self._forbidden:
            return Over(LeftForLive(self._forbidden))
        if not self._packed:
            return Over()
        chunk = next(iter(self._packed.values()))
        max_cost_usd = self._settings.max_cost_usd or 0.0
        return Over(
            CannotAffordBatch(chunk.count, chunk.expected_usd, self._spent_usd, max_cost_usd)
        )

    def _go_live(self, now: float) -> None:
        """Have every batch canceled, so that what it has not done can be sent live in time."""
        if self._is_going_live:
            return
        self._is_going_live = True
        self._packed.clear()
        self._resubmit.clear()
        self._pass = None
        for chunk in self._chunks.values():
            if chunk.state in {ChunkState.WAITING, ChunkState.CANCELING}:
                chunk.cancel_wanted = chunk.state is ChunkState.WAITING
                chunk.next_at, chunk.polls = now, 0

    # Probe

    def probed(self, answer: BatchPage | Failure, now: float) -> bool:
        """Take the newest batch; return whether the user should know that it is waited for."""
        if isinstance(answer, Failure):
            self._probe_failed(answer, now)
            return self._probes == 1 and self._end is None and not self._probed
        self._set_wall(answer.server_time, now)
        self._probed = True
        self._last_success_at = now
        for chunk in self._chunks.values():
            if chunk.state is ChunkState.UNSETTLED:
                over_s = max(0.0, self.wall(now) - chunk.intent_at - LONGEST_CREATE_S)
                self._start_search(chunk, now, over_s=over_s)
        return False

    def _set_wall(self, server_time: float | None, now: float) -> None:
        if server_time is not None:
            self._wall_ahead_s = server_time - now

    def _probe_failed(self, failure: Failure, now: float) -> None:
        self._probes += 1
        unsettled = any(each.state is ChunkState.UNSETTLED for each in self._chunks.values())
        if list_is_refused(failure) and not unsettled:
            self._probed = True  # a create will show whether there are batches
            return
        if self._chunks:
            none = has_no_batches(failure)
        else:
            only_fails = self._silent_s(now) > self._settings.probe_patience_s
            none = is_no_list(failure, lists=self._probes) or (
                failure.kind in COUNTED and only_fails
            )
        if none:
            self._not_here(failure, nothing_sent=True)
            return
        self._probe_at = now + self._retry_s(failure, self._probes)
        self._lose_patience(failure, now)
        if self._asked_until > self._gives_up_at and self._paused_at is None:
            self._stop_until(self._asked_until, now)

    def _not_here(self, failure: Failure, *, nothing_sent: bool) -> None:
        if self._chunks:
            self.end(BatchesNotAtEndpoint(failure))
        else:
            self.end(LeftForLive(failure, nothing_sent=nothing_sent))

    # Pack

    def packed(self, chunks: Iterable[Chunk], *, is_last: bool) -> None:
        """Take chunks whose bodies are ready; `is_last`: the pass over the input is over."""
        self._packed.update((chunk.number, chunk) for chunk in chunks)
        if is_last:
            self._pass = None

    # Submit

    def submitting(self, chunk: Chunk, now: float) -> None:
        """Note that the intent is on disk and the create is sent."""
        del self._packed[chunk.number]
        self._chunks[chunk.number] = chunk
        chunk.state, chunk.intent_at = ChunkState.SUBMITTING, self.wall(now)

    def submitted(
        self, chunk: Chunk, answer: BatchView | Failure | AnswerLost, now: float
    ) -> Refusal | None:
        """Take the answer to a create; return what it means if it is a refusal."""
        match answer:
            case BatchView():
                self._holds = 0
                self._created(chunk, answer, now)
                return None
            case Failure():
                return self._refused(chunk, answer, now)
            case AnswerLost():
                self._start_search(chunk, now, over_s=0.0)
                return None
            case _:
                assert_never(answer)

    def _created(self, chunk: Chunk, batch: BatchView, now: float) -> None:
        self._last_success_at = now
        self._our_batches.add(batch.id)
        chunk.adopt(batch)
        self._schedule_poll(chunk, batch, now)

    def _refused(self, chunk: Chunk, failure: Failure, now: float) -> Refusal:
        del self._chunks[chunk.number]
        verdict = refusal(failure)
        match verdict:
            case Refusal.WAIT:
                chunk.state = ChunkState.PACKED
                self._packed = {chunk.number: chunk, **self._packed}
                self._hold(failure, now)
            case Refusal.NOT_HERE:
                self._not_here(failure, nothing_sent=not self._our_batches)
            case Refusal.FORBIDDEN:
                self._forbid(failure)
            case Refusal.TOO_LARGE if chunk.count > 1:
                self._resubmit.update(chunk.lines)
            case Refusal.TOO_LARGE:
                pass  # nothing is smaller than one request: it has failed
            case Refusal.STOP:
                self.end(fatal_stop(failure) or BatchRefusedForGood(failure))
        return verdict

    def _forbid(self, failure: Failure) -> None:
        """Send no create any more; what is at the API is collected, the rest is left for live."""
        self._forbidden = failure
        self._packed.clear()
        self._resubmit.clear()
        self._pass = None

    def _hold(self, failure: Failure, now: float) -> None:
        """Send no create until a batch has ended or a growing time is over."""
        self._holds += 1
        self._hold_until = now + self._backoff_s(
            self._holds, FIRST_HOLD_S, MAX_HOLD_S, failure.headers.retry_after_s
        )
        self._lose_patience(failure, now)

    # Search and Inspect: a create brought no answer, so there may be a batch

    def _start_search(self, chunk: Chunk, now: float, *, over_s: float) -> None:
        chunk.start_search(now, self.wall(now), lag_s=self._settings.list_lag_s, over_s=over_s)

    def searched(self, number: int, pages: Sequence[BatchPage], now: float) -> None:
        """Take the batches of the time in question; without a match the search is repeated."""
        chunk = self._chunks[number]
        self._last_success_at = now
        self._set_wall(pages[-1].server_time, now)
        batches = [batch for page in pages for batch in page.batches]
        if chunk.find_candidates(batches, self._our_batches):
            chunk.polls, chunk.next_at = 0, now
        elif now >= chunk.certain_at:
            chunk.lost, chunk.next_at = LossReason.NOT_CREATED, now
        else:
            chunk.polls += 1
            wait_s = self._backoff_s(chunk.polls, FIRST_SEARCH_S, MAX_SEARCH_S)
            chunk.next_at = min(now + wait_s, max(chunk.certain_at, now + FIRST_SEARCH_S))

    def inspected(self, act: Inspect, now: float, *, is_ours: bool) -> None:
        """Take whether a batch is the chunk's; without another candidate the search continues."""
        chunk = self._chunks[act.chunk]
        self._last_success_at = now
        if is_ours:
            self._holds = 0
            self._created(chunk, act.batch, now)
        else:
            chunk.exclude(act.batch.id)
            chunk.next_at = now

    # Poll and Cancel

    def polled(self, number: int, answer: BatchView | Failure, now: float) -> bool:
        """Take the state of a batch; return whether it is news that the API does not know it."""
        chunk = self._chunks[number]
        if isinstance(answer, Failure):
            was_known = chunk.missing_since is None
            self.failed(number, answer, now)
            return was_known and chunk.missing_since is not None
        self._last_success_at = now
        chunk.update(answer)
        self._schedule_poll(chunk, answer, now)
        return False

    def canceled(self, number: int, answer: BatchView | Failure, now: float) -> None:
        """Take the answer to a cancel; a refusal means that the batch has ended: polls show it."""
        if isinstance(answer, Failure) and answer.kind is FailureKind.REQUEST_REJECTED:
            self._chunks[number].cancel_wanted = False
            self._chunks[number].next_at = now
        else:
            self.polled(number, answer, now)

    def _schedule_poll(self, chunk: Chunk, batch: BatchView, now: float) -> None:
        """Poll again after a growing time; collect a batch that has ended at once."""
        if batch.status is BatchStatus.ENDED:
            chunk.next_at = now
            return
        chunk.next_at = now + poll_interval_s(
            chunk.polls,
            batches=len(self._chunks),
            first_s=self._settings.first_poll_s,
            rng=self._settings.rng,
        )
        chunk.polls += 1

    # Collect and GiveUp

    def progressed(self, number: int, now: float) -> None:
        """Note that some of a chunk's results have arrived, whatever comes next."""
        self._last_success_at = now
        self._chunks[number].failures, self._chunks[number].missing_since = 0, None

    def collected(self, number: int, retry: LineRanges, now: float) -> None:
        """Note that a chunk's results are on disk but for `retry`, which are submitted again."""
        self._last_success_at = self._hold_until = now
        chunk = self._chunks.pop(number)
        chunk.state = ChunkState.COLLECTED
        self._collected.append(chunk.view)
        count_attempts(self._attempts, chunk.lines, retry)
        self._submit_again(retry)

    def gave_up(self, number: int) -> None:
        """Note that the journal says that the chunk is lost: its lines are submitted again."""
        self._submit_again(self._chunks.pop(number).lines)

    def _submit_again(self, lines: LineRanges) -> None:
        if not (self._is_going_live or self._forbidden):
            self._resubmit.update(lines)

    # failures

    def failed(self, number: int, failure: Failure, now: float) -> None:
        """Take a failure of anything about a chunk's batch: it is tried again, for some time."""
        chunk = self._chunks[number]
        chunk.failures += 1
        if failure.kind is FailureKind.REQUEST_REJECTED and not chunk.blocks_creates:
            self._not_found(chunk, now)
        else:
            self._lose_patience(failure, now)
        chunk.next_at = now + self._retry_s(failure, chunk.failures)

    def _not_found(self, chunk: Chunk, now: float) -> None:
        """Accept a 404 for a while: just after a create or an end it means nothing."""
        if chunk.missing_since is None:
            since = chunk.batch.ended_at if chunk.batch is not None else chunk.created_at
            old_s = self.wall(now) - since if since else 0.0
            chunk.missing_since = now - max(0.0, old_s)
        is_sure = now - chunk.missing_since >= self._settings.list_lag_s
        if not is_sure or chunk.failures < LEAST_404S:
            return
        age_s = self.wall(now) - chunk.created_at if chunk.created_at else 0.0
        if chunk.state is ChunkState.ENDED and age_s > RESULTS_KEPT_S:
            chunk.is_gone = True
        elif self._settings.give_up_missing:
            chunk.lost = LossReason.NOT_FOUND
        else:
            chunk.state = ChunkState.MISSING

    def _lose_patience(self, failure: Failure, now: float) -> None:
        """End the run if a failure concerns all of it, or if nothing has worked for too long."""
        self._last_failure = failure.message
        self._asked_until = now + (failure.headers.retry_after_s or 0.0)
        if self._silent_s(now) > self._settings.patience_s and self._paused_at is None:
            waited_s = self._silent_s(now)
            self.end(Stop(kind=StopKind.PATIENCE, message=failure.message, waited_s=waited_s))
        if failure.kind is FailureKind.ENDPOINT_UNUSABLE and self._last_success_at > self._began_at:
            return  # it can be used
        stop = fatal_stop(failure)
        if stop is not None:
            self.end(stop)

    @property
    def _gives_up_at(self) -> float:
        return self._last_success_at + self._settings.patience_s

    def _silent_s(self, now: float) -> float:
        """Return how long ago the API answered last, or the run began."""
        return now - self._last_success_at

    def _retry_s(self, failure: Failure, attempt: int) -> float:
        asked_s = failure.headers.retry_after_s
        return self._backoff_s(attempt, FIRST_RETRY_S, MAX_RETRY_S, asked_s)

    def _backoff_s(
        self, attempt: int, base_s: float, cap_s: float, asked_s: float | None = None
    ) -> float:
        return backoff_s(
            attempt,
            base_s=base_s,
            cap_s=cap_s,
            rng=self._settings.rng,
            jitter=SLIGHT_JITTER,
            asked_s=asked_s,
        )
