"""Canaries: one request of each new shape is sent live before a batch, and its reply is its result.

A request may be refused for itself alone, an overlong one say: then the next of its shape is tried,
and only when all that are held back are refused does the run end, before anything is submitted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from claude_batch.core.batch.canary import CanaryResult, Shapes, params_not_in_batches
from claude_batch.core.batch.events import CanaryRefused, CannotAffordCanaries, NotForBatches
from claude_batch.core.batch.history import BatchShapesProved
from claude_batch.core.batch.machine import BatchMachine
from claude_batch.core.batch.rules import fatal_stop
from claude_batch.core.model.attempts import Attempted, AttemptRecord
from claude_batch.core.model.events import Canaries, Expense, Failed, Spent
from claude_batch.core.model.requests import (
    NO_USAGE,
    Failure,
    FailureKind,
    Reply,
    Request,
    Result,
    Usage,
)
from claude_batch.core.scheduling.decisions import Stop, StopKind
from claude_batch.core.scheduling.retry import (
    COUNTED,
    LIMITED,
    OUTAGES,
    attempt_timeout_s,
    backoff_s,
    may_be_billed,
)
from claude_batch.engine.batch.answers import BatchAnswers
from claude_batch.engine.batch.parts import BatchParts
from claude_batch.ports import Clock, CountTokens, Observe, Transport

AT_ONCE = 8
"""Canaries in flight: few enough for any limit."""

FIRST_RETRY_S, MAX_RETRY_S = 1.0, 30.0
"""Bounds of the wait before a canary is sent again."""

_PASSING = COUNTED | OUTAGES | LIMITED
_BAD_REQUEST = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCanary:
    """Sends canaries through the Messages API; `count` is None where nothing counts tokens.

    `observe` gets every attempt that has ended, with what `price` says it cost.

    They are few, so they need no pacing: each is tried until the API has accepted or refused it.
    """

    transport: Transport
    count: CountTokens | None
    clock: Clock
    rng: Callable[[], float]
    observe: Observe | None
    price: Callable[[str, Usage], float | None]
    max_attempts: int = 6
    patience_s: float = 3600.0

    async def try_lines(self, requests: Sequence[Request]) -> Sequence[CanaryResult]:
        """Send each, as often as needed; return their outcomes, in order."""
        room = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._try(request, room)) for request in requests]
        return [task.result() for task in tasks]

    async def _try(self, request: Request, room: asyncio.Semaphore) -> CanaryResult:
        async with room:
            began, started_at = self.clock.now(), self.clock.wall()
            attempts = counted = limited = 0
            discarded: list[Failure] = []
            outcome: Reply | Failure | None = await self._refused_by_count(request)
            sent_at = began
            while outcome is None:
                sent_at = self.clock.now()
                answer = await self._send(request)
                attempts += 1
                self._report(request, answer, attempts, self.clock.now() - sent_at)
                if isinstance(answer, Failure):
                    if answer.usage.is_reported or may_be_billed(answer):
                        discarded.append(answer)
                    counted += answer.kind in COUNTED
                    limited += answer.kind in LIMITED
                    wait_s = self._wait_s(answer, attempts)
                    if self._may_pass(answer, counted, until_s=self.clock.now() - began + wait_s):
                        await asyncio.sleep(wait_s)
                        continue
                outcome = answer
            return CanaryResult(
                request=request,
                outcome=outcome,
                attempts=attempts,
                started_at=started_at,
                latency_s=self.clock.now() - sent_at,
                rate_limited=limited,
                discarded=tuple(discarded),
            )

    def _report(
        self, request: Request, answer: Reply | Failure, number: int, latency_s: float
    ) -> None:
        if self.observe is None:
            return
        usage = answer.usage
        cost_usd = self.price(request.model, usage) if usage.is_reported else None
        made = Attempted(self.transport.name, number, latency_s, cost_usd)
        self.observe(AttemptRecord.of(request, answer, at=self.clock.wall(), attempt=made))

    async def _refused_by_count(self, request: Request) -> Failure | None:
        """Return why the free token count finds the request invalid, if it does.

        An endpoint that cannot count says nothing about the request (404).
        """
        counted = None if self.count is None else await self.count(request)
        if isinstance(counted, Failure) and counted.kind is FailureKind.REQUEST_REJECTED:
            return counted if counted.status == _BAD_REQUEST else None
        return None

    async def _send(self, request: Request) -> Reply | Failure:
        return await self.transport.send(request, timeout_s=attempt_timeout_s(request))

    def _may_pass(self, failure: Failure, counted: int, *, until_s: float) -> bool:
        is_left = counted < self.max_attempts and until_s <= self.patience_s
        return failure.kind in _PASSING and is_left

    def _wait_s(self, failure: Failure, attempt: int) -> float:
        return backoff_s(
            attempt,
            base_s=FIRST_RETRY_S,
            cap_s=MAX_RETRY_S,
            rng=self.rng,
            asked_s=failure.headers.retry_after_s,
        )


@dataclass(slots=True, kw_only=True)
class CanaryRunner:
    """Holds the first requests of each new shape back until one of them is accepted live."""

    parts: BatchParts
    machine: BatchMachine
    answers: BatchAnswers
    _shapes: Shapes = field(init=False)
    _held: dict[str, list[Request]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._shapes = Shapes(self.parts.history.shapes)

    def hold(self, request: Request) -> bool:
        """Keep a request that may have to be a canary; return whether it is kept."""
        if self.parts.canary is None:
            return False
        shape = self._shapes.sample(request)
        if shape is None:
            return False
        self._held.setdefault(shape, []).append(request)
        return True

    async def try_held(self) -> list[Request]:
        """Try what is held, one request of each shape at a time; return those not needed.

        A shape of which all requests are refused ends the run; so does what concerns all of it.
        """
        held, self._held = self._held, {}
        refused: dict[str, list[CanaryResult]] = {shape: [] for shape in held}
        spare: list[Request] = []
        if self._has_one_for_live_only(held):
            return []
        while held:
            tried = await self._try({shape: lines.pop(0) for shape, lines in held.items()})
            if tried is None:
                return []
            accepted = [shape for shape, each in tried.items() if _is_accepted(each)]
            await self._accept({shape: [*refused[shape], tried[shape]] for shape in accepted})
            if self.parts.bounds_cost:
                await self.parts.log.note([Canaries()])
            for shape in accepted:
                spare += held.pop(shape)
            for shape in held:
                refused[shape].append(tried[shape])
            stops: list[Stop | CanaryRefused] = [
                _refused(refused[shape]) for shape, lines in held.items() if not lines
            ]
            for_all = (_stop_for_all(tried[shape]) for shape in held)
            stops += [stop for stop in for_all if stop is not None]
            if stops:
                self.machine.end(stops[-1])
                return []
        return spare

    def _has_one_for_live_only(self, held: Mapping[str, list[Request]]) -> bool:
        """End the run where a batch would refuse what live mode accepts; return whether it did."""
        for request, *_ in held.values():
            params = params_not_in_batches(request)
            if params:
                self.machine.end(NotForBatches(request, params))
                return True
        return False

    async def _try(self, lines: Mapping[str, Request]) -> Mapping[str, CanaryResult] | None:
        """Send a request of each shape live; None where the limit on cost might not cover them."""
        parts = self.parts
        if parts.canary is None:
            return None
        most_usd = sum(map(self._most_usd, lines.values()))
        if not self.machine.can_afford(most_usd):
            self.machine.end(CannotAffordCanaries(len(lines), most_usd))
            return None
        if parts.bounds_cost:
            await parts.log.note([Canaries(requests=len(lines), at_most_usd=most_usd)])
        tried = await parts.canary.try_lines([*lines.values()])
        for each in tried:
            self._count(each)
            await self._count_expenses(each)
        return dict(zip(lines, tried, strict=True))

    def _most_usd(self, request: Request) -> float:
        return self.parts.most_usd(request, self.parts.inputs.tokens(request))

    def _count(self, tried: CanaryResult) -> None:
        """Count the attempts of a canary, and those that got a 429, as live mode does."""
        progress, request, outcome = self.parts.progress, tried.request, tried.outcome
        usage = outcome.usage
        cost_usd = self.parts.price(request.model, usage) if usage.is_reported else None
        made = Attempted(self.parts.api.name, tried.attempts, tried.latency_s, cost_usd)
        last = AttemptRecord.of(request, outcome, at=self.parts.clock.wall(), attempt=made)
        failed = last._replace(kind=FailureKind.SERVER_ERROR, usage=NO_USAGE, cost_usd=None)
        for left in reversed(range(tried.attempts)):
            progress.record_attempt(failed if left else last)
        if isinstance(outcome, Reply) and usage.is_reported:
            self.parts.inputs.learn(request.input_tokens, usage)
        for _ in range(tried.rate_limited):
            progress.apply(
                Failed(
                    at=self.parts.clock.wall(),
                    custom_id=request.custom_id,
                    line=request.line,
                    kind=FailureKind.RATE_LIMITED,
                    what="429 before its batch",
                    retry_in_s=0.0,
                )
            )

    async def _count_expenses(self, tried: CanaryResult) -> None:
        """Count what attempts of a canary cost that no result shows; the journal keeps it."""
        parts, request = self.parts, tried.request
        for failure in tried.discarded:
            usage = failure.usage
            cost = parts.price(request.model, usage) if usage.is_reported else None
            expense = Expense(
                discarded=int(usage.is_reported),
                input_tokens=usage.prompt_tokens,
                output_tokens=usage.output_tokens,
                cost_usd=cost,
                unreported=int(cost is None),
                at_most_usd=self._most_usd(request) if cost is None else 0.0,
            )
            event = Spent(
                at=parts.clock.wall(),
                custom_id=request.custom_id,
                line=request.line,
                expense=expense,
            )
            parts.progress.apply(event)
            await parts.log.note([event])

    async def _accept(self, shapes: Mapping[str, list[CanaryResult]]) -> None:
        """Commit the results of shapes that are accepted; what was refused before is errored."""
        if not shapes:
            return
        tried = [each for results in shapes.values() for each in results]
        await self.answers.commit_canaries(
            tried, [canary_result(self.parts, each) for each in tried]
        )
        await self.parts.journal.record(BatchShapesProved(shapes=tuple(shapes)))
        self._shapes.accept(shapes)


def canary_result(parts: BatchParts, tried: CanaryResult) -> Result:
    """Return the result of a request that did not go into a batch."""
    replied = isinstance(tried.outcome, Reply)
    return Result.of(
        tried.request,
        tried.outcome,
        attempts=max(1, tried.attempts),
        endpoint=parts.api.name,
        started_at=tried.started_at,
        latency_s=tried.latency_s,
        cost_usd=parts.price(tried.request.model, tried.outcome.usage) if replied else None,
    )


def _is_accepted(tried: CanaryResult) -> bool:
    """Return whether a canary has ended its request, and shows that its shape is accepted."""
    return isinstance(tried.outcome, Reply) or tried.outcome.kind in COUNTED


def _stop_for_all(tried: CanaryResult) -> Stop | None:
    """Return the stop that a canary means for the whole run, whatever its shape."""
    outcome = tried.outcome
    if isinstance(outcome, Reply) or outcome.kind is FailureKind.REQUEST_REJECTED:
        return None
    asked_s = outcome.headers.retry_after_s
    patience = Stop(kind=StopKind.PATIENCE, message=outcome.message, retry_in_s=asked_s)
    return fatal_stop(outcome) or patience


def _refused(refused: list[CanaryResult]) -> CanaryRefused:
    """Return the stop of a shape of which all requests that were tried have been refused."""
    first, *others = refused
    if isinstance(first.outcome, Reply):
        raise TypeError("a reply is no refusal")
    return CanaryRefused(first.request, first.outcome, more=len(others))
