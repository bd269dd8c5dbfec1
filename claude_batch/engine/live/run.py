"""A live run: feeds the scheduler, launches attempts, saves results, journals and shows progress.

The scheduler decides; this file only waits. Every task belongs to one of two TaskGroups: the inner
one does the work, the outer one saves. So whatever ends the work, what has arrived still reaches
the disk.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from claude_batch.core.model.attempts import Attempted, AttemptRecord
from claude_batch.core.model.events import (
    Event,
    Expense,
    Failed,
    Launched,
    Recorded,
    Spent,
    Switched,
    Waited,
)
from claude_batch.core.model.requests import Failure, Reply, Result, Usage
from claude_batch.core.model.snapshot import (
    EndpointState,
    EndpointView,
    LaneView,
    Phase,
    WaitKind,
    WaitReason,
)
from claude_batch.core.scheduling.decisions import (
    Finished,
    GiveUp,
    Idle,
    RequestOutcome,
    SchedulerStatus,
    Send,
    Sleep,
    Stop,
    StopKind,
    Verdict,
)
from claude_batch.core.scheduling.lane import Attempt
from claude_batch.core.scheduling.progress import Progress, RunFacts, make_snapshot
from claude_batch.core.scheduling.scheduler import Scheduler
from claude_batch.engine.answers import Answers
from claude_batch.engine.live.sharing import NO_NOTICES, Sharing, SharingNotices
from claude_batch.engine.shutdown import Interruption, first_cause
from claude_batch.errors import CheckpointWriteError
from claude_batch.ports import (
    Adjustments,
    Clock,
    LimitLease,
    Observe,
    Publish,
    ResponseCache,
    ResultStore,
    RunLog,
    Source,
    Transport,
)

JOURNALED_WAIT_S = 1.0
"""Waits of a lane that are longer than this, in seconds, go into the journal."""

NOTED_EVERY_S = 5.0
"""The journal gets no more than one wait of a lane, and one change of an endpoint, in as many
seconds: in a storm both can change with every reply."""

_SAME_S = 0.1
"""Waits that end within as many seconds of each other are the same one."""

COMMIT_EVERY_S = 0.02
"""Results that arrive within this time, in seconds, share one fsync: a crash can lose as much."""

MAX_UNSAVED = 5_000
"""With more results than this not on disk, nothing more is launched: the disk is too slow."""

GRACE_S = 10.0
"""How long requests in flight may take after a run has been asked to stop, in seconds."""

DISK_GRACE_S = 30.0
"""How long the disk may take to save the last results, in seconds."""

CUT_DISK_GRACE_S = 2.0
"""The same after the user has asked twice to stop, in seconds."""

CACHE_GRACE_S = 2.0
"""How long the cache may take to store the last answers, in seconds: it must not block the end."""

FRAME_S = 0.125
"""Time between two snapshots, in seconds."""

MARKED_SHARE, MOST_MARKED = 100, 32
"""With a bound on the cost, the journal says beforehand up to which line requests are in flight: a
100th of those launched so far ahead, at most 32. A killed process may have paid for all these."""


@dataclass(slots=True, kw_only=True)
class History:
    """Reports failures to the figures; writes waits and minutes to the journal, a little later."""

    log: RunLog
    progress: Progress
    clock: Clock
    _events: list[Event] = field(default_factory=list)
    _pauses: dict[str, float] = field(default_factory=dict)
    _states: dict[str, EndpointState] = field(default_factory=dict)
    _noted_at: dict[str, float] = field(default_factory=dict)

    def record_failure(self, attempt: Attempt, failure: Failure, retry_at: float | None) -> None:
        """Report a failed attempt, and when it is retried."""
        request, now = attempt.job.request, self.clock.now()
        self.progress.apply(
            Failed(
                at=self.clock.wall(),
                custom_id=request.custom_id,
                line=request.line,
                kind=failure.kind,
                what=f"{failure.error_type}: {failure.message}",
                retry_in_s=None if retry_at is None else max(0.0, retry_at - now),
                limit=failure.limit,
            )
        )

    def record_expense(self, attempt: Attempt, expense: Expense) -> None:
        """Count what an attempt cost that no result shows; the journal keeps it."""
        request = attempt.job.request
        event = Spent(
            at=self.clock.wall(), custom_id=request.custom_id, line=request.line, expense=expense
        )
        self.progress.apply(event)
        self._events.append(event)

    async def update(self, status: SchedulerStatus) -> None:
        """Journal lanes that wait, endpoints that drop out, and a minute that is over."""
        now, wall = self.clock.now(), self.clock.wall()
        for lane in status.lanes:
            self._add_wait(lane, now, wall)
        for endpoint in status.endpoints:
            self._add_switch(endpoint, now, wall)
        minute = self.progress.sample(status, now=now, wall=wall)
        if minute is not None:
            self._events.append(minute)
        await self.flush()

    async def close(self) -> None:
        """Journal the rest."""
        now, wall = self.clock.now(), self.clock.wall()
        self._events.append(self.progress.close_minute(now=now, wall=wall))
        await self.flush()

    def _add_wait(self, lane: LaneView, now: float, wall: float) -> None:
        left_s = lane.waiting_s
        if left_s is None or left_s < JOURNALED_WAIT_S:
            return
        known_until = self._pauses.get(lane.name, -math.inf)
        if now + left_s <= known_until + _SAME_S or not self._is_due(f"lane {lane.name}", now):
            return
        self._pauses[lane.name] = now + left_s
        why = lane.waiting_for or ""
        self._events.append(Waited(at=wall, lane=lane.name, why=why, until=wall + left_s))

    def _add_switch(self, endpoint: EndpointView, now: float, wall: float) -> None:
        name, state = endpoint.name, endpoint.state
        before = self._states.get(name, state)
        if state is before:
            self._states[name] = state
        elif self._is_due(f"endpoint {name}", now):
            self._states[name] = state
            self._events.append(Switched(at=wall, endpoint=name, state=state, why=endpoint.why))

    def _is_due(self, what: str, now: float) -> bool:
        """Return whether the last note of `what` is long ago, and take this one for noted."""
        if now < self._noted_at.get(what, -math.inf) + NOTED_EVERY_S:
            return False
        self._noted_at[what] = now
        return True

    async def flush(self) -> None:
        """Journal what has been reported so far."""
        events, self._events = self._events, []
        if events:
            await self.log.note(events)


@dataclass(slots=True, kw_only=True)
class Saver:
    """Commits results in groups that share an fsync, counts them, and calls `on_saved`.

    `before_commit` journals what belongs to them: a killed process has journaled every expense.

    The end of a run never interrupts a commit: `run` returns when `close` was called and
    everything is on disk.
    """

    store: ResultStore
    progress: Progress
    clock: Clock
    before_commit: Callable[[], Awaitable[None]]
    on_saved: Callable[[], None]
    _unsaved: list[Result] = field(default_factory=list)
    _has_work: asyncio.Event = field(default_factory=asyncio.Event)
    _closing: bool = False

    @property
    def is_behind(self) -> bool:
        """Whether so much waits for the disk that nothing more should be launched."""
        return len(self._unsaved) > MAX_UNSAVED

    def add(self, results: Sequence[Result]) -> None:
        """Add results to save."""
        if results:
            self._unsaved.extend(results)
            self._has_work.set()

    def close(self) -> None:
        """Let `run` return when everything is saved."""
        self._closing = True
        self._has_work.set()

    async def run(self) -> None:
        """Save results until closed. Raises what the store raises."""
        while not self._closing or self._unsaved:
            await self._has_work.wait()
            if not self._closing:
                await asyncio.sleep(COMMIT_EVERY_S)
            self._has_work.clear()
            batch, self._unsaved = self._unsaved, []
            if not batch:
                continue
            await self.before_commit()
            await self.store.commit(batch)
            self._count(batch)
            self.on_saved()

    def _count(self, batch: list[Result]) -> None:
        now = self.clock.now()
        for result in batch:
            self.progress.apply(Recorded.of(result, at=now))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything a live run needs.

    `transports` are the scheduler's endpoints by name. `publish` gets a snapshot about eight times
    a second, `observe` every attempt that has ended (None: nobody watches); `adjustments` change it
    while it goes (None: nothing can). `price` returns what a reply of an endpoint for a model cost
    (USD), None where it is unknown. With a `cache`, `source` also yields lines that have a result:
    `is_done` returns whether a line has. With a `lease` the scheduler's lanes share their limits
    with other programs.
    """

    scheduler: Scheduler
    transports: Mapping[str, Transport]
    source: Source
    results: ResultStore
    log: RunLog
    clock: Clock
    progress: Progress
    facts: RunFacts
    interruption: Interruption
    publish: Publish
    observe: Observe | None
    adjustments: Adjustments | None
    price: Callable[[str, str, Usage], float | None]
    cache: ResponseCache | None
    is_done: Callable[[int], bool]
    lease: LimitLease | None = None
    sharing_notices: SharingNotices = NO_NOTICES


