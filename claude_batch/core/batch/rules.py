"""What answers of the Message Batches API mean, each rule a function of its own."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from claude_batch.core.batch.history import BY_DEADLINE, BY_USER
from claude_batch.core.model.batches import BatchLine
from claude_batch.core.model.requests import Failure, FailureKind, ResultType
from claude_batch.core.scheduling.decisions import Stop, StopKind
from claude_batch.core.scheduling.retry import SLIGHT_JITTER, backoff_s

RESULTS_KEPT_S = 29 * 86_400.0
"""How long the API keeps the results of a batch (docs/claude-api.md#message-batches)."""

MAX_POLL_S = 60.0
POLL_GROWTH = 1.5
"""A batch is polled at growing intervals: each that much longer, up to a minute."""

POLLS_PER_MINUTE = 200
"""Of all batches together; the API allows 1,000 (docs/claude-api.md#batch-and-counting-limits)."""

FINAL_ERRORS = frozenset(
    {
        "invalid_request_error",
        "not_found_error",
        "request_too_large",
        "permission_error",
        "authentication_error",
        "billing_error",
    }
)
"""Errors that the same request would meet again. Any other type, known or not, is the server's."""

MOST_INVALID_LISTS = 3
"""Invalid answers to a list, after which an endpoint is taken to have no batches."""

LEAST_404S = 3
"""Answers in a row that a batch is not known, before it is taken to be gone."""

_NOT_HERE = frozenset({404, 405})
_NOT_IMPLEMENTED = 501
_NO_REVIEW = b"workspace_human_review_disabled"
"""The error of a workspace that gets no batches (docs/claude-api.md#errors)."""
_TOO_LARGE = 413
_WAITS = frozenset({FailureKind.RATE_LIMITED, FailureKind.RAMP_LIMITED, FailureKind.OVERLOADED})


def batch_error_is_final(error_type: str | None) -> bool:
    """Return whether an errored request of a batch would only fail again."""
    return error_type in FINAL_ERRORS


def is_final(line: BatchLine, *, attempts: int, max_attempts: int, canceled_by: str | None) -> bool:
    """Return whether a line of results ends its request; if not, it goes into another batch.

    `attempts` counts this submission. What was canceled is final unless the deadline was why; all
    of a batch that the user canceled is final. So is what cannot be read: it may be a paid answer.
    """
    if line.type is ResultType.SUCCEEDED or canceled_by == BY_USER or line.is_unreadable:
        return True
    if line.type is ResultType.CANCELED:
        return canceled_by != BY_DEADLINE
    if line.type is ResultType.ERRORED and batch_error_is_final(line.error_type):
        return True
    return attempts >= max_attempts


class Refusal(StrEnum):
    """What a refused create means."""

    WAIT = "wait"  # the queue or the rate limit is full, or the API is: later
    NOT_HERE = "not_here"  # no such endpoint
    FORBIDDEN = "forbidden"  # batches are not available to this key or workspace
    TOO_LARGE = "too_large"  # smaller chunks may pass
    STOP = "stop"


def refusal(failure: Failure) -> Refusal:
    """Return what follows from a create that was refused."""
    if failure.kind in _WAITS:
        return Refusal.WAIT
    if has_no_batches(failure):
        return Refusal.NOT_HERE
    if is_forbidden(failure):
        return Refusal.FORBIDDEN
    if failure.status == _TOO_LARGE or failure.error_type == "request_too_large":
        return Refusal.TOO_LARGE
    return Refusal.STOP


def has_no_batches(failure: Failure) -> bool:
    """Return whether an endpoint says that it has no Message Batches."""
    rejected = failure.kind is FailureKind.REQUEST_REJECTED and failure.status in _NOT_HERE
    return rejected or failure.status == _NOT_IMPLEMENTED


def is_forbidden(failure: Failure) -> bool:
    """Return whether an endpoint has Message Batches, but not for this key or workspace."""
    no_review = _NO_REVIEW in failure.error or _NO_REVIEW.decode() in failure.message
    return failure.kind is FailureKind.MODEL_FORBIDDEN or no_review


def list_is_refused(failure: Failure) -> bool:
    """Return whether an endpoint does not list batches; it may take some all the same."""
    return has_no_batches(failure) or (
        failure.kind is FailureKind.REQUEST_REJECTED and not is_forbidden(failure)
    )


def is_no_list(failure: Failure, *, lists: int) -> bool:
    """Return whether the answer to the `lists`-th list shows that there are no batches.

    They are not for this key, or the answer is no API's, such as a web page.
    """
    return is_forbidden(failure) or (
        failure.kind is FailureKind.INVALID_RESPONSE and lists >= MOST_INVALID_LISTS
    )


def fatal_stop(failure: Failure) -> Stop | None:
    """Return the stop that a failure means for the whole run, if it does."""
    match failure.kind:
        case FailureKind.RUN_REFUSED:
            return Stop(kind=StopKind.REFUSED, message=failure.message)
        case FailureKind.ENDPOINT_REJECTED | FailureKind.MODEL_FORBIDDEN:
            return Stop(kind=StopKind.ENDPOINT, message=failure.message)
        case FailureKind.ENDPOINT_UNUSABLE:
            return Stop(kind=StopKind.UNUSABLE, message=failure.message)
        case _:
            return None


def poll_interval_s(polls: int, *, batches: int, first_s: float, rng: Callable[[], float]) -> float:
    """Return the wait before a batch is polled again: it grows with `polls`, from 0.

    With many `batches` all of them together stay within the rate limit.
    """
    grown_s = backoff_s(
        polls + 1,
        base_s=first_s,
        cap_s=MAX_POLL_S,
        rng=rng,
        jitter=SLIGHT_JITTER,
        growth=POLL_GROWTH,
    )
    return max(grown_s, batches * 60.0 / POLLS_PER_MINUTE)
