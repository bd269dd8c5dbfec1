"""Which waiting request goes next, and to which endpoint.

Requests wait in queues: one per model class and set of endpoints that serve it. A queue is
strictly first come, first served. A large request waits until its bucket has filled, and none
passes it; the refill is not lost, since the large one will use it. Retries go before new requests,
oldest first; but what fails in an outage goes behind all others, since it may be its own fault.
Only requests that wait for a prompt cache to be written (`PrefixGate`) are set aside so that others
pass.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple

from claude_batch.core.caching.prefix_gate import PrefixGate
from claude_batch.core.model.requests import Failure, Reply, Request
from claude_batch.core.model.snapshot import WaitKind, WaitReason
from claude_batch.core.pacing.lane_limits import Cost
from claude_batch.core.scheduling.lane import Attempt, Job, Lane
from claude_batch.core.scheduling.pool import Endpoint, Pool, Role
from claude_batch.core.scheduling.retry import attempt_timeout_s

_BEHIND_ALL = 1 << 60
"""Orders above this are behind every place in the input."""

_MOMENT = 1 / 6
"""Share of the time until fallbacks take over from which on the screen says that they will."""

_IN_FLIGHT = attrgetter("in_flight")
_IS_UNPROBED = attrgetter("is_unprobed")

Reserve = Callable[[Job], float | None]
"""Reserves and returns the most that an attempt can cost (USD); None when it does not fit."""


@dataclass(slots=True)
class _SetAside:
    """Requests that wait for one prefix, and when they are queued again at the latest."""

    until: float
    jobs: deque[Job] = field(default_factory=deque)


@dataclass(slots=True, kw_only=True, eq=False)
class WaitQueue:
    """One queue. `endpoints` are those that can serve it, the `primaries` first ones primary.

    `stuck_since`: since when no primary endpoint that answers could take the head, None if one
    could when last asked. `_retries` holds jobs that go before new ones, by order; `_delayed`
    retries still in backoff; `_recalls` when which prefix is recalled at the latest.
    """

    model_class: str
    endpoints: tuple[Endpoint, ...]
    stuck_since: float | None = None
    primaries: int = field(init=False)
    _new: deque[Job] = field(default_factory=deque)
    _retries: list[tuple[int, Job]] = field(default_factory=list)
    _delayed: list[tuple[float, int, Job]] = field(default_factory=list)
    _aside: dict[int, _SetAside] = field(default_factory=dict)
    _recalls: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.primaries = sum(each.spec.role is Role.PRIMARY for each in self.endpoints)

    @property
    def queued(self) -> int:
        """Requests waiting, including those that wait for a retry."""
        aside = sum(len(each.jobs) for each in self._aside.values())
        return len(self._new) + aside + len(self._retries) + len(self._delayed)

    @property
    def retrying(self) -> int:
        """Requests that have failed and wait for another attempt."""
        tried = sum(1 for _, job in self._retries if job.attempts)
        return tried + len(self._delayed)

    def head(self, now: float) -> Job | None:
        """Return the request that goes next; those still in backoff are not considered."""
        delayed, recalls = self._delayed, self._recalls
        while delayed and delayed[0][0] <= now:
            _, order, job = heapq.heappop(delayed)
            heapq.heappush(self._retries, (order, job))
        while recalls and recalls[0][0] <= now:
            self._recall_overdue(heapq.heappop(recalls)[1], now)
        return self.first

    @property
    def first(self) -> Job | None:
        """The request that goes next; looking changes nothing, not even what is in backoff."""
        retries, new = self._retries, self._new
        if retries and not (new and new[0].order < retries[0][0]):
            return retries[0][1]
        return new[0] if new else None

    @property
    def has_untried(self) -> bool:
        """Whether there are requests that were never sent."""
        return bool(self._new or self._aside) or any(not job.attempts for _, job in self._retries)

    @property
    def retry_at(self) -> float | None:
        """When the first request still in backoff is retried."""
        return self._delayed[0][0] if self._delayed else None

    def failing_since(self, now: float) -> float:
        """Return since when no primary endpoint answers; `now` if one does."""
        return max(
            now if each.failing_since is None else each.failing_since
            for each in self.endpoints[: self.primaries]
        )

    @property
    def has_healthy_primary(self) -> bool:
        """Whether a primary endpoint, and its lane, answers."""
        model_class = self.model_class
        return any(
            _is_healthy(each, each.group.lanes.get(model_class))
            for each in self.endpoints[: self.primaries]
        )

    def changes_at(self) -> float | None:
        """Return when a request joins the queue by itself: its backoff or prefix wait is over."""
        times = [waiting[0][0] for waiting in (self._delayed, self._recalls) if waiting]
        return min(times, default=None)

    def wakes_at(self, now: float) -> float:
        """Return `changes_at`, or inf if nobody is left.

        The requests set aside for a prefix may all be gone before their recall: a run must not
        wait for that time.
        """
        at = self.changes_at()
        if at is None or (self.head(now) is None and not self.queued):
            return math.inf
        return at

    def pop(self) -> Job:
        """Remove and return the head."""
        retries, new = self._retries, self._new
        if retries and not (new and new[0].order < retries[0][0]):
            return heapq.heappop(retries)[1]
        return new.popleft()

    def append(self, job: Job) -> None:
        """Add a new request at the end."""
        self._new.append(job)

    def requeue(self, job: Job, at: float) -> None:
        """Put a failed request back; from `at` on it goes before those of a higher order."""
        heapq.heappush(self._delayed, (at, job.order, job))

    def set_aside(self, prefix: int, until: float) -> None:
        """Let the head wait for its prefix, so that others pass."""
        aside = self._aside.get(prefix)
        if aside is None:
            aside = self._aside[prefix] = _SetAside(until)
            heapq.heappush(self._recalls, (until, prefix))
        aside.jobs.append(self.pop())

    def recall(self, prefix: int) -> None:
        """Queue all again that wait for `prefix`: its cache can be read."""
        aside = self._aside.pop(prefix, None)
        if aside is not None:
            for job in aside.jobs:
                heapq.heappush(self._retries, (job.order, job))

    def recall_one(self, prefix: int) -> None:
        """Queue one of them again: the request that was to write the cache has failed."""
        aside = self._aside.get(prefix)
        if aside is not None and aside.jobs:
            job = aside.jobs.popleft()
            heapq.heappush(self._retries, (job.order, job))

    def _recall_overdue(self, prefix: int, now: float) -> None:
        aside = self._aside.get(prefix)
        if aside is not None and aside.until <= now:
            self.recall(prefix)

    def drain(self) -> Iterator[tuple[Job, float | None]]:
        """Remove and return all, oldest first, with the end of each one's backoff."""
        waiting = [job for _, job in self._retries] + list(self._new)
        waiting += [job for aside in self._aside.values() for job in aside.jobs]
        found: list[tuple[Job, float | None]] = [(job, None) for job in waiting]
        found += [(job, at) for at, _, job in self._delayed]
        found.sort(key=lambda pair: pair[0].order)
        for each in (self._new, self._retries, self._delayed, self._aside, self._recalls):
            each.clear()
        yield from found


