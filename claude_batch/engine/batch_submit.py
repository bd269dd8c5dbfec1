"""Requests become chunks, and chunks become batches: pack, try a canary, submit.

The intent is on disk before a create goes out, and the id before anything else is done. What is
not known after that is found out, never tried again blindly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from claude_batch.core.batch_decisions import Pack
from claude_batch.core.batch_history import (
    BatchCreated,
    BatchIntent,
    BatchRefused,
    BatchShapesProved,
)
from claude_batch.core.batch_model import AnswerLost, BatchView, StoredBody
from claude_batch.core.batch_rules import Refusal, fatal_stop
from claude_batch.core.batching import Batching
from claude_batch.core.canary import Shapes, Tried, refused_in_batches
from claude_batch.core.decisions import Stop, StopKind
from claude_batch.core.line_ranges import LineRanges
from claude_batch.core.model import Failure, FailureKind, Reply, Request, Result, ResultType, Usage
from claude_batch.core.packing import Chunk, Packer, Piece
from claude_batch.core.retry import COUNTED
from claude_batch.engine.batch_parts import BatchParts, ServerTime
from claude_batch.ports import Source


@dataclass(slots=True, kw_only=True)
class Submission:
    """The way of a run's requests into batches."""

    parts: BatchParts
    machine: Batching
    server: ServerTime
    _packer: Packer = field(init=False)
    _shapes: Shapes = field(init=False)
    _source: Source | None = field(init=False, default=None)
    _held: dict[str, Request] = field(init=False, default_factory=dict)
    _stored: dict[int, StoredBody] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        parts = self.parts
        self._shapes = Shapes(parts.history.shapes)
        self._packer = Packer(
            parts.run,
            next_chunk=parts.history.last_chunk + 1,
            most_requests=parts.most_requests,
            most_bytes=parts.most_bytes,
            expected_price=parts.expected_price,
        )

    async def pack(self, order: Pack) -> None:
        """Read on until a chunk is full or the pass is over; then try the canaries it needs."""
        source = self._source or self.parts.prompts(self._wanted(order))
        self._source = source
        full: list[Chunk] = []
        while not full and not self.parts.interruption.asked.is_set():
            requests = await source.read()
            if not requests:
                full.extend(self._packer.close())
                self._source = None
                break
            full.extend(await self._place(requests))
        if self._held:
            await self._prove()
        for chunk in full:
            self._stored[chunk.number] = await self.parts.bodies.finish(chunk.number)
        self.machine.packed(full)
        if self._source is None:
            self.machine.no_more()

    def _wanted(self, order: Pack) -> Callable[[int], bool]:
        """Return which lines a pass is over."""
        if order.only is not None:
            return order.only.__contains__
        lines = (line for chunk in self.parts.history.open_chunks for line in chunk.lines)
        taken = LineRanges.of(lines).marks()
        return lambda line: line >= len(taken) or not taken[line]

    async def _place(self, requests: Sequence[Request]) -> list[Chunk]:
        """Write requests into bodies, but for canaries; return the chunks that are full now."""
        pieces: list[Piece] = []
        for request in requests:
            new = self._shapes.is_new(request) if self.parts.canary is not None else None
            if new is None:
                pieces.append(self._packer.add(request))
            else:
                self._held[new] = request
        await self.parts.bodies.append(pieces)
        return [piece.full for piece in pieces if piece.full is not None]

    async def _prove(self) -> None:
        """Try one request of each new shape; a shape that fails ends the run before its batch."""
        held, self._held = self._held, {}
        if self.parts.canary is None:
            return
        for request in held.values():
            refused = refused_in_batches(request)
            if refused is not None:
                self.machine.end(_alike(request, refused))
                return
        tried = await self.parts.canary.try_lines([*held.values()])
        await self.parts.commit([self._result(each) for each in tried if _is_result(each)])
        stops = [stop for each in tried if (stop := _stop(each)) is not None]
        if stops:
            self.machine.end(stops[0])
            return
        await self.parts.journal.record(BatchShapesProved(shapes=tuple(held)))

    def _result(self, tried: Tried) -> Result:
        request, outcome = tried.request, tried.outcome
        replied = isinstance(outcome, Reply)
        usage = outcome.usage if isinstance(outcome, Reply) else Usage()
        return Result(
            custom_id=request.custom_id,
            line=request.line,
            type=ResultType.SUCCEEDED if replied else ResultType.ERRORED,
            payload=outcome.message if isinstance(outcome, Reply) else outcome.error,
            attempts=tried.attempts,
            endpoint=self.parts.api.name,
            started_at=tried.started_at,
            latency_s=tried.latency_s,
            usage=usage,
            cost_usd=self.parts.price(request.model, usage) if replied else None,
            meta=request.meta,
        )

    async def submit(self, chunk: Chunk) -> None:
        """Create the batch of a chunk, once."""
        parts, wall = self.parts, self.server.wall()
        await parts.journal.record(self._intent(chunk, wall))
        self.machine.submitting(chunk, parts.clock.now(), wall=wall)
        body = parts.bodies.body(chunk.number)
        answer = await parts.api.create(body, api_version=chunk.api_version)
        match answer:
            case BatchView():
                await self._created(chunk, answer)
            case Failure():
                await self._refused(chunk, answer)
            case AnswerLost():
                self.machine.flight.lost(chunk.number, parts.clock.now(), wall=self.server.wall())
                parts.tell(
                    f"chunk {chunk.number}: the create brought no answer "
                    f"({answer.failure.message}); looking whether there is a batch"
                )
                await self._forget(chunk)
            case _:
                assert_never(answer)

    def _intent(self, chunk: Chunk, wall: float) -> BatchIntent:
        stored = self._stored[chunk.number]
        return BatchIntent(
            chunk=chunk.number,
            api_version=chunk.api_version,
            lines=chunk.lines.text,
            count=chunk.count,
            size=stored.size,
            sha256=stored.sha256,
            at=wall,
            expected_usd=chunk.expected_usd,
        )

    async def _created(self, chunk: Chunk, batch: BatchView) -> None:
        await self.parts.journal.record(
            BatchCreated(
                chunk=chunk.number,
                id=batch.id,
                created_at=batch.created_at,
                expires_at=batch.expires_at,
            )
        )
        self.machine.created(chunk.number, batch, self.parts.clock.now())
        await self._forget(chunk)

    async def _refused(self, chunk: Chunk, failure: Failure) -> None:
        await self.parts.journal.record(BatchRefused(chunk=chunk.number, why=failure.message))
        verdict = self.machine.refused(chunk, failure, self.parts.clock.now())
        if verdict is Refusal.WAIT:
            self.parts.tell(f"chunk {chunk.number} has to wait: {failure.message}")
            return
        await self._forget(chunk)
        if verdict is Refusal.TOO_LARGE and not self._packer.shrink():
            why = f"even small batches are too large here: {failure.message}"
            self.machine.end(Stop(kind=StopKind.BATCH, message=why))

    async def _forget(self, chunk: Chunk) -> None:
        self._stored.pop(chunk.number, None)
        await self.parts.bodies.discard(chunk.number)


def _is_result(tried: Tried) -> bool:
    """Tell whether a canary has ended its request, as it would have in live mode."""
    return isinstance(tried.outcome, Reply) or tried.outcome.kind in COUNTED


def _stop(tried: Tried) -> Stop | None:
    """Return why the run ends before its batch is submitted, if it does."""
    outcome = tried.outcome
    if isinstance(outcome, Reply) or outcome.kind in COUNTED:
        return None
    if outcome.kind is FailureKind.REQUEST_REJECTED:
        return _alike(tried.request, f"{outcome.error_type}: {outcome.message}")
    return fatal_stop(outcome) or Stop(kind=StopKind.PATIENCE, message=outcome.message)


def _alike(request: Request, why: str) -> Stop:
    message = (
        f"line {request.line} ({request.custom_id}), tried before its batch was submitted: {why}. "
        "All lines of its shape would fail alike: mend them, or submit regardless with --no-canary"
    )
    return Stop(kind=StopKind.BATCH, message=message)
