"""All limits of one lane: the API's three, and the user's ceilings over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from claude_batch.core.model.account import Limits
from claude_batch.core.model.requests import Failure, LimitKind, ResponseHeaders, Usage
from claude_batch.core.model.sharing import LimitFact
from claude_batch.core.model.snapshot import Gauge, LimitSource, WaitKind, WaitReason
from claude_batch.core.pacing.bucket import Bucket, Ceiling
from claude_batch.core.pacing.output_in_flight import OutputInFlight
from claude_batch.core.pacing.server_limit import LaunchBelief, LimitObservation, ServerLimit

MAX_BOOST = 3.0
"""A surplus in the server's buckets is used at up to this many times the refill rate."""

STEADY_BOOST = 1.0
"""The boost after an outage: launches begin at the refill rate."""

_BOOST_DOUBLES_IN_S = 1.0
"""The boost doubles in this many seconds, up to `MAX_BOOST`."""

RAMP_BOOST = 0.5
"""The boost after a 429 that asks for slower growth: half the refill rate."""

_RAMP_DOUBLES_IN_S = 30.0
"""From then on the boost doubles in this many seconds: growth takes minutes."""

_TOKEN_CEILING = 0.98
"""Share of a token ceiling that is used: the cost of a request is known only afterwards."""

_SELDOM_S = 1.0
"""A program whose launches are further apart than this, in seconds, launches seldom."""

_LONGEST_ENTRY_S = 10.0
"""A program with a share waits for its first launch this many seconds at most: its limits may only
be a guess."""

_NO_SHARE_S = 0.1
"""While other programs hold all of the limits, we ask again after this time, in seconds."""

_PLENTY = 0.2
"""While more than this share of a limit is left, it only spreads launches."""


class Cost(NamedTuple):
    """What one attempt uses of the three limits. A tuple, since two are made per attempt."""

    input_tokens: float
    output_tokens: float
    requests: float = 1.0

    @classmethod
    def of_usage(cls, usage: Usage) -> Cost:
        """Return the actual cost of a reply."""
        return cls(usage.limited_input_tokens, usage.output_tokens)

    @property
    def combined(self) -> Cost:
        """The cost where output tokens count as input tokens, too."""
        return Cost(self.input_tokens + self.output_tokens, self.output_tokens, self.requests)


NO_COST = Cost(0.0, 0.0, 0.0)

_KINDS = (LimitKind.INPUT_TOKENS, LimitKind.OUTPUT_TOKENS, LimitKind.REQUESTS)
"""The kinds of limits in the order of a `Cost`."""

_INDEX = {kind: index for index, kind in enumerate(_KINDS)}


class Charge(NamedTuple):
    """What was charged for an attempt at its launch: the cost, when, and what we believed then."""

    cost: Cost
    at: float
    beliefs: tuple[LaunchBelief | None, ...]
    in_flight: int = 0


Ceilings = dict[int, Ceiling]
"""The user's ceilings by index in a `Cost`. Lanes of one model class share them."""


def make_ceilings(limits: Limits) -> Ceilings:
    """Return `limits` as ceilings that are never exceeded, whoever spends."""
    return {
        index: make_ceiling(kind, limit)
        for index, kind in enumerate(_KINDS)
        if (limit := limits.of(kind)) is not None
    }


def change_ceilings(ceilings: Ceilings, limits: Limits, now: float) -> None:
    """Make `limits` of what a user's ceilings were, for all lanes that share them."""
    for index, kind in enumerate(_KINDS):
        limit = limits.of(kind)
        if limit is None:
            ceilings.pop(index, None)
        elif index in ceilings:
            ceilings[index].change(limit * _used_share(kind), now)
        else:
            ceilings[index] = make_ceiling(kind, limit)
            ceilings[index].since = now


def make_ceiling(kind: LimitKind, per_minute: float) -> Ceiling:
    """Return the ceiling that keeps one kind below `per_minute` in every minute."""
    return Ceiling(limit_per_minute=per_minute * _used_share(kind))


def _used_share(kind: LimitKind) -> float:
    return 1.0 if kind is LimitKind.REQUESTS else _TOKEN_CEILING


