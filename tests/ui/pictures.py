"""Snapshots of runs to draw: calm, waiting, busy, in a storm, stopping, stopped, finished."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from claude_batch.core.model.requests import FailureKind, LimitKind
from claude_batch.core.model.shards import FolderView, ShardState, ShardView
from claude_batch.core.model.snapshot import (
    AdjustedView,
    EndpointState,
    EndpointView,
    FailureView,
    Gauge,
    LaneView,
    LimitSource,
    Phase,
    Snapshot,
    WaitKind,
    WaitReason,
)
from claude_batch.core.scheduling.progress import RunFacts
from claude_batch.core.shards.progress import snapshot_of_folder

AT = 1_795_521_785.0
"""2026-11-24 12:03:05 UTC."""


def gauges(requests: float, input_tokens: float, output_tokens: float) -> tuple[Gauge, ...]:
    """Return gauges of a lane at the Start tier, by the shares that are left."""
    limits = {
        LimitKind.REQUESTS: (1_000.0, requests),
        LimitKind.INPUT_TOKENS: (2_000_000.0, input_tokens),
        LimitKind.OUTPUT_TOKENS: (400_000.0, output_tokens),
    }
    return tuple(
        Gauge(
            kind=kind,
            limit_per_minute=limit,
            available=limit * share,
            full_in_s=60 * (1 - share),
        )
        for kind, (limit, share) in limits.items()
    )


NO_LIMITS_KNOWN = tuple(
    Gauge(kind=kind, limit_per_minute=None, available=None, full_in_s=None) for kind in LimitKind
)


OUTPUT_LIMIT = WaitReason(
    kind=WaitKind.LIMIT, limit=LimitKind.OUTPUT_TOKENS, limit_per_minute=400_000.0
)
FINDING_PACE = WaitReason(kind=WaitKind.FINDING_PACE, in_flight=40)
ASKED = WaitReason(kind=WaitKind.RATE_LIMITED, seconds=12.0, asked_s=20.0)
OVERLOADED = WaitReason(kind=WaitKind.OUTAGE, seconds=1.6, cause=FailureKind.OVERLOADED)


def lane(name: str = "Haiku 5.5") -> LaneView:
    """Return a lane that goes well."""
    return LaneView(
        name=name,
        gauges=gauges(0.81, 0.6, 0.05),
        in_flight=40,
        queued=120,
        concurrency=64,
        wait=OUTPUT_LIMIT,
    )


def paused(name: str = "Sonnet 5.5") -> LaneView:
    """Return a lane that waits out a 429, in debt for output tokens."""
    return replace(
        lane(name),
        gauges=gauges(1.0, 0.4, -0.03),
        in_flight=0,
        queued=12_345,
        waiting_for="429: retry-after",
        waiting_s=12.0,
        wait=ASKED,
    )


def own_ceiling(name: str = "Haiku 5.5") -> LaneView:
    """Return a lane that waits for the user's own --rpm."""
    request, *others = gauges(0.002, 0.6, 0.9)
    own = replace(request, limit_per_minute=200.0, source=LimitSource.CEILING)
    wait = WaitReason(
        kind=WaitKind.LIMIT,
        limit=LimitKind.REQUESTS,
        limit_per_minute=200.0,
        source=LimitSource.CEILING,
    )
    return replace(lane(name), gauges=(own, *others), wait=wait)


CALM = Snapshot(
    run_id="3f9a",
    prompts="/data/prompts.jsonl",
    results="/data/prompts.results.jsonl",
    phase=Phase.RUNNING,
    sandbox=False,
    host="api.anthropic.com",
    total=10_000,
    resumed=0,
    succeeded=1_200,
    errored=0,
    canceled=0,
    expired=0,
    retrying=0,
    in_flight=40,
    attempts=1_200,
    rate_limited=0,
    elapsed_s=72.4,
    eta_s=550.0,
    input_tokens=1_234_567,
    output_tokens=234_567,
    requests_per_minute=980.0,
    input_tokens_per_minute=1_005_000.0,
    output_tokens_per_minute=191_000.0,
    at=AT,
    wait=OUTPUT_LIMIT,
    lanes=(lane(),),
)

WAITING = replace(
    CALM, in_flight=40, wait=own_ceiling().wait, lanes=(own_ceiling(),), requests_per_minute=199.0
)

FAILURES = (
    FailureView(
        at=AT - 9,
        custom_id="line-17",
        line=17,
        what="invalid_request_error: messages.0: text content blocks must be non-empty",
        retry_in_s=None,
    ),
    FailureView(
        at=AT - 2,
        custom_id="翻訳-東京都の天気予報を英語に-0001",
        line=8_001,
        what="overloaded_error: Overloaded",
        retry_in_s=5.0,
    ),
    FailureView(
        at=AT - 3,
        custom_id="grade-essay/2026/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        line=940,
        what="api_error: Internal server error",
        retry_in_s=2.0,
    ),
)

