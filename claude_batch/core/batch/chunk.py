"""A chunk: requests that are submitted together as one batch, and what can be done about it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from claude_batch.core.batch.reserve import Reserve
from claude_batch.core.model.batches import BatchStatus, BatchView, ChunkState, ChunkView
from claude_batch.core.model.line_ranges import LineRanges

CLOCK_SKEW_S = 60.0
"""How far the server's Date and `created_at` may differ."""


class LossReason(StrEnum):
    """Why a chunk is given up: there is no batch that its results could come from."""

    NOT_CREATED = "not_created"  # its create made no batch
    NOT_FOUND = "not_found"  # the API does not know its batch any more


@dataclass(frozen=True, slots=True)
class Probe:
    """Get the newest batch: it shows whether there are batches here, and the server's time."""


@dataclass(frozen=True, slots=True)
class Pack:
    """Continue the pass over the input until a chunk is full.

    The pass is over the lines `only`, or over all that have no result and are in no chunk.
    """

    only: frozenset[int] | None


@dataclass(frozen=True, slots=True)
class Submit:
    """Journal the intent, then create the batch."""

    chunk: Chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """List batches back to `since` (server's wall time): one of them may be the chunk's."""

    chunk: int
    since: float


@dataclass(frozen=True, slots=True)
class Poll:
    """Get the state of a batch."""

    chunk: int
    batch_id: str


@dataclass(frozen=True, slots=True)
class Inspect:
    """Read the ids in the results of a batch that may be the chunk's: they decide."""

    chunk: int
    batch: BatchView


@dataclass(frozen=True, slots=True, kw_only=True)
class Collect:
    """Fetch a batch's results and make them durable; `is_gone`: the API has deleted them."""

    chunk: int
    batch: BatchView
    lines: LineRanges
    is_gone: bool


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel a batch because of the deadline."""

    chunk: int
    batch_id: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Journal that the chunk is lost: its lines may be submitted again."""

    chunk: int
    reason: LossReason


Act = Probe | Pack | Submit | Search | Poll | Inspect | Collect | Cancel | GiveUp