class LaneLimits:
    """The limits of one lane. A kind of limit that nobody has named is unlimited.

    `guess` holds limits assumed before any header has named them; `reported`: headers have named
    one. `ceilings` may be shared with other lanes, and change (`adjust`); `share` is the part of
    the API's limits to use. `lease_share` is our part of limits that other programs use, too; 0:
    they hold all of them. `_combined`: the limit of input tokens counts output tokens, too.
    Inside, kinds go by their index in a `Cost`.
    """

    def __init__(
        self,
        *,
        guess: Limits,
        ceilings: Ceilings,
        share: float,
        now: float,
        lease_share: float = 1.0,
    ) -> None:
        self.reported = False
        self.output_in_flight = OutputInFlight()
        self._share = share
        self._servers: dict[int, ServerLimit] = {}
        self._shares: Ceilings = {}
        self._own = ceilings
        self._ceilings = list(ceilings.items())
        self._in_flight = [0.0, 0.0, 0.0]
        self._combined = False
        self.lease_share = lease_share
        self._entry: Callable[[], float] | None = None
        self._boost, self._boost_at = STEADY_BOOST, now
        self._boost_doubles_in_s = _BOOST_DOUBLES_IN_S
        for index, kind in enumerate(_KINDS):
            limit = guess.of(kind)
            if limit is not None:
                self._add_limit(index, limit, now)
            if share < 1.0:
                self._set_share(index, limit)

    def adjust(self, share: float, now: float) -> None:
        """Use another share of the API's limits, and the user's ceilings as they are now."""
        if share != self._share:
            self._share = share
            if share < 1.0:
                for index in range(len(_KINDS)):
                    server = self._servers.get(index)
                    limit = None if server is None else server.bucket.limit_per_minute
                    self._change_share(index, limit, now)
            else:
                self._shares.clear()
        self._ceilings = [*self._own.items(), *self._shares.items()]

    def _change_share(self, index: int, limit: float | None, now: float) -> None:
        if index in self._shares:
            self._shares[index].change(self._share_of(index, limit), now)
        else:
            self._set_share(index, limit)
            self._shares[index].since = now

    def _share_of(self, index: int, limit: float | None) -> float:
        return math.inf if limit is None else limit * self._share * _used_share(_KINDS[index])

    def _add_limit(self, index: int, limit: float, now: float) -> ServerLimit:
        """Return a new limit with a full bucket."""
        bucket = Bucket(limit_per_minute=limit, capacity=limit, level=limit, at=now)
        self._servers[index] = ServerLimit(
            kind=_KINDS[index],
            bucket=bucket,
            output_in_flight=self.output_in_flight,
            in_flight=self._in_flight[index],
            share=self.lease_share or 1.0,
        )
        return self._servers[index]

    @property
    def known(self) -> bool:
        """Whether headers or a guess have named any limit."""
        return bool(self._servers)

    def ready_at(self, cost: Cost, now: float) -> float:
        """Return the earliest time all limits allow `cost`, if nothing else happens."""
        if not self.lease_share:
            return now + _NO_SHARE_S
        ready = now
        amounts = cost.combined if self._combined else cost
        if self._entry is not None:
            self._enter(amounts, now, rng=self._entry)
        for index, server in self._servers.items():
            at = server.ready_at(amounts[index], now)
            ready = at if at > ready else ready
        for index, ceiling in self._ceilings:
            at = ceiling.ready_at(cost[index], now)
            ready = at if at > ready else ready
        return ready

    def charge(self, cost: Cost, now: float) -> Charge:
        """Charge the expected cost of an attempt at its launch."""
        beliefs: list[LaunchBelief | None] = [None, None, None]
        boost = self._boost_now(now)
        self.output_in_flight.add(now)
        amounts = cost.combined if self._combined else cost
        for index, amount in enumerate(amounts):
            self._in_flight[index] += amount
        for index, server in self._servers.items():
            beliefs[index] = server.spend(amounts[index], now, boost=boost)
        for index, ceiling in self._ceilings:
            ceiling.spend(cost[index], now)
        return Charge(cost, now, tuple(beliefs), self.output_in_flight.count)

    def adopt(self, charge: Charge, now: float) -> Charge:
        """Take over the charge of an attempt that turns out to use these limits."""
        cost = charge.cost
        self.output_in_flight.add(charge.at)
        amounts = cost.combined if self._combined else cost
        for index, amount in enumerate(amounts):
            self._in_flight[index] += amount
        for index, server in self._servers.items():
            server.in_flight += amounts[index]
            server.bucket.spend(amounts[index], now)
        for index, ceiling in self._ceilings:
            ceiling.correct(cost[index], now)
        return Charge(cost, charge.at, (None, None, None))

    def settle(self, charge: Charge, actual: Cost, now: float) -> None:
        """Replace an attempt's expected cost by its actual cost."""
        expected = charge.cost
        self.output_in_flight.remove(charge.at)
        before, after = expected, actual
        if self._combined:
            before, after = expected.combined, actual.combined
        for index, amount in enumerate(before):
            self._in_flight[index] -= amount
        for index, server in self._servers.items():
            server.settle(before[index], after[index], now)
        for index, ceiling in self._ceilings:
            if charge.at > ceiling.since:
                ceiling.correct(actual[index] - expected[index], now)

    def learn(self, headers: ResponseHeaders, charge: Charge, now: float) -> None:
        """Learn from the limits in the response headers of an attempt."""
        for reading in headers.limits:
            if not reading.limit_per_minute:
                continue
            index = _INDEX[reading.kind]
            if reading.combined and not self._combined:
                self._combine()
            server = self._servers.get(index)
            if server is None:
                server = self._add_limit(index, float(reading.limit_per_minute), now)
            belief = charge.beliefs[index]
            server.observe(LimitObservation(reading, belief, charge.at, headers.server_time), now)
            self.reported = self.reported or server.reported
            if self._share < 1.0:
                self._set_share(index, float(reading.limit_per_minute))

    def _combine(self) -> None:
        """Count output tokens as input tokens, too, those in flight included."""
        self._combined = True
        inputs, outputs = _INDEX[LimitKind.INPUT_TOKENS], _INDEX[LimitKind.OUTPUT_TOKENS]
        self._in_flight[inputs] += self._in_flight[outputs]
        self._servers.pop(inputs, None)

    def _set_share(self, index: int, limit: float | None) -> None:
        """Set the ceiling that keeps us to the user's share of `limit`.

        A share of an unknown limit is no bound yet, but what is spent counts already.
        """
        per_minute = self._share_of(index, limit)
        if index not in self._shares:
            self._shares[index] = Ceiling(limit_per_minute=per_minute)
            self._ceilings.append((index, self._shares[index]))
        self._shares[index].limit_per_minute = per_minute

    def set_lease_share(self, share: float, now: float, *, rng: Callable[[], float]) -> None:
        """Use this share of the limits from now on; 0: launch nothing.

        A program that had none, and will launch seldom, launches first at a random time within its
        interval: many that come together would send at once what each may send in its turn.
        """
        if share and not self.lease_share:
            self._entry = rng
        self.lease_share = share
        if share:
            for server in self._servers.values():
                server.set_share(share, now)

    def _enter(self, amounts: Sequence[float], now: float, *, rng: Callable[[], float]) -> None:
        """Wait for a part of the time between two launches before the first one.

        How much output a request will have is not known before the first replies.
        """
        self._entry = None
        if self.lease_share == 1.0:
            return
        every_s = max(
            (
                amounts[index] * 60.0 / (server.bucket.limit_per_minute * self.lease_share)
                for index, server in self._servers.items()
                if server.kind is not LimitKind.OUTPUT_TOKENS
            ),
            default=0.0,
        )
        if every_s > _SELDOM_S:
            first_at = now + rng() * min(every_s, _LONGEST_ENTRY_S)
            for server in self._servers.values():
                server.pace.next_at = max(server.pace.next_at, first_at)

    def facts(self) -> tuple[LimitFact, ...]:
        """Return the limits that headers have reported, for programs that share them."""
        return tuple(
            LimitFact(server.kind, server.bucket.limit_per_minute, server.bucket.capacity)
            for server in self._servers.values()
            if server.reported
        )

    def assume(self, facts: Iterable[LimitFact], now: float) -> None:
        """Assume limits that another program has learned, until headers name them here."""
        for fact in facts:
            server = self._servers.get(_INDEX[fact.kind])
            if server is None:
                server = self._add_limit(_INDEX[fact.kind], fact.limit_per_minute, now)
            if not server.reported:
                server.assume(fact, now)

    def used_share(self, latency_s: float) -> float:
        """Return the part of the scarcest limit that is used (Little's law)."""
        if not latency_s:
            return 0.0
        return max(
            (
                self._in_flight[index] * 60.0 / (latency_s * server.bucket.limit_per_minute)
                for index, server in self._servers.items()
            ),
            default=0.0,
        )

    def record_429(self, failure: Failure, charge: Charge, now: float) -> bool:
        """Learn from a 429; return whether there is plenty left of all limits that are known.

        A 429 that names no limit is taken to be about the scarcest.
        """
        remaining = {reading.kind: reading.remaining for reading in failure.headers.limits}
        kind = failure.limit or _scarcest(failure.headers)
        server = None if kind is None else self._servers.get(_INDEX[kind])
        if server is None or kind is None:
            return self.headroom(now) > _PLENTY
        amounts = charge.cost.combined if self._combined else charge.cost
        return server.record_429(amounts[_INDEX[kind]], remaining.get(kind), charge.at, now)

    def reset_boost(self, now: float) -> None:
        """Start again at the refill rate, as after an outage; a surplus is used later."""
        self._boost, self._boost_at = min(self._boost_now(now), STEADY_BOOST), now

    def slow_ramp(self, now: float) -> None:
        """Start again at half the refill rate and grow over minutes: the API asked for it."""
        self._boost, self._boost_at = RAMP_BOOST, now
        self._boost_doubles_in_s = _RAMP_DOUBLES_IN_S

    def _boost_now(self, now: float) -> float:
        if self._boost < MAX_BOOST:
            since = now - self._boost_at if self.reported else 0.0
            grown = self._boost * 2.0 ** (since / self._boost_doubles_in_s)
            self._boost, self._boost_at = min(MAX_BOOST, grown), now
        return self._boost

    def headroom(self, now: float) -> float:
        """Return the share that is left of the scarcest limit; 1 if there is none."""
        least = 1.0
        for server in self._servers.values():
            bucket = server.bucket
            left = bucket.level_at(now) / bucket.limit_per_minute
            least = left if left < least else least
        return least

    def gauges(self, now: float) -> tuple[Gauge, ...]:
        """Return the three limits for a screen."""
        return tuple(self._gauge(kind, now) for kind in LimitKind)

    def _gauge(self, kind: LimitKind, now: float) -> Gauge:
        """Return the smallest limit of a kind, with the least that any of its kind has left."""
        index = _INDEX[kind]
        found: list[tuple[float, float, float, LimitSource]] = []
        server = self._servers.get(index)
        if server is not None:
            bucket = server.bucket
            level, full_in_s = bucket.level_at(now), bucket.seconds_until_full(now)
            found.append((bucket.limit_per_minute, level, full_in_s, _source_of(server)))
        for at, ceiling in self._ceilings:
            if at == index and math.isfinite(ceiling.limit_per_minute):
                full_in_s = ceiling.seconds_until_full(now)
                source = self._source_of(index, ceiling)
                limit = ceiling.limit_per_minute / _used_share(_KINDS[index])
                left = ceiling.remaining(now) + limit - ceiling.limit_per_minute
                found.append((limit, left, full_in_s, source))
        if not found:
            return Gauge(kind=kind, limit_per_minute=None, available=None, full_in_s=None)
        limit, _, full_in_s, source = min(found, key=lambda each: each[0])
        return Gauge(
            kind=kind,
            limit_per_minute=limit,
            available=min(each[1] for each in found),
            full_in_s=full_in_s,
            source=source,
        )

    def _source_of(self, index: int, ceiling: Ceiling) -> LimitSource:
        shared = self._shares.get(index) is ceiling
        return LimitSource.SHARE if shared else LimitSource.CEILING

    def wait_reason(self, cost: Cost, now: float) -> WaitReason | None:
        """Return which limit delays `cost` the longest now; None if none does."""
        latest, reason = now, None
        amounts = cost.combined if self._combined else cost
        for index, server in self._servers.items():
            at = server.ready_at(amounts[index], now)
            if at > latest:
                limit = server.bucket.limit_per_minute
                left = server.bucket.level_at(now) - amounts[index]
                latest, reason = at, _limit_reason(index, limit, left, _source_of(server))
        for index, ceiling in self._ceilings:
            at = ceiling.ready_at(cost[index], now)
            if at > latest:
                limit = ceiling.limit_per_minute / _used_share(_KINDS[index])
                left = ceiling.remaining(now) - cost[index]
                source = self._source_of(index, ceiling)
                latest, reason = at, _limit_reason(index, limit, left, source)
        return reason


def _source_of(server: ServerLimit) -> LimitSource:
    return LimitSource.API if server.reported else LimitSource.ASSUMED


def _limit_reason(index: int, limit: float, left: float, source: LimitSource) -> WaitReason:
    kind = WaitKind.PACE if left > limit * _PLENTY else WaitKind.LIMIT
    return WaitReason(kind=kind, limit=_KINDS[index], limit_per_minute=limit, source=source)


def _scarcest(headers: ResponseHeaders) -> LimitKind | None:
    """Return the limit of which the smallest share remains."""
    shares = [
        (reading.remaining / reading.limit_per_minute, reading.kind)
        for reading in headers.limits
        if reading.remaining is not None and reading.limit_per_minute
    ]
    return min(shares)[1] if shares else None
