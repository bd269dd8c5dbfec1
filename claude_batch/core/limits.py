"""What a lane allows: three buckets, fed by a first guess, the user's ceilings and headers."""

from __future__ import annotations

from dataclasses import dataclass

from claude_batch.core.bucket import Bucket
from claude_batch.core.model import LimitKind, LimitReading, Usage
from claude_batch.core.snapshot import Gauge

_SAME_LIMIT = 0.005
"""Limits closer than this share are the same limit, said with other rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Requests, input tokens and output tokens per minute; None where nobody has said."""

    requests: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None

    def of(self, kind: LimitKind) -> float | None:
        """Return the limit of one kind."""
        match kind:
            case LimitKind.REQUESTS:
                return self.requests
            case LimitKind.INPUT_TOKENS:
                return self.input_tokens
            case LimitKind.OUTPUT_TOKENS:
                return self.output_tokens


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one attempt takes out of the three buckets."""

    input_tokens: float
    output_tokens: float
    requests: float = 1.0

    def of(self, kind: LimitKind) -> float:
        """Return the cost of one kind."""
        match kind:
            case LimitKind.REQUESTS:
                return self.requests
            case LimitKind.INPUT_TOKENS:
                return self.input_tokens
            case LimitKind.OUTPUT_TOKENS:
                return self.output_tokens

    @classmethod
    def of_usage(cls, usage: Usage) -> Cost:
        """Return what a reply really cost."""
        return cls(input_tokens=usage.limited_input_tokens, output_tokens=usage.output_tokens)


class LaneLimits:
    """The buckets of one lane. A kind without a bucket is unlimited, as far as anyone has said."""

    def __init__(self, *, guess: Limits, ceilings: Limits, share: float, now: float) -> None:
        self._ceilings = ceilings
        self._share = share
        self._learned: set[LimitKind] = set()
        self._outstanding = dict.fromkeys(LimitKind, 0.0)
        self._buckets: dict[LimitKind, Bucket] = {}
        for kind in LimitKind:
            limit = self._allowed(kind, guess.of(kind))
            if limit is not None:
                self._buckets[kind] = _bucket(kind, limit, level=limit, now=now)

    @property
    def requests_per_minute(self) -> float | None:
        """The rate at which attempts may be launched, evenly; None when nothing limits it."""
        bucket = self._buckets.get(LimitKind.REQUESTS)
        return None if bucket is None else bucket.limit_per_minute

    def charge(self, cost: Cost, now: float) -> None:
        """Take an attempt's expected cost as it is launched."""
        for kind, bucket in self._buckets.items():
            bucket.spend(cost.of(kind), now)
        for kind in LimitKind:
            self._outstanding[kind] += cost.of(kind)

    def settle(self, expected: Cost, actual: Cost | None, now: float) -> None:
        """Replace an attempt's expected cost by what it used; None: it used nothing."""
        for kind in LimitKind:
            self._outstanding[kind] -= expected.of(kind)
        for kind, bucket in self._buckets.items():
            used = 0.0 if actual is None else actual.of(kind)
            bucket.spend(used - expected.of(kind), now)

    def ready_at(self, cost: Cost, now: float) -> float:
        """Return the earliest time all three buckets can bear `cost`."""
        ready = now
        for kind, bucket in self._buckets.items():
            ready = max(ready, bucket.ready_at(cost.of(kind), now))
        return ready

    def empty(self, kind: LimitKind, now: float) -> None:
        """Note that the API has just refused for want of `kind`."""
        bucket = self._buckets.get(kind)
        if bucket is not None:
            bucket.lower_to(0.0, now)

    def learn(self, readings: tuple[LimitReading, ...], now: float) -> None:
        """Follow what response headers say: the limit itself, and the lower of two levels.

        The server has not yet counted all that is in flight, so our own level is usually the
        lower one; where it is not, somebody else draws on the same limit.
        """
        for reading in readings:
            limit = self._allowed(reading.kind, reading.limit_per_minute)
            if limit is None or limit <= 0:
                continue
            self._follow(reading, limit, now)

    def _follow(self, reading: LimitReading, limit: float, now: float) -> None:
        kind = reading.kind
        bucket = self._buckets.get(kind)
        remaining = limit if reading.remaining is None else float(reading.remaining)
        changed = bucket is None or abs(bucket.limit_per_minute - limit) > limit * _SAME_LIMIT
        if bucket is None or changed or kind not in self._learned:
            self._learned.add(kind)
            level = min(limit, remaining) - self._outstanding[kind]
            self._buckets[kind] = _bucket(kind, limit, level=level, now=now)
            return
        bucket.lower_to(remaining, now)

    def _allowed(self, kind: LimitKind, limit: float | None) -> float | None:
        """Return the lower of our share of `limit` and the user's ceiling."""
        ceiling = self._ceilings.of(kind)
        if limit is None:
            return ceiling
        shared = limit * self._share
        return shared if ceiling is None else min(shared, ceiling)

    def gauges(self, now: float) -> tuple[Gauge, ...]:
        """Return the three limits as a screen shows them."""
        return tuple(self._gauge(kind, now) for kind in LimitKind)

    def _gauge(self, kind: LimitKind, now: float) -> Gauge:
        bucket = self._buckets.get(kind)
        if bucket is None:
            return Gauge(
                kind=kind, limit_per_minute=None, capacity=None, available=None, full_in_s=None
            )
        scale = bucket.limit_per_minute / bucket.capacity
        return Gauge(
            kind=kind,
            limit_per_minute=bucket.limit_per_minute,
            capacity=bucket.capacity * scale,
            available=bucket.level_at(now) * scale,
            full_in_s=bucket.full_in_s(now),
        )


def _bucket(kind: LimitKind, limit: float, *, level: float, now: float) -> Bucket:
    """Return a bucket that holds a minute's worth of tokens, or a second's worth of requests.

    Requests are launched evenly, since the API may enforce their limit by the second.
    """
    capacity = max(1.0, limit / 60.0) if kind is LimitKind.REQUESTS else limit
    return Bucket(limit_per_minute=limit, capacity=capacity, level=min(capacity, level), at=now)
