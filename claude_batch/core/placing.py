"""Which endpoint a request goes to: one of those that can take it now, as the strategy says.

An endpoint whose organization is not known gets one of the first requests, so that its limits
are soon told apart from those of others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from claude_batch.core.lane import Lane
from claude_batch.core.limits import Cost
from claude_batch.core.line import Line
from claude_batch.core.model import Request
from claude_batch.core.pool import Endpoint, Pool, Role, is_stranger
from claude_batch.core.prefix_gate import PrefixGate


class Strategy(StrEnum):
    """How to choose among endpoints that could all take a request now.

    headroom      where most is left, of limits and of concurrency
    round_robin   the next in turn
    random        any
    priority      the first in the settings; the others only take what it cannot
    """

    HEADROOM = "headroom"
    ROUND_ROBIN = "round_robin"
    RANDOM = "random"
    PRIORITY = "priority"


class Place(NamedTuple):
    """Where a request can go, and what it will probably take there."""

    endpoint: Endpoint
    lane: Lane
    cost: Cost


class Wait(NamedTuple):
    """It can go nowhere before `until`, unless something happens.

    `aside`: it waits only for the cache to be written: others may pass.
    """

    until: float
    aside: bool = False


@dataclass(slots=True, kw_only=True)
class Placing:
    """Finds a place for one request at a time."""

    pool: Pool
    gate: PrefixGate
    draw: Callable[[], float]
    strategy: Strategy
    fallback_after_s: float
    _last: int = -1
    _order: dict[Endpoint, int] = field(init=False)

    def __post_init__(self) -> None:
        self._order = {each: number for number, each in enumerate(self.pool.endpoints)}

    def find(
        self, line: Line, request: Request, now: float, reserved: set[Lane] | None = None
    ) -> Place | Wait:
        """Return where the head of `line` goes now, or how long it waits.

        `reserved` lanes are those that an older request of another line waits for; lanes that
        this one waits for are added to them.
        """
        places: list[Place] = []
        until, gated = math.inf, math.inf
        for endpoint in line.endpoints:
            if endpoint.spec.role is Role.FALLBACK and line.primaries:
                if places:
                    break
                opens_at = self._fallback_at(line, now)
                if opens_at > now:
                    until = min(until, opens_at)
                    break
            found = self._try(line, endpoint, request, now)
            if isinstance(found, Place) and not (reserved and found.lane in reserved):
                places.append(found)
            elif isinstance(found, Wait) and found.aside:
                gated = min(gated, found.until)
            elif isinstance(found, Wait):
                until = min(until, found.until)
        if places:
            return places[0] if len(places) == 1 else self._choose(places, now)
        if reserved is not None:
            reserved.update(
                lane
                for each in line.endpoints
                if (lane := each.group.lanes.get(line.model_class)) is not None
            )
        return Wait(until) if until < math.inf or gated == math.inf else Wait(gated, aside=True)

    def _fallback_at(self, line: Line, now: float) -> float:
        if line.stuck_since is None:
            line.stuck_since = now
        return line.stuck_since + self.fallback_after_s

    def _try(self, line: Line, endpoint: Endpoint, request: Request, now: float) -> Place | Wait:
        """Return whether `request` can go to one endpoint."""
        if endpoint.breaker.is_open and len(line.endpoints) > 1:
            opens_at = endpoint.breaker.ready_at(now, alone=_all_open(line.endpoints))
            if opens_at is None or opens_at > now:
                return Wait(math.inf if opens_at is None else opens_at)
        lane = endpoint.group.lanes.get(line.model_class)
        if lane is None:
            lane = self.pool.lane(endpoint, line.model_class, request.model, now)
        prefix = request.prefix
        warm = prefix is not None and self.gate.is_warm((endpoint.group, prefix), now)
        cost = lane.estimates.expect(request, warm=warm)
        at = lane.ready_at(cost, now)
        if at is None or at > now:
            return Wait(math.inf if at is None else at)
        if prefix is not None and not warm:
            opens_at = self.gate.ready_at((endpoint.group, prefix), now)
            if opens_at > now:
                return Wait(opens_at, aside=True)
        return Place(endpoint, lane, cost)

    def _choose(self, places: Sequence[Place], now: float) -> Place:
        if self.strategy is Strategy.PRIORITY:
            return places[0]
        if self.pool.strangers:
            strangers = [place for place in places if is_stranger(place.endpoint)]
            if strangers:
                return strangers[0]
        match self.strategy:
            case Strategy.ROUND_ROBIN:
                count = len(self._order)
                place = min(
                    places, key=lambda each: (self._order[each.endpoint] - self._last - 1) % count
                )
                self._last = self._order[place.endpoint]
                return place
            case Strategy.RANDOM:
                return places[int(self.draw() * len(places))]
            case Strategy.HEADROOM:
                left = {place.lane: 0.0 for place in places}
                if len(left) > 1:
                    left = {lane: lane.headroom(now) for lane in left}
                return min(places, key=lambda each: (-left[each.lane], each.endpoint.in_flight))


def _all_open(endpoints: Sequence[Endpoint]) -> bool:
    return all(each.breaker.is_open for each in endpoints)
