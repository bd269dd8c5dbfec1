"""Several programs against one server model: each a scheduler of its own, in one heap of events.

With a lease each asks a model of it for its share, as often as the engine does.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from claude_batch.core.model.account import NO_LIMITS, Limits
from claude_batch.core.model.requests import LimitKind
from claude_batch.core.model.sharing import Claim, Grant
from claude_batch.core.scheduling.decisions import Finished, GiveUp, Idle, Send, Sleep
from claude_batch.core.scheduling.lane import Lane
from claude_batch.core.scheduling.scheduler import Learned, Scheduler
from claude_batch.engine.live.sharing import RENEW_S, SOON_S
from tests.support.closed_loop import Driver, Event, Load, Outcome, drained_s, requests_of
from tests.support.fakes import scheduler_settings
from tests.support.lease_model import LeaseModel
from tests.support.server_model import OTPM, RPM, ServerModel, ServerSpec, Truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One program: what it sends, from when on, what its user allows it, and when it is killed.

    It works off `shards` such loads, one after another; `between_s` pass between two of them.
    """

    load: Load
    shards: int = 1
    between_s: float = 0.0
    starts_s: float = 0.0
    killed_s: float = math.inf
    share: float = 1.0
    ceilings: Limits = NO_LIMITS
    concurrency: int = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSpec:
    """How slow the lease's server is, and from when to when it is down; then it has forgotten."""

    delay_s: float = 0.001
    down: tuple[float, float] = (math.inf, math.inf)


@dataclass(slots=True)
class _Ask:
    """A program asks for its share."""


@dataclass(slots=True)
class _Granted:
    grant: Grant


@dataclass(slots=True)
class _Wake:
    """The time that a scheduler wanted to be asked at; only the latest `token` counts."""

    token: int


@dataclass(slots=True, kw_only=True)
class Running:
    """A program that runs, or has run."""

    program: Program
    driver: Driver
    name: str
    seed: int
    shards_done: int = 0
    token: int = 0
    ended_s: float | None = None
    answered_s: list[float] = field(default_factory=list)

    @property
    def lane(self) -> Lane | None:
        """Its lane, once the first request has opened it."""
        return next(iter(self.driver.scheduler.lanes), None)


@dataclass(slots=True, kw_only=True)
class SharedOutcome:
    """What the programs came to together."""

    spec: ServerSpec
    server: ServerModel
    running: list[Running]

    @property
    def share_refused(self) -> float:
        """The share of 429s among all attempts."""
        attempts = sum(each.driver.outcome.attempts for each in self.running)
        return len(self.server.refused_at) / max(1, attempts)

    @property
    def used(self) -> float:
        """The share of the ideal that was reached, as for one program."""
        outcomes = [each.driver.outcome for each in self.running]
        spent = {kind: sum(each.spent[kind] for each in outcomes) for kind in LimitKind}
        ideal_s = max(drained_s(self.spec, kind, spent[kind]) for kind in LimitKind)
        mean = spent[OTPM] / max(1.0, spent[RPM])
        latency_s = self.spec.base_s + mean * self.spec.per_output_token_s
        took_s = max(each.ended_s or 0.0 for each in self.running)
        last_s = max(each.launched_at[-1] for each in outcomes)
        return (ideal_s + latency_s) / min(took_s, last_s + latency_s)

    def answered_by(self, at_s: float) -> list[int]:
        """Return how many requests each program had answered by a time."""
        return [sum(at <= at_s for at in each.answered_s) for each in self.running]

    @property
    def fairness(self) -> float:
        """The slowest program's answers over the fastest one's, when the first had all of them."""
        first_s = min(each.ended_s for each in self.running if each.ended_s is not None)
        answered = self.answered_by(first_s)
        return min(answered) / max(answered)


