"""The small decisions of batch mode, each a function of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from claude_batch.core.batch_history import BY_DEADLINE, BY_USER
from claude_batch.core.batch_model import BatchLine
from claude_batch.core.decisions import Stop, StopKind
from claude_batch.core.dollars import dollars
from claude_batch.core.duration import duration
from claude_batch.core.model import Failure, FailureKind, ResultType
from claude_batch.core.plan import LONGEST_BATCH_S, USUAL_BATCH_S

RESULTS_KEPT_S = 29 * 86_400.0

MOST_POLL_S = 60.0
POLL_GROWTH = 1.5
POLLS_PER_MINUTE = 200
"""Ours, of all batches together; the API allows 1,000 calls at least (API-FACTS 1.6)."""

FIRST_SEARCH_S = 1.0
FIRST_RETRY_S = 1.0
MOST_RETRY_S = 60.0
FIRST_HOLD_S = 30.0
MOST_HOLD_S = 600.0

LEAST_BATCH_S = 1800.0
"""How long `--mode auto` gives a batch that it has chosen, at least, before it goes live."""

CANCELING_S = 600.0
"""What we allow a canceled batch to take to its end, when a deadline is near."""

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

MOST_STRANGE = 3
"""Answers that are none, after which an endpoint is taken to have no batches."""

_NOT_HERE = frozenset({404, 405})
_NOT_IMPLEMENTED = 501
_TOO_LARGE = 413
_WAITS = frozenset({FailureKind.RATE_LIMITED, FailureKind.RAMP_LIMITED, FailureKind.OVERLOADED})


def batch_error_is_final(error_type: str | None) -> bool:
    """Tell whether an errored request of a batch would only fail again."""
    return error_type in FINAL_ERRORS


def is_final(line: BatchLine, *, attempts: int, max_attempts: int, canceled_by: str | None) -> bool:
    """Tell whether a line of results ends its request; otherwise it goes into another batch.

    `attempts` counts this submission. What somebody canceled is final, wherever that was done, and
    so is all of a batch that was canceled with `claude-batch batches cancel`.
    """
    if line.type is ResultType.SUCCEEDED or canceled_by == BY_USER:
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
    TOO_LARGE = "too_large"  # smaller chunks may pass
    STOP = "stop"


def refusal(failure: Failure) -> Refusal:
    """Return what follows from a create that was refused."""
    if failure.kind in _WAITS:
        return Refusal.WAIT
    if not_here(failure):
        return Refusal.NOT_HERE
    if failure.status == _TOO_LARGE or failure.error_type == "request_too_large":
        return Refusal.TOO_LARGE
    return Refusal.STOP


def not_here(failure: Failure) -> bool:
    """Tell whether an endpoint says that it has no batches."""
    rejected = failure.kind is FailureKind.REQUEST_REJECTED and failure.status in _NOT_HERE
    return rejected or failure.status == _NOT_IMPLEMENTED


def speaks_no_batches(failure: Failure, *, asked: int) -> bool:
    """Tell whether an endpoint that was `asked` for its newest batch has shown to have none."""
    if failure.kind is FailureKind.INVALID_RESPONSE:  # a page for people, say
        return asked >= MOST_STRANGE
    return not_here(failure) or failure.kind is FailureKind.REQUEST_REJECTED


def fatal_stop(failure: Failure) -> Stop | None:
    """Return the stop that a failure is for the whole run, whatever it was about."""
    match failure.kind:
        case FailureKind.RUN_REFUSED:
            return Stop(kind=StopKind.REFUSED, message=failure.message)
        case FailureKind.ENDPOINT_REJECTED | FailureKind.MODEL_FORBIDDEN:
            return Stop(kind=StopKind.ENDPOINT, message=failure.message)
        case _:
            return None


def poll_interval_s(
    polls: int, *, batches: int, first_s: float, draw: Callable[[], float]
) -> float:
    """Return the wait before a batch is asked for again: growing, jittered by a fifth.

    `polls` counts from 0; with many `batches` all of them together stay within the rate limit.
    """
    grown = min(MOST_POLL_S, first_s * POLL_GROWTH ** min(polls, 30))
    return max(grown, batches * 60.0 / POLLS_PER_MINUTE) * (0.8 + 0.4 * draw())


def growing_s(tries: int, *, first_s: float, most_s: float, draw: Callable[[], float]) -> float:
    """Return a wait that doubles from `first_s` to `most_s`, jittered by a fifth."""
    return min(most_s, first_s * 2.0 ** min(tries, 30)) * (0.8 + 0.4 * draw())


class Mode(StrEnum):
    """The two ways to the API."""

    LIVE = "live"
    BATCH = "batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospects:
    """What `--mode auto` knows before it chooses; None: not known.

    `deadline_s` is what is left until the deadline, `live_eta_s` what the Messages API would take.
    """

    has_batches: bool
    deadline_s: float | None = None
    live_eta_s: float | None = None
    cost_live_usd: float | None = None
    cost_batch_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The mode chosen and why; with `live_after_s` a batch that late gives way to live mode."""

    mode: Mode
    reason: str
    live_after_s: float | None = None


def choose_mode(prospects: Prospects) -> Choice:
    """Return the cheaper mode that the deadline allows, with the reason in words."""
    if not prospects.has_batches:
        return Choice(mode=Mode.LIVE, reason="live: this endpoint has no Message Batches")
    saving = _saving(prospects)
    if prospects.deadline_s is None:
        return Choice(
            mode=Mode.BATCH,
            reason=f"batch: no deadline is set{saving}; usually done within an hour, at most a day",
        )
    live_s = prospects.live_eta_s or 0.0
    spare_s = prospects.deadline_s - live_s
    left = duration(prospects.deadline_s)
    late = f"the deadline is in {left}, live would take {duration(live_s)}"
    usual = duration(USUAL_BATCH_S)
    if spare_s < USUAL_BATCH_S and live_s > LONGEST_BATCH_S:
        return Choice(mode=Mode.BATCH, reason=f"batch: {late}; a batch takes a day at most{saving}")
    if live_s > prospects.deadline_s >= USUAL_BATCH_S:
        return Choice(
            mode=Mode.BATCH, reason=f"batch: {late}; a batch is usually done within {usual}{saving}"
        )
    if spare_s < USUAL_BATCH_S:
        reason = f"live: {late}, and a batch usually needs up to {usual}"
        return Choice(mode=Mode.LIVE, reason=reason)
    after_s = max(LEAST_BATCH_S, live_after_s(prospects.deadline_s, live_s))
    return Choice(
        mode=Mode.BATCH,
        reason=f"batch: {late}{saving}; what is late after {duration(after_s)} goes live",
        live_after_s=after_s,
    )


def live_after_s(deadline_s: float, live_eta_s: float) -> float:
    """Return how long batches may take, if what they leave is to be done live by the deadline."""
    return max(0.0, deadline_s - 1.2 * live_eta_s - CANCELING_S)


def _saving(prospects: Prospects) -> str:
    if prospects.cost_live_usd is None or prospects.cost_batch_usd is None:
        return ", at half the price"
    return f", {dollars(prospects.cost_batch_usd)} instead of {dollars(prospects.cost_live_usd)}"
