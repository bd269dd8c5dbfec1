"""What the scheduler returns: what to do now, what became of a request, why a run ends early."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from claude_batch.core.model.events import Expense
from claude_batch.core.model.requests import Failure, Reply
from claude_batch.core.model.snapshot import EndpointView, LaneView, WaitReason
from claude_batch.core.scheduling.lane import Attempt, Job


@dataclass(frozen=True, slots=True)
class Send:
    """Launch this attempt now."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Sleep:
    """Nothing can be launched before `until`, unless an attempt ends or a request is added."""

    until: float


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing can be launched before an attempt ends or a request is added.

    If neither happens by `look_at`, what is in flight may be dead: ask again.
    """

    look_at: float = math.inf


class StopKind(StrEnum):
    """Why a run ends early."""

    REFUSED = "refused"  # the API refuses the account: spend limit, no credit
    ENDPOINT = "endpoint"  # the endpoint refuses the credential
    UNUSABLE = "unusable"  # the endpoint redirects, or its certificate is not trusted
    MODEL = "model"  # no endpoint serves a model
    IDENTICAL_FAILURES = "identical_failures"  # the first requests all failed in the same way
    PATIENCE = "patience"  # nothing succeeded for too long
    LIMIT = "limit"  # the rows that --limit named are done
    COST = "cost"  # the next request might exceed the user's bound
    BATCH = "batch"  # a batch was not submitted, since it would fail
    DETACHED = "detached"  # batches were left running
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why an endpoint serves nothing, or not one `model`.

    `endpoint` is None when the run has only one.
    """

    reason: str
    endpoint: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why a run ended before it was finished: facts, which commands put into words.

    `message` is the API's own, where there is one. PATIENCE: nothing succeeded for `waited_s`, or
    nothing can be sent before `retry_in_s`, which is longer than the patience left. COST:
    `spent_usd` of `max_cost_usd` are spent, and the next request may have been answered already,
    as often as `lost_answers`, for processes that were killed. REFUSED, ENDPOINT, MODEL: see
    `refusals`. `cause` is the failure that one or all have met, its type and message.
    """

    kind: StopKind
    message: str = ""
    cause: str = ""
    refusals: tuple[Refusal, ...] = ()
    waited_s: float | None = None
    retry_in_s: float | None = None
    spent_usd: float | None = None
    max_cost_usd: float | None = None
    lost_answers: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing more is to be launched: all is done, or `stop` says why not."""

    stop: Stop | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOutcome:
    """A request that will not be tried again, and what its last attempt brought.

    `degraded`: a fallback endpoint answered.
    """

    job: Job
    outcome: Reply | Failure
    endpoint: str
    latency_s: float
    cost_usd: float | None = None
    degraded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What follows from an attempt: requests that have ended, or when it is retried.

    `expense` is what it cost that no result shows.
    """

    ended: tuple[RequestOutcome, ...] = ()
    retry_at: float | None = None
    expense: Expense | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End this attempt, whose connection is dead: its request is queued again."""

    attempt: Attempt
    failure: Failure
    verdict: Verdict


Decision = Send | GiveUp | Sleep | Idle | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerStatus:
    """Lanes, endpoints, requests waiting for a retry or in flight, and why no more are sent.

    `fallback` is the endpoint that has taken over from those of first choice, if one has.
    """

    lanes: tuple[LaneView, ...] = ()
    endpoints: tuple[EndpointView, ...] = ()
    retrying: int = 0
    in_flight: int = 0
    wait: WaitReason | None = None
    fallback: str | None = None
