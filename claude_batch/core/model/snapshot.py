"""The state of a run at one moment, for a screen: a screen is a function of a `Snapshot`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from claude_batch.core.model.batches import ChunkView
from claude_batch.core.model.requests import FailureKind, LimitKind
from claude_batch.core.model.shards import FolderView
from claude_batch.core.model.sharing import SharingView


class Phase(StrEnum):
    """The phase of a run; the last three are ends."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"  # asked to stop; requests in flight may still finish
    FINISHED = "finished"
    INTERRUPTED = "interrupted"  # by a signal, with requests left
    STOPPED = "stopped"  # by the API, a limit of the user's own or an error, with requests left


class LimitSource(StrEnum):
    """Who set a limit."""

    API = "api"
    ASSUMED = "assumed"  # the tier's, until the API reports its own
    CEILING = "ceiling"  # the user's --rpm, --itpm or --otpm
    SHARE = "share"  # the user's --share of the API's


class WaitKind(StrEnum):
    """What keeps a run from sending more at this moment."""

    FIRST_REPLY = "first_reply"  # nothing has been answered yet
    FINDING_PACE = "finding_pace"  # no limit is known: the rate is found by trying
    LIMIT = "limit"  # too little is left of a limit
    PACE = "pace"  # enough is left of the limit; launches are spread evenly under it
    CONCURRENCY = "concurrency"  # as many are in flight as may be
    RATE_LIMITED = "rate_limited"  # a 429 is waited out
    OUTAGE = "outage"  # every attempt fails; one at a time tries again
    SILENCE = "silence"  # everything in flight takes far longer than usual
    RETRY = "retry"  # only requests that wait for another attempt are left
    PREFIX = "prefix"  # the first reply with a shared prefix writes the prompt cache
    BUDGET = "budget"  # what is in flight may use up --max-cost
    LAST_REPLIES = "last_replies"  # everything has been sent
    INPUT = "input"  # prompts are being read
    DISK = "disk"  # results are being written
    PAUSED = "paused"  # the user has paused the run
    SHARE = "share"  # other programs hold all of the limits; a share is on its way


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitReason:
    """Why nothing more is sent at this moment.

    `limit` names the limit of LIMIT and PACE, with its size and who set it. `seconds` is how long
    a RATE_LIMITED, OUTAGE or RETRY still waits, and how long a SILENCE or a FIRST_REPLY has lasted
    (None: not known). `asked_s` is the wait that the API named with a 429, `cause` the failure of
    an OUTAGE. `lane` is set where there are several. A fallback takes over in `fallback_in_s`.
    `probing`: in a SILENCE, requests are sent on new connections to see if anything is there.
    """

    kind: WaitKind
    limit: LimitKind | None = None
    limit_per_minute: float | None = None
    source: LimitSource = LimitSource.API
    seconds: float | None = None
    asked_s: float | None = None
    cause: FailureKind | None = None
    in_flight: int = 0
    lane: str = ""
    fallback_in_s: float | None = None
    probing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """One limit of a lane, as our bucket models it.

    `limit_per_minute` is None while it is not known. `available` may be negative (a debt).
    `full_in_s` is the time until the bucket is full again.
    """

    kind: LimitKind
    limit_per_minute: float | None
    available: float | None
    full_in_s: float | None
    source: LimitSource = LimitSource.API


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneView:
    """One lane: a limit group and a model class, e.g. name "Haiku 5.5".

    With several groups the name includes the group, and `queued` counts requests that may go to
    any lane of their class. `waiting_for` says what a paused lane waits for
    ("429: retry-after"), `waiting_s` how long; `wait` why it sends nothing more just now, paused
    or not. `sharing`: with which programs it shares its limits, None without a lease.
    """

    name: str
    gauges: tuple[Gauge, ...]
    in_flight: int
    queued: int
    concurrency: int
    waiting_for: str | None = None
    waiting_s: float | None = None
    wait: WaitReason | None = None
    sharing: SharingView | None = None


