"""Results of a batch become results of the run: download, commit, resubmit the rest.

Everything here may be interrupted and done again: a request that has its result is skipped.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from claude_batch.core.batch.chunk import Collect
from claude_batch.core.batch.events import ResultsCollected
from claude_batch.core.batch.history import BY_DEADLINE, BatchCollected
from claude_batch.core.batch.machine import BatchMachine
from claude_batch.core.batch.packing import parse_wire_id
from claude_batch.core.batch.rules import batch_error_is_final, is_final
from claude_batch.core.model.attempts import AttemptRecord
from claude_batch.core.model.batches import BatchLine
from claude_batch.core.model.events import Failed
from claude_batch.core.model.line_ranges import LineRanges
from claude_batch.core.model.requests import Failure, FailureKind, Reply, Result, ResultType
from claude_batch.core.model.schemas import AnswerChecks
from claude_batch.core.scheduling.decisions import Stop, StopKind
from claude_batch.engine.batch.answers import (
    AT_ONCE,
    PendingResult,
    PendingResults,
    read_pending,
)
from claude_batch.engine.batch.parts import BatchParts
from claude_batch.engine.batch.submit import broken_off
from claude_batch.ports import ResultsPart

MAX_FETCHES = 3
"""Complete downloads after which a request that the results lack counts as not answered."""

_WRITE_AT_ONCE = 1 << 20
"""Bytes of a download that are written together."""

CLOSE_S = 2.0
"""How long the end of a run waits for downloads to be removed: the disk may hang."""


@dataclass(slots=True, kw_only=True)
class _Collection:
    """The collection of one batch: `pending` are requests without a result line so far.

    `resubmit` are lines that go into another batch, `causes` counts why. `refused` is what the API
    said where it refuses the account: no credit, a spend limit.
    """

    act: Collect
    part: ResultsPart
    pending: PendingResults
    canceled_by: str | None = None
    resubmit: list[int] = field(default_factory=list)
    causes: Counter[str] = field(default_factory=Counter)
    canceled: int = 0
    refused: str | None = None
    fetches: int = 0
    strays: int = 0


@dataclass(slots=True, kw_only=True)
class Collector:
    """Brings the results of ended batches into the run."""

    parts: BatchParts
    machine: BatchMachine
    _checks: AnswerChecks = field(init=False, default_factory=AnswerChecks)
    _open: dict[int, _Collection] = field(init=False, default_factory=dict)

    @property
    def settled(self) -> int:
        """Requests of batches being collected whose result line has been read."""
        return sum(len(each.act.lines) - each.pending.unanswered for each in self._open.values())

    async def collect(self, act: Collect) -> None:
        """Make a chunk's results durable, then journal that they are."""
        collection = self._open.get(act.chunk) or await self._begin(act)
        if not act.is_gone:
            if not await self._download(collection):
                return
            await self._commit_lines(collection)
            if collection.pending.unanswered and collection.fetches < MAX_FETCHES:
                await self._fetch_again(collection)
                return
        lost = await self._write_off(collection, is_gone=act.is_gone)
        retry = LineRanges.of(collection.resubmit)
        await self.parts.journal.record(
            BatchCollected(
                chunk=act.chunk,
                id=act.batch.id,
                retry=retry.text,
                ended_at=act.batch.ended_at,
                at=self.parts.clock.wall(),
            )
        )
        self.machine.collected(act.chunk, retry, self.parts.clock.now())
        del self._open[act.chunk]
        await collection.part.discard()
        self._report(collection, lost)
        if collection.refused is not None:
            self.machine.end(Stop(kind=StopKind.REFUSED, message=collection.refused))

    async def close(self) -> None:
        """Remove downloads that were interrupted: the next process starts them again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                for collection in self._open.values():
                    await collection.part.discard()

    async def _begin(self, act: Collect) -> _Collection:
        """Read whose lines the chunk has."""
        pending = await read_pending(self.parts, act.lines, created_at=act.batch.created_at)
        part = await self.parts.downloads.open(act.batch.id)
        collection = _Collection(act=act, part=part, pending=pending)
        self._open[act.chunk] = collection
        return collection

    # download

    async def _download(self, collection: _Collection) -> bool:
        """Fetch what is still missing of the results; return whether they are complete."""
        part = collection.part
        before = part.size
        failure = await self._fetch(collection.act.batch.id, part)
        has_more = part.size > before
        if has_more:
            self.machine.progressed(collection.act.chunk, self.parts.clock.now())
        if self.parts.interruption.asked.is_set():
            return False
        ends_with_a_line = await part.finish()
        if failure is None and has_more and not ends_with_a_line:
            failure = broken_off()
        if failure is not None:
            self._failed(collection, failure)
            return False
        collection.fetches += 1
        return True

    async def _fetch(self, batch_id: str, part: ResultsPart) -> Failure | None:
        """Append what arrives to `part`; return what ended it early."""
        waiting = bytearray()
        failure: Failure | None = None
        async with aclosing(self.parts.api.results(batch_id, from_byte=part.size)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Failure):
                    failure = piece
                    break
                waiting += piece
                if self.parts.interruption.asked.is_set():
                    break
                if len(waiting) >= _WRITE_AT_ONCE:
                    await part.append(bytes(waiting))
                    waiting.clear()
        await part.append(bytes(waiting))
        return failure

    async def _fetch_again(self, collection: _Collection) -> None:
        """Fetch the results once more from their beginning: they lack some requests."""
        await collection.part.discard()
        collection.part = await self.parts.downloads.open(collection.act.batch.id)
        self._failed(collection, broken_off())

    def _failed(self, collection: _Collection, failure: Failure) -> None:
        self.machine.failed(collection.act.chunk, failure, self.parts.clock.now())

    # commit

    async def _commit_lines(self, collection: _Collection) -> None:
        """Commit the lines that are final, group by group; note which requests are resubmitted."""
        canceled_by = await self.parts.journal.cancels()
        collection.canceled_by = canceled_by.get(collection.act.batch.id)
        async for lines in collection.part.read():
            results: list[Result] = []
            for line in lines:
                results += self._take(collection, line)
            await self._commit(results)

    def _take(self, collection: _Collection, line: BatchLine) -> list[Result]:
        """Return the results that a line brings; note a request that is resubmitted."""
        if line.is_unreadable and collection.fetches < MAX_FETCHES:
            return []  # the download may be at fault: another one will tell
        owner = collection.pending.take(self._owner_line(collection, line))
        if owner is None:
            collection.strays += collection.fetches == 1
            return []
        if owner.is_done:
            return self._end(collection, owner, line)
        if line.kind is FailureKind.RUN_REFUSED:  # no fault of the request: it gets no result
            self._count(collection, owner, line, final=False)
            collection.resubmit.append(owner.line)
            collection.refused = _what(line)
            return []
        final = is_final(
            line,
            attempts=self.machine.attempts(owner.line),
            max_attempts=self.parts.settings.max_attempts,
            canceled_by=collection.canceled_by,
        )
        self._count(collection, owner, line, final=final)
        if not final:
            collection.resubmit.append(owner.line)
            collection.causes[line.type] += 1
            return []
        collection.canceled += line.type is ResultType.CANCELED
        return self._end(collection, owner, line)

    def _owner_line(self, collection: _Collection, line: BatchLine) -> int:
        """Return whose result a line is; 0 when it is none of this chunk's."""
        wire_id = parse_wire_id(line.wire_id)
        chunk = self.parts.run, collection.act.chunk
        if wire_id is None or (wire_id.run, wire_id.chunk) != chunk:
            return 0
        return wire_id.line

    def _end(self, collection: _Collection, owner: PendingResult, line: BatchLine) -> list[Result]:
        """Return the result of a request, and of those that wait for it; store its answer."""
        result = self._result(collection, owner, line)
        if self.parts.cache is not None and owner.key is not None:
            reply = _reply(line)
            if reply is not None and not self._checks.fits(owner.schema, reply.message):
                reply = None  # a retry must not get it again
            self.parts.cache.settle(owner.key, owner.model, reply)
        copies = collection.pending.copies(result)
        return copies if owner.is_done else [result, *copies]

    def _result(self, collection: _Collection, owner: PendingResult, line: BatchLine) -> Result:
        batch = collection.act.batch
        succeeded = line.type is ResultType.SUCCEEDED
        if succeeded and line.usage.is_reported:
            self.parts.inputs.learn(owner.input_tokens, line.usage)
        return Result.of(
            owner,
            line,
            attempts=self.machine.attempts(owner.line),
            endpoint=self.parts.api.name,
            started_at=batch.created_at,
            latency_s=(batch.ended_at or batch.created_at) - batch.created_at,
            cost_usd=self.parts.batch_price(owner.model, line.usage) if succeeded else None,
        )

    async def _commit(self, results: list[Result]) -> None:
        """Make results durable; only then their answers may serve other requests."""
        for start in range(0, len(results), AT_ONCE):
            await self.parts.commit(results[start : start + AT_ONCE])
        if self.parts.cache is not None:
            await self.parts.cache.flush()

    def _count(
        self, collection: _Collection, owner: PendingResult, line: BatchLine, *, final: bool
    ) -> None:
        """Count an attempt, and a failure if it is one, as live mode does."""
        record = self._attempt_record(collection, owner, line)
        self.parts.progress.record_attempt(record)
        if self.parts.observe is not None:
            self.parts.observe(record)
        if line.type is ResultType.SUCCEEDED:
            return
        self.parts.progress.apply(
            Failed(
                at=self.parts.clock.wall(),
                custom_id=owner.custom_id,
                line=owner.line,
                kind=line.kind or _kind(line),
                what=_what(line),
                retry_in_s=None if final else 0.0,
            )
        )

    def _attempt_record(
        self, collection: _Collection, owner: PendingResult, line: BatchLine
    ) -> AttemptRecord:
        """Return what a batch made of a request; how long the batch took is its latency."""
        batch, succeeded = collection.act.batch, line.type is ResultType.SUCCEEDED
        return AttemptRecord(
            at=self.parts.clock.wall(),
            custom_id=owner.custom_id,
            line=owner.line,
            endpoint=self.parts.api.name,
            model=owner.model,
            attempt=self.machine.attempts(owner.line),
            status=None,
            kind=None if succeeded else line.kind or _kind(line),
            error_type=None if succeeded else line.error_type or line.type.value,
            limit=None,
            latency_s=(batch.ended_at or batch.created_at) - batch.created_at,
            usage=line.usage,
            cost_usd=self.parts.batch_price(owner.model, line.usage) if succeeded else None,
            batch_id=batch.id,
        )

    async def _write_off(self, collection: _Collection, *, is_gone: bool) -> int:
        """End the requests whose results cannot be fetched, as errored; return how many.

        They are submitted again only if the user asks for it. Those of a batch that was canceled
        were canceled, which not every server says line by line.
        """
        pending, batch = collection.pending, collection.act.batch
        if not is_gone and (batch.is_canceled or collection.canceled_by is not None):
            return await self._cancel_rest(collection)
        lost = pending.unanswered
        line = _lost_line(batch.id, is_gone=is_gone)
        results: list[Result] = []
        for owner in pending.by_line.values():
            if not owner.is_done:
                self._count(collection, owner, line, final=True)
            results += self._end(collection, owner, line)
        await self._commit(results)
        return lost

    async def _cancel_rest(self, collection: _Collection) -> int:
        """End the requests that the results of a canceled batch lack; return 0: none is lost."""
        line = BatchLine(wire_id="", type=ResultType.CANCELED)
        results: list[Result] = []
        for owner in list(collection.pending.by_line.values()):
            final = owner.is_done or collection.canceled_by != BY_DEADLINE
            if not owner.is_done:
                self._count(collection, owner, line, final=final)
            if final:
                collection.canceled += not owner.is_done
                results += self._end(collection, owner, line)
            else:
                collection.resubmit.append(owner.line)
                collection.causes[line.type] += 1
        await self._commit(results)
        return 0

    def _report(self, collection: _Collection, lost: int) -> None:
        self.parts.report(
            ResultsCollected(
                batch_id=collection.act.batch.id,
                strays=collection.strays,
                lost=lost,
                canceled=collection.canceled,
                resubmitted=collection.causes,
            )
        )