@dataclass(slots=True, kw_only=True)
class SharedLoop:
    """Programs that share the limits of one server; `redis` None: without a lease."""

    spec: ServerSpec
    programs: tuple[Program, ...]
    redis: RedisSpec | None = RedisSpec()
    seed: int = 7
    _events: list[tuple[float, int, Driver, Event]] = field(default_factory=list)
    _number: Iterator[int] = field(default_factory=itertools.count)
    _lease: LeaseModel = field(default_factory=LeaseModel)
    _has_forgotten: bool = False
    _by_driver: dict[int, Running] = field(default_factory=dict)

    def run(self) -> SharedOutcome:
        """Work all loads off."""
        server = ServerModel(self.spec, seed=self.seed)
        running = [self._start(each, index, server) for index, each in enumerate(self.programs)]
        for each in running:
            self._plan_start(each, each.program.starts_s)
        while any(each.ended_s is None for each in running):
            now, _, driver, event = heapq.heappop(self._events)
            each = self._by_driver[id(driver)]
            if driver is not each.driver:
                continue  # of a shard that has ended
            if now >= each.program.killed_s:
                each.ended_s = each.ended_s or now
            elif each.ended_s is None:
                self._happen(each, event, now)
        return SharedOutcome(spec=self.spec, server=server, running=running)

    def _start(self, program: Program, index: int, server: ServerModel) -> Running:
        seed = self.seed * 1000 + index
        outcome = Outcome(server, self.spec)
        driver = self._driver(program, seed, outcome, program.starts_s)
        return Running(program=program, driver=driver, name=f"program {index}", seed=seed)

    def _driver(
        self,
        program: Program,
        seed: int,
        outcome: Outcome,
        now: float,
        learned: Learned | None = None,
    ) -> Driver:
        """Return a program at the begin of a shard."""
        rng = random.Random(seed)
        scheduler = Scheduler(
            scheduler_settings(
                rng=rng.random,
                concurrency=program.concurrency,
                ceilings=program.ceilings,
                share=program.share,
                shares_limits=self.redis is not None,
            ),
            now=now,
            learned=learned,
        )
        truths: dict[int, Truth] = {}
        for request, truth in requests_of(program.load, seed=seed):
            truths[request.line] = truth
            scheduler.add(request)
        scheduler.end_input()
        return Driver(scheduler, outcome, truths, rng, {}, events=self._events, number=self._number)

    def _plan_start(self, each: Running, at: float) -> None:
        self._by_driver[id(each.driver)] = each
        self._plan(at, each, _Wake(each.token))
        if self.redis is not None:
            self._plan(at, each, _Ask())

    def _end_shard(self, each: Running, now: float) -> None:
        """Let a program go on with its next shard, if it has one."""
        self._lease.leave(each.name)
        each.shards_done += 1
        program, begins = each.program, now + each.program.between_s
        if each.shards_done == program.shards:
            each.ended_s = now
            return
        seed = each.seed + 1_000_000 * each.shards_done
        learned = each.driver.scheduler.learned
        each.driver = self._driver(program, seed, each.driver.outcome, begins, learned)
        self._plan_start(each, begins)

    def _happen(self, each: Running, event: object, now: float) -> None:
        match event:
            case _Wake(token):
                if token != each.token:
                    return
            case _Ask():
                self._ask(each, now)
                return
            case _Granted(grant):
                if each.lane is not None and each.lane.sharing is not None:
                    each.driver.scheduler.grant(each.lane, each.lane.sharing, grant, now)
            case _:
                answers = each.driver.outcome.spent[RPM]
                each.driver.happen(event, now)
                if each.driver.outcome.spent[RPM] > answers:
                    each.answered_s.append(now)
        self._launch(each, now)

    def _launch(self, each: Running, now: float) -> None:
        """Do what a scheduler says until it waits."""
        each.token += 1
        while True:
            match each.driver.scheduler.next(now):
                case Send(attempt):
                    each.driver.launch(attempt, now)
                case Sleep(until):
                    self._plan(max(until, math.nextafter(now, math.inf)), each, _Wake(each.token))
                    return
                case Finished():
                    self._end_shard(each, now)
                    return
                case GiveUp(attempt):
                    each.driver.given_up.add(attempt)
                case Idle(look_at):
                    if look_at < math.inf:
                        self._plan(look_at, each, _Wake(each.token))
                    return

    def _ask(self, each: Running, now: float) -> None:
        """Let a program ask for its share, and plan when it asks again."""
        assert self.redis is not None
        lane = each.lane
        if lane is None or lane.sharing is None:
            self._plan(now + 0.05, each, _Ask())
            return
        wait_s = RENEW_S
        down_from, down_until = self.redis.down
        if not down_from <= now < down_until:
            if now >= down_until and not self._has_forgotten:
                self._has_forgotten, self._lease = True, LeaseModel()
            claim = each.driver.scheduler.claim(lane, lane.sharing, now)
            assert claim is not None
            grant = self._grant(each.name, claim, now)
            wait_s = RENEW_S if grant.settled else SOON_S
            self._plan(now + self.redis.delay_s, each, _Granted(grant))
        self._plan(now + max(wait_s, self.redis.delay_s), each, _Ask())

    def _grant(self, name: str, claim: Claim, now: float) -> Grant:
        lease = self._lease
        share, fair = lease.renew(
            name, weight=claim.weight, demand=claim.demand, held=claim.held, now=now
        )
        lease.facts = claim.facts or lease.facts
        return Grant(share=share, settled=share > 0.99 * fair, facts=lease.facts, others=())

    def _plan(self, at: float, each: Running, event: object) -> None:
        heapq.heappush(self._events, (at, next(self._number), each.driver, event))
