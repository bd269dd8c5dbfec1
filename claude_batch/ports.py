"""What the engine needs from outside, as small Protocols. Adapters do not inherit from them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from claude_batch.core.batch.canary import CanaryResult
from claude_batch.core.batch.history import BatchRecord
from claude_batch.core.batch.packing import Piece
from claude_batch.core.model.adjustment import Adjustment
from claude_batch.core.model.attempts import AttemptRecord
from claude_batch.core.model.batches import AnswerLost, BatchLine, BatchPage, BatchView, StoredBody
from claude_batch.core.model.events import Event
from claude_batch.core.model.requests import Failure, Reply, Request, Result
from claude_batch.core.model.sharing import Claim, Grant
from claude_batch.core.model.snapshot import Snapshot


class Transport(Protocol):
    """The Messages API of one endpoint."""

    @property
    def name(self) -> str:
        """The endpoint's name, as results carry it."""

    async def send(self, request: Request, *, timeout_s: float) -> Reply | Failure:
        """Try `request` once, for `timeout_s` seconds in all. What the API answers is returned."""


class Source(Protocol):
    """The requests of a run that have no result yet, in file order."""

    async def read(self) -> Sequence[Request]:
        """Return the next few requests; none when the input has ended."""


class ResultStore(Protocol):
    """Makes results durable."""

    async def commit(self, results: Sequence[Result]) -> None:
        """Append `results`; once this returns, they outlive the process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLookup:
    """What the response cache says about some requests.

    `answered` have a stored answer, `to_send` have none and come with their key, `waiting` come
    with the line of the equal request that is in flight.
    """

    answered: list[tuple[Request, Reply]]
    to_send: list[tuple[Request, bytes]]
    waiting: list[tuple[Request, int]]


class ResponseCache(Protocol):
    """Answers of earlier requests; it knows the requests of a run by line number.

    With `dedupe`, equal requests end as the first of them. Without, they are counted in file order:
    lines that are done have to be handed in, too.
    """

    @property
    def dedupe(self) -> bool:
        """Whether equal requests share one answer."""

    async def keys(self, requests: Sequence[Request]) -> Sequence[bytes]:
        """Return the key of each request's answer."""

    async def recall(self, requests: Sequence[Request], *, was_sent: Callable[[int], bool]) -> None:
        """Restore, in file order, what an earlier process has sent, and what waits for it."""

    async def split(
        self, requests: Sequence[Request], *, is_done: Callable[[int], bool]
    ) -> CacheLookup:
        """Return which requests are answered, which to send, and which wait for an equal one.

        Lines that are done (`is_done`), or already known to wait, are left out.
        """

    def first_of(self, line: int) -> int:
        """Return the equal line that `line` waits for, and whose result it gets; 0 if none."""

    def end_input(self) -> None:
        """Note that no more requests are looked up."""

    def settle(self, key: bytes, model: str, reply: Reply | None) -> None:
        """Record the end of a request that was sent; `reply` None: nothing to store."""

    async def flush(self) -> None:
        """Write new answers to the store."""


class LimitLease(Protocol):
    """Shares the limits of lanes among programs; it has this program's name."""

    async def renew(self, claim: Claim) -> Grant | None:
        """Claim a share for the next seconds; None: it cannot be reached.

        The shares granted to all programs never exceed 1 together.
        """

    async def leave(self, number: int) -> None:
        """Give up the share of a lane, so that others get it at once."""


class RunLog(Protocol):
    """Stores the history of a run."""

    async def note(self, events: Sequence[Event]) -> None:
        """Append `events`; they are in the file, not necessarily on the disk, when this returns."""


class Clock(Protocol):
    """Monotonic and wall time."""

    def now(self) -> float:
        """Return monotonic seconds, for pacing."""

    def wall(self) -> float:
        """Return seconds since 1970, for what is stored."""


class Publish(Protocol):
    """Shows the state of the run."""

    def __call__(self, snapshot: Snapshot, /) -> None:
        """Show the latest snapshot; must return at once."""