@dataclass(slots=True, kw_only=True)
class Chunk:
    """A chunk from its packing to the last of its results.

    `reserve` is the price of its requests, `expected_usd` what is reserved for it, `excess_usd` how
    much more it costs if all answers are as long as they may be. `intent_at` is when its create was
    journaled. Times are wall time, but for `next_at` (when it needs attention), `missing_since`
    (when the API first did not know its batch) and `certain_at`, which are monotonic. `polls` and
    `failures` make waits grow.

    While it is unsettled, its batch was created in `window` if at all, which is certain at
    `certain_at`; `candidates` may be it: `ended` of these have ended; `excluded` ones are not it.
    """

    number: int
    api_version: str
    lines: LineRanges
    state: ChunkState = ChunkState.PACKED
    reserve: Reserve = field(default_factory=Reserve)
    expected_usd: float = 0.0
    excess_usd: float = 0.0
    intent_at: float = 0.0
    batch_id: str | None = None
    batch: BatchView | None = None
    created_at: float | None = None
    expires_at: float | None = None
    ended_at: float | None = None
    cancel_requested: bool = False
    cancel_wanted: bool = False
    is_gone: bool = False
    lost: LossReason | None = None
    next_at: float = 0.0
    polls: int = 0
    failures: int = 0
    missing_since: float | None = None
    window: tuple[float, float] = (0.0, 0.0)
    certain_at: float = 0.0
    candidates: list[str] = field(default_factory=list)
    ended: dict[str, BatchView] = field(default_factory=dict)
    excluded: set[str] = field(default_factory=set)

    def expect(self, most_tokens: float) -> float:
        """Reserve for answers of up to `most_tokens`; return how much (USD)."""
        self.expected_usd = self.reserve.usd(most_tokens)
        most_usd = self.reserve.usd()
        self.excess_usd = most_usd - self.expected_usd if most_usd < math.inf else 0.0
        return self.expected_usd

    @property
    def count(self) -> int:
        """How many requests it has."""
        return len(self.lines)

    @property
    def is_open(self) -> bool:
        """Whether its lines may still get a result from it."""
        return self.state is not ChunkState.COLLECTED

    @property
    def is_queued(self) -> bool:
        """Whether the API has not finished it yet, as far as is known."""
        return self.state not in {ChunkState.ENDED, ChunkState.COLLECTED, ChunkState.MISSING}

    @property
    def blocks_creates(self) -> bool:
        """Whether no batch is known that may be it: no other create may be sent meanwhile."""
        return self.state is ChunkState.UNSETTLED and not self.candidates

    @property
    def is_stuck(self) -> bool:
        """Whether this process can do nothing more about it."""
        return self.state is ChunkState.MISSING

    @property
    def batch_ids(self) -> tuple[str, ...]:
        """The batches that are it, or may be."""
        return (self.batch_id,) if self.batch_id else tuple(self.candidates)

    @property
    def view(self) -> ChunkView:
        """What a screen shows of it."""
        canceling = self.cancel_requested and self.state is ChunkState.WAITING
        return ChunkView(
            chunk=self.number,
            batch_id=self.batch_id,
            requests=self.count,
            state=ChunkState.CANCELING if canceling else self.state,
            created_at=self.created_at,
            expires_at=self.expires_at,
            ended_at=self.batch.ended_at if self.batch else self.ended_at,
        )

    def act(self) -> Act | None:
        """Return what to do about it once `next_at` has come."""
        if self.lost is not None:
            return GiveUp(self.number, self.lost)
        match self.state:
            case ChunkState.UNSETTLED if self.ended:
                return Inspect(self.number, self.ended[min(self.ended)])
            case ChunkState.UNSETTLED if self.candidates:
                return Poll(self.number, self.candidates[0])
            case ChunkState.UNSETTLED:
                return Search(chunk=self.number, since=self.window[0])
            case ChunkState.WAITING if self.cancel_wanted and self.batch_id:
                return Cancel(self.number, self.batch_id)
            case ChunkState.WAITING | ChunkState.CANCELING if self.batch_id:
                return Poll(self.number, self.batch_id)
            case ChunkState.ENDED if self.batch:
                return Collect(
                    chunk=self.number, batch=self.batch, lines=self.lines, is_gone=self.is_gone
                )
            case _:
                return None

    def start_search(self, now: float, wall: float, *, lag_s: float, over_s: float) -> None:
        """Look for its batch from now on: lists lag by `lag_s`; its create ended `over_s` ago."""
        self.state = ChunkState.UNSETTLED
        self.window = (self.intent_at - CLOCK_SKEW_S, wall + lag_s + CLOCK_SKEW_S)
        self.certain_at = now + max(0.0, lag_s - over_s)
        self.next_at = now

    def find_candidates(self, batches: Iterable[BatchView], others: set[str]) -> bool:
        """Note which of `batches` may be it, by age and, if known, size; return if there are any.

        Those of `others` belong to other chunks of this run.
        """
        first, last = self.window
        impossible = self.excluded | others
        self.candidates = [
            batch.id
            for batch in batches
            if (batch.counts.total == self.count or not batch.counts_reported)
            and first <= batch.created_at <= last
            and batch.id not in impossible
        ]
        return bool(self.candidates)

    def exclude(self, batch_id: str) -> None:
        """Note that a candidate is not its batch."""
        self.candidates.remove(batch_id)
        del self.ended[batch_id]
        self.excluded.add(batch_id)

    def update(self, batch: BatchView) -> None:
        """Take in what the API says of its batch, or of one that may be it."""
        self.failures, self.missing_since = 0, None
        if self.batch_id is not None:
            self.adopt(batch)
            return
        self.candidates.remove(batch.id)
        self.candidates.append(batch.id)  # the others are polled in turn
        if batch.status is BatchStatus.ENDED:
            self.ended[batch.id] = batch

    def adopt(self, batch: BatchView) -> None:
        """Take `batch` as its own."""
        self.batch_id, self.batch = batch.id, batch
        self.created_at, self.expires_at = batch.created_at, batch.expires_at
        self.candidates, self.ended = [], {}
        match batch.status:
            case BatchStatus.ENDED:
                self.state = ChunkState.ENDED
                self.is_gone = batch.archived_at is not None
            case BatchStatus.CANCELING:
                self.state, self.cancel_wanted = ChunkState.CANCELING, False
            case BatchStatus.IN_PROGRESS:
                self.state, self.cancel_requested = ChunkState.WAITING, False