class Strategy(StrEnum):
    """How to choose among endpoints that could all take a request now.

    headroom      the one with the most left, of limits and of concurrency
    round_robin   the next in turn
    random        any
    priority      the first in the settings; the others take only what it cannot
    """

    HEADROOM = "headroom"
    ROUND_ROBIN = "round_robin"
    RANDOM = "random"
    PRIORITY = "priority"


class Place(NamedTuple):
    """Where a request can go, and its expected cost there."""

    endpoint: Endpoint
    lane: Lane
    cost: Cost


class Wait(NamedTuple):
    """A request can go nowhere before `until`, unless something happens.

    `for_prefix`: it waits only for a prompt cache to be written, so others may pass.
    """

    until: float
    for_prefix: bool = False


@dataclass(slots=True, kw_only=True)
class Placing:
    """Chooses an endpoint for one request at a time.

    An endpoint whose organization is unknown gets one of the first requests, so that its limits
    are soon known. From `last_chance_at` on nothing has succeeded for so long that fallbacks are
    asked first, before the run gives up.
    """

    pool: Pool
    gate: PrefixGate
    rng: Callable[[], float]
    strategy: Strategy
    fallback_after_s: float
    last_chance_at: float = math.inf
    _last: Endpoint | None = None

    def find(
        self, queue: WaitQueue, request: Request, now: float, reserved: set[Lane] | None = None
    ) -> Place | Wait:
        """Return where the head of `queue` goes now, or how long it waits.

        `reserved` are lanes that an older request of another queue waits for; lanes that this one
        waits for are added.
        """
        until, prefix_until = math.inf, math.inf
        for endpoint in self._candidates(queue, now):
            if endpoint.spec.role is Role.FALLBACK and queue.primaries:
                opens_at = min(self._fallback_at(queue, now), self.last_chance_at)
                if opens_at > now:
                    until = min(until, opens_at)
                    break
            found = self._try(queue, endpoint, request, now)
            if isinstance(found, Wait):
                if found.for_prefix:
                    prefix_until = min(prefix_until, found.until)
                else:
                    until = min(until, found.until)
            elif not (reserved and found.lane in reserved):
                self._last = endpoint
                return found
        if reserved is not None:
            reserved.update(
                lane
                for each in queue.endpoints
                if (lane := each.group.lanes.get(queue.model_class)) is not None
            )
        if until < math.inf or prefix_until == math.inf:
            return Wait(until)
        return Wait(prefix_until, for_prefix=True)

    def _candidates(self, queue: WaitQueue, now: float) -> Iterable[Endpoint]:
        """Return the endpoints of a queue in the order to try them, as a rule fallbacks last."""
        endpoints, primaries = queue.endpoints, queue.primaries
        if len(endpoints) == 1:
            return endpoints
        if primaries in (0, len(endpoints)):
            return self._by_preference(endpoints, queue.model_class, now)
        parts = [endpoints[:primaries], endpoints[primaries:]]
        if now >= self.last_chance_at:
            parts.reverse()
        return (
            endpoint
            for some in parts
            for endpoint in self._by_preference(some, queue.model_class, now)
        )

    def _by_preference(
        self, endpoints: Sequence[Endpoint], model_class: str, now: float
    ) -> Sequence[Endpoint]:
        """Return endpoints in the order of the strategy; the first that can takes the request."""
        match self.strategy:
            case Strategy.HEADROOM:
                ordered = _sort_by_headroom(endpoints, model_class, now)
            case Strategy.PRIORITY:
                return endpoints
            case Strategy.ROUND_ROBIN:
                ordered = _rotate_after(endpoints, self._last)
            case Strategy.RANDOM:
                first = int(self.rng() * len(endpoints))
                ordered = [*endpoints[first:], *endpoints[:first]]
        if self.pool.unprobed:
            ordered.sort(key=_IS_UNPROBED, reverse=True)
        return ordered

    def fallback_in_s(self, queue: WaitQueue, now: float) -> float | None:
        """Return in how many seconds fallbacks take over; None if they do not, or have.

        A primary endpoint that paces its launches is stuck for moments: these do not count.
        """
        if queue.stuck_since is None or not 0 < queue.primaries < len(queue.endpoints):
            return None
        if now - queue.stuck_since < _MOMENT * self.fallback_after_s:
            return None
        left_s = min(queue.stuck_since + self.fallback_after_s, self.last_chance_at) - now
        return left_s if left_s > 0 else None

    def _fallback_at(self, queue: WaitQueue, now: float) -> float:
        if queue.stuck_since is None:
            queue.stuck_since = queue.failing_since(now)
        return queue.stuck_since + self.fallback_after_s

    def _try(
        self, queue: WaitQueue, endpoint: Endpoint, request: Request, now: float
    ) -> Place | Wait:
        """Return whether `request` can go to one endpoint now."""
        if endpoint.breaker.is_open and len(queue.endpoints) > 1:
            all_open = all(each.breaker.is_open for each in queue.endpoints)
            opens_at = endpoint.breaker.ready_at(now, no_alternative=all_open)
            if opens_at is None or opens_at > now:
                return Wait(math.inf if opens_at is None else opens_at)
        lane = endpoint.group.lanes.get(queue.model_class)
        if lane is None:
            lane = self.pool.lane(endpoint, queue.model_class, request.model, now)
        prefix = request.prefix
        warm = prefix is not None and self.gate.is_warm((endpoint.group, prefix), now)
        cost = lane.estimates.estimate(request, warm=warm)
        at = lane.ready_at(cost, now)
        if at is None or at > now:
            return Wait(math.inf if at is None else at)
        if prefix is not None and not warm:
            opens_at = self.gate.ready_at((endpoint.group, prefix), now)
            if opens_at > now:
                return Wait(opens_at, for_prefix=True)
        return Place(endpoint, lane, cost)