class Observe(Protocol):
    """Learns of attempts, for a log or for metrics."""

    def __call__(self, record: AttemptRecord, /) -> None:
        """Take in an attempt that has ended; must return at once."""


class Adjustments(Protocol):
    """What a user changes of a run while it goes."""

    async def next(self) -> Adjustment:
        """Wait for the next change; it is journaled when this returns."""

    def applied(self) -> None:
        """Acknowledge it: the run keeps to it from now on."""


class BatchBody(Protocol):
    """The body of a create request, sent in pieces, repeatedly if needed."""

    @property
    def size(self) -> int:
        """Its length in bytes."""

    def pieces(self) -> AsyncIterator[bytes]:
        """Yield it from the start."""


class BatchApi(Protocol):
    """The Message Batches API of one endpoint. What the API answers is returned."""

    @property
    def name(self) -> str:
        """The endpoint's name, as results carry it."""

    async def create(
        self, body: BatchBody, *, api_version: str
    ) -> BatchView | Failure | AnswerLost:
        """Submit once. A `Failure` means that no batch exists, `AnswerLost` that one may."""

    async def retrieve(self, batch_id: str) -> BatchView | Failure:
        """Return the state of a batch."""

    async def list(self, *, limit: int, after_id: str | None) -> BatchPage | Failure:
        """Return up to `limit` batches, newest first; with `after_id` only older ones."""

    async def cancel(self, batch_id: str) -> BatchView | Failure:
        """Cancel a batch; it ends later, and keeps what has succeeded."""

    def results(self, batch_id: str, *, from_byte: int) -> AsyncGenerator[bytes | Failure, None]:
        """Yield a batch's results from `from_byte` on, even if the server supports no ranges.

        Yields nothing if there are no more bytes. A `Failure` is the last item: everything before
        it is valid.
        """


class Prompts(Protocol):
    """The prompts file of a run, which can be read repeatedly."""

    def __call__(self, wanted: Callable[[int], bool], /, *, done_too: bool = False) -> Source:
        """Open a pass over the `wanted` lines without a result at the start of the run.

        `done_too`: also over those with a result.
        """


class Bodies(Protocol):
    """Stores the bodies of chunks while they are packed."""

    async def append(self, pieces: Sequence[Piece]) -> None:
        """Append each piece to the body of its chunk."""

    async def finish(self, chunk: int) -> StoredBody:
        """Finish the body of a chunk; return its size and hash."""

    def body(self, chunk: int) -> BatchBody:
        """Return the finished body of a chunk."""

    async def discard(self, chunk: int) -> None:
        """Delete a chunk's body, if there is one."""


class ResultsPart(Protocol):
    """The results of one batch: downloaded to a file, then read in groups."""

    @property
    def size(self) -> int:
        """Bytes written so far."""

    async def append(self, data: bytes) -> None:
        """Append downloaded bytes."""

    async def finish(self) -> bool:
        """Make it durable; return whether it ends with a complete line."""

    def read(self) -> AsyncIterator[Sequence[BatchLine]]:
        """Yield its lines from the start, some at a time; skips what is not a result."""

    async def discard(self) -> None:
        """Delete it."""


class Downloads(Protocol):
    """Opens files for downloaded results."""

    async def open(self, batch_id: str) -> ResultsPart:
        """Open an empty file for a batch's results."""


class BatchJournal(Protocol):
    """The part of the run's journal about batches."""

    async def record(self, record: BatchRecord) -> None:
        """Append `record`; once this returns, it outlives the process."""

    async def cancels(self) -> Mapping[str, str]:
        """Return by batch id who canceled it, whichever process recorded it."""


class Canary(Protocol):
    """Sends one request of each shape live before others go into a batch."""

    async def try_lines(self, requests: Sequence[Request]) -> Sequence[CanaryResult]:
        """Send each until it has a final outcome; return the outcomes in order."""


class CountTokens(Protocol):
    """The free count_tokens endpoint."""

    async def __call__(self, request: Request, /) -> int | Failure:
        """Return the input tokens of `request` as the API counts them."""
