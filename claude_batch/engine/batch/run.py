"""A batch run: ask the machine what to do, do it, report the outcome, publish the figures.

One thing is done at a time, in the order that the machine decides; this file only waits. Batches do
not need us: a run that is stopped leaves them running, and the next one collects them.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import assert_never

from claude_batch.core.batch.chunk import (
    Act,
    Cancel,
    Collect,
    GiveUp,
    Inspect,
    Pack,
    Poll,
    Probe,
    Search,
    Submit,
)
from claude_batch.core.batch.events import (
    BatchOutcome,
    BatchUnknown,
    ChunkLost,
    Undecided,
    WaitingForBatches,
)
from claude_batch.core.batch.history import BY_DEADLINE, BatchCancelRequested, BatchLost
from claude_batch.core.batch.machine import BatchMachine, Over, Wait
from claude_batch.core.model.batches import BatchView, LeftForLive
from claude_batch.core.model.minutes import Minute
from claude_batch.core.model.requests import Failure
from claude_batch.core.model.snapshot import Phase
from claude_batch.core.scheduling.decisions import Stop, StopKind
from claude_batch.core.scheduling.progress import NO_STATUS, make_snapshot
from claude_batch.engine.batch.answers import BatchAnswers
from claude_batch.engine.batch.collect import Collector
from claude_batch.engine.batch.parts import BatchParts
from claude_batch.engine.batch.submit import Submission
from claude_batch.engine.shutdown import first_cause
from claude_batch.errors import CheckpointError

GRACE_S = 10.0
CREATE_GRACE_S = 30.0
"""How long the current act may still take once the run has been asked to stop; a create gets more,
so that its id is known to the next run."""

FRAME_S = 1.0
"""Time between two snapshots; a batch changes slowly."""


@dataclass(slots=True)
class BatchRun:
    """One run through the Message Batches API, from the first body to the last result on disk."""

    parts: BatchParts
    _machine: BatchMachine = field(init=False)
    _answers: BatchAnswers = field(init=False)
    _submission: Submission = field(init=False)
    _collector: Collector = field(init=False)
    _phase: Phase = Phase.RUNNING
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        parts = self.parts
        self._machine = BatchMachine(
            parts.settings,
            parts.history,
            parts.progress.tally,
            parts.lengths,
            now=parts.clock.now(),
            wall=parts.clock.wall(),
        )
        self._answers = BatchAnswers(parts=parts)
        self._submission = Submission(parts=parts, machine=self._machine, answers=self._answers)
        self._collector = Collector(parts=parts, machine=self._machine)

    async def run(self) -> BatchOutcome | None:
        """Work through the input; return why it ended early, or None when all have a result.

        Raises CheckpointError when a person has to look at batches, and what the prompts, the
        bodies or the store raise. What has been committed stays; batches continue to run.
        """
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [
                    group.create_task(self._tick()),
                    group.create_task(self._watch()),
                    group.create_task(self._adjust()),
                ]
                outcome = await self._work(group)
                self._phase = _phase_after(outcome)
                for task in helpers:
                    task.cancel()
        except BaseExceptionGroup as group_error:
            raise first_cause(group_error) from group_error
        finally:
            await self._collector.close()
            self._publish()
        now, wall = self.parts.clock.now(), self.parts.clock.wall()
        await self._note(self.parts.progress.close_minute(now=now, wall=wall))
        return outcome

    async def _work(self, group: asyncio.TaskGroup) -> BatchOutcome | None:
        await self._do(group, self._answers.recall())
        while True:
            decision = self._machine.next(self.parts.clock.now())
            match decision:
                case Over(outcome):
                    if isinstance(outcome, Undecided):
                        raise _undecided(outcome.batches)
                    return outcome
                case Wait(until):
                    await self._nap(until)
                case Submit():
                    await self._do(group, self._act(decision), grace_s=CREATE_GRACE_S)
                case _:
                    await self._do(group, self._act(decision))

    async def _nap(self, until: float) -> None:
        """Wait for `until`, or until the user asks to stop or changes something."""
        wait_s = None if math.isinf(until) else max(0.0, until - self.parts.clock.now())
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._woken.wait()
        if not self.parts.interruption.asked.is_set():
            self._woken.clear()

    async def _do(
        self,
        group: asyncio.TaskGroup,
        work: Coroutine[None, None, None],
        *,
        grace_s: float = GRACE_S,
    ) -> None:
        """Do one thing; once the user asks to stop, it gets a limited time to finish."""
        interruption = self.parts.interruption
        doing = group.create_task(work)
        asked = group.create_task(_wait(interruption.asked))
        await asyncio.wait({doing, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            cut = group.create_task(_wait(interruption.cut))
            await asyncio.wait({doing, cut}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            cut.cancel()
        asked.cancel()
        doing.cancel()
        await asyncio.wait({doing})

    async def _act(self, act: Act) -> None:
        match act:
            case Probe():
                await self._probe()
            case Pack():
                await self._submission.pack(act)
            case Submit(chunk):
                await self._submission.submit(chunk)
            case Search():
                await self._submission.search(act)
            case Inspect():
                await self._submission.inspect(act)
            case Poll():
                answer = await self.parts.api.retrieve(act.batch_id)
                self._polled(act, answer)
            case Collect():
                await self._collector.collect(act)
            case Cancel():
                await self._cancel(act)
            case GiveUp(chunk, reason):
                await self.parts.journal.record(BatchLost(chunk=chunk, why=reason))
                self._machine.gave_up(chunk)
                self.parts.report(ChunkLost(chunk, reason))
            case _:
                assert_never(act)

    def _polled(self, act: Poll, answer: BatchView | Failure) -> None:
        is_news = self._machine.polled(act.chunk, answer, self.parts.clock.now())
        if is_news and isinstance(answer, Failure):
            self.parts.report(BatchUnknown(act.batch_id, answer))

    async def _probe(self) -> None:
        """Get the newest batch: it shows whether there are batches here, and the server's time."""
        page = await self.parts.api.list(limit=1, after_id=None)
        is_news = self._machine.probed(page, self.parts.clock.now())
        if is_news and isinstance(page, Failure):
            self.parts.report(WaitingForBatches(page))

    async def _cancel(self, act: Cancel) -> None:
        """Cancel a batch, having journaled that the deadline is the reason."""
        at = self._machine.wall(self.parts.clock.now())
        await self.parts.journal.record(
            BatchCancelRequested(id=act.batch_id, by=BY_DEADLINE, at=at)
        )
        answer = await self.parts.api.cancel(act.batch_id)
        self._machine.canceled(act.chunk, answer, self.parts.clock.now())

    async def _watch(self) -> None:
        """Begin nothing new when the user asks to stop."""
        await self.parts.interruption.asked.wait()
        self._phase = Phase.STOPPING
        self._machine.end(Stop(kind=StopKind.INTERRUPTED, message="interrupted"))
        self._woken.set()

    async def _adjust(self) -> None:
        """Keep to what the user changes; the screen shows it at once."""
        adjustments = self.parts.adjustments
        while adjustments is not None:
            self._machine.adjust(await adjustments.next(), self.parts.clock.now())
            self._woken.set()
            adjustments.applied()
            self._publish()

    async def _tick(self) -> None:
        """Publish a snapshot every second; journal each minute in which something ended."""
        while True:
            self._publish()
            now, wall = self.parts.clock.now(), self.parts.clock.wall()
            await self._note(self.parts.progress.sample(NO_STATUS, now=now, wall=wall))
            await asyncio.sleep(FRAME_S)

    async def _note(self, minute: Minute | None) -> None:
        """Journal a minute in which something has ended."""
        if minute is not None and not minute.is_empty:
            await self.parts.log.note([minute])

    def _publish(self) -> None:
        """Show the chunks and the figures.

        There is no rate and no end to show: the API counts nothing before a batch has ended, and
        then its results come all at once.
        """
        parts, machine, now = self.parts, self._machine, self.parts.clock.now()
        snapshot = make_snapshot(parts.facts, parts.progress, NO_STATUS, phase=self._phase, now=now)
        parts.publish(
            replace(
                snapshot,
                at=machine.wall(now),
                eta_s=None,
                requests_per_minute=None,
                input_tokens_per_minute=None,
                output_tokens_per_minute=None,
                in_flight=machine.in_flight - self._collector.settled,
                wait=machine.wait_reason if self._phase is Phase.RUNNING else None,
                chunks=machine.views(),
            )
        )


def _phase_after(outcome: BatchOutcome | None) -> Phase:
    """Return the phase of the run now: what is left for live mode is sent at once."""
    if outcome is None:
        return Phase.FINISHED
    return Phase.RUNNING if isinstance(outcome, LeftForLive) else Phase.STOPPING


def _undecided(batches: tuple[str, ...]) -> CheckpointError:
    names = ", ".join(batches)
    return CheckpointError(
        f"these batches cannot be found or may be another run's: {names}",
        hint="look at them (claude-batch batches show ID, or the Console), with the key they were "
        "made with: batches belong to a workspace. If their results are lost, --retry-errored "
        "submits their requests again",
    )


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