def _lost_line(batch_id: str, *, is_gone: bool) -> BatchLine:
    """Return a line for a request that the results lack."""
    why = "are gone: the API keeps them for 29 days" if is_gone else "lack this request"
    kind = "not_found_error" if is_gone else "invalid_response_error"
    error = {
        "type": kind,
        "message": f"the results of {batch_id} {why}; --retry-errored sends the request again",
    }
    payload = orjson.dumps({"type": "error", "error": error, "request_id": None})
    return BatchLine(wire_id="", type=ResultType.ERRORED, payload=payload, error_type=kind)


def _reply(line: BatchLine) -> Reply | None:
    """Return the reply that a line brings, if it does."""
    if line.type is not ResultType.SUCCEEDED:
        return None
    return Reply(message=line.payload, usage=line.usage, stop_reason=line.stop_reason)


def _kind(line: BatchLine) -> FailureKind:
    if line.type is not ResultType.ERRORED:
        return FailureKind(line.type.value)
    rejected = batch_error_is_final(line.error_type)
    return FailureKind.REQUEST_REJECTED if rejected else FailureKind.SERVER_ERROR


def _what(line: BatchLine) -> str:
    """Return what a line that did not succeed says, in words."""
    if line.type is not ResultType.ERRORED:
        return f"{line.type} in its batch"
    error: Any = orjson.loads(line.payload)
    inner = error.get("error")
    message = inner.get("message") if isinstance(inner, dict) else error.get("message")
    return f"{line.error_type}: {message}"
