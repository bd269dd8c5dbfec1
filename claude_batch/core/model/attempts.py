"""One attempt that has ended, as the log of attempts and the metrics see it."""

from __future__ import annotations

from typing import NamedTuple

from claude_batch.core.model.requests import (
    NO_HEADERS,
    Failure,
    FailureKind,
    LimitKind,
    Reply,
    Request,
    ResponseHeaders,
    Usage,
)

_OK = 200
"""HTTP status of a reply."""


class Attempted(NamedTuple):
    """Where an attempt went, its number among those of its request, how long it took, its cost."""

    endpoint: str
    number: int
    latency_s: float
    cost_usd: float | None


class AttemptRecord(NamedTuple):
    """An attempt and its outcome, without what was asked and answered.

    `at` is wall time at its end, `attempt` counts those of its request. `status` is that of the
    HTTP answer: None where there was none, and for requests in a batch, which `batch_id` names.
    `kind` is what a failure means, `error_type` its type in the API's words; both None for a
    reply. `limit` is the limit that a 429 names. A tuple, since one is made per attempt.
    """

    at: float
    custom_id: str
    line: int
    endpoint: str
    model: str
    attempt: int
    status: int | None
    kind: FailureKind | None
    error_type: str | None
    limit: LimitKind | None
    latency_s: float
    usage: Usage
    cost_usd: float | None
    headers: ResponseHeaders = NO_HEADERS
    batch_id: str | None = None

    @classmethod
    def of(
        cls, request: Request, outcome: Reply | Failure, *, at: float, attempt: Attempted
    ) -> AttemptRecord:
        """Return the record of an attempt at the Messages API."""
        failure = outcome if isinstance(outcome, Failure) else None
        return cls(
            at=at,
            custom_id=request.custom_id,
            line=request.line,
            endpoint=attempt.endpoint,
            model=request.model,
            attempt=attempt.number,
            status=_OK if failure is None else failure.status,
            kind=None if failure is None else failure.kind,
            error_type=None if failure is None else failure.error_type,
            limit=None if failure is None else failure.limit,
            latency_s=attempt.latency_s,
            usage=outcome.usage,
            cost_usd=attempt.cost_usd,
            headers=outcome.headers,
        )
