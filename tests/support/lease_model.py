"""What the lease's script in Redis does, in plain Python: the same numbers, and no server."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from claude_batch.core.model.sharing import LimitFact
from claude_batch.storage.limit_lease import FIRST_SHARE, SETTLES_S, SILENT_S


@dataclass(slots=True)
class Seat:
    """One program: until when it counts, its weight, what it can use, and its share."""

    until: float
    weight: float
    demand: float | None
    share: float


@dataclass(slots=True)
class LeaseModel:
    """The programs of one lane, and what they know of its limits."""

    seats: dict[str, Seat] = field(default_factory=dict)
    since: float = 0.0
    facts: tuple[LimitFact, ...] = ()

    def renew(
        self, member: str, *, weight: float, demand: float | None, held: float | None, now: float
    ) -> tuple[float, float]:
        """Register a program for a while; return its share, and what would be fair."""
        others = {
            name: seat for name, seat in self.seats.items() if seat.until > now and name != member
        }
        if not others and member not in self.seats:
            self.since = now
        seat = Seat(now + SILENT_S, weight, demand, 0.0)
        self.seats = others | {member: seat}
        fair = fair_shares(self.seats)[member]
        share = min(fair, 1.0 - sum(each.share for each in others.values()))
        if now < self.since + SETTLES_S:
            share = min(share, FIRST_SHARE if held is None else held)
        seat.share = share if share >= 1e-6 else 0.0
        return seat.share, fair

    def leave(self, member: str) -> None:
        """Give up a share."""
        self.seats.pop(member, None)


def fair_shares(seats: dict[str, Seat]) -> dict[str, float]:
    """Return everyone's part: at most what it can use, the rest by weight."""

    def key(name: str) -> tuple[float, str]:
        seat = seats[name]
        return (math.inf if seat.demand is None else seat.demand / seat.weight), name

    total = left_weights = sum(each.weight for each in seats.values())
    left, found = 1.0, {}
    for name in sorted(seats, key=key):
        seat = seats[name]
        even = left * seat.weight / left_weights
        found[name] = even if seat.demand is None else min(seat.demand, even)
        left -= found[name]
        left_weights -= seat.weight
    rest = max(0.0, left)
    return {name: part + rest * seats[name].weight / total for name, part in found.items()}


def granted(seats: Iterable[Seat], now: float) -> float:
    """Return what all programs that count have been granted together."""
    return sum(each.share for each in seats if each.until > now)
