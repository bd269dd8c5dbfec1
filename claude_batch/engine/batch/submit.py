"""Requests become chunks, and chunks become batches: pack, try canaries, submit.

The intent is on disk before a create is sent, and the batch's id before anything else is done. A
create without an answer is never just repeated: its batch is searched for, and recognized by the
ids in its results.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import orjson

from claude_batch.core.batch.canary import CanaryResult
from claude_batch.core.batch.chunk import Chunk, Inspect, Pack, Search
from claude_batch.core.batch.events import (
    BatchFound,
    BatchTooLarge,
    ChunkReserved,
    CreatePostponed,
    CreateUnanswered,
    EvenSmallBatchesTooLarge,
)
from claude_batch.core.batch.history import BatchCreated, BatchIntent, BatchRefused
from claude_batch.core.batch.machine import BatchMachine
from claude_batch.core.batch.packing import Packer, parse_wire_id
from claude_batch.core.batch.reserve import Budget
from claude_batch.core.batch.rules import Refusal
from claude_batch.core.model.batches import AnswerLost, BatchPage, BatchView, StoredBody
from claude_batch.core.model.requests import Failure, FailureKind, Request
from claude_batch.engine.batch.answers import BatchAnswers
from claude_batch.engine.batch.canary import CanaryRunner, canary_result
from claude_batch.engine.batch.parts import BatchParts
from claude_batch.ports import Source

PAGE = 100
"""Batches per list: the most that the API returns at once."""


@dataclass(slots=True, kw_only=True)
class Submission:
    """Brings a run's requests into batches."""

    parts: BatchParts
    machine: BatchMachine
    answers: BatchAnswers
    _packer: Packer = field(init=False)
    _canaries: CanaryRunner = field(init=False)
    _source: Source | None = field(init=False, default=None)
    _stored: dict[int, StoredBody] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        parts = self.parts
        self._canaries = CanaryRunner(parts=parts, machine=self.machine, answers=self.answers)
        self._packer = Packer(
            parts.run,
            next_chunk=parts.history.last_chunk + 1,
            budget=Budget(
                price=lambda each: parts.batch_price_of(each, parts.inputs.tokens(each)),
                can_afford=self.machine.can_afford,
                lengths=parts.lengths,
            ),
            max_requests=parts.max_requests,
        )

    # pack

    async def pack(self, act: Pack) -> None:
        """Read until a chunk is full or the pass is over; then try the canaries it needs."""
        for number in [each for each in self._stored if not self.machine.is_packed(each)]:
            await self._forget(number)  # it is split
        source = self._source or self._open(act)
        self._source = source
        full: list[Chunk] = []
        while not full and not self.parts.interruption.asked.is_set():
            requests = await source.read()
            if not requests:
                self._source = None
                break
            if act.only is None:
                requests = await self.answers.split(requests)
            full += await self._write([r for r in requests if not self._canaries.hold(r)])
        await self.answers.save()
        if self._source is None and act.only is None:
            self.answers.end_input()
        full += await self._write(await self._canaries.try_held())
        if self._source is None:
            full += self._packer.close()
        for chunk in full:
            self._stored[chunk.number] = await self.parts.bodies.finish(chunk.number)
        self.machine.packed(full, is_last=self._source is None)

    def _open(self, act: Pack) -> Source:
        """Begin a pass; lines that are submitted again have been looked up in the cache before."""
        if act.only is not None:
            return self.parts.prompts(act.only.__contains__)
        return self.answers.open()

    async def _write(self, requests: Sequence[Request]) -> list[Chunk]:
        """Write requests into bodies; return the chunks that are full now."""
        pieces, unsent = [], []
        for request in map(self._as_sent, requests):
            attached = None
            if request.encode is not None:
                attached = await request.encode(request.body, request.line)
            if isinstance(attached, Failure):
                unsent.append(self._tried(request, attached))
            else:
                pieces.append(self._packer.add(request, attached))
        await self.parts.bodies.append(pieces)
        if unsent:
            await self._end(unsent)
        return [piece.full for piece in pieces if piece.full is not None]

    def _as_sent(self, request: Request) -> Request:
        params = self.parts.params(request)
        return request if params is request.body else replace(request, body=params)

    # submit

    async def submit(self, chunk: Chunk) -> None:
        """Create the batch of a chunk, once."""
        parts = self.parts
        await parts.journal.record(self._intent(chunk))
        self.machine.submitting(chunk, parts.clock.now())
        if chunk.excess_usd and parts.bounds_cost:
            tokens = parts.lengths.usual
            parts.report(ChunkReserved(chunk.number, chunk.expected_usd, tokens, chunk.excess_usd))
        body = parts.bodies.body(chunk.number)
        answer = await parts.api.create(body, api_version=chunk.api_version)
        match answer:
            case BatchView():
                await parts.journal.record(_created(chunk.number, answer))
                self.machine.submitted(chunk, answer, parts.clock.now())
                await self._forget(chunk.number)
            case Failure():
                await self._refused(chunk, answer)
            case AnswerLost(failure=failure):
                self.machine.submitted(chunk, answer, parts.clock.now())
                parts.report(CreateUnanswered(chunk.number, failure))
                await self._forget(chunk.number)

    def _intent(self, chunk: Chunk) -> BatchIntent:
        stored = self._stored[chunk.number]
        return BatchIntent(
            chunk=chunk.number,
            api_version=chunk.api_version,
            lines=chunk.lines.text,
            count=chunk.count,
            size=stored.size,
            sha256=stored.sha256,
            at=self.machine.wall(self.parts.clock.now()),
            expected_usd=chunk.expected_usd,
        )

    async def _refused(self, chunk: Chunk, failure: Failure) -> None:
        await self.parts.journal.record(BatchRefused(chunk=chunk.number, why=failure.message))
        verdict = self.machine.submitted(chunk, failure, self.parts.clock.now())
        if verdict is Refusal.WAIT:
            self.parts.report(CreatePostponed(chunk.number, failure))
            return
        size = self._stored[chunk.number].size
        await self._forget(chunk.number)
        if verdict is not Refusal.TOO_LARGE:
            return
        if not self._packer.shrink(size):
            self.machine.end(EvenSmallBatchesTooLarge(size, failure))
        elif chunk.count == 1:
            await self._request_too_large(chunk, failure)
        else:
            self.parts.report(BatchTooLarge(size))

    async def _request_too_large(self, chunk: Chunk, failure: Failure) -> None:
        """End the one request of a chunk: it is too large for the endpoint by itself."""
        for request in await self.parts.prompts(chunk.lines.__contains__).read():
            await self._end([self._tried(request, failure)])

    def _tried(self, request: Request, failure: Failure) -> CanaryResult:
        return CanaryResult(
            request=request,
            outcome=failure,
            attempts=self.machine.attempts(request.line),
            started_at=self.parts.clock.wall(),
            latency_s=0.0,
        )

    async def _end(self, tried: Sequence[CanaryResult]) -> None:
        """Commit the results of requests that do not go into a batch."""
        results = [canary_result(self.parts, each) for each in tried]
        await self.answers.commit_canaries(tried, results)

    async def _forget(self, number: int) -> None:
        self._stored.pop(number, None)
        await self.parts.bodies.discard(number)

    # a create brought no answer: is there a batch?

    async def search(self, act: Search) -> None:
        """List batches, newest first, back to when the create began."""
        pages: list[BatchPage] = []
        after_id: str | None = None
        while True:
            page = await self.parts.api.list(limit=PAGE, after_id=after_id)
            if not isinstance(page, Failure) and page.unread:
                page = _invalid(f"{page.unread} of the batches listed have no id or no time")
            if isinstance(page, Failure):  # the chunk's batch may be there all the same
                self.machine.failed(act.chunk, page, self.parts.clock.now())
                return
            pages.append(page)
            after_id = page.last_id
            is_last = not page.has_more or not page.batches
            if is_last or page.batches[-1].created_at < act.since:
                break
        self.machine.searched(act.chunk, pages, self.parts.clock.now())

    async def inspect(self, act: Inspect) -> None:
        """Read the first id in a batch's results: it shows whose batch it is."""
        wire_id = await self._first_id(act.batch.id)
        now = self.parts.clock.now()
        if isinstance(wire_id, Failure):
            self.machine.failed(act.chunk, wire_id, now)
            return
        ids = parse_wire_id(wire_id)
        is_ours = ids is not None and (ids.run, ids.chunk) == (self.parts.run, act.chunk)
        if is_ours:
            await self.parts.journal.record(_created(act.chunk, act.batch, adopted=True))
        self.machine.inspected(act, now, is_ours=is_ours)
        if is_ours:
            self.parts.report(BatchFound(act.chunk, act.batch.id))

    async def _first_id(self, batch_id: str) -> str | Failure:
        """Return the id in the first line of a batch's results."""
        read = b""
        async with aclosing(self.parts.api.results(batch_id, from_byte=0)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Failure):
                    return piece
                read += piece
                if b"\n" in read:
                    break
        try:
            return str(orjson.loads(read.partition(b"\n")[0])["custom_id"])
        except (ValueError, TypeError, KeyError):
            return broken_off()


def _created(chunk: int, batch: BatchView, *, adopted: bool = False) -> BatchCreated:
    return BatchCreated(
        chunk=chunk,
        id=batch.id,
        created_at=batch.created_at,
        expires_at=batch.expires_at,
        adopted=adopted,
    )


def broken_off() -> Failure:
    """Return the failure that results are which end in the middle."""
    return _invalid("the results of the batch broke off")


def _invalid(message: str) -> Failure:
    return Failure(
        kind=FailureKind.INVALID_RESPONSE,
        error=b"",
        error_type="invalid_response_error",
        message=message,
    )
