"""What is measured of a run: names, units and attributes. docs/metrics.md lists the same.

The first two are those of the semantic conventions for generative AI:
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from claude_batch.core.model.snapshot import EndpointState, LaneView, Snapshot

Kind = Literal["histogram", "counter", "gauge"]
Attributes = dict[str, str]
Reading = tuple[float, Attributes]
"""A value and the attributes it is for."""

DURATIONS_S = tuple(0.01 * 2**k for k in range(14))
"""Bounds of the buckets that the conventions recommend, in seconds: 0.01 to 81.92."""

TOKENS = tuple(4.0**k for k in range(14))
"""The same for tokens: 1 to 67,108,864."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One metric. `read` returns its values in a snapshot; None: it is counted per attempt."""

    name: str
    kind: Kind
    unit: str
    description: str
    attributes: tuple[str, ...] = ()
    read: Callable[[Snapshot], Iterator[Reading]] | None = None


SERVER = ("server.address", "server.port", "endpoint")
"""Where an attempt went; `endpoint` is its name in the settings."""

OPERATION = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", *SERVER)

DURATION = Instrument(
    name="gen_ai.client.operation.duration",
    kind="histogram",
    unit="s",
    description="How long attempts at the Messages API took.",
    attributes=(*OPERATION, "error.type"),
)
TOKEN_USAGE = Instrument(
    name="gen_ai.client.token.usage",
    kind="histogram",
    unit="{token}",
    description="Tokens of a prompt, cached or not, and of its answer.",
    attributes=(*OPERATION, "gen_ai.token.type"),
)
ATTEMPTS = Instrument(
    name="claude_batch.attempts",
    kind="counter",
    unit="{attempt}",
    description="Attempts that have ended, by outcome: succeeded, or the kind of failure.",
    attributes=("endpoint", "outcome"),
)
RETRIES = Instrument(
    name="claude_batch.retries",
    kind="counter",
    unit="{attempt}",
    description="Of these, attempts that were not the first of their request.",
    attributes=("endpoint",),
)
RATE_LIMITED = Instrument(
    name="claude_batch.rate_limited",
    kind="counter",
    unit="{attempt}",
    description="429s by the limit they name: requests, input_tokens, output_tokens or none.",
    attributes=("endpoint", "limit"),
)


def _run(snapshot: Snapshot) -> Iterator[Reading]:
    yield 1.0, {"run_id": snapshot.run_id, "phase": snapshot.phase.value}


def _requests(snapshot: Snapshot) -> Iterator[Reading]:
    for outcome in ("succeeded", "errored", "canceled", "expired"):
        yield getattr(snapshot, outcome), {"outcome": outcome}


def _total(snapshot: Snapshot) -> Iterator[Reading]:
    if snapshot.total is not None:
        yield snapshot.total, {}


def _queue(snapshot: Snapshot) -> Iterator[Reading]:
    if snapshot.total is not None:
        yield max(0, snapshot.total - snapshot.done - snapshot.in_flight), {}


def _cost(snapshot: Snapshot) -> Iterator[Reading]:
    if snapshot.cost_usd is not None:
        yield snapshot.cost_usd, {}


def _time_left(snapshot: Snapshot) -> Iterator[Reading]:
    if snapshot.eta_s is not None:
        yield snapshot.eta_s, {}


def _waits(snapshot: Snapshot) -> Iterator[Reading]:
    if snapshot.wait is not None:
        yield 1.0, {"reason": snapshot.wait.kind.value}


def _limits(snapshot: Snapshot) -> Iterator[Reading]:
    for lane in snapshot.lanes:
        for gauge in lane.gauges:
            if gauge.limit_per_minute is not None:
                named = {"lane": lane.name, "limit": gauge.kind.value, "source": gauge.source.value}
                yield gauge.limit_per_minute, named


def _headroom(snapshot: Snapshot) -> Iterator[Reading]:
    for lane in snapshot.lanes:
        for gauge in lane.gauges:
            if gauge.available is not None:
                yield gauge.available, {"lane": lane.name, "limit": gauge.kind.value}


def _by_lane(figure: Callable[[LaneView], float]) -> Callable[[Snapshot], Iterator[Reading]]:
    def read(snapshot: Snapshot) -> Iterator[Reading]:
        for lane in snapshot.lanes:
            yield figure(lane), {"lane": lane.name}

    return read


