"""The endpoints of a run: their limit groups, circuit breakers, and which are out of use.

Limits belong to organizations. Endpoints of one role at one host count as one limit group until
response headers show that their organizations differ, or the settings say so. Endpoints anywhere
whose headers name one organization share its lanes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from claude_batch.core.model.account import Limits
from claude_batch.core.model.requests import Failure, FailureKind
from claude_batch.core.model.sharing import LaneKey
from claude_batch.core.model.snapshot import EndpointState, EndpointView
from claude_batch.core.scheduling.decisions import Refusal
from claude_batch.core.scheduling.lane import Attempt, Lane
from claude_batch.core.scheduling.retry import (
    COUNTED,
    FIRST_BACKOFF_S,
    PROBE_BACKOFF_S,
    backoff_s,
)
from claude_batch.core.scheduling.silence import Silence

BREAKER_FAILURES = 8
"""A circuit breaker opens after this many failures in a row ..."""

OPENS_AFTER_S = 30.0
"""... or after a second one, when the first was this long ago, in seconds, and no answer came
since: with few requests left, or slow failures, eight would take minutes."""

MAX_OPEN_S = 20.0
"""The longest a breaker stays open before a probe, in seconds."""

_DOWN_COUNT = 5
"""A breaker that opens after OPENS_AFTER_S waits as long as one that opens for the fifth time: the
request is about to go to a fallback, and should not be spent on an early probe."""

_OPEN_JITTER = (0.5, 1.0)
"""Range of the random factor on that time."""

BREAKER_KINDS = COUNTED | {FailureKind.UNREACHABLE}
"""Failures that count for the breaker. Any other answer, even a 429, shows that it works. A 529
counts where others with the same limits answer; else the lane is held back, and probed sooner."""


@dataclass(slots=True, kw_only=True)
class Breaker:
    """A circuit breaker for one endpoint (after Nygard, "Release It!", 2007).

    Closed: everything may go. Open: nothing. Half open, when the wait is over: one probe. `why` is
    the latest failure.
    """

    why: str = ""
    _failures: int = 0
    _opened_at: float = -math.inf
    _open_until: float = -math.inf
    _open_count: int = 0
    _probing: bool = False

    @property
    def is_open(self) -> bool:
        """Whether at most a probe may go."""
        return self._failures >= BREAKER_FAILURES

    def ready_at(self, now: float, *, no_alternative: bool) -> float | None:
        """Return when an attempt may go; None: not before the probe has returned.

        With `no_alternative` probes go more often, since only the end of the outage helps.
        """
        if not self.is_open:
            return now
        if self._probing:
            return None
        until = self._open_until
        if no_alternative:
            until = min(until, self._opened_at + PROBE_BACKOFF_S)
        return max(now, until)

    def record_launch(self) -> None:
        """Record an attempt: while open it is the probe."""
        self._probing = self.is_open

    def record_response(self) -> None:
        """Record an answer that shows that the endpoint works."""
        self._failures = self._open_count = 0
        self._probing = False

    def record_failure(
        self, why: str, *, launched_at: float, since: float, now: float, rng: Callable[[], float]
    ) -> None:
        """Record a failure; attempts launched before the breaker opened change nothing more.

        `since` is when the first of these failures came.
        """
        self.why = why
        if self.is_open and launched_at < self._opened_at:
            return
        self._failures += 1
        is_down = self._failures > 1 and now - since >= OPENS_AFTER_S
        if is_down:
            self._failures = max(self._failures, BREAKER_FAILURES)
        if not self.is_open:
            return
        self._probing = False
        self._open_count = max(self._open_count + 1, _DOWN_COUNT if is_down else 0)
        wait_s = backoff_s(
            self._open_count + 1,
            base_s=FIRST_BACKOFF_S,
            cap_s=MAX_OPEN_S,
            rng=rng,
            jitter=_OPEN_JITTER,
        )
        self._opened_at, self._open_until = now, now + wait_s


class Role(StrEnum):
    """Whether an endpoint is a first choice, or used only when those cannot serve."""

    PRIMARY = "primary"
    FALLBACK = "fallback"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSpec:
    """One endpoint as the settings describe it.

    Endpoints at one `host` are taken for one limit group until their organizations are known,
    unless `limit_group` names the group. `initial_limits` returns the limits for a model to assume
    before any header has named them. `serves` returns whether it is asked for a model; None: for
    any.
    """

    name: str
    host: str = ""
    limit_group: str | None = None
    role: Role = Role.PRIMARY
    initial_limits: Callable[[str], Limits] | None = None
    serves: Callable[[str], bool] | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Group:
    """A limit group: the lanes of one organization, as far as we know."""

    organization: str | None = None
    endpoints: list[Endpoint] = field(default_factory=list)
    lanes: dict[str, Lane] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its name in the settings, or the names of its endpoints."""
        named = self.endpoints[0].spec.limit_group
        return named or "+".join(each.spec.name for each in self.endpoints)

    def key(self, model_class: str) -> LaneKey:
        """Return how other programs know one of its lanes."""
        return lane_key(self.endpoints[0].spec, model_class, self.organization)


