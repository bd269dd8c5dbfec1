"""A live run: feed the scheduler, launch what it admits, make results durable, show how it goes.

Every task belongs to one TaskGroup. The scheduler decides; this file only waits.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from claude_batch.core.events import Event, Failed, Recorded, Waited
from claude_batch.core.lane import Attempt
from claude_batch.core.model import Failure, Reply, Result, ResultType, Usage
from claude_batch.core.progress import Progress, RunFacts, view
from claude_batch.core.scheduler import (
    Ending,
    Finished,
    Idle,
    Ruling,
    Scheduler,
    Send,
    Sleep,
    Stop,
    StopKind,
)
from claude_batch.core.snapshot import Phase
from claude_batch.engine.pacing import Pacing
from claude_batch.engine.shutdown import Interruption
from claude_batch.errors import ClaudeBatchError
from claude_batch.ports import Clock, Publish, ResultStore, RunLog, Source, Transport

GRACE_S = 10.0
"""How long requests in flight may still take once a run has been asked to stop."""

COMMIT_EVERY_S = 0.02
"""Results that arrive within this time share one fsync; DESIGN 4 allows 0.1 s."""

MOST_UNSAVED = 5_000
"""With so many results not yet on disk, nothing more is launched: the disk is what is slow."""

FRAME_S = 0.125
MINUTE_S = 60.0
WORTH_NOTING_S = 1.0
"""A lane that waits longer than this is worth a line in the journal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything a live run is made of; `publish` gets a snapshot about eight times a second."""

    scheduler: Scheduler
    transport: Transport
    source: Source
    results: ResultStore
    log: RunLog
    clock: Clock
    progress: Progress
    facts: RunFacts
    interruption: Interruption
    publish: Publish


@dataclass(slots=True)
class LiveRun:
    """One run, from the first request read to the last result on disk."""

    parts: Parts
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _appetite: asyncio.Event = field(default_factory=asyncio.Event)
    _unsaved_any: asyncio.Event = field(default_factory=asyncio.Event)
    _quiet: asyncio.Event = field(default_factory=asyncio.Event)
    _unsaved: list[Result] = field(default_factory=list)
    _notes: list[Event] = field(default_factory=list)
    _waiting: set[asyncio.Task[None]] = field(default_factory=set)
    _attempts: set[asyncio.Task[None]] = field(default_factory=set)
    _pauses: dict[str, float] = field(default_factory=dict)
    _pacing: Pacing = field(default_factory=Pacing)
    _phase: Phase = Phase.RUNNING

    async def run(self) -> Stop | None:
        """Work the input off; return why it stopped early, or None when all is done.

        Raises what the source or the store raise; what has arrived is committed first.
        """
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [
                    group.create_task(self._feed()),
                    group.create_task(self._commit()),
                    group.create_task(self._tick()),
                    group.create_task(self._watch()),
                ]
                stop = await self._pump(group)
                self._phase = Phase.STOPPING if stop else Phase.FINISHED
                await self._drain(group)
                for task in helpers:
                    task.cancel()
        except BaseExceptionGroup as group_error:
            raise _first_cause(group_error) from group_error
        finally:
            await self._finish_up()
        return stop

    async def _feed(self) -> None:
        """Keep the scheduler's queues filled, a little ahead of what it sends."""
        scheduler, clock = self.parts.scheduler, self.parts.clock
        while True:
            while not scheduler.hungry:
                self._appetite.clear()
                await self._appetite.wait()
            requests = await self.parts.source.read()
            if not requests:
                scheduler.no_more()
                self._wake.set()
                return
            for request in requests:
                scheduler.add(request, clock.now())
            self._wake.set()

    async def _pump(self, group: asyncio.TaskGroup) -> Stop | None:
        """Ask the scheduler what to do, and do it, until nothing more is to be launched."""
        scheduler, clock = self.parts.scheduler, self.parts.clock
        while True:
            if len(self._unsaved) > MOST_UNSAVED:
                await self._nap(None)
                continue
            match scheduler.next(clock.now()):
                case Send(attempt):
                    task = group.create_task(self._attempt(attempt))
                    self._attempts.add(task)
                    self._waiting.add(task)
                    task.add_done_callback(self._attempt_over)
                case Sleep(until):
                    await self._nap(until)
                case Idle():
                    await self._nap(None)
                case Finished(stop):
                    return stop

    async def _nap(self, until: float | None) -> None:
        """Wait until something has happened, or for `until`."""
        loop = asyncio.get_running_loop()
        delay = None if until is None else until - self.parts.clock.now()
        timer = None if delay is None else loop.call_later(delay, self._wake.set)
        await self._wake.wait()
        self._wake.clear()
        if timer is not None:
            timer.cancel()

    async def _attempt(self, attempt: Attempt) -> None:
        scheduler, clock = self.parts.scheduler, self.parts.clock
        try:
            await self._pacing.turn(attempt.lane, scheduler.launch_rate(attempt))
        except asyncio.CancelledError:
            scheduler.take_back(attempt, clock.now())
            raise
        task = asyncio.current_task()
        if task is not None:
            self._waiting.discard(task)
        scheduler.launched(attempt, clock.now())
        outcome = await self.parts.transport.send(attempt.job.request, timeout_s=attempt.timeout_s)
        self._take(attempt, outcome)

    def _attempt_over(self, task: asyncio.Task[None]) -> None:
        self._attempts.discard(task)
        self._waiting.discard(task)
        if not self._attempts:
            self._quiet.set()

    def _take(self, attempt: Attempt, outcome: Reply | Failure) -> None:
        """Hand what an attempt brought to the scheduler, and its verdict to the committer."""
        now = self.parts.clock.now()
        ruling = self.parts.scheduler.finished(attempt, outcome, now)
        self.parts.progress.attempted()
        if isinstance(outcome, Failure):
            self._note_failure(attempt, outcome, ruling, now)
        self._end(ruling.endings)
        self._wake.set()
        self._appetite.set()

    def _note_failure(self, attempt: Attempt, failure: Failure, ruling: Ruling, now: float) -> None:
        request = attempt.job.request
        retry_at = ruling.retry_at
        self.parts.progress.apply(
            Failed(
                at=self.parts.clock.wall(),
                custom_id=request.custom_id,
                line=request.line,
                kind=failure.kind,
                what=f"{failure.error_type}: {failure.message}",
                retry_in_s=None if retry_at is None else max(0.0, retry_at - now),
            )
        )

    def _end(self, endings: tuple[Ending, ...]) -> None:
        self._unsaved.extend(self._result(ending) for ending in endings)
        if endings:
            self._unsaved_any.set()

    def _result(self, ending: Ending) -> Result:
        request, outcome = ending.job.request, ending.outcome
        clock = self.parts.clock
        replied = isinstance(outcome, Reply)
        return Result(
            custom_id=request.custom_id,
            line=request.line,
            type=ResultType.SUCCEEDED if replied else ResultType.ERRORED,
            payload=outcome.message if isinstance(outcome, Reply) else outcome.error,
            usage=outcome.usage if isinstance(outcome, Reply) else Usage(),
            attempts=ending.job.tries,
            endpoint=self.parts.transport.name,
            started_at=clock.wall() - (clock.now() - (ending.job.admitted_at or clock.now())),
            latency_s=ending.latency_s,
            meta=request.meta,
        )

    async def _commit(self) -> None:
        """Make results durable in groups; only then are they counted."""
        while True:
            await self._unsaved_any.wait()
            await asyncio.sleep(COMMIT_EVERY_S)
            await self._save()
            self._wake.set()

    async def _save(self) -> None:
        self._unsaved_any.clear()
        batch, self._unsaved = self._unsaved, []
        if not batch:
            return
        await self.parts.results.commit(batch)
        now = self.parts.clock.now()
        for result in batch:
            self.parts.progress.apply(
                Recorded(at=now, type=result.type, usage=result.usage, cost_usd=result.cost_usd)
            )

    async def _tick(self) -> None:
        """Publish a snapshot a few times a second; journal waits and minutes."""
        clock = self.parts.clock
        minute_ends = clock.now() + MINUTE_S
        while True:
            self._publish()
            self._note_waits()
            if clock.now() >= minute_ends:
                minute_ends += MINUTE_S
                self._notes.append(self.parts.progress.close_minute(clock.wall()))
            await self._write_notes()
            await asyncio.sleep(FRAME_S)

    def _note_waits(self) -> None:
        clock = self.parts.clock
        for lane in self.parts.scheduler.lanes:
            left_s = lane.paused_until - clock.now()
            if left_s < WORTH_NOTING_S or self._pauses.get(lane.name) == lane.paused_until:
                continue
            self._pauses[lane.name] = lane.paused_until
            wall = clock.wall()
            why = lane.waiting_for or ""
            self._notes.append(Waited(at=wall, lane=lane.name, why=why, until=wall + left_s))

    async def _write_notes(self) -> None:
        notes, self._notes = self._notes, []
        if notes:
            await self.parts.log.note(notes)

    def _publish(self) -> None:
        self.parts.publish(
            view(
                self.parts.facts,
                self.parts.progress,
                self.parts.scheduler.lanes,
                phase=self._phase,
                now=self.parts.clock.now(),
            )
        )

    async def _watch(self) -> None:
        """Stop admitting when the user asks to stop."""
        await self.parts.interruption.asked.wait()
        self.parts.scheduler.end(Stop(kind=StopKind.INTERRUPTED, message="interrupted"))
        self._wake.set()

    async def _drain(self, group: asyncio.TaskGroup) -> None:
        """Let attempts in flight finish, for a bounded time; those not yet launched never go."""
        for task in list(self._waiting):
            task.cancel()
        if not self._attempts:
            return
        self._quiet.clear()
        over = {
            group.create_task(_wait(self._quiet)),
            group.create_task(_wait(self.parts.interruption.cut)),
        }
        await asyncio.wait(over, timeout=GRACE_S, return_when=asyncio.FIRST_COMPLETED)
        for task in [*over, *self._attempts]:
            task.cancel()

    async def _finish_up(self) -> None:
        """Commit whatever has arrived, and show and journal the last figures."""
        self._end(self.parts.scheduler.release())
        await self._save()
        self._notes.append(self.parts.progress.close_minute(self.parts.clock.wall()))
        await self._write_notes()
        self._publish()


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def _first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the exception a group is about: ours before a bug's, the first before the rest."""
    causes = [
        _first_cause(cause) if isinstance(cause, BaseExceptionGroup) else cause
        for cause in group.exceptions
    ]
    ours = [cause for cause in causes if isinstance(cause, ClaudeBatchError)]
    return (ours or causes)[0]
