"""Data types of Message Batches: a batch as the API reports it, a chunk as a screen shows it.

Times are wall time, in seconds since 1970.
Source: docs/claude-api.md#batch-objects-and-endpoints.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from claude_batch.core.model.requests import Failure, FailureKind, ResultType, Usage


class BatchStatus(StrEnum):
    """The state of a batch: the API's three."""

    IN_PROGRESS = "in_progress"
    CANCELING = "canceling"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCounts:
    """Requests of a batch by state. All but `processing` are 0 until the whole batch has ended."""

    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0

    @property
    def total(self) -> int:
        """The number of requests in the batch."""
        return self.processing + self.succeeded + self.errored + self.canceled + self.expired


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchView:
    """A batch as the API reports it.

    `has_results`: there are results to fetch; `is_canceled`: somebody has asked for its end.
    Without `counts_reported` the API did not say, or not in full, how many requests it has.
    """

    id: str
    status: BatchStatus
    counts: BatchCounts
    created_at: float
    expires_at: float
    ended_at: float | None = None
    archived_at: float | None = None
    has_results: bool = False
    is_canceled: bool = False
    counts_reported: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPage:
    """Some batches, newest first; `last_id` is the cursor for older ones while `has_more`.

    `unread` counts batches left out because they have no id or no time. `server_time` is the Date
    header.
    """

    batches: tuple[BatchView, ...]
    has_more: bool
    last_id: str | None
    unread: int = 0
    server_time: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLost:
    """A create without an answer: it is unknown whether a batch exists."""

    failure: Failure


class ChunkState(StrEnum):
    """The state of a chunk of a run."""

    PACKED = "packed"  # its body is ready; screens show it once it is being submitted
    SUBMITTING = "submitting"
    UNSETTLED = "unsettled"  # its create got no answer: we search for the batch
    WAITING = "waiting"  # the API is working on it
    CANCELING = "canceling"
    ENDED = "ended"  # its results are being collected
    COLLECTED = "collected"
    MISSING = "missing"  # the API does not know its batch


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkView:
    """One chunk for a screen; `batch_id` and times are None while unknown."""

    chunk: int
    batch_id: str | None
    requests: int
    state: ChunkState
    created_at: float | None = None
    expires_at: float | None = None
    ended_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLine:
    """One line of a batch's results. `payload` is the message, or the error object, as JSON.

    It is empty for canceled and expired; `error_type` is the API's, for errored ones;
    `stop_reason` is the message's. `is_unreadable`: it names its request, and the rest of it is no
    JSON; then `payload` is an error of ours. `kind` is what an error means, as for a live reply.
    """

    wire_id: str
    type: ResultType
    payload: bytes = b""
    usage: Usage = field(default_factory=Usage)
    error_type: str | None = None
    stop_reason: str | None = None
    is_unreadable: bool = False
    kind: FailureKind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBody:
    """The size in bytes and the SHA-256 of a body that has been written."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class LeftForLive:
    """Batches cannot be used: requests without a result must go through the Messages API.

    `refusal` is how the endpoint showed that it has no Message Batches; None: the deadline leaves
    no time for them. `nothing_sent`: this was found at once, so another endpoint may do.
    """

    refusal: Failure | None = None
    nothing_sent: bool = False


@dataclass(frozen=True, slots=True)
class Detached:
    """How many batches were left running; `is_all`: everything has been submitted."""

    running: int
    is_all: bool
