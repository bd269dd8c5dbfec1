"""The batches of a run in words: their states, what happened to them, why the run ends. No Rich."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import assert_never

from claude_batch.core.batch.chunk import LossReason
from claude_batch.core.batch.events import (
    AnsweredFromCache,
    BatchesNotAtEndpoint,
    BatchEvent,
    BatchFound,
    BatchRefusedForGood,
    BatchStop,
    BatchTooLarge,
    BatchUnknown,
    CanaryRefused,
    CannotAffordBatch,
    CannotAffordCanaries,
    ChunkLost,
    ChunkReserved,
    CreatePostponed,
    CreateUnanswered,
    EvenSmallBatchesTooLarge,
    NotForBatches,
    ResultsCollected,
    WaitingForBatches,
)
from claude_batch.core.batch.rules import is_forbidden
from claude_batch.core.model.batches import ChunkState, ChunkView, Detached, LeftForLive
from claude_batch.core.model.units import dollars
from claude_batch.ui.figures import clock, count

EXPECTED = "usually within 1 h, at most 24 h"
"""How long a batch takes (docs/claude-api.md#message-batches)."""

EXPIRED = "past its 24 h: the API should end it"
"""What is to be expected of a batch whose time is over."""

_LOSSES = {
    LossReason.NOT_CREATED: "no batch was created",
    LossReason.NOT_FOUND: "the API does not know its batch any more",
}
_RESUBMITTED = {"errored": "server errors", "canceled": "canceled for the deadline"}


# states


def chunks_text(chunks: Sequence[ChunkView], at: float | None) -> str:
    """Return all batches in a few words: 3 batches: 2 waiting, 1 collected, 12:07 so far."""
    began = [chunk.created_at for chunk in chunks if chunk.created_at and not is_over(chunk)]
    so_far = f", {clock(at - min(began))} so far" if began and at is not None else ""
    return f"{number_of(len(chunks))}: {tally(chunks)}{so_far}"


def is_over(chunk: ChunkView) -> bool:
    """Return whether a batch brings nothing more."""
    return chunk.state is ChunkState.COLLECTED


def tally(chunks: Sequence[ChunkView]) -> str:
    """Return how many batches are in which state: 2 waiting, 1 collected."""
    states = Counter(chunk.state for chunk in chunks)
    return ", ".join(f"{count(states[state])} {state}" for state in ChunkState if states[state])


def number_of(batches: int) -> str:
    """Return 1 batch, 12 batches."""
    return "1 batch" if batches == 1 else f"{count(batches)} batches"


def age_s(chunk: ChunkView, at: float | None) -> float | None:
    """Return how long a batch has been, or was, at the API; None when that is not known."""
    end = chunk.ended_at if chunk.ended_at is not None or is_over(chunk) else at
    if chunk.created_at is None or end is None:
        return None
    return max(0.0, end - chunk.created_at)


def expected_text(chunks: Sequence[ChunkView], at: float | None) -> str:
    """Return when batches will be done; that of the oldest one under way."""
    ends = [each.expires_at for each in chunks if each.expires_at and not is_over(each)]
    return EXPECTED if at is None or not ends or min(ends) > at else EXPIRED


def expires_text(expires_at: float, now: float) -> str:
    """Return how long a batch has left, or that its time is over."""
    return clock(expires_at - now) if expires_at > now else "over"


# what happened


def event_texts(event: BatchEvent, *, endpoint: str) -> Iterator[str]:  # noqa: C901  # a table
    """Yield what the user should know of an event, a sentence each."""
    match event:
        case WaitingForBatches(failure):
            yield f"endpoint {endpoint} cannot list its batches ({failure.message}); trying again"
        case CreateUnanswered(chunk, failure):
            yield (
                f"chunk {chunk}: no answer to its submission ({failure.message}); checking "
                "whether there is a batch"
            )
        case BatchFound(chunk, batch_id):
            yield f"chunk {chunk}: found its batch, {batch_id}"
        case BatchUnknown(batch_id, failure):
            yield (
                f"the API does not know {batch_id} ({failure.message}); looking for it for up to "
                "5 minutes after its creation"
            )
        case ChunkLost(chunk, reason):
            yield f"chunk {chunk}: {_LOSSES[reason]}; submitting its requests again"
        case CreatePostponed(chunk, failure):
            yield f"chunk {chunk} has to wait: {failure.message}"
        case ChunkReserved(chunk, usd, tokens, excess_usd):
            yield (
                f"chunk {chunk} reserves {dollars(usd)} of --max-cost: 99 of 100 answers so far "
                f"took at most {tokens:,.0f} tokens; if all take their max_tokens, it costs "
                f"{dollars(excess_usd)} more"
            )
        case BatchTooLarge(size):
            yield f"a batch of {size:,} bytes is too large here; trying smaller ones"
        case AnsweredFromCache(lines):
            yield f"{lines:,} lines have a cached answer and are not sent"
        case ResultsCollected():
            yield from _collected_texts(event)
        case _:
            assert_never(event)


def _collected_texts(event: ResultsCollected) -> Iterator[str]:
    name = event.batch_id
    if event.strays:
        yield (
            f"{name}: {event.strays:,} result lines were skipped: they belong to another run, or "
            "repeat a request"
        )
    if event.lost:
        yield (
            f"{name}: {event.lost:,} results cannot be fetched any more; --retry-errored sends "
            "those requests again"
        )
    if event.canceled:
        yield (
            f"{name}: {event.canceled:,} requests were canceled and are recorded as canceled; "
            "--retry-errored sends them again"
        )
    if event.resubmitted:
        causes = ", ".join(
            f"{number:,} {_RESUBMITTED.get(cause, cause)}"
            for cause, number in event.resubmitted.most_common()
        )
        yield f"{name}: resubmitting {event.resubmitted.total():,}: {causes}"


# why the run ends, or goes live


def stop_text(stop: BatchStop, *, endpoint: str) -> str:
    """Return why a batch run ends early."""
    match stop:
        case CannotAffordBatch(usd=usd) if math.isinf(usd):
            return (
                f"the next batch ({stop.requests:,} requests) has a model whose price is not "
                "known; without --max-cost it is submitted"
            )
        case CannotAffordBatch():
            return (
                f"the next batch ({stop.requests:,} requests) may cost up to {dollars(stop.usd)}, "
                f"and {dollars(stop.spent_usd)} of {dollars(stop.max_cost_usd)} are spent; "
                "continue with a higher --max-cost"
            )
        case CannotAffordCanaries(requests, usd):
            return (
                f"trying {requests:,} requests live before their batch may cost up to "
                f"{dollars(usd)}; continue with a higher --max-cost, or with --no-canary"
            )
        case CanaryRefused(request, failure, more):
            others = f" ({more} more of its shape were refused, too)" if more else ""
            why = f"{failure.error_type}: {failure.message}{others}"
            return _canary_text(request.line, request.custom_id, why)
        case NotForBatches(request, params):
            why = f"batches do not take {', '.join(params)}"
            return _canary_text(request.line, request.custom_id, why)
        case BatchRefusedForGood(failure):
            return f"the batch was refused: {failure.error_type}: {failure.message}"
        case EvenSmallBatchesTooLarge(size, failure):
            return f"even batches of {size:,} bytes are too large here: {failure.message}"
        case BatchesNotAtEndpoint(failure):
            return f"endpoint {endpoint} does not know the batches of this run: {failure.message}"
        case _:
            assert_never(stop)


def _canary_text(line: int, custom_id: str, why: str) -> str:
    return (
        f"line {line} ({custom_id}), tried before its batch was submitted: {why}. Lines of the "
        "same shape would probably fail as well: fix them, or submit anyway with --no-canary"
    )


def live_text(left: LeftForLive, *, endpoint: str) -> str:
    """Return why batches will not do for what is left of a run."""
    failure = left.refusal
    if failure is None:
        return "no time left for batches"
    if is_forbidden(failure):
        return f"endpoint {endpoint} takes no batches from this key or workspace: {failure.message}"
    why = f"status {failure.status}" if failure.status else failure.message
    return f"endpoint {endpoint} has no Message Batches ({why})"


def detached_text(detached: Detached) -> str:
    """Return what was left running."""
    left = "" if detached.is_all else "; the API takes no more for now, so some are not submitted"
    are = "is" if detached.running == 1 else "are"
    return f"{number_of(detached.running)} {are} left running{left}"
