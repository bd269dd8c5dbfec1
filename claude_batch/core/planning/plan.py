"""How long a file will take and what it will cost: live at each limit, as a batch, with caching.

Live time follows the server's token buckets: each kind of limit starts with a full bucket, then
drips in; the slowest kind decides, and the last reply takes its own time besides. The user's own
ceilings, --share among them, save nothing up. Models of one class share their limits, classes run
side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf

from claude_batch.core.caching.prefix import SharedPrefix
from claude_batch.core.catalog.catalog import Catalog, model_class
from claude_batch.core.model.account import Limits
from claude_batch.core.model.requests import LIMIT_NAMES, LimitKind
from claude_batch.core.pacing.lane_limits import make_ceiling
from claude_batch.core.planning.costs import Costs, ModelCost, caching_pays, costs_of, model_costs
from claude_batch.core.planning.limits import LimitSet, PlanLimits
from claude_batch.core.planning.mode import LONGEST_BATCH_S, USUAL_BATCH_S, Mode
from claude_batch.core.planning.workload import OutputBasis, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpeed:
    """What replies are assumed to take, and how much of the limits a run uses.

    `used` is the part of the API's limits that pacing reaches, `share` the user's --share.
    """

    first_token_s: float = 1.0
    output_tokens_per_second: float = 70.0
    used: float = 0.98
    concurrency: int = 2_000
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOption:
    """A live run under one set of limits. `seconds` is None while a limit of it is not known.

    `binds` is what holds the run back: RPM, ITPM or OTPM, concurrency, or None. `current`: these
    limits hold now.
    """

    limits: str
    current: bool
    seconds: float | None
    binds: str | None
    cached_seconds: float | None
    cached_binds: str | None
    over_monthly_cap: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOption:
    """A run through the Message Batches API; a queue that is too short makes it several rounds."""

    usual_seconds: float
    worst_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OversizedPrompt:
    """The largest prompt of a model: it has more tokens than the limit of a minute."""

    model: str
    input_tokens: int
    tokens_per_minute: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the file will take and cost, whichever way it is run.

    `marked` lines set cache breakpoints of their own. `monthly_usd` is the cap that holds now.
    """

    requests: int
    input_tokens: int
    output_tokens: int
    output_basis: OutputBasis
    models: tuple[ModelCost, ...]
    cost: Costs
    live: tuple[LiveOption, ...]
    batch: BatchOption
    marked: int
    oversized: tuple[OversizedPrompt, ...]
    monthly_usd: int | None

    @property
    def now(self) -> LiveOption:
        """The live run under the limits that hold now."""
        return next(option for option in self.live if option.current)