def _batches(snapshot: Snapshot) -> Iterator[Reading]:
    states = [chunk.state.value for chunk in snapshot.chunks]
    for state in sorted(set(states)):
        yield states.count(state), {"state": state}


def _endpoints(snapshot: Snapshot) -> Iterator[Reading]:
    for endpoint in snapshot.endpoints:
        up = endpoint.state in {EndpointState.UP, EndpointState.STANDBY}
        yield float(up), {"endpoint": endpoint.name}


def _one(figure: Callable[[Snapshot], float]) -> Callable[[Snapshot], Iterator[Reading]]:
    def read(snapshot: Snapshot) -> Iterator[Reading]:
        yield figure(snapshot), {}

    return read


READ = (
    Instrument(
        name="claude_batch.run",
        kind="gauge",
        unit="",
        description="1, with the id and the phase of the run.",
        attributes=("run_id", "phase"),
        read=_run,
    ),
    Instrument(
        name="claude_batch.requests",
        kind="counter",
        unit="{request}",
        description="Requests of the run with a result on disk, by outcome.",
        attributes=("outcome",),
        read=_requests,
    ),
    Instrument(
        name="claude_batch.requests.all",
        kind="gauge",
        unit="{request}",
        description="Requests of the run.",
        read=_total,
    ),
    Instrument(
        name="claude_batch.queue",
        kind="gauge",
        unit="{request}",
        description="Requests without a result that are not in flight.",
        read=_queue,
    ),
    Instrument(
        name="claude_batch.in_flight",
        kind="gauge",
        unit="{request}",
        description="Attempts under way; in batch mode requests at the API.",
        read=_one(lambda snapshot: snapshot.in_flight),
    ),
    Instrument(
        name="claude_batch.retrying",
        kind="gauge",
        unit="{request}",
        description="Requests that have failed and wait for another attempt.",
        read=_one(lambda snapshot: snapshot.retrying),
    ),
    Instrument(
        name="claude_batch.cached",
        kind="counter",
        unit="{request}",
        description="Requests answered at no cost: by the response cache, or for an equal prompt.",
        read=_one(lambda snapshot: snapshot.cached),
    ),
    Instrument(
        name="claude_batch.cost.usd",
        kind="counter",
        unit="{USD}",
        description="What the run has cost so far, as far as it is known.",
        read=_cost,
    ),
    Instrument(
        name="claude_batch.time_left",
        kind="gauge",
        unit="s",
        description="Until the run is done, at the present rate.",
        read=_time_left,
    ),
    Instrument(
        name="claude_batch.wait",
        kind="gauge",
        unit="",
        description="1 for the reason why nothing more is sent at this moment.",
        attributes=("reason",),
        read=_waits,
    ),
    Instrument(
        name="claude_batch.paused",
        kind="gauge",
        unit="",
        description="1 while the user has paused the run.",
        read=_one(lambda snapshot: float(snapshot.paused_at is not None)),
    ),
    Instrument(
        name="claude_batch.limit",
        kind="gauge",
        unit="",
        description="Limits per minute in force, by lane, with who set them.",
        attributes=("lane", "limit", "source"),
        read=_limits,
    ),
    Instrument(
        name="claude_batch.headroom",
        kind="gauge",
        unit="",
        description="What is left of a limit.",
        attributes=("lane", "limit"),
        read=_headroom,
    ),
    Instrument(
        name="claude_batch.window",
        kind="gauge",
        unit="{request}",
        description="How many attempts of a lane may be in flight.",
        attributes=("lane",),
        read=_by_lane(lambda lane: lane.concurrency),
    ),
    Instrument(
        name="claude_batch.batches",
        kind="gauge",
        unit="{batch}",
        description="Batches of the run by state: submitting, waiting, ended, collected, ...",
        attributes=("state",),
        read=_batches,
    ),
    Instrument(
        name="claude_batch.endpoint.up",
        kind="gauge",
        unit="",
        description="1 for an endpoint that is used or stands by, 0 for one that fails or is out.",
        attributes=("endpoint",),
        read=_endpoints,
    ),
)
"""What is read from the latest snapshot when somebody asks."""

INSTRUMENTS = (DURATION, TOKEN_USAGE, ATTEMPTS, RETRIES, RATE_LIMITED, *READ)