@dataclass(slots=True, kw_only=True, eq=False)
class Endpoint:
    """The state of one endpoint. `out`: why it is out of use, None while it is not.

    `failing_since`: since when every attempt there has failed or got a 429, None while it answers.
    `refused_models` maps models it refuses to the reason; `has_launched`: an attempt went there.
    """

    spec: EndpointSpec
    group: Group
    organization: str | None = None
    breaker: Breaker = field(default_factory=Breaker)
    silence: Silence = field(default_factory=Silence)
    out: str | None = None
    failing_since: float | None = None
    refused_models: dict[str, str] = field(default_factory=dict)
    has_launched: bool = False
    in_flight: int = 0
    succeeded: int = 0
    failed: int = 0

    @property
    def is_unprobed(self) -> bool:
        """Whether a first attempt would show if it has limits of its own."""
        shares = len(self.group.endpoints) > 1 and self.spec.limit_group is None
        return shares and not self.has_launched and self.spec.role is Role.PRIMARY

    @property
    def others(self) -> list[Endpoint]:
        """Endpoints that share its limits, and answer."""
        return [
            each
            for each in self.group.endpoints
            if each is not self and each.out is None and each.failing_since is None
        ]

    def record_answer(self) -> None:
        """Record an answer that shows that it works: a reply, or a fault of the request."""
        self.breaker.record_response()
        self.failing_since = None

    def record_failure(
        self, failure: Failure, *, launched_at: float, now: float, rng: Callable[[], float]
    ) -> bool:
        """Record a failure that another request might have had there, too.

        Return whether it says nothing about others that share its limits: one of these answers, and
        is elsewhere, or this one has failed for long enough.
        """
        others, kind = self.others, failure.kind
        if self.failing_since is None:
            self.failing_since = now
        if kind not in BREAKER_KINDS and not (others and kind is FailureKind.OVERLOADED):
            self.breaker.record_response()
            return False
        why = f"{failure.error_type}: {failure.message}"
        self.breaker.record_failure(
            why, launched_at=launched_at, since=self.failing_since, now=now, rng=rng
        )
        if kind is FailureKind.UNREACHABLE:
            return len(self.group.endpoints) > 1
        return any(self.breaker.is_open or each.spec.host != self.spec.host for each in others)

    def why_not(self, model: str) -> str | None:
        """Return why it does not serve `model`; None if it does."""
        if self.out is not None:
            return self.out
        if self.spec.serves is not None and not self.spec.serves(model):
            return f"{model} is not among its models"
        return self.refused_models.get(model)

    def view(self) -> EndpointView:
        """Return the endpoint for a screen."""
        state, why = EndpointState.UP, None
        if self.out is not None:
            state, why = EndpointState.OUT, self.out
        elif self.breaker.is_open:
            state, why = EndpointState.FAILING, self.breaker.why
        elif self.silence.is_probing:
            state, why = EndpointState.FAILING, "nothing heard, trying again"
        elif self.spec.role is Role.FALLBACK and not self.in_flight:
            state = EndpointState.STANDBY
        return EndpointView(
            name=self.spec.name,
            state=state,
            in_flight=self.in_flight,
            succeeded=self.succeeded,
            failed=self.failed,
            why=why,
        )


