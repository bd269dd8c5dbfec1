"""What the minutes of a run would have taken under the limits of a higher tier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from claude_batch.core.catalog.catalog import Catalog, tier_limits
from claude_batch.core.catalog.data import TIERS
from claude_batch.core.history.minutes import LIMIT, Bound, bound_of
from claude_batch.core.model.account import Limits
from claude_batch.core.model.minutes import Minute
from claude_batch.core.model.requests import LimitKind

_API = frozenset({"api", "assumed"})
"""Sources of limits that a tier changes."""

_LEAST_SAVED = 0.02
"""A tier that saves less than this share of the time is not worth naming."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierGain:
    """How long the same minutes would have taken at least under the limits of a tier."""

    tier: str
    seconds: float
    saved_s: float


def tier_gains(minutes: Sequence[Minute], catalog: Catalog) -> tuple[TierGain, ...]:
    """Return the tiers under whose limits a run would have been faster, the lowest first.

    Only minutes that a limit of the API held back are shortened, by what the scarcest of the tier's
    limits allows of the rates there were; what would bind next besides limits is not known.
    """
    total_s = sum(minute.seconds for minute in minutes)
    bounds = [(minute, bound_of(minute)) for minute in minutes]
    held = [(m, bound) for m, bound in bounds if bound is not None and _is_api_limit(bound)]
    gains: list[TierGain] = []
    for tier in TIERS:
        saved_s = sum(
            minute.seconds * (1.0 - 1.0 / _speedup(minute, bound, tier.name, catalog))
            for minute, bound in held
        )
        fastest = gains[-1].saved_s if gains else 0.0
        if saved_s > max(fastest, _LEAST_SAVED * total_s):
            gains.append(TierGain(tier=tier.name, seconds=total_s - saved_s, saved_s=saved_s))
    return tuple(gains)


def _is_api_limit(bound: Bound) -> bool:
    return bound.reason == LIMIT and bound.source in _API and bool(bound.per_minute)


def _speedup(minute: Minute, bound: Bound, tier: str, catalog: Catalog) -> float:
    """Return by how much the lane that was held back could have been faster; at least 1."""
    traffic = [each for each in minute.traffic if each.lane == bound.lane]
    model = max(traffic, key=lambda each: each.attempts).model if traffic else ""
    limits = tier_limits(tier, model, catalog)
    held_by = limits.of(LimitKind(bound.limit)) if bound.limit in set(LimitKind) else None
    if held_by is None or bound.per_minute is None or not minute.seconds:
        return 1.0
    per_minute = 60.0 / minute.seconds
    used: Mapping[LimitKind, float] = {
        LimitKind.REQUESTS: per_minute * sum(each.attempts for each in traffic),
        LimitKind.INPUT_TOKENS: per_minute * sum(each.input_tokens for each in traffic),
        LimitKind.OUTPUT_TOKENS: per_minute * sum(each.output_tokens for each in traffic),
    }
    return max(1.0, min(held_by / bound.per_minute, _least_share(limits, used)))


def _least_share(limits: Limits, used: Mapping[LimitKind, float]) -> float:
    """Return how often what was used fits into the scarcest of the limits."""
    shares = [
        limit / amount
        for kind, amount in used.items()
        if (limit := limits.of(kind)) is not None and amount > 0
    ]
    return min(shares, default=1.0)