@dataclass(slots=True)
class LiveRun:
    """One run, from the first request read to the last result on disk.

    `_wake` is set when the scheduler should be asked again, `_wants_input` when more input may be
    read, `_all_ended` when no attempt is in flight. If nothing wakes it by `_look_at`, the next
    snapshot does: a timer per attempt would cost more.
    """

    parts: Parts
    _saver: Saver = field(init=False)
    _history: History = field(init=False)
    _answers: Answers = field(init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _wants_input: asyncio.Event = field(default_factory=asyncio.Event)
    _all_ended: asyncio.Event = field(default_factory=asyncio.Event)
    _attempts: dict[Attempt, asyncio.Task[None]] = field(default_factory=dict)
    _phase: Phase = Phase.RUNNING
    _grace_ends: float | None = None
    _look_at: float = math.inf
    _launched: int = 0
    _marked_line: int = 0

    def __post_init__(self) -> None:
        self._history = History(
            log=self.parts.log, progress=self.parts.progress, clock=self.parts.clock
        )
        self._saver = Saver(
            store=self.parts.results,
            progress=self.parts.progress,
            clock=self.parts.clock,
            before_commit=self._history.flush,
            on_saved=self._continue_after_save,
        )
        self._answers = Answers(
            cache=self.parts.cache, is_done=self.parts.is_done, clock=self.parts.clock
        )

    async def run(self) -> Stop | None:
        """Run to the end; return why it stopped early, or None when all is done.

        Raises what the source or the store raise, after saving what has arrived.
        """
        self.parts.progress.cut_off = 1
        try:
            async with asyncio.TaskGroup() as group:
                saving = group.create_task(self._saver.run())
                caching = group.create_task(self._answers.run())
                try:
                    return await self._work()
                finally:
                    await self._finish(saving, caching)
        except BaseExceptionGroup as group_error:
            raise first_cause(group_error) from group_error

    async def _work(self) -> Stop | None:
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(self._feed()),
                group.create_task(self._show_progress()),
                group.create_task(self._watch_interruption()),
                group.create_task(self._adjust()),
            ]
            if self.parts.lease is not None:
                helpers.append(group.create_task(self._sharing(self.parts.lease).run()))
            stop = await self._launch_all(group)
            self._phase = Phase.STOPPING if stop else Phase.FINISHED
            await self._await_attempts(group)
            for task in helpers:
                task.cancel()
        return stop

    def _sharing(self, lease: LimitLease) -> Sharing:
        return Sharing(
            lease=lease,
            scheduler=self.parts.scheduler,
            clock=self.parts.clock,
            notices=self.parts.sharing_notices,
            on_change=self._wake.set,
        )

    async def _feed(self) -> None:
        """Keep the scheduler's queues filled, a little ahead of what it launches."""
        scheduler = self.parts.scheduler
        while True:
            while not scheduler.wants_input or self._saver.is_behind:
                self._wants_input.clear()
                await self._wants_input.wait()
            requests = await self.parts.source.read()
            if not requests:
                scheduler.end_input()
                self._answers.end_input()
                self._wake.set()
                return
            hits, misses = await self._answers.split(requests)
            self._saver.add(hits)
            for request in misses:
                scheduler.add(request)
            self._wake.set()

    def _continue_after_save(self) -> None:
        """Wake what waited for the disk."""
        self._wake.set()
        self._wants_input.set()
        self._answers.request_flush()

    async def _launch_all(self, group: asyncio.TaskGroup) -> Stop | None:
        """Do what the scheduler says until nothing more is to be launched."""
        scheduler, clock = self.parts.scheduler, self.parts.clock
        while True:
            if self._saver.is_behind:
                await self._sleep(None)
                continue
            match scheduler.next(clock.now()):
                case Send(attempt):
                    if scheduler.bounds_cost:
                        await self._mark(attempt)
                    self._attempts[attempt] = group.create_task(self._attempt(attempt))
                case GiveUp(attempt, failure, verdict):
                    if (task := self._attempts.pop(attempt, None)) is not None:
                        task.cancel()
                    self._record_end(attempt, failure, verdict)
                case Sleep(until):
                    await self._sleep(until)
                case Idle(look_at):
                    self._look_at = look_at
                    await self._sleep(None)
                case Finished(stop):
                    return stop

    async def _mark(self, attempt: Attempt) -> None:
        """Have it in the journal that the line of an attempt is in flight before it is sent."""
        self._launched += 1
        line = attempt.job.request.line
        if line > self._marked_line:
            ahead = min(self._launched // MARKED_SHARE, MOST_MARKED)
            self._marked_line = line + ahead
            await self.parts.log.note([Launched(line=self._marked_line)])

    async def _sleep(self, until: float | None) -> None:
        """Wait until something happens, or until `until`."""
        loop = asyncio.get_running_loop()
        delay = None if until is None else until - self.parts.clock.now()
        timer = None if delay is None else loop.call_later(delay, self._wake.set)
        await self._wake.wait()
        self._wake.clear()
        if timer is not None:
            timer.cancel()

    async def _attempt(self, attempt: Attempt) -> None:
        transport = self.parts.transports[attempt.endpoint]
        outcome = await transport.send(attempt.job.request, timeout_s=attempt.timeout_s)
        if self._attempts.pop(attempt, None) is not None:  # else it was given up
            self._record_outcome(attempt, outcome)
        if not self._attempts:
            self._all_ended.set()

    def _record_outcome(self, attempt: Attempt, outcome: Reply | Failure) -> None:
        """Pass an outcome to the scheduler, and requests that have ended to the saver."""
        now = self.parts.clock.now()
        cost_usd = None
        if outcome.usage.is_reported:
            model = attempt.job.request.model
            cost_usd = self.parts.price(attempt.endpoint, model, outcome.usage)
        verdict = self.parts.scheduler.record_outcome(attempt, outcome, now, cost_usd=cost_usd)
        self._record_end(attempt, outcome, verdict, cost_usd)
        self._save(verdict.ended)
        self._wake.set()
        self._wants_input.set()

    def _record_end(
        self,
        attempt: Attempt,
        outcome: Reply | Failure,
        verdict: Verdict,
        cost_usd: float | None = None,
    ) -> None:
        """Report an attempt that has ended to the figures, the journal and the log."""
        job, wall, now = attempt.job, self.parts.clock.wall(), self.parts.clock.now()
        made = Attempted(attempt.endpoint, job.attempts, now - attempt.charge.at, cost_usd)
        record = AttemptRecord.of(job.request, outcome, at=wall, attempt=made)
        self.parts.progress.record_attempt(record, attempt.lane.name)
        if isinstance(outcome, Failure):
            self._history.record_failure(attempt, outcome, verdict.retry_at)
        if self.parts.observe is not None:
            self.parts.observe(record)
        if verdict.expense is not None:
            self._history.record_expense(attempt, verdict.expense)

    def _save(self, ended: tuple[RequestOutcome, ...]) -> None:
        for each in ended:
            self._saver.add(self._answers.results(each))

    async def _show_progress(self) -> None:
        """Publish a snapshot a few times a second; journal waits and minutes."""
        while True:
            await self._history.update(self._publish())
            if self.parts.clock.now() >= self._look_at:
                self._look_at = math.inf
                self._wake.set()
            await asyncio.sleep(FRAME_S)

    def _publish(self) -> SchedulerStatus:
        """Show the state of the run now; return that of its lanes and endpoints."""
        parts = self.parts
        now, wall = parts.clock.now(), parts.clock.wall()
        status = parts.scheduler.status(now)
        if self._saver.is_behind:
            status = replace(status, wait=WaitReason(kind=WaitKind.DISK))
        snapshot = make_snapshot(
            parts.facts, parts.progress, status, phase=self._phase, now=now, wall=wall
        )
        if self._grace_ends is not None:
            snapshot = replace(snapshot, grace_s=max(0.0, self._grace_ends - now))
        parts.publish(snapshot)
        return status

    async def _watch_interruption(self) -> None:
        """Launch nothing more once the user asks to stop."""
        await self.parts.interruption.asked.wait()
        self.parts.scheduler.stop_early(Stop(kind=StopKind.INTERRUPTED, message="interrupted"))
        self._wake.set()

    async def _adjust(self) -> None:
        """Keep to what the user changes; the screen shows it at once."""
        adjustments = self.parts.adjustments
        while adjustments is not None:
            wanted = await adjustments.next()
            self.parts.scheduler.adjust(wanted, self.parts.clock.now())
            self._wake.set()
            adjustments.applied()
            self._publish()

    async def _await_attempts(self, group: asyncio.TaskGroup) -> None:
        """Wait for attempts in flight, up to `GRACE_S`; cancel the rest, which gets no result."""
        self.parts.progress.cut_off = 0
        if not self._attempts:
            return
        self._all_ended.clear()
        self._grace_ends = self.parts.clock.now() + GRACE_S
        waits = {
            group.create_task(self._all_ended.wait()),
            group.create_task(self.parts.interruption.cut.wait()),
        }
        await asyncio.wait(waits, timeout=GRACE_S, return_when=asyncio.FIRST_COMPLETED)
        self.parts.progress.cut_off = len(self._attempts)
        for task in [*waits, *self._attempts.values()]:
            task.cancel()

    async def _finish(self, saving: asyncio.Task[None], caching: asyncio.Task[None]) -> None:
        """Save what has arrived; publish and journal the last figures."""
        self._save(self.parts.scheduler.release_held())
        self._saver.close()
        try:
            await self._await_disk(saving)
        finally:
            self._answers.close()
            await asyncio.wait({caching}, timeout=CACHE_GRACE_S)
            caching.cancel()
        await self._history.close()
        self._publish()

    async def _await_disk(self, saving: asyncio.Task[None]) -> None:
        """Wait until everything is saved. Raises CheckpointWriteError if the disk hangs."""
        async with asyncio.TaskGroup() as group:
            cut = group.create_task(self.parts.interruption.cut.wait())
            await asyncio.wait(
                {saving, cut}, timeout=DISK_GRACE_S, return_when=asyncio.FIRST_COMPLETED
            )
            cut.cancel()
        if not saving.done():
            await asyncio.wait({saving}, timeout=CUT_DISK_GRACE_S)
        if not saving.done():
            saving.cancel()
            raise CheckpointWriteError(
                "the disk does not answer: the last results are not saved",
                hint="once it does, run the same command: requests without a line are sent again",
            )