@dataclass(frozen=True, slots=True, kw_only=True)
class AtMost:
    """What the file takes if all answers use all of their max_tokens; costs in USD."""

    output_tokens: int
    live: float | None
    batch: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedLines:
    """Requests that one routing rule sends to one model."""

    route: str
    model: str
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What `estimate` reports; with --json these very fields. `files` are how many there are.

    With --limit it is about those rows, and `whole` about the whole file. `counted_lines` were
    counted exactly. `compared` are the costs if all lines went to one model,
    `notes` what to know before believing the figures, `recommendation` what to do.
    """

    prompts: str
    files: int
    requests: int
    input_tokens: int
    output_tokens: int
    output_basis: OutputBasis
    counted_lines: int
    models: tuple[ModelCost, ...]
    cost: Costs
    at_most: AtMost
    live: tuple[LiveOption, ...]
    batch: BatchOption
    compared: Mapping[str, Costs]
    routed: tuple[RoutedLines, ...]
    prices_as_of: str
    notes: tuple[str, ...]
    recommendation: str
    whole: WholeFile | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeFile:
    """What a whole file will take, of which --limit leaves rows; costs in USD, None if not known.

    `seconds` are those of a live run at today's limits.
    """

    requests: int
    input_tokens: int
    output_tokens: int
    live_usd: float | None
    batch_usd: float | None
    seconds: float | None


def plan(
    workload: Workload,
    prefixes: Sequence[SharedPrefix],
    limits: PlanLimits,
    speed: RunSpeed,
    catalog: Catalog,
) -> Plan:
    """Return what the file will take and cost, whichever way it is run."""
    cost, now = costs_of(workload, prefixes, catalog), limits.now
    lanes = _lanes(workload, prefixes, catalog)
    rounds = ceil(workload.requests / now.batch_queue) if now.batch_queue else 1
    return Plan(
        requests=workload.requests,
        input_tokens=round(workload.input_tokens),
        output_tokens=round(workload.output_tokens),
        output_basis=workload.output_basis,
        models=model_costs(workload, catalog),
        cost=cost,
        live=tuple(_live(lanes, each, speed, cost, current=each is now) for each in limits.sets),
        batch=BatchOption(
            usual_seconds=rounds * USUAL_BATCH_S, worst_seconds=rounds * LONGEST_BATCH_S
        ),
        marked=sum(load.adjustments.marked for load in workload.loads),
        oversized=tuple(_oversized(workload, now)),
        monthly_usd=now.monthly_usd,
    )


@dataclass(slots=True, kw_only=True)
class _Lane:
    """What all models of a class draw from their common limits."""

    model: str
    requests: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    cached_tokens: float = 0.0

    def amount(self, kind: LimitKind, *, cached: bool) -> float:
        """Return what is drawn from one limit in all; cache reads are free."""
        match kind:
            case LimitKind.REQUESTS:
                return self.requests
            case LimitKind.INPUT_TOKENS:
                return self.input_tokens - (self.cached_tokens if cached else 0.0)
            case LimitKind.OUTPUT_TOKENS:
                return self.output_tokens


def _lanes(
    workload: Workload, prefixes: Sequence[SharedPrefix], catalog: Catalog
) -> tuple[_Lane, ...]:
    lanes: dict[str, _Lane] = {}
    for load in workload.loads:
        lane = lanes.setdefault(model_class(load.model, catalog).name, _Lane(model=load.model))
        lane.requests += load.all.requests
        lane.input_tokens += load.all.input_tokens
        lane.output_tokens += load.all.output_tokens
        for prefix in prefixes:
            if prefix.sure and prefix.model == load.model and prefix.lifetime == "5m":
                lane.cached_tokens += load.ratio * prefix.read_tokens
    return tuple(lanes.values())


def _live(
    lanes: Sequence[_Lane], limits: LimitSet, speed: RunSpeed, cost: Costs, *, current: bool
) -> LiveOption:
    seconds, binds = _slowest(lanes, limits, speed, cached=False)
    cached_seconds, cached_binds = _slowest(lanes, limits, speed, cached=True)
    usd, cap = cost.live.usd, limits.monthly_usd
    return LiveOption(
        limits=limits.name,
        current=current,
        seconds=seconds,
        binds=binds,
        cached_seconds=cached_seconds,
        cached_binds=cached_binds,
        over_monthly_cap=usd is not None and cap is not None and usd > cap,
    )


def _slowest(
    lanes: Sequence[_Lane], limits: LimitSet, speed: RunSpeed, *, cached: bool
) -> tuple[float | None, str | None]:
    """Return how long the lanes take side by side, and what holds the slowest back."""
    longest: tuple[float, str | None] = (0.0, None)
    for lane in lanes:
        seconds, binds = _lane_time(lane, limits, speed, cached=cached)
        if seconds is None:
            return None, None
        if seconds > longest[0]:
            longest = seconds, binds
    return longest


def _lane_time(
    lane: _Lane, limits: LimitSet, speed: RunSpeed, *, cached: bool
) -> tuple[float | None, str | None]:
    latency_s = speed.first_token_s + (
        lane.output_tokens / max(1.0, lane.requests) / speed.output_tokens_per_second
    )
    last_s = 2 * latency_s if cached and lane.cached_tokens else latency_s  # one goes ahead
    slowest, binds = 0.0, None
    for kind in LimitKind:
        amount = lane.amount(kind, cached=cached)
        seconds = _launch_s(kind, amount, limits.limits_of(lane.model), limits.ceilings, speed)
        if seconds is None:
            return None, None
        if seconds > slowest:
            slowest, binds = seconds, LIMIT_NAMES[kind]
    in_flight_s = (lane.requests / speed.concurrency - 1.0) * latency_s
    if in_flight_s > slowest:
        return in_flight_s + last_s, "concurrency"
    return slowest + last_s, binds


def _launch_s(
    kind: LimitKind, amount: float, limits: Limits, ceilings: Limits, speed: RunSpeed
) -> float | None:
    """Return how long one kind of limit makes launches take; None: it is not known."""
    limit, ceiling = limits.of(kind), ceilings.of(kind)
    seconds = [] if ceiling is None else [make_ceiling(kind, ceiling).seconds_for(amount)]
    if limit is not None:
        seconds.append((amount - limit) / limit * 60.0 / speed.used)  # a full bucket goes at once
        if speed.share < 1.0:
            seconds.append(make_ceiling(kind, limit * speed.share).seconds_for(amount))
    return max(seconds, default=None)


def _oversized(workload: Workload, limits: LimitSet) -> Iterator[OversizedPrompt]:
    for load in workload.loads:
        both = limits.limits_of(load.model).input_tokens, limits.ceilings.input_tokens
        most = min((each for each in both if each is not None), default=inf)
        if load.largest_input_tokens > most:
            yield OversizedPrompt(
                model=load.model,
                input_tokens=load.largest_input_tokens,
                tokens_per_minute=most,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOption:
    """One way to run the file. `seconds`: None while not known; of a batch the usual time."""

    mode: Mode
    cache_prefix: bool
    usd: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The cheapest option that meets the deadline; None: none does.

    Then `faster` is the live run under the nearest limits that would, if there are any.
    """

    option: RunOption | None
    deadline_s: float | None = None
    faster: LiveOption | None = None


