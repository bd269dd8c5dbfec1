"""Under which limits `estimate` plans a run: each tier's, and those that were learned or stated."""

from __future__ import annotations

from collections.abc import Mapping

from claude_batch.compose.estimate_asking import ASSUMED_TIER
from claude_batch.config import Settings
from claude_batch.core.catalog import Catalog, model_class, tier_limits
from claude_batch.core.limits import NO_LIMITS, Limits
from claude_batch.core.model import LimitKind
from claude_batch.core.plan import LimitSet, tier_sets

STATED, LEARNED = "stated limits", "learned limits"


def limit_sets(
    settings: Settings, learned: Mapping[str, Limits], catalog: Catalog
) -> tuple[tuple[LimitSet, ...], str]:
    """Return the limits to plan for, and the name of those that hold now.

    `learned` are by model class; a class that is not among them has its tier's.
    """
    options, endpoint = settings.options, settings.endpoint
    said = options.tier or endpoint.tier
    tier = said or ASSUMED_TIER
    ceilings = Limits(
        requests=_lower(options.rpm, endpoint.rpm),
        input_tokens=_lower(options.itpm, endpoint.itpm),
        output_tokens=_lower(options.otpm, endpoint.otpm),
    )
    sets = tier_sets(catalog)
    if not learned and ceilings == NO_LIMITS:
        return sets, tier

    def limits_of(model: str) -> Limits:
        known = learned.get(model_class(model, catalog).name)
        return _capped(known or tier_limits(tier, model, catalog), ceilings)

    its_tier = next(each for each in sets if each.name == tier)
    own = LimitSet(
        name=LEARNED if learned else STATED,
        limits_of=limits_of,
        batch_queue=its_tier.batch_queue,
        monthly_usd=its_tier.monthly_usd if said else None,
    )
    return (own, *sets), own.name


def _capped(limits: Limits, ceilings: Limits) -> Limits:
    lower = {kind.value: _lower(limits.of(kind), ceilings.of(kind)) for kind in LimitKind}
    return Limits(**lower)


def _lower(one: float | None, other: float | None) -> float | None:
    said = [limit for limit in (one, other) if limit is not None]
    return min(said, default=None)
