"""The scheduler against a server model, in a heap of events: no engine, no loop, no waiting."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from claude_batch.core.model.account import NO_LIMITS, Limits
from claude_batch.core.model.requests import Failure, FailureKind, LimitKind, Reply, Request
from claude_batch.core.scheduling.decisions import Finished, GiveUp, Idle, Send, Sleep, Stop
from claude_batch.core.scheduling.lane import Attempt
from claude_batch.core.scheduling.pool import EndpointSpec
from claude_batch.core.scheduling.scheduler import Scheduler
from tests.support.fakes import scheduler_settings
from tests.support.server_model import ITPM, OTPM, RPM, Answer, ServerModel, ServerSpec, Truth

END_S = 4 * 3600.0
_STEP_S = 0.05


class Server(Protocol):
    """Takes requests in, and lets answers out when they say so; called in order of time."""

    arrived_at: list[float]
    served_at: list[float]

    def arrive(self, request: Request, truth: Truth, t: float) -> Answer:
        """Take a request in; say when its answer leaves."""

    def leave(self, request: Request, answer: Answer, t: float) -> Reply | Failure:
        """Let the answer out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the prompts are like. `bias` is estimated over true input tokens, `spread` its noise.

    `big_every`: every so-manieth request has `big_tokens` of input.
    """

    count: int
    input_tokens: float = 300.0
    output_tokens: float = 100.0
    output_spread: float = 0.5
    bias: float = 1.0
    spread: float = 0.1
    max_tokens: int = 1024
    model: str = "m"
    big_every: int = 0
    big_tokens: int = 0


@dataclass(slots=True)
class Outcome:
    """What a run came to."""

    server: Server
    spec: ServerSpec
    stop: Stop | None = None
    took_s: float = 0.0
    attempts: int = 0
    spent: dict[LimitKind, float] = field(default_factory=lambda: dict.fromkeys(LimitKind, 0.0))
    refused_at: list[float] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    launched_at: list[float] = field(default_factory=list)
    first_launches: list[int] = field(default_factory=list)
    most_in_flight: int = 0
    degraded: int = 0
    given_up_at: list[float] = field(default_factory=list)
    cache_written: list[int] = field(default_factory=list)
    cache_read: list[int] = field(default_factory=list)
    answered: Counter[tuple[str, str]] = field(default_factory=Counter)

    def share_refused(self, *, after_s: float = 0.0) -> float:
        """Return the share of 429s among all attempts from a time on."""
        refused = sum(1 for at in self.refused_at if at >= after_s)
        return refused / max(1, sum(1 for at in self.launched_at if at >= after_s))

    @property
    def latency_s(self) -> float:
        """What an answer of mean length takes."""
        mean = self.spent[OTPM] / max(1.0, self.spent[RPM])
        return self.spec.base_s + mean * self.spec.per_output_token_s

    @property
    def used(self) -> float:
        """The share of the ideal that was reached: buckets drained, plus one latency.

        A last answer that happens to be long is nobody's fault: one mean latency counts.
        """
        spent = dict(self.spent)
        if self.spec.combined:
            spent[ITPM] += spent[OTPM]
        ideal_s = max(drained_s(self.spec, kind, spent[kind]) for kind in LimitKind)
        took_s = min(self.took_s, self.launched_at[-1] + self.latency_s)
        return (ideal_s + self.latency_s) / took_s


def drained_s(spec: ServerSpec, kind: LimitKind, total: float) -> float:
    """Return how long it takes to drain `total` out of the server's bucket without a pause."""
    limit = {RPM: spec.rpm, ITPM: spec.itpm, OTPM: spec.otpm}[kind]
    if limit is None:
        return 0.0
    holds_s = spec.holds_s.get(kind, 60.0)
    if kind is RPM and spec.hidden_s is not None:
        holds_s = spec.hidden_s
    per_s = limit / 60
    level, t = max(1.0, per_s * holds_s) * spec.fill, 0.0
    while True:
        if not spec.outage[0] <= t < spec.outage[1]:
            total, level = total - level, 0.0
        if total <= 0:
            return t
        t += _STEP_S
        rate = per_s * (spec.change_factor if t >= spec.change_at_s else 1.0)
        if spec.competitor_from_s <= t < spec.competitor_until_s:
            rate *= 1 - spec.competitor
        level = min(level + rate * _STEP_S, max(1.0, per_s * holds_s))


def requests_of(load: Load, *, seed: int) -> Iterator[tuple[Request, Truth]]:
    """Yield requests with what they really take."""
    rng = random.Random(seed)
    mu = -(load.output_spread**2) / 2
    for line in range(1, load.count + 1):
        tokens = max(5, int(rng.lognormvariate(0, 0.4) * load.input_tokens))
        if load.big_every and not line % load.big_every:
            tokens = load.big_tokens
        output = int(rng.lognormvariate(mu, load.output_spread) * load.output_tokens)
        output = min(load.max_tokens, max(1, output))
        guess = max(1, int(tokens * load.bias * rng.uniform(1 - load.spread, 1 + load.spread)))
        request = Request(
            custom_id=str(line),
            line=line,
            model=load.model,
            max_tokens=load.max_tokens,
            body=b"{}",
            input_tokens=guess,
        )
        yield request, Truth(tokens, output)


