"""Under which limits a run is planned: each tier's, and those that were learned or stated.

Of several endpoints the limits of all are added up, once for each limit group. Groups are those
that a run would find: see core/scheduling/pool.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from claude_batch.core.catalog.catalog import Catalog, model_class, tier_limits, tier_of
from claude_batch.core.catalog.data import TIERS
from claude_batch.core.model.account import NO_LIMITS, Limits
from claude_batch.core.model.requests import LimitKind
from claude_batch.core.scheduling.pool import EndpointSpec, limit_groups

ASSUMED_TIER = "start"
"""The lowest: what holds for it holds for everybody."""

STATED, LEARNED = "stated limits", "learned limits"
_FIRST = itemgetter(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSet:
    """Limits under a name: a tier's, or those that were learned or stated.

    `limits_of` returns the API's limits for a model, `ceilings` are the user's own.
    """

    name: str
    limits_of: Callable[[str], Limits]
    ceilings: Limits = NO_LIMITS
    batch_queue: int | None = None
    monthly_usd: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedLimits:
    """What an endpoint's headers report: whose limits they are, and the limits by model class."""

    organization: str | None = None
    limits: Mapping[str, Limits] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownEndpoint:
    """An endpoint and what is known of its limits: its tier, those stated, those reported."""

    spec: EndpointSpec
    tier: str | None = None
    stated: Limits = NO_LIMITS
    reported: ReportedLimits = ReportedLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLimits:
    """The limits to plan for; `current` names the set that holds now.

    `groups` are the endpoints by limit group. `tier_assumed`: the tier is not known, and some
    limit depends on it.
    """

    sets: tuple[LimitSet, ...]
    current: str
    groups: tuple[tuple[str, ...], ...] = ()
    tier_assumed: bool = False

    @property
    def now(self) -> LimitSet:
        """The limits that hold now."""
        return next(each for each in self.sets if each.name == self.current)


def stated_limits(stated: Limits, tier: str | None, model: str, catalog: Catalog) -> Limits:
    """Return the limits for a model before any header reports some: as stated, else the tier's."""
    return _merged((stated, tier_limits(tier, model, catalog)), _FIRST)


def tier_sets(catalog: Catalog) -> tuple[LimitSet, ...]:
    """Return the limits of each tier, lowest first."""

    def limits_of(tier: str) -> Callable[[str], Limits]:
        return lambda model: tier_limits(tier, model, catalog)

    return tuple(
        LimitSet(
            name=tier.name,
            limits_of=limits_of(tier.name),
            batch_queue=tier.batch_queue,
            monthly_usd=tier.monthly_usd,
        )
        for tier in TIERS
    )


def plan_limits(
    endpoints: Sequence[KnownEndpoint],
    ceilings: Limits,
    models: Iterable[str],
    catalog: Catalog,
) -> PlanLimits:
    """Return the limits to plan for when `models` are asked at these primary endpoints."""
    groups = _groups(endpoints)
    sets = tier_sets(catalog)
    names = tuple(group.names for group in groups)
    lanes = {model_class(model, catalog).name for model in models}
    assumed = any(group.depends_on_tier(lanes) for group in groups)
    reported = any(group.reported for group in groups)
    stated = [ceilings, *(group.stated for group in groups)]
    tier = groups[0].tier or ASSUMED_TIER
    if len(groups) == 1 and not reported and all(each == NO_LIMITS for each in stated):
        return PlanLimits(sets=sets, current=tier, groups=names, tier_assumed=assumed)

    def limits_of(model: str) -> Limits:
        serving = [group for group in groups if group.serves(model)] or groups
        return _merged((group.limits(model, catalog) for group in serving), sum)

    own = LimitSet(
        name=_name(groups, LEARNED if reported else STATED),
        limits_of=limits_of,
        ceilings=ceilings,
        batch_queue=tier_of(tier).batch_queue,
        monthly_usd=_monthly_usd(groups),
    )
    return PlanLimits(sets=(own, *sets), current=own.name, groups=names, tier_assumed=assumed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """One limit group: what its endpoints reported, what the settings say of it."""

    names: tuple[str, ...]
    specs: tuple[EndpointSpec, ...]
    tier: str | None
    reported: Mapping[str, Limits]
    stated: Limits

    def serves(self, model: str) -> bool:
        """Return whether one of its endpoints is asked for a model."""
        return any(each.serves is None or each.serves(model) for each in self.specs)

    def limits(self, model: str, catalog: Catalog) -> Limits:
        """Return what holds for a model: as reported, else stated, else the tier's."""
        reported = self.reported.get(model_class(model, catalog).name, NO_LIMITS)
        usual = stated_limits(self.stated, self.tier or ASSUMED_TIER, model, catalog)
        return _merged((reported, usual), _FIRST)

    def depends_on_tier(self, lanes: Iterable[str]) -> bool:
        """Return whether some limit of these model classes is only known by an assumed tier."""
        known = [
            _merged((self.reported.get(lane, NO_LIMITS), self.stated), _FIRST) for lane in lanes
        ]
        return self.tier is None and any(
            each.of(kind) is None for each in known for kind in LimitKind
        )


def _groups(endpoints: Sequence[KnownEndpoint]) -> list[_Group]:
    by_name = {endpoint.spec.name: endpoint for endpoint in endpoints}
    organizations = {
        name: organization
        for name, endpoint in by_name.items()
        if (organization := endpoint.reported.organization) is not None
    }
    named = limit_groups([endpoint.spec for endpoint in endpoints], organizations)
    return [_group([by_name[name] for name in names]) for names in named]


def _group(endpoints: Sequence[KnownEndpoint]) -> _Group:
    reported: dict[str, Limits] = {}
    for endpoint in reversed(endpoints):
        reported |= endpoint.reported.limits
    return _Group(
        names=tuple(endpoint.spec.name for endpoint in endpoints),
        specs=tuple(endpoint.spec for endpoint in endpoints),
        tier=next((each.tier for each in endpoints if each.tier), None),
        reported=reported,
        stated=_merged((each.stated for each in endpoints), _FIRST),
    )


def _name(groups: Sequence[_Group], kind: str) -> str:
    return kind if len(groups) == 1 else f"{kind} of {len(groups)} groups"


def _monthly_usd(groups: Sequence[_Group]) -> int | None:
    """Return what may be spent in a month in all; None where a tier is unknown or has no cap."""
    caps = [tier_of(each.tier).monthly_usd for each in groups if each.tier is not None]
    known = [cap for cap in caps if cap is not None]
    return sum(known) if len(known) == len(groups) else None


def _merged(limits: Iterable[Limits], choose: Callable[[list[float]], float]) -> Limits:
    """Return for each kind what `choose` makes of the amounts that are known."""
    limits = tuple(limits)
    merged: dict[str, float | None] = {}
    for kind in LimitKind:
        known = [amount for each in limits if (amount := each.of(kind)) is not None]
        merged[kind.value] = choose(known) if known else None
    return Limits(**merged)