def recommend(found: Plan, *, deadline_s: float | None = None) -> Recommendation:
    """Return the cheapest option that meets the deadline; of two at one price the quicker."""
    within_s = inf if deadline_s is None else deadline_s
    options = [each for each in run_options(found) if _within(each.seconds, within_s)]
    if options:
        best = min(options, key=lambda each: (_or_inf(each.usd), _or_inf(each.seconds)))
        return Recommendation(option=best, deadline_s=deadline_s)
    faster = [each for each in found.live if _within(each.seconds, within_s)]
    nearest = max(faster, key=lambda each: each.seconds or 0.0, default=None)
    return Recommendation(option=None, deadline_s=deadline_s, faster=nearest)


def run_options(found: Plan) -> Iterator[RunOption]:
    """Yield what can be done today, batches by the time they usually take; none of fast lines."""
    cost, now = found.cost, found.now
    pays_live = caching_pays(cost.live, cost.live_cached)
    pays_batch = caching_pays(cost.batch, cost.batch_cached)
    for mode, cached, usd, seconds, offered in (
        (Mode.BATCH, False, cost.batch.usd, found.batch.usual_seconds, not cost.fast),
        (Mode.BATCH, True, cost.batch_cached.usd, found.batch.usual_seconds, pays_batch),
        (Mode.LIVE, False, cost.live.usd, now.seconds, True),
        (Mode.LIVE, True, cost.live_cached.usd, now.cached_seconds, pays_live),
    ):
        if offered:
            yield RunOption(mode=mode, cache_prefix=cached, usd=usd, seconds=seconds)


def _within(seconds: float | None, most: float) -> bool:
    return _or_inf(seconds) <= most


def _or_inf(amount: float | None) -> float:
    return inf if amount is None else amount
