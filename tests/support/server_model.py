"""An exact little model of the API's limits, for the closed loop: values in, values out.

Buckets refill continuously; requests and input tokens are taken as a request arrives, output
tokens as they are generated or at the end; the nine headers are rounded as the API rounds them.
It shares no code with what it judges but the nouns that an endpoint answers in.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from claude_batch.core.model.requests import (
    Failure,
    FailureKind,
    LimitKind,
    LimitReading,
    Reply,
    Request,
    ResponseHeaders,
    Usage,
)

WALL = 1_795_000_000.0
"""The server's wall time when a scenario begins."""

RPM, ITPM, OTPM = LimitKind.REQUESTS, LimitKind.INPUT_TOKENS, LimitKind.OUTPUT_TOKENS

_HANGS_S = 5.0
"""How long an attempt hangs that then times out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """How a server behaves. Limits per minute; None: no such limit.

    holds_s       how many seconds' worth a bucket holds, per kind (60: the documented minute)
    hidden_s      requests are also enforced over slices of so many seconds, which no header tells
    sampled       whether headers tell the levels of a request's "start" or "end"
    generated     whether output is charged as it comes ("along") or at the "end"
    organization  whose limits these are, as headers tell
    faults        what share of the attempts fails at random, and how
    window_s      requests are counted per fixed window of so many seconds, not in a bucket
    window_at_s   when the first window ends
    most_in_flight  more at once are refused
    refusal_s     how long a 429 takes
    asks_s        the retry-after of all 429s, whatever the wait is
    combined      ITPM counts output tokens, too, and the headers say so
    unnamed       limits that no header names, nor a 429
    """

    rpm: float | None = 1_000
    itpm: float | None = 2_000_000
    otpm: float | None = 400_000
    holds_s: dict[LimitKind, float] = field(default_factory=dict)
    fill: float = 1.0
    hidden_s: float | None = None
    sampled: str = "end"
    generated: str = "along"
    headers: bool = True
    retry_after: bool = True
    base_s: float = 0.5
    per_output_token_s: float = 0.005
    jitter: float = 0.2
    travel_s: float = 0.01
    travel_jitter_s: float = 0.01
    competitor: float = 0.0
    competitor_from_s: float = 0.0
    competitor_until_s: float = math.inf
    outage: tuple[float, float] = (math.inf, math.inf)
    outage_kind: FailureKind = FailureKind.OVERLOADED
    change_at_s: float = math.inf
    change_factor: float = 1.0
    organization: str | None = None
    faults: tuple[tuple[FailureKind, float], ...] = ()
    window_s: float | None = None
    window_at_s: float = 0.0
    most_in_flight: int | None = None
    refusal_s: float = 0.002
    asks_s: float | None = None
    combined: bool = False
    unnamed: tuple[LimitKind, ...] = ()


@dataclass(frozen=True, slots=True)
class Truth:
    """What a request really takes."""

    input_tokens: int
    output_tokens: int


@dataclass(slots=True)
class Tank:
    """One bucket of the server."""

    per_minute: float
    holds_s: float
    level: float
    at: float = 0.0
    drained: float = 0.0

    @property
    def capacity(self) -> float:
        return max(1.0, self.per_minute / 60 * self.holds_s)

    def now(self, t: float) -> float:
        if t > self.at:
            rate = self.per_minute / 60 * (1 - self.drained)
            self.level = min(self.capacity, self.level + rate * (t - self.at))
            self.at = t
        return self.level


@dataclass(slots=True)
class Answer:
    """What comes back, and when it leaves the server."""

    outcome: Reply | Failure
    leaves_at: float


@dataclass(slots=True)
class _Flight:
    began: float
    ends: float
    tokens: int
    charged: float = 0.0


class ServerModel:
    """The server; `arrive` and `leave` are called in order of time."""

    def __init__(self, spec: ServerSpec, *, seed: int) -> None:
        self.spec = spec
        self.chance = random.Random(seed)
        limits = {RPM: spec.rpm, ITPM: spec.itpm, OTPM: spec.otpm}
        self.tanks = {}
        for kind, limit in limits.items():
            if limit is not None and (kind is not RPM or spec.window_s is None):
                tank = Tank(limit, spec.holds_s.get(kind, 60.0), 0.0)
                tank.level = tank.capacity * spec.fill
                self.tanks[kind] = tank
        self.window = (-1.0, 0)
        self.hidden: Tank | None = None
        if spec.hidden_s is not None and spec.rpm is not None:
            self.hidden = Tank(spec.rpm, spec.hidden_s, 0.0)
            self.hidden.level = self.hidden.capacity
        self.flights: dict[int, _Flight] = {}
        self.changed = False
        self.served_at: list[float] = []
        self.arrived_at: list[float] = []
        self.refused_at: list[float] = []
        self._along_at = 0.0

    def _turn_to(self, t: float) -> None:
        spec = self.spec
        competing = spec.competitor_from_s <= t < spec.competitor_until_s
        if t >= spec.change_at_s and not self.changed:
            self.changed = True
            for tank in self.tanks.values():
                tank.now(t)
                tank.per_minute *= spec.change_factor
                tank.level = min(tank.level, tank.capacity)
        for tank in self.tanks.values():
            tank.now(t)
            tank.drained = spec.competitor if competing else 0.0
        if spec.generated == "along" and OTPM in self.tanks:
            self._generate(t)

    def _generate(self, t: float) -> None:
        if t < self._along_at + 0.02:
            return
        self._along_at = t
        for flight in self.flights.values():
            span = flight.ends - flight.began
            done = flight.tokens * min(1.0, (t - flight.began) / span)
            self.tanks[OTPM].level -= done - flight.charged
            flight.charged = done

    def arrive(self, request: Request, truth: Truth, t: float) -> Answer:
        """Take a request in; say what will be answered, and when."""
        self._turn_to(t)
        self.arrived_at.append(t)
        if self.spec.outage[0] <= t < self.spec.outage[1]:
            headers = ResponseHeaders(organization_id=self.spec.organization)
            return Answer(_failure(self.spec.outage_kind, headers), t + 0.05)
        fault = self._fault(t)
        if fault is not None:
            return fault
        lacking = self._lacking(truth) or self._crowded(t)
        if lacking is not None:
            self.refused_at.append(t)
            kind, wait_s = lacking
            after = float(max(1, math.ceil(wait_s))) if self.spec.retry_after else None
            asked = after if self.spec.asks_s is None else self.spec.asks_s
            headers = self._headers(t, retry_after_s=asked)
            named = kind if self.spec.headers and kind not in self.spec.unnamed else None
            return Answer(
                _failure(FailureKind.RATE_LIMITED, headers, named), t + self.spec.refusal_s
            )
        for kind, amount in ((RPM, 1.0), (ITPM, float(truth.input_tokens))):
            if kind in self.tanks:
                self.tanks[kind].level -= amount
        if self.hidden is not None:
            self.hidden.level -= 1
        self.window = (self.window[0], self.window[1] + 1)
        spread = self.chance.lognormvariate(0.0, self.spec.jitter)
        took = (self.spec.base_s + truth.output_tokens * self.spec.per_output_token_s) * spread
        self.flights[id(request)] = _Flight(t, t + took, truth.output_tokens)
        headers = self._headers(t) if self.spec.sampled == "start" else ResponseHeaders()
        reply = Reply(
            message=b"{}",
            usage=Usage(input_tokens=truth.input_tokens, output_tokens=truth.output_tokens),
            stop_reason="end_turn",
            headers=headers,
        )
        return Answer(reply, t + took)

    def _fault(self, t: float) -> Answer | None:
        """Draw whether an attempt fails at random, whatever the limits are."""
        drawn = self.chance.random() if self.spec.faults else 1.0
        for kind, share in self.spec.faults:
            drawn -= share
            if drawn < 0:
                refused = kind is FailureKind.RATE_LIMITED
                after = 1.0 if refused and self.spec.retry_after else None
                headers = self._headers(t, retry_after_s=after)
                took_s = _HANGS_S if kind is FailureKind.TIMED_OUT else 0.002
                return Answer(_failure(kind, headers), t + took_s)
        return None

    def leave(self, request: Request, answer: Answer, t: float) -> Reply | Failure:
        """Finish a request; the headers are written now, if that is when they are sampled."""
        self._turn_to(t)
        flight = self.flights.pop(id(request), None)
        outcome = answer.outcome
        if flight is None or isinstance(outcome, Failure):
            return outcome
        self.served_at.append(t)
        if OTPM in self.tanks:
            self.tanks[OTPM].level -= flight.tokens - flight.charged
        if self.spec.combined and ITPM in self.tanks:
            self.tanks[ITPM].level -= flight.tokens
        if self.spec.sampled == "start":
            return outcome
        return Reply(
            message=outcome.message,
            usage=outcome.usage,
            stop_reason=outcome.stop_reason,
            headers=self._headers(t),
        )

    def _lacking(self, truth: Truth) -> tuple[LimitKind, float] | None:
        t = max((tank.at for tank in self.tanks.values()), default=0.0)
        if self.hidden is not None and self.hidden.now(t) < 1:
            return RPM, (1 - self.hidden.level) * 60 / self.hidden.per_minute
        needs = {RPM: 1.0, ITPM: float(truth.input_tokens), OTPM: 1e-9}
        for kind, tank in self.tanks.items():
            need = min(needs[kind], tank.capacity)
            if tank.level < need:
                return kind, (need - tank.level) * 60 / tank.per_minute
        return None

    def _crowded(self, t: float) -> tuple[LimitKind, float] | None:
        spec = self.spec
        if spec.most_in_flight is not None and len(self.flights) >= spec.most_in_flight:
            return RPM, 1.0
        if spec.window_s is None or spec.rpm is None:
            return None
        number = math.floor((t - spec.window_at_s) / spec.window_s)
        if number != self.window[0]:
            self.window = (number, 0)
        changed = spec.change_factor if t >= spec.change_at_s else 1.0
        if self.window[1] < spec.rpm * changed * spec.window_s / 60:
            return None
        return RPM, (number + 1) * spec.window_s + spec.window_at_s - t

    def _headers(self, t: float, *, retry_after_s: float | None = None) -> ResponseHeaders:
        if not self.spec.headers:
            return ResponseHeaders(
                retry_after_s=retry_after_s, organization_id=self.spec.organization
            )
        readings = []
        for kind, tank in self.tanks.items():
            if kind in self.spec.unnamed:
                continue
            level = max(0.0, tank.level)
            left = int(level) if kind is RPM else round(level / 1000) * 1000
            missing_s = (tank.capacity - tank.level) * 60 / tank.per_minute
            readings.append(
                LimitReading(
                    kind=kind,
                    limit_per_minute=round(tank.per_minute),
                    remaining=left,
                    full_at=math.ceil(WALL + t + missing_s),
                    combined=self.spec.combined and kind is ITPM,
                )
            )
        return ResponseHeaders(
            limits=tuple(readings),
            retry_after_s=retry_after_s,
            organization_id=self.spec.organization,
            server_time=float(math.floor(WALL + t)),
        )


def _failure(
    kind: FailureKind, headers: ResponseHeaders, limit: LimitKind | None = None
) -> Failure:
    return Failure(
        kind=kind, error=b"{}", error_type=kind.value, message="no", limit=limit, headers=headers
    )