@dataclass(slots=True, kw_only=True)
class Loop:
    """One closed loop; `server` stands in for a model made of `spec`.

    `servers` are what the `endpoints` reach, by name; several may reach the same. `changed` makes
    a request something else before it is sent.
    """

    spec: ServerSpec
    load: Load
    seed: int = 7
    guess: Limits = NO_LIMITS
    ceilings: Limits = NO_LIMITS
    share: float = 1.0
    concurrency: int = 4000
    server: Server | None = None
    endpoints: tuple[EndpointSpec, ...] = (EndpointSpec(name="default"),)
    servers: Mapping[str, Server] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    changed: Callable[[Request], Request] = lambda request: request

    def run(self) -> Outcome:
        """Work the load off."""
        rng = random.Random(self.seed)
        scheduler = Scheduler(
            scheduler_settings(
                rng=rng.random,
                concurrency=self.concurrency,
                initial_limits=lambda _: self.guess,
                ceilings=self.ceilings,
                share=self.share,
                endpoints=self.endpoints,
                **self.settings,
            ),
            now=0.0,
        )
        truths: dict[int, Truth] = {}
        for request, truth in requests_of(self.load, seed=self.seed):
            truths[request.line] = truth
            scheduler.add(self.changed(request))
        scheduler.end_input()
        server = self.server or ServerModel(self.spec, seed=self.seed)
        outcome = Outcome(server, self.spec)
        driver = Driver(scheduler, outcome, truths, rng, self.servers)
        driver.drive()
        driver.outcome.ended += [e.job.request.line for e in scheduler.release_held()]
        return driver.outcome


@dataclass(slots=True)
class _Arrival:
    attempt: Attempt


@dataclass(slots=True)
class _Departure:
    attempt: Attempt
    answer: Answer


@dataclass(slots=True)
class _Return:
    attempt: Attempt
    outcome: Reply | Failure


Event = object
"""What happens to an attempt. Several loops in one heap may add events of their own."""


@dataclass(slots=True)
class Driver:
    """Does what the scheduler says, and lets time pass from event to event.

    Several may share `events`: each entry says whose it is.
    """

    scheduler: Scheduler
    outcome: Outcome
    truths: dict[int, Truth]
    rng: random.Random
    servers: Mapping[str, Server]
    given_up: set[Attempt] = field(default_factory=set)
    events: list[tuple[float, int, Driver, Event]] = field(default_factory=list)
    number: Iterator[int] = field(default_factory=itertools.count)

    def drive(self) -> None:
        now, events = 0.0, self.events
        while now < END_S:
            match self.scheduler.next(now):
                case Send(attempt):
                    self.launch(attempt, now)
                case GiveUp(attempt):
                    self.given_up.add(attempt)
                    self.outcome.given_up_at.append(now)
                case Finished(stop):
                    self.outcome.stop, self.outcome.took_s = stop, now
                    return
                case Sleep(until) if not events or until < events[0][0]:
                    assert until > now
                    now = until
                case Idle(look_at) if events and look_at < events[0][0]:
                    now = look_at
                case Sleep() | Idle():
                    assert events, "it waits for something to happen, and nothing can"
                    now, _, _, event = heapq.heappop(events)
                    self.happen(event, now)
        raise AssertionError("it never ends")

    def launch(self, attempt: Attempt, now: float) -> None:
        out = self.outcome
        out.launched_at.append(now)
        out.most_in_flight = max(out.most_in_flight, self.scheduler.in_flight)
        if attempt.job.attempts == 1:
            out.first_launches.append(attempt.job.request.line)
        self._plan(now + self._travel(), _Arrival(attempt))

    def happen(self, event: Event, now: float) -> None:
        assert isinstance(event, _Arrival | _Departure | _Return)
        request = event.attempt.job.request
        server = self.servers.get(event.attempt.endpoint, self.outcome.server)
        match event:
            case _Arrival(attempt):
                answer = server.arrive(request, self.truths[request.line], now)
                self._plan(answer.leaves_at, _Departure(attempt, answer))
            case _Departure(attempt, answer):
                outcome = server.leave(request, answer, now)
                self._plan(now + self._travel(), _Return(attempt, outcome))
            case _Return(attempt, outcome):
                if attempt not in self.given_up:
                    self._come_back(attempt, outcome, now)

    def _come_back(self, attempt: Attempt, outcome: Reply | Failure, now: float) -> None:
        out = self.outcome
        out.attempts += 1
        if isinstance(outcome, Reply):
            out.spent[RPM] += 1
            out.spent[ITPM] += outcome.usage.limited_input_tokens
            out.spent[OTPM] += outcome.usage.output_tokens
            out.cache_written.append(outcome.usage.cache_creation_input_tokens)
            out.cache_read.append(outcome.usage.cache_read_input_tokens)
        elif outcome.kind is FailureKind.RATE_LIMITED:
            out.refused_at.append(now)
        out.answered[attempt.endpoint, type(outcome).__name__] += 1
        out.degraded += attempt.degraded
        verdict = self.scheduler.record_outcome(attempt, outcome, now)
        out.ended += [ending.job.request.line for ending in verdict.ended]

    def _plan(self, at: float, event: Event) -> None:
        heapq.heappush(self.events, (at, next(self.number), self, event))

    def _travel(self) -> float:
        spec = self.outcome.spec
        return spec.travel_s + self.rng.random() * spec.travel_jitter_s