class EndpointState(StrEnum):
    """Whether an endpoint is used."""

    UP = "up"
    FAILING = "failing"  # repeated failures: only probes go there
    STANDBY = "standby"  # a fallback that is not needed
    OUT = "out"  # out of use for the rest of the run


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointView:
    """One endpoint. `succeeded` and `failed` count attempts; `why` says why it is not up."""

    name: str
    state: EndpointState
    in_flight: int
    succeeded: int
    failed: int
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureView:
    """One of the latest failures. `at` is wall time; `retry_in_s` is None when it was final."""

    at: float
    custom_id: str
    line: int
    what: str
    retry_in_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustedView:
    """An option that the user has changed while the run went, at wall time `at`. None: unset."""

    name: str
    value: float | None
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All figures of a run at one moment. Counts of requests unless a unit is named.

    total            requests (valid lines) in the prompts file; None: not known
    succeeded ...    final results on disk, durable; `resumed` of them were there at the start
    degraded         results that a fallback endpoint gave
    retrying         waiting for another attempt
    in_flight        attempts in progress
    attempts         attempts ended in this process; `rate_limited` of them met a 429
    elapsed_s        of this process's run;  eta_s: None while unknown
    *_per_minute     over the last minute (or since the start, when that is shorter); batch mode:
                     None, since nothing is counted before a batch ends
    cost_usd         None while the price is unknown;  projected_cost_usd: of the whole run
    unreported       attempts that may have been charged, with usage unknown: the cost is at least
                     that; `unreported_usd` is the most they cost, as far as --max-cost had it found
    stop_reasons     successes that stopped before their end: refusal, max_tokens, pause_turn,
                     model_context_window_exceeded
    output_errors    answers that break their schema
    cached           results of this process that were answered before, at no cost: by the response
                     cache, or for an equal prompt
    wait             why nothing more is sent at this moment; None: it is being sent, or not known
    grace_s          while stopping: how long requests in flight may still take
    adjusted         options that the user has changed since this process began
    paused_at        wall time since when the user has paused the run; None: it is not paused
    at               wall time of the snapshot, so that countdowns run; None: not known
    fallback         the endpoint that has taken over from those of first choice; None: none has
    chunks           batch mode: what has been submitted, in order; in_flight is at the API
    folder           the run folder that it is about, or is a shard of; None: neither
    """

    run_id: str
    prompts: str
    results: str
    phase: Phase
    sandbox: bool
    host: str
    total: int | None
    resumed: int
    succeeded: int
    errored: int
    canceled: int
    expired: int
    retrying: int
    in_flight: int
    attempts: int
    rate_limited: int
    elapsed_s: float
    eta_s: float | None
    input_tokens: int
    output_tokens: int
    requests_per_minute: float | None
    input_tokens_per_minute: float | None
    output_tokens_per_minute: float | None
    cost_usd: float | None = None
    projected_cost_usd: float | None = None
    degraded: int = 0
    cached: int = 0
    unreported: int = 0
    unreported_usd: float = 0.0
    stop_reasons: Mapping[str, int] = field(default_factory=dict)
    output_errors: int = 0
    wait: WaitReason | None = None
    grace_s: float | None = None
    adjusted: tuple[AdjustedView, ...] = ()
    paused_at: float | None = None
    at: float | None = None
    lanes: tuple[LaneView, ...] = ()
    endpoints: tuple[EndpointView, ...] = ()
    fallback: str | None = None
    failures: tuple[FailureView, ...] = ()
    chunks: tuple[ChunkView, ...] = ()
    folder: FolderView | None = None

    @property
    def done(self) -> int:
        """Requests with a final result."""
        return self.succeeded + self.errored + self.canceled + self.expired

    @property
    def failed(self) -> int:
        """Requests with a final result that is not a success."""
        return self.errored + self.canceled + self.expired
