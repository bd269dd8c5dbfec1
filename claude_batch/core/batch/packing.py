"""Packs requests into chunks: which go into one Message Batch, and how its body is written.

The packer takes requests in file order and returns, piece by piece, what to append to which chunk's
body; it keeps none of them. A batch is created under one API version, so requests of different
versions go into different chunks. The same lines in the same chunk always give the same bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from claude_batch.core.batch.chunk import Chunk
from claude_batch.core.batch.reserve import BatchPrice, Budget
from claude_batch.core.model.line_ranges import LineRanges
from claude_batch.core.model.requests import Attached, Request

MAX_REQUESTS = 100_000
MAX_BYTES = 250_000_000
"""The API takes 256 MB, decimal or binary (docs/claude-api.md#size-limits): this is below both."""

SMALLEST_LIMIT = 10_000
"""An endpoint that refuses fewer bytes than this as too large takes no batches at all."""

TAIL = b"]}"
_HEAD = b'{"requests":['
_ITEM = b'%s{"custom_id":"%s%d","params":%s}'
_ITEM_HEAD, _ITEM_TAIL = b'%s{"custom_id":"%s%d","params":', b"}"

_WIRE_ID = re.compile(r"([a-zA-Z0-9]{1,32})-([0-9]{1,9})-([0-9]{1,12})")


@dataclass(frozen=True, slots=True, kw_only=True)
class WireId:
    """What our ids in a batch say: whose request it is. At most 55 of the 64 characters."""

    run: str
    chunk: int
    line: int

    def __str__(self) -> str:
        return f"{self.run}-{self.chunk}-{self.line}"


def parse_wire_id(text: str) -> WireId | None:
    """Return what an id in a batch says, or None if it cannot be one of ours."""
    found = _WIRE_ID.fullmatch(text)
    if found is None:
        return None
    run, chunk, line = found.groups()
    return WireId(run=run, chunk=int(chunk), line=int(line))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes to be appended to a chunk's body; `full` is a chunk that takes no more, if one is."""

    chunk: int
    data: bytes | Attached
    full: Chunk | None = None


@dataclass(slots=True)
class _OpenBody:
    """The body of a chunk that still takes requests."""

    chunk: Chunk
    prefix: bytes
    lines: list[int] = field(default_factory=list)
    size: int = len(TAIL)

    def item(self, request: Request, attached: Attached | None) -> bytes | Attached:
        """Return what `request` adds to the body; with files, `attached` is its own body."""
        lead = b"," if self.lines else _HEAD
        if attached is not None:
            head = _ITEM_HEAD % (lead, self.prefix, request.line)
            return attached.around(head, _ITEM_TAIL)
        return _ITEM % (lead, self.prefix, request.line, request.body)

    def close(self) -> Chunk:
        """Return the chunk, complete."""
        self.chunk.lines = LineRanges.of(self.lines)
        return self.chunk


class Packer:
    """Decides into which chunk the next request goes; one chunk is open per API version.

    A chunk takes no more requests than the `budget` allows, but at least one.
    """

    def __init__(
        self,
        run: str,
        *,
        next_chunk: int,
        budget: Budget,
        max_requests: int = MAX_REQUESTS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._run = run
        self._next_chunk = next_chunk
        self._budget = budget
        self._max_requests = min(max_requests, MAX_REQUESTS)
        self._max_bytes = max_bytes
        self._open: dict[str, _OpenBody] = {}

    def add(self, request: Request, attached: Attached | None = None) -> Piece:
        """Place `request`; where it does not fit, a new chunk begins with it.

        `attached` is its body if that has the content of files.
        """
        body = self._open.get(request.api_version)
        full: Chunk | None = None
        item = b"" if body is None else body.item(request, attached)
        price = self._budget.price(request)
        if body is None or not self._fits(body, len(item), price, request.max_tokens):
            full = None if body is None else body.close()
            body = self._begin(request.api_version)
            item = body.item(request, attached)
        body.lines.append(request.line)
        body.size += len(item)
        body.chunk.reserve.add(price, request.max_tokens)
        return Piece(chunk=body.chunk.number, data=item, full=full)

    def _fits(self, body: _OpenBody, size: int, price: BatchPrice, max_tokens: int) -> bool:
        if len(body.lines) >= self._max_requests or body.size + size > self._max_bytes:
            return False
        return self._budget.has_room(body.chunk.reserve, price, max_tokens)

    def _begin(self, api_version: str) -> _OpenBody:
        number = self._next_chunk
        self._next_chunk += 1
        chunk = Chunk(number=number, api_version=api_version, lines=LineRanges())
        body = _OpenBody(chunk, f"{self._run}-{number}-".encode())
        self._open[api_version] = body
        return body

    def close(self) -> tuple[Chunk, ...]:
        """Return the chunks that are still open, since no more requests come."""
        closed = tuple(body.close() for body in self._open.values())
        self._open.clear()
        return closed

    def shrink(self, refused_bytes: int) -> bool:
        """Make chunks half of what was refused; return False when that was small already.

        A single request may still be larger: it gets a chunk of its own.
        """
        self._max_bytes = min(self._max_bytes, refused_bytes // 2)
        return refused_bytes >= SMALLEST_LIMIT