OpenLane = Callable[[EndpointSpec, str, float], Lane]
"""Returns a new lane for an endpoint and a model; the last argument is the time."""


class Pool:
    """All endpoints of a run, and their limit groups.

    `unprobed` counts the endpoints for which `is_unprobed` holds. `stand_in` is the fallback that
    has taken over from primary endpoints, None while none has.
    """

    def __init__(self, specs: Iterable[EndpointSpec], open_lane: OpenLane) -> None:
        self.stand_in: str | None = None
        self._open_lane = open_lane
        self._groups: list[Group] = []
        self._by_organization: dict[str, Group] = {}
        self._serving: dict[str, tuple[Endpoint, ...]] = {}
        groups: dict[tuple[str, ...], Group] = {}
        self.by_name: dict[str, Endpoint] = {}
        for spec in specs:
            # by role, because a fallback must not wait for what the primary ones wait for
            key = (spec.limit_group,) if spec.limit_group else (spec.host, spec.role)
            group = groups.setdefault(key, Group())
            endpoint = Endpoint(spec=spec, group=group)
            group.endpoints.append(endpoint)
            self.by_name[spec.name] = endpoint
        self._groups = list(groups.values())
        self.unprobed = self._count_unprobed()

    def renew(self, specs: Iterable[EndpointSpec]) -> None:
        """Serve another run, whose endpoints are the same; what was learned of them stays."""
        for spec in specs:
            endpoint = self.by_name[spec.name]
            endpoint.spec = spec
            endpoint.succeeded = endpoint.failed = 0
        self._serving.clear()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All endpoints, in the order of the settings."""
        return tuple(self.by_name.values())

    @property
    def groups(self) -> tuple[Group, ...]:
        """The limit groups, as far as they are known."""
        return tuple(self._groups)

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The lanes used so far."""
        return tuple(lane for group in self._groups for lane in group.lanes.values())

    @property
    def usable(self) -> int:
        """The number of endpoints that are not out of use."""
        return sum(each.out is None for each in self.by_name.values())

    def serving(self, model: str) -> tuple[Endpoint, ...]:
        """Return the endpoints that serve `model`, primary ones first."""
        serving = self._serving.get(model)
        if serving is None:
            found = [each for each in self.by_name.values() if each.why_not(model) is None]
            found.sort(key=lambda each: each.spec.role is Role.FALLBACK)
            serving = self._serving[model] = tuple(found)
        return serving

    def has_fallback(self, model: str) -> bool:
        """Return whether a fallback serves `model`, and is not down."""
        return any(
            each.spec.role is Role.FALLBACK and not each.breaker.is_open
            for each in self.serving(model)
        )

    def refusals(self, model: str | None = None) -> tuple[Refusal, ...]:
        """Return why endpoints do not serve `model`; without one, why they are out of use."""
        only = len(self.by_name) == 1
        reasons = [
            (each, each.out if model is None else each.why_not(model)) for each in self.endpoints
        ]
        return tuple(
            Refusal(reason=reason, endpoint=None if only else each.spec.name, model=model)
            for each, reason in reasons
            if reason is not None
        )

    def record_launch(self, endpoint: Endpoint) -> None:
        """Count an attempt that goes to an endpoint."""
        endpoint.breaker.record_launch()
        endpoint.in_flight += 1
        if not endpoint.has_launched:
            endpoint.has_launched = True
            self.unprobed = self._count_unprobed()

    def take_out(self, endpoint: Endpoint, why: str) -> None:
        """Use an endpoint no more."""
        endpoint.out = endpoint.out or why
        self._serving.clear()

    def take_account_out(self, endpoint: Endpoint, why: str) -> None:
        """Use an endpoint no more, nor those that certainly share its account."""
        self.take_out(endpoint, why)
        for each in endpoint.group.endpoints:
            if endpoint.spec.limit_group or (
                each.organization is not None and each.organization == endpoint.organization
            ):
                self.take_out(each, why)

    def refuse_model(self, endpoint: Endpoint, model: str, why: str) -> None:
        """Use an endpoint no more for `model`."""
        endpoint.refused_models.setdefault(model, why)
        self._serving.clear()

    def lane(self, endpoint: Endpoint, model_class: str, model: str, now: float) -> Lane:
        """Return the lane whose limits a request for `model` there uses; opened if needed."""
        lane = endpoint.group.lanes.get(model_class)
        if lane is None:
            lane = endpoint.group.lanes[model_class] = self._open_lane(endpoint.spec, model, now)
            self._name_lanes()
        return lane

    def reassign(self, attempt: Attempt, organization: str | None, now: float) -> Attempt:
        """Return the attempt in the lane of the organization that its answer names."""
        endpoint, lane = self.by_name[attempt.endpoint], attempt.lane
        if organization is not None and endpoint.organization is None:
            self.learn_organization(endpoint, organization)
        own = endpoint.group.lanes.get(lane.model_class)
        if own is lane:
            return attempt
        own = self.lane(endpoint, lane.model_class, attempt.job.request.model, now)
        lane.release(attempt, now)
        return own.adopt(attempt, now)

    def learn_organization(self, endpoint: Endpoint, organization: str) -> None:
        """Record an endpoint's organization, and move it to that organization's limit group."""
        if endpoint.organization is not None:
            return
        endpoint.organization = organization
        if endpoint.spec.limit_group is not None:
            return
        group = self._by_organization.get(organization)
        if group is None:
            group = endpoint.group if endpoint.group.organization is None else Group()
            group.organization = organization
            self._by_organization[organization] = group
        if group is not endpoint.group:
            self._move(endpoint, group)

    def _move(self, endpoint: Endpoint, group: Group) -> None:
        endpoint.group.endpoints.remove(endpoint)
        endpoint.group = group
        group.endpoints.append(endpoint)
        if group not in self._groups:
            self._groups.append(group)
        self._groups = [each for each in self._groups if each.endpoints]
        self._name_lanes()

    def _name_lanes(self) -> None:
        """Name lanes by model class, and by group where there is more than one."""
        for group in self._groups:
            for model_class, lane in group.lanes.items():
                several = len(self._groups) > 1
                lane.name = f"{model_class} @ {group.label}" if several else model_class

    def _count_unprobed(self) -> int:
        return sum(each.is_unprobed for each in self.by_name.values())


def lane_key(spec: EndpointSpec, model_class: str, organization: str | None) -> LaneKey:
    """Return how programs know a lane: by its limit group, else organization, else host."""
    if spec.limit_group is not None:
        return LaneKey(place=f"group {spec.limit_group}", model_class=model_class)
    return LaneKey(place=f"host {spec.host}", model_class=model_class, organization=organization)


def limit_groups(
    specs: Iterable[EndpointSpec], organizations: Mapping[str, str]
) -> tuple[tuple[str, ...], ...]:
    """Return the names of endpoints by limit group, as a run has them before it sends anything.

    `organizations` are those that replies have named, by endpoint.
    """
    pool = Pool(specs, _refuse_lane)
    for name, organization in organizations.items():
        pool.learn_organization(pool.by_name[name], organization)
    return tuple(tuple(each.spec.name for each in group.endpoints) for group in pool.groups)


def _refuse_lane(spec: EndpointSpec, model: str, now: float) -> Lane:
    raise RuntimeError(f"{spec.name} needs no lane for {model} (at {now})")
