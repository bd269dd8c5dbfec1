"""A pretend Message Batches API and everything a batch run needs, in memory, on the loop's clock.

The server is exact about what matters to a judge: which requests succeeded, how often, and in how
many batches each was. A `World` outlives the runs in it, as disks and servers outlive processes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from claude_batch.core.batch.history import BatchHistory, BatchRecord, fold_batches
from claude_batch.core.batch.packing import TAIL, Piece
from claude_batch.core.model.batches import (
    AnswerLost,
    BatchCounts,
    BatchLine,
    BatchPage,
    BatchStatus,
    BatchView,
    StoredBody,
)
from claude_batch.core.model.requests import Failure, FailureKind, Reply, Request, Result
from claude_batch.ports import BatchBody, ResultsPart
from claude_batch.storage.batch.results import parse_batch_line, unreadable_line
from claude_batch.storage.caches.memory import MemoryCache
from claude_batch.storage.caches.store import CachedAnswer
from tests.support.fakes import ListedSource, a_failure

EPOCH = 1_000_000.0
DAY_S = 86_400.0


class CrashError(Exception):
    """The process dies here: what is on disk and at the server stays, all else is gone."""


def data_of(piece: Piece) -> bytes:
    """Return what a piece adds to a body, with the content of its files."""
    data = piece.data
    return data if isinstance(data, bytes) else b"".join(data.blocks())


@dataclass
class Fate:
    """Kills the process at some steps, counted over everything that outlives it."""

    at: frozenset[int] = frozenset()
    steps: int = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps in self.at:
            raise CrashError(f"step {self.steps}")


def a_refusal(
    status: int, kind: FailureKind = FailureKind.REQUEST_REJECTED, message: str = "no"
) -> Failure:
    """Return what the API answers with an error status."""
    return Failure(kind=kind, error=b"{}", error_type="x", message=message, status=status)


def succeeded(wire_id: str, text: str = "yes") -> bytes:
    """Return a line of results: a success."""
    message = {
        "id": "msg_1",
        "type": "message",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 20, "output_tokens": 10, "service_tier": "batch"},
    }
    return _line(wire_id, {"type": "succeeded", "message": message})


def errored(wire_id: str, kind: str = "api_error") -> bytes:
    """Return a line of results: an error."""
    error = {"type": "error", "error": {"type": kind, "message": "broken"}, "request_id": "req_1"}
    return _line(wire_id, {"type": "errored", "error": error})


def other(wire_id: str, kind: str) -> bytes:
    """Return a line of results: canceled or expired."""
    return _line(wire_id, {"type": kind})


def _line(wire_id: str, result: object) -> bytes:
    return orjson.dumps({"custom_id": wire_id, "result": result}) + b"\n"


Outcome = Callable[[int, int], str]
"""What becomes of a line (first argument) the n-th time it is in a batch: a result type, or an
error type."""


@dataclass
class _Batch:
    id: str
    wire_ids: list[str]
    created_at: float
    ends_at: float
    results: bytes = b""
    canceled_at: float | None = None
    archived_at: float | None = None


@dataclass
class PretendBatches:
    """The server. Times are the loop's; `EPOCH` is added for the wire.

    `lose` says of the n-th create (from 1): "before" or "after" the batch is made its answer is
    lost. `refuse` answers the n-th create with a failure, `unlisted` every list, of which
    `unread` cannot be read. `cuts` is how often results break off.
    """

    duration_s: float = 600.0
    outcome: Outcome = lambda _line, _time: "succeeded"
    lose: Mapping[int, str] = field(default_factory=dict)
    refuse: Mapping[int, Failure] = field(default_factory=dict)
    list_lag_s: float = 0.0
    short_404_s: float = 0.0
    cuts: int = 0
    most_queued: int | None = None
    most_bytes: int = 10**9
    fate: Fate = field(default_factory=Fate)
    name: str = "fake"
    creates: int = 0
    polls: int = 0
    lists: int = 0
    batches: list[_Batch] = field(default_factory=list)
    submissions: Counter[int] = field(default_factory=Counter)
    successes: Counter[int] = field(default_factory=Counter)
    unsupported: bool = False
    unlisted: Failure | None = None
    unread: int = 0
    console_cancels: bool = False
    api_versions: list[str] = field(default_factory=list)

    def add_foreign(self, count: int, *, created_at: float, ends_at: float) -> str:
        """Put in a batch that somebody else made."""
        ids = [f"theirs-{n}" for n in range(count)]
        batch = self._make(ids, created_at, ends_at)
        batch.results = b"".join(succeeded(each) for each in ids)
        return batch.id

    def _make(self, wire_ids: list[str], created_at: float, ends_at: float) -> _Batch:
        batch_id = f"msgbatch_{len(self.batches) + 1}"
        batch = _Batch(id=batch_id, wire_ids=wire_ids, created_at=created_at, ends_at=ends_at)
        self.batches.append(batch)
        return batch

    async def create(
        self, body: BatchBody, *, api_version: str
    ) -> BatchView | Failure | AnswerLost:
        self.api_versions.append(api_version)
        self.fate.step()
        data = b"".join([piece async for piece in body.pieces()])
        await asyncio.sleep(1.0)
        self.creates += 1
        nth = self.creates
        if self.unsupported:
            return a_refusal(404)
        if len(data) > self.most_bytes:
            return a_refusal(413, message="too large")
        if nth in self.refuse:
            return self.refuse[nth]
        wire_ids = [str(each["custom_id"]) for each in orjson.loads(data)["requests"]]
        assert len(set(wire_ids)) == len(wire_ids)
        if self.most_queued is not None and self._queued() + len(wire_ids) > self.most_queued:
            return a_refusal(429, FailureKind.RATE_LIMITED, "the queue is full")
        if self.lose.get(nth) == "before":
            return AnswerLost(failure=a_failure(FailureKind.UNREACHABLE))
        batch = self._make(wire_ids, _now(), _now() + self.duration_s)
        self._work(batch)
        self.fate.step()
        if self.lose.get(nth) == "after":
            return AnswerLost(failure=a_failure(FailureKind.TIMED_OUT))
        return self._view(batch)

    def _work(self, batch: _Batch) -> None:
        """Decide at once what the results will be; they show when the batch has ended."""
        lines = []
        for wire_id in reversed(batch.wire_ids):
            line = int(wire_id.rsplit("-", 1)[1])
            self.submissions[line] += 1
            kind = self.outcome(line, self.submissions[line])
            if kind == "succeeded":
                self.successes[line] += 1
                lines.append(succeeded(wire_id, f"yes to {line}"))
            elif kind == "left out":
                continue
            elif kind in {"expired", "canceled"}:
                lines.append(other(wire_id, kind))
            else:
                lines.append(errored(wire_id, kind))
        batch.results = b"".join(lines)

    def _queued(self) -> int:
        return sum(len(batch.wire_ids) for batch in self.batches if batch.ends_at > _now())

    def _view(self, batch: _Batch) -> BatchView:
        ended = batch.ends_at <= _now()
        size = len(batch.wire_ids)
        canceling = batch.canceled_at is not None and not ended
        status = BatchStatus.CANCELING if canceling else BatchStatus.IN_PROGRESS
        return BatchView(
            id=batch.id,
            status=BatchStatus.ENDED if ended else status,
            counts=BatchCounts(succeeded=size) if ended else BatchCounts(processing=size),
            created_at=EPOCH + batch.created_at,
            expires_at=EPOCH + batch.created_at + DAY_S,
            ended_at=EPOCH + batch.ends_at if ended else None,
            archived_at=batch.archived_at,
            has_results=ended and batch.archived_at is None,
            is_canceled=batch.canceled_at is not None or self.console_cancels,
        )

    def _find(self, batch_id: str) -> _Batch | None:
        found = (each for each in self.batches if each.id == batch_id)
        batch = next(found, None)
        if batch is None or _now() < batch.created_at + self.short_404_s:
            return None
        return batch

    async def retrieve(self, batch_id: str) -> BatchView | Failure:
        self.fate.step()
        self.polls += 1
        await asyncio.sleep(0.1)
        batch = self._find(batch_id)
        return self._view(batch) if batch else a_refusal(404)

    async def list(self, *, limit: int, after_id: str | None) -> BatchPage | Failure:
        self.fate.step()
        self.lists += 1
        await asyncio.sleep(0.1)
        if self.unlisted is not None:
            return self.unlisted
        if self.unsupported:
            return a_refusal(404)
        shown = [each for each in self.batches if each.created_at + self.list_lag_s <= _now()]
        shown.sort(key=lambda each: each.created_at, reverse=True)
        ids = [each.id for each in shown]
        start = ids.index(after_id) + 1 if after_id in ids else 0
        page = shown[start : start + limit]
        return BatchPage(
            batches=tuple(self._view(each) for each in page),
            has_more=start + limit < len(shown),
            last_id=page[-1].id if page else None,
            unread=self.unread,
            server_time=EPOCH + _now(),
        )

    async def cancel(self, batch_id: str) -> BatchView | Failure:
        self.fate.step()
        await asyncio.sleep(0.1)
        batch = self._find(batch_id)
        if batch is None or batch.ends_at <= _now():
            return a_refusal(400)
        batch.canceled_at = _now()
        batch.ends_at = _now() + 30.0
        done = len(batch.wire_ids) // 2
        lines = batch.results.splitlines(keepends=True)
        for raw in lines[done:]:
            wire_id = str(orjson.loads(raw)["custom_id"])
            if b'"succeeded"' in raw:
                self.successes[int(wire_id.rsplit("-", 1)[1])] -= 1
        kept = [str(orjson.loads(raw)["custom_id"]) for raw in lines[done:]]
        batch.results = b"".join([*lines[:done], *(other(each, "canceled") for each in kept)])
        return self._view(batch)

    async def results(self, batch_id: str, *, from_byte: int) -> AsyncGenerator[bytes | Failure]:
        self.fate.step()
        await asyncio.sleep(0.1)
        batch = self._find(batch_id)
        if batch is None or batch.ends_at > _now() or batch.archived_at is not None:
            yield a_refusal(404)
            return
        data = batch.results[from_byte:]
        if self.cuts > 0:
            self.cuts -= 1
            yield data[: len(data) // 2]
            yield a_failure(FailureKind.INVALID_RESPONSE)
            return
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]


def _now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class _MemoryBody:
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    async def pieces(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.data), 4096):
            yield self.data[start : start + 4096]


@dataclass
class MemoryBodies:
    """Bodies kept in memory."""

    kept: dict[int, bytes] = field(default_factory=dict)

    async def append(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            self.kept[piece.chunk] = self.kept.get(piece.chunk, b"") + data_of(piece)

    async def finish(self, chunk: int) -> StoredBody:
        self.kept[chunk] += TAIL
        return StoredBody(size=len(self.kept[chunk]), sha256="")

    def body(self, chunk: int) -> BatchBody:
        return _MemoryBody(self.kept[chunk])

    async def discard(self, chunk: int) -> None:
        self.kept.pop(chunk, None)


@dataclass
class _MemoryPart:
    data: bytearray = field(default_factory=bytearray)

    @property
    def size(self) -> int:
        return len(self.data)

    async def append(self, data: bytes) -> None:
        self.data += data

    async def finish(self) -> bool:
        return not self.data or self.data.endswith(b"\n")

    async def read(self) -> AsyncIterator[Sequence[BatchLine]]:
        raws = bytes(self.data).splitlines()
        lines = [parse_batch_line(raw) or unreadable_line(raw, Path("r.damaged")) for raw in raws]
        for start in range(0, len(lines), 7):
            yield [line for line in lines[start : start + 7] if line is not None]

    async def discard(self) -> None:
        self.data.clear()


@dataclass
class MemoryParts:
    """Downloads kept in memory."""

    opened: list[str] = field(default_factory=list)

    async def open(self, batch_id: str) -> ResultsPart:
        self.opened.append(batch_id)
        return _MemoryPart()


@dataclass
class MemoryJournal:
    """Records kept in memory; dying before or after each is a step of its own."""

    fate: Fate = field(default_factory=Fate)
    records: list[BatchRecord] = field(default_factory=list)
    user_cancels: dict[str, str] = field(default_factory=dict)

    async def record(self, record: BatchRecord) -> None:
        self.fate.step()
        self.records.append(record)
        await asyncio.sleep(0.005)
        self.fate.step()

    async def cancels(self) -> Mapping[str, str]:
        return self.history().canceled_by | self.user_cancels

    def history(self) -> BatchHistory:
        return fold_batches(self.records)


@dataclass
class DyingStore:
    """Results that outlive the process; dying before, in and after a commit is a step."""

    fate: Fate = field(default_factory=Fate)
    results: list[Result] = field(default_factory=list)
    largest: int = 0

    async def commit(self, results: Sequence[Result]) -> None:
        self.fate.step()
        self.largest = max(self.largest, len(results))
        await asyncio.sleep(0.005)
        whole = len(results) // 2
        self.results.extend(results[:whole])
        self.fate.step()
        self.results.extend(results[whole:])
        self.fate.step()


@dataclass
class DyingCache:
    """Kept answers that outlive the process; dying before or after they are kept is a step."""

    fate: Fate = field(default_factory=Fate)
    kept: MemoryCache = field(
        default_factory=lambda: MemoryCache(max_bytes=10**9, ttl_s=None, now=lambda: EPOCH)
    )

    async def get_many(self, keys: Sequence[bytes]) -> Mapping[bytes, CachedAnswer]:
        return await self.kept.get_many(keys)

    async def put_many(self, answers: Mapping[bytes, CachedAnswer]) -> None:
        self.fate.step()
        await self.kept.put_many(answers)
        self.fate.step()

    async def close(self) -> None:
        """Stay as it is."""


@dataclass
class ListedPrompts:
    """Passes over a list of requests, without those that had a result when the run began."""

    requests: Sequence[Request]
    done: frozenset[int] = frozenset()
    passes: int = 0

    def __call__(self, wanted: Callable[[int], bool], *, done_too: bool = False) -> ListedSource:
        self.passes += 1
        done = frozenset[int]() if done_too else self.done
        left = [r for r in self.requests if r.line not in done and wanted(r.line)]
        return ListedSource(left, at_once=40)


@dataclass
class ScriptedLive:
    """The Messages API for canaries."""

    answer: Callable[[Request], Reply | Failure]
    sent: list[int] = field(default_factory=list)
    name: str = "fake"

    async def send(self, request: Request, *, timeout_s: float) -> Reply | Failure:
        self.sent.append(request.line)
        await asyncio.sleep(min(1.0, timeout_s))
        return self.answer(request)
