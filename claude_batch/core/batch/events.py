"""What a batch run reports: why it ends, and what happens meanwhile (in words: ui/batch_words)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from claude_batch.core.batch.chunk import LossReason
from claude_batch.core.model.batches import Detached, LeftForLive
from claude_batch.core.model.requests import Failure, Request
from claude_batch.core.scheduling.decisions import Stop, StopKind

# why a run ends early


@dataclass(frozen=True, slots=True)
class CannotAffordBatch:
    """The next batch might cross the limit on cost; its price may be infinite: not known."""

    kind: ClassVar = StopKind.COST
    requests: int
    usd: float
    spent_usd: float
    max_cost_usd: float


@dataclass(frozen=True, slots=True)
class CannotAffordCanaries:
    """Trying the first lines of their shapes might cross the limit on cost."""

    kind: ClassVar = StopKind.COST
    requests: int
    usd: float


@dataclass(frozen=True, slots=True)
class CanaryRefused:
    """A request was refused live, as were `more` of its shape: a batch of them would fail."""

    kind: ClassVar = StopKind.BATCH
    request: Request
    failure: Failure
    more: int = 0


@dataclass(frozen=True, slots=True)
class NotForBatches:
    """A request has `params` that live mode takes and batches do not."""

    kind: ClassVar = StopKind.BATCH
    request: Request
    params: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BatchRefusedForGood:
    """The API refused a batch, and would refuse it again."""

    kind: ClassVar = StopKind.BATCH
    failure: Failure


@dataclass(frozen=True, slots=True)
class EvenSmallBatchesTooLarge:
    """An endpoint refuses batches of `size` bytes as too large."""

    kind: ClassVar = StopKind.BATCH
    size: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class BatchesNotAtEndpoint:
    """The endpoint has no Message Batches, but this run has some under way."""

    kind: ClassVar = StopKind.BATCH
    failure: Failure


BatchStop = (
    CannotAffordBatch
    | CannotAffordCanaries
    | CanaryRefused
    | NotForBatches
    | BatchRefusedForGood
    | EvenSmallBatchesTooLarge
    | BatchesNotAtEndpoint
)


@dataclass(frozen=True, slots=True)
class Undecided:
    """Batches whose results cannot be fetched, or that may be another run's: a person must look."""

    batches: tuple[str, ...]


BatchOutcome = Stop | BatchStop | LeftForLive | Detached
"""Why a batch run ends before every request has a result."""


# what happened on the way


@dataclass(frozen=True, slots=True)
class WaitingForBatches:
    """The endpoint could not list its batches; it is asked again."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class CreateUnanswered:
    """A create brought no answer: its batch is searched for."""

    chunk: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class BatchFound:
    """The search has found a chunk's batch."""

    chunk: int
    batch_id: str


@dataclass(frozen=True, slots=True)
class BatchUnknown:
    """The API does not know a batch of this run; it is looked for a few times more."""

    batch_id: str
    failure: Failure


@dataclass(frozen=True, slots=True)
class ChunkLost:
    """A chunk is given up: its requests are submitted again."""

    chunk: int
    reason: LossReason


@dataclass(frozen=True, slots=True)
class CreatePostponed:
    """The API takes no batch now: the chunk waits."""

    chunk: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class ChunkReserved:
    """A chunk reserves `usd` of the limit on cost, for answers of up to `tokens`.

    With longer answers it could cost up to `excess_usd` more.
    """

    chunk: int
    usd: float
    tokens: float
    excess_usd: float


@dataclass(frozen=True, slots=True)
class BatchTooLarge:
    """The endpoint refused a batch of `size` bytes: smaller ones are tried."""

    size: int


@dataclass(frozen=True, slots=True)
class AnsweredFromCache:
    """Lines that have a cached answer and are not sent."""

    lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsCollected:
    """The results of a batch are on disk.

    `strays` are lines that are another run's, or a second one of a request; `lost` requests have
    no result that could be fetched; `canceled` ones end so; `resubmitted` counts requests that are
    submitted again by what their line said.
    """

    batch_id: str
    strays: int
    lost: int
    canceled: int
    resubmitted: Counter[str]


BatchEvent = (
    WaitingForBatches
    | CreateUnanswered
    | BatchFound
    | BatchUnknown
    | ChunkLost
    | CreatePostponed
    | ChunkReserved
    | BatchTooLarge
    | AnsweredFromCache
    | ResultsCollected
)