BUSY = replace(
    CALM,
    host="relay.example.com",
    retrying=7,
    errored=1,
    rate_limited=3,
    wait=replace(ASKED, lane="Sonnet 5.5"),
    lanes=(lane(), paused()),
    failures=FAILURES[:1],
    cost_usd=1.234,
    projected_cost_usd=10.2,
)


def endpoint(name: str, state: EndpointState, why: str | None = None) -> EndpointView:
    """Return an endpoint that has done something."""
    return EndpointView(name=name, state=state, in_flight=12, succeeded=1_200, failed=3, why=why)


POOL = replace(
    CALM,
    wait=replace(ASKED, lane="Haiku 5.5 @ second+third", fallback_in_s=24.0),
    lanes=(lane("Haiku 5.5 @ main"), paused("Haiku 5.5 @ second+third")),
    endpoints=(
        endpoint("main", EndpointState.UP),
        endpoint("second", EndpointState.OUT, "invalid x-api-key"),
        endpoint("third", EndpointState.FAILING, "api_error: Internal server error"),
        endpoint("local", EndpointState.STANDBY),
    ),
)

STORM = replace(
    BUSY,
    sandbox=True,
    host="127.0.0.1:43211",
    errored=321,
    retrying=1_020,
    rate_limited=12_345,
    eta_s=None,
    wait=replace(OVERLOADED, lane="Haiku 5.5"),
    lanes=tuple(
        replace(paused(name), wait=OVERLOADED)
        for name in ("Haiku 5.5", "Sonnet 5.5", "Opus 5.5", "Fable 5.x")
    ),
    failures=FAILURES,
)

PAUSED = replace(
    CALM,
    eta_s=None,
    wait=WaitReason(kind=WaitKind.PAUSED, in_flight=12),
    in_flight=12,
    paused_at=AT - 60.0,
    adjusted=(
        AdjustedView(name="rpm", value=200.0, at=AT - 600.0),
        AdjustedView(name="max_cost", value=None, at=AT - 60.0),
    ),
)

STOPPING = replace(CALM, phase=Phase.STOPPING, in_flight=32, eta_s=None, wait=None, grace_s=7.2)

STOPPED = replace(CALM, phase=Phase.STOPPED, in_flight=0, eta_s=None, wait=None, lanes=())

FINISHED = replace(
    CALM,
    phase=Phase.FINISHED,
    resumed=400,
    succeeded=9_990,
    errored=8,
    canceled=1,
    expired=1,
    in_flight=0,
    eta_s=None,
    wait=None,
    cost_usd=12.4,
    attempts=9_700,
    lanes=(),
)


def shard(number: int, **figures: Any) -> ShardView:
    """Return a shard that a process on another host works on."""
    view = ShardView(
        shard=number,
        name=f"2026/tickets-{number}.jsonl, lines 1 to 50,000",
        state=ShardState.RUNNING,
        total=50_000,
        succeeded=1_000 * number,
        holder=f"process {4_000 + number} on worker-{number}.example.com",
        silent_s=3.0,
        requests_per_minute=980.0,
    )
    return replace(view, **figures)


FOLDER = FolderView(
    path="out/",
    shards=40,
    finished=12,
    running=3,
    failed=1,
    interrupted=0,
    waiting=24,
    total=2_000_000,
    succeeded=640_100,
    errored=34,
    canceled=0,
    expired=0,
    output_errors=0,
    left_out=0,
    input_tokens=640_000_000,
    output_tokens=64_000_000,
    cost_usd=812.4,
    max_cost_usd=3_000.0,
    errors={"invalid_request_error": 30, "api_error": 4},
    elapsed_s=4_000.0,
    requests_per_minute=2_940.0,
    eta_s=27_700.0,
    at_work=(
        shard(13),
        shard(14, silent_s=21.0, requests_per_minute=None, errored=3),
        shard(15, is_paused=True),
    ),
)

SHARD = replace(
    CALM,
    prompts="/data/2026/tickets-4.jsonl",
    results="/data/out/shards/0004/1.results.jsonl",
    folder=replace(
        FOLDER,
        shard=4,
        shard_name="2026/tickets-4.jsonl, lines 50,001 to 100,000",
        at_work=FOLDER.at_work[:1],
    ),
    cost_usd=1.2,
)

WHOLE = replace(
    snapshot_of_folder(
        FOLDER,
        RunFacts(
            run_id="9c1e",
            prompts="/data/2026/*.jsonl",
            results="out/",
            sandbox=False,
            host="api.anthropic.com",
            total=2_000_000,
        ),
        at=AT,
    ),
    failures=FAILURES[:1],
)