def _sort_by_headroom(
    endpoints: Sequence[Endpoint], model_class: str, now: float
) -> list[Endpoint]:
    """Return endpoints, those with the most headroom first, then the fewest in flight."""
    group = endpoints[0].group
    if all(each.group is group for each in endpoints):
        return sorted(endpoints, key=_IN_FLIGHT)
    keys: list[tuple[float, int]] = []
    for each in endpoints:
        lane = each.group.lanes.get(model_class)
        left = 1.0 if lane is None else lane.headroom(now)
        keys.append((-left, each.in_flight))
    return [endpoints[index] for index in sorted(range(len(keys)), key=keys.__getitem__)]


def _rotate_after(endpoints: Sequence[Endpoint], last: Endpoint | None) -> list[Endpoint]:
    """Return endpoints so that the one after `last` comes first."""
    if last not in endpoints:
        return list(endpoints)
    first = endpoints.index(last) + 1
    return [*endpoints[first:], *endpoints[:first]]


@dataclass(slots=True, kw_only=True)
class Dispatch:
    """All queues of a run, by model class. `class_of` returns the model class of a model."""

    pool: Pool
    placing: Placing
    gate: PrefixGate
    class_of: Callable[[str], str]
    reserve: Reserve
    _queues: dict[str, list[WaitQueue]] = field(default_factory=dict)
    _turn: int = 0
    _last_order: int = _BEHIND_ALL

    def enqueue(self, job: Job, *, at: float | None = None, last: bool = False) -> bool:
        """Queue a request, or a retry from `at` on; return False if no endpoint serves it.

        A retry goes before new requests; with `last` it goes behind all, those to come included.
        """
        if last:
            self._last_order += 1
            job.order = self._last_order
        model = job.request.model
        endpoints = self.pool.serving(model)
        if not endpoints:
            return False
        queue = self._queue_of(self.class_of(model), endpoints)
        if at is None:
            queue.append(job)
        else:
            queue.requeue(job, at)
        return True

    def _queue_of(self, model_class: str, endpoints: tuple[Endpoint, ...]) -> WaitQueue:
        queues = self._queues.setdefault(model_class, [])
        for queue in queues:
            if queue.endpoints is endpoints or queue.endpoints == endpoints:
                return queue
        queues.append(WaitQueue(model_class=model_class, endpoints=endpoints))
        return queues[-1]

    def reassign(self) -> list[Job]:
        """Queue all requests again by the endpoints left; return those that none serves."""
        waiting = [pair for queue in self._all_queues() for pair in queue.drain()]
        waiting.sort(key=lambda pair: pair[0].order)
        self._queues = {model_class: [] for model_class in self._queues}
        return [job for job, at in waiting if not self.enqueue(job, at=at)]

    def _all_queues(self) -> list[WaitQueue]:
        return [queue for queues in self._queues.values() for queue in queues]

    def next(self, now: float) -> Attempt | float:
        """Return an attempt to launch now, or the earliest time for one if nothing happens."""
        wake = math.inf
        for queues in self._classes_in_turn():
            if len(queues) == 1:
                found = self._next_of(queues[0], now, None)
            else:
                found = self._next_of_several(queues, now)
            if isinstance(found, Attempt):
                return found
            wake = min(wake, found)
        return wake

    def _classes_in_turn(self) -> list[list[WaitQueue]]:
        """Return the queues of each model class, beginning with a different class each time."""
        classes = list(self._queues.values())
        if len(classes) > 1:
            first = self._turn % len(classes)
            classes = classes[first:] + classes[:first]
        return classes

    def _next_of_several(self, queues: list[WaitQueue], now: float) -> Attempt | float:
        """Try the queues of one class, oldest head first; a lane it waits for is reserved to it."""
        heads = [(job.order, queue) for queue in queues if (job := queue.head(now)) is not None]
        heads.sort(key=lambda pair: pair[0])
        reserved: set[Lane] = set()
        wake = min((queue.wakes_at(now) for queue in queues), default=math.inf)
        for _, queue in heads:
            found = self._next_of(queue, now, reserved)
            if isinstance(found, Attempt):
                return found
            wake = min(wake, found)
        return wake

    def _next_of(self, queue: WaitQueue, now: float, reserved: set[Lane] | None) -> Attempt | float:
        while (job := queue.head(now)) is not None:
            found = self.placing.find(queue, job.request, now, reserved)
            if isinstance(found, Place):
                most_usd = self.reserve(job)
                if most_usd is None:
                    return math.inf
                return self._launch(queue, found, now, most_usd)
            if not found.for_prefix or job.request.prefix is None:
                return min(found.until, queue.changes_at() or math.inf)
            queue.set_aside(job.request.prefix, found.until)
        if queue.stuck_since is not None and queue.has_healthy_primary:
            queue.stuck_since = None  # else what is left waits in backoff, or is being tried again
        return queue.wakes_at(now)

    def has_work_for(self, endpoint: Endpoint, now: float) -> bool:
        """Return whether a request waits that could go to an endpoint."""
        return any(
            endpoint in queue.endpoints and queue.head(now) is not None
            for queue in self._all_queues()
        )

    def probe(self, endpoint: Endpoint, now: float) -> Attempt | None:
        """Launch a request that waits to an endpoint, whatever its window says; None: none may go.

        Only limits and pauses hold it back.
        """
        for queue in self._all_queues():
            if endpoint not in queue.endpoints or (job := queue.head(now)) is None:
                continue
            lane = self.pool.lane(endpoint, queue.model_class, job.request.model, now)
            cost = lane.estimates.estimate(job.request)
            if max(lane.paused_until, lane.limits.ready_at(cost, now)) > now:
                continue
            most_usd = self.reserve(job)
            if most_usd is not None:
                return self._launch(queue, Place(endpoint, lane, cost), now, most_usd)
        return None

    def _launch(self, queue: WaitQueue, place: Place, now: float, most_usd: float) -> Attempt:
        endpoint, lane, cost = place
        job = queue.pop()
        request = job.request
        job.attempts += 1
        job.launched_at = now
        if job.admitted_at is None:
            job.admitted_at = now
        if request.prefix is not None:
            self.gate.launched((endpoint.group, request.prefix), now)
        fallback = endpoint.spec.role is Role.FALLBACK
        if fallback and queue.primaries and self.pool.stand_in is None:
            self.pool.stand_in = endpoint.spec.name
        if queue.stuck_since is not None and not fallback and _is_healthy(endpoint, lane):
            queue.stuck_since = None
        self.pool.record_launch(endpoint)
        self._turn += 1
        attempt = Attempt(
            job=job,
            endpoint=endpoint.spec.name,
            lane=lane,
            charge=lane.launch(cost, now),
            timeout_s=attempt_timeout_s(request),
            most_usd=most_usd,
            degraded=fallback,
        )
        endpoint.silence.record_launch(attempt, now)
        return attempt

    def record_outcome(self, attempt: Attempt, outcome: Reply | Failure) -> None:
        """Queue requests again that waited for the prefix of an attempt that has ended."""
        prefix = attempt.job.request.prefix
        if prefix is None:
            return
        key = (self.pool.by_name[attempt.endpoint].group, prefix)
        if isinstance(outcome, Reply):
            self.gate.began(key, attempt.charge.at)
            for queue in self._all_queues():
                queue.recall(prefix)
            return
        self.gate.failed(key)
        for queue in self._all_queues():
            queue.recall_one(prefix)

    def record_reply(self, attempt: Attempt, endpoint: Endpoint, now: float) -> None:
        """Note that an endpoint has answered: a primary one may be back."""
        if self.pool.stand_in is None or endpoint.spec.role is Role.FALLBACK:
            return
        stuck_from, is_stuck = now - self.placing.fallback_after_s, False
        for queue in self._all_queues():
            if queue.stuck_since is None:
                continue
            if queue.stuck_since <= attempt.charge.at and endpoint in queue.endpoints:
                queue.stuck_since = None  # it has taken one since
                continue
            is_stuck = is_stuck or queue.stuck_since <= stuck_from
        if not is_stuck:
            self.pool.stand_in = None

    def wait_reason(self, lane: Lane, now: float) -> WaitReason | None:
        """Return why nothing more goes to `lane` now; None if something does, or none waits.

        Only for a screen: asking changes nothing.
        """
        queues = [
            queue
            for queue in self._queues.get(lane.model_class, ())
            if queue.queued and any(lane is _lane_of(each, lane) for each in queue.endpoints)
        ]
        for queue in queues:
            if (job := queue.first) is not None:
                reason = _outage_of(queue, lane, now) or lane.wait_reason(job.request, now)
                primaries = queue.endpoints[: queue.primaries]
                if reason is None or all(_lane_of(each, lane) is not lane for each in primaries):
                    return reason
                return replace(reason, fallback_in_s=self.placing.fallback_in_s(queue, now))
        retries = [queue.retry_at for queue in queues if queue.retry_at is not None]
        if retries:
            return WaitReason(kind=WaitKind.RETRY, seconds=max(0.0, min(retries) - now))
        return WaitReason(kind=WaitKind.PREFIX) if queues else None

    def has_untried(self, model_class: str) -> bool:
        """Return whether requests of a model class wait that have not failed."""
        return any(queue.has_untried for queue in self._queues.get(model_class, ()))

    def shift(self, seconds: float) -> None:
        """Do not count the seconds of a pause as time that primary endpoints were stuck."""
        for queue in self._all_queues():
            if queue.stuck_since is not None:
                queue.stuck_since += seconds

    def queued(self, model_class: str) -> int:
        """Return how many requests of a model class wait."""
        return sum(queue.queued for queue in self._queues.get(model_class, ()))

    @property
    def retrying(self) -> int:
        """Requests that have failed and wait for another attempt."""
        return sum(queue.retrying for queue in self._all_queues())


def _lane_of(endpoint: Endpoint, lane: Lane) -> Lane | None:
    return endpoint.group.lanes.get(lane.model_class)


def _outage_of(queue: WaitQueue, lane: Lane, now: float) -> WaitReason | None:
    """Return the outage of all endpoints of a lane, where there are others that could serve."""
    endpoints = [each for each in queue.endpoints if _lane_of(each, lane) is lane]
    if len(queue.endpoints) < 2 or not all(each.breaker.is_open for each in endpoints):  # noqa: PLR2004  # others
        return None
    times = [each.breaker.ready_at(now, no_alternative=False) for each in endpoints]
    next_at = min((at for at in times if at is not None), default=None)
    return WaitReason(kind=WaitKind.OUTAGE, seconds=None if next_at is None else next_at - now)


def _is_healthy(endpoint: Endpoint, lane: Lane | None) -> bool:
    return endpoint.failing_since is None and (lane is None or lane.is_healthy)
