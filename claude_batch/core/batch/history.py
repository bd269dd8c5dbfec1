"""The journal's records about the batches of a run, and what they add up to.

A record is on disk before what it announces is done, or after what it reports has happened, so
that a crash between any two leaves nothing open but a create without an answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from claude_batch.core.batch.chunk import Chunk
from claude_batch.core.model.batches import ChunkState
from claude_batch.core.model.line_ranges import LineRanges

BY_DEADLINE = "deadline"
BY_USER = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchIntent:
    """A create is about to be sent. `at` is the server's wall time; `lines` are ranges.

    `expected_usd` is None where a price is not known: JSON has no infinity.
    """

    chunk: int
    api_version: str
    lines: str
    count: int
    size: int
    sha256: str
    at: float
    expected_usd: float | None = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCreated:
    """The chunk is a batch. `adopted`: its create brought no answer, the batch was found."""

    chunk: int
    id: str
    created_at: float
    expires_at: float
    adopted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRefused:
    """The create was refused: there is no batch of this chunk."""

    chunk: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLost:
    """The chunk is given up, and its lines may be submitted again: it has no batch any more."""

    chunk: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCollected:
    """All results of the batch are on disk but for the lines `retry`, which are submitted again.

    It ended at `ended_at`, and was collected `at` (wall time); None: not known.
    """

    chunk: int
    id: str
    retry: str = ""
    ended_at: float | None = None
    at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCancelRequested:
    """A batch is being canceled: `by` the user, or because of the deadline."""

    id: str
    by: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchShapesProved:
    """Shapes of requests of which a canary has succeeded."""

    shapes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeChosen:
    """How the run continues: the `asked` mode (live, batch or auto) and its deadline.

    `deadline_at` is wall time, so that a later process keeps to the same moment; `endpoint` is
    where batches go.
    """

    asked: str
    deadline_at: float | None = None
    endpoint: str | None = None


BatchRecord = (
    BatchIntent
    | BatchCreated
    | BatchRefused
    | BatchLost
    | BatchCollected
    | BatchCancelRequested
    | BatchShapesProved
    | ModeChosen
)


@dataclass(slots=True, kw_only=True)
class BatchHistory:
    """All that a run's journal says of its batches.

    `attempts` counts earlier submissions of lines that are submitted again; `canceled_by` says who
    canceled which batch; of `shapes` a canary has succeeded; `mode` was asked for last.
    """

    chunks: dict[int, Chunk] = field(default_factory=dict)
    last_chunk: int = 0
    attempts: dict[int, int] = field(default_factory=dict)
    canceled_by: dict[str, str] = field(default_factory=dict)
    shapes: set[str] = field(default_factory=set)
    mode: ModeChosen | None = None

    @property
    def open_chunks(self) -> tuple[Chunk, ...]:
        """The chunks whose batch is not collected yet."""
        return tuple(chunk for chunk in self.chunks.values() if chunk.is_open)

    def add(self, record: BatchRecord) -> None:
        """Take in the next record."""
        match record:
            case BatchIntent():
                self._add_chunk(record)
            case BatchCreated():
                if chunk := self.chunks.get(record.chunk):
                    chunk.state, chunk.batch_id = ChunkState.WAITING, record.id
                    chunk.created_at, chunk.expires_at = record.created_at, record.expires_at
            case BatchRefused() | BatchLost():
                self.chunks.pop(record.chunk, None)
            case BatchCollected():
                if chunk := self.chunks.get(record.chunk):
                    chunk.state, chunk.ended_at = ChunkState.COLLECTED, record.ended_at
                    count_attempts(self.attempts, chunk.lines, LineRanges.parse(record.retry))
            case BatchCancelRequested():
                self._note_cancel(record)
            case BatchShapesProved():
                self.shapes.update(record.shapes)
            case ModeChosen():
                self.mode = record

    def _note_cancel(self, record: BatchCancelRequested) -> None:
        self.canceled_by[record.id] = record.by
        for chunk in self.open_chunks:
            chunk.cancel_requested |= chunk.batch_id == record.id

    def _add_chunk(self, record: BatchIntent) -> None:
        self.last_chunk = max(self.last_chunk, record.chunk)
        self.chunks[record.chunk] = Chunk(
            number=record.chunk,
            api_version=record.api_version,
            lines=LineRanges.parse(record.lines),
            state=ChunkState.UNSETTLED,
            expected_usd=math.inf if record.expected_usd is None else record.expected_usd,
            intent_at=record.at,
        )


def count_attempts(attempts: dict[int, int], lines: LineRanges, retry: LineRanges) -> None:
    """Count one more submission of the lines that are submitted again; forget it for the others."""
    for line in [line for line in attempts if line in lines and line not in retry]:
        del attempts[line]
    for line in retry:
        attempts[line] = attempts.get(line, 0) + 1


def fold_batches(records: Iterable[BatchRecord]) -> BatchHistory:
    """Return what `records`, in the order of the journal, say of a run's batches."""
    history = BatchHistory()
    for record in records:
        history.add(record)
    return history
