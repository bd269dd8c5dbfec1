"""The scheduler against a server model, in a heap of events: no engine, no loop, no waiting."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from claude_batch.core.lane import Attempt
from claude_batch.core.limits import NO_LIMITS, Limits
from claude_batch.core.model import Failure, FailureKind, LimitKind, Reply, Request
from claude_batch.core.scheduler import (
    Finished,
    Idle,
    Scheduler,
    SchedulerSettings,
    Send,
    Sleep,
    Stop,
)
from tests.support.server_model import ITPM, OTPM, RPM, Answer, ServerModel, ServerSpec, Truth

END_S = 4 * 3600.0


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
    big_every: int = 0
    big_tokens: int = 0


@dataclass(slots=True)
class Outcome:
    """What a run came to."""

    server: ServerModel
    load_truths: list[Truth]
    stop: Stop | None = None
    took_s: float = 0.0
    attempts: int = 0
    refused: list[float] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    launched_at: list[float] = field(default_factory=list)
    first_launch: dict[int, float] = field(default_factory=dict)
    most_in_flight: int = 0
    decisions: int = 0

    @property
    def share_refused(self) -> float:
        """429s among all attempts."""
        return len(self.refused) / max(1, self.attempts)

    def ideal_s(self, spec: ServerSpec) -> float:
        """How long the server's buckets, drained without a pause, would have taken."""
        totals = {
            RPM: float(len(self.load_truths)),
            ITPM: float(sum(t.input_tokens for t in self.load_truths)),
            OTPM: float(sum(t.output_tokens for t in self.load_truths)),
        }
        limits = {RPM: spec.rpm, ITPM: spec.itpm, OTPM: spec.otpm}
        longest = 0.0
        for kind, total in totals.items():
            limit = limits[kind]
            if limit is None:
                continue
            holds_s = spec.holds_s.get(kind, 60.0)
            if kind is RPM and spec.hidden_s is not None:
                holds_s = spec.hidden_s
            had = max(1.0, limit / 60 * holds_s) * spec.fill
            longest = max(longest, (total - had) * 60 / limit)
        mean_out = totals[OTPM] / max(1, len(self.load_truths))
        return longest + spec.base_s + mean_out * spec.per_output_token_s

    def used(self, spec: ServerSpec) -> float:
        """The share of the ideal that was reached; the tail of a long answer is nobody's."""
        mean_out = sum(t.output_tokens for t in self.load_truths) / len(self.load_truths)
        latency_s = spec.base_s + mean_out * spec.per_output_token_s
        took_s = min(self.took_s, self.launched_at[-1] + latency_s)
        return self.ideal_s(spec) / took_s


def requests_of(load: Load, *, seed: int) -> Iterator[tuple[Request, Truth]]:
    """Yield requests with what they really take."""
    chance = random.Random(seed)
    for line in range(1, load.count + 1):
        tokens = max(5, int(chance.lognormvariate(0, 0.4) * load.input_tokens))
        if load.big_every and not line % load.big_every:
            tokens = load.big_tokens
        output = int(
            chance.lognormvariate(-(load.output_spread**2) / 2, load.output_spread)
            * load.output_tokens
        )
        output = min(load.max_tokens, max(1, output))
        guess = max(1, int(tokens * load.bias * chance.uniform(1 - load.spread, 1 + load.spread)))
        request = Request(
            custom_id=str(line),
            line=line,
            model="m",
            max_tokens=load.max_tokens,
            body=b"{}",
            input_tokens=guess,
        )
        yield request, Truth(tokens, output)


@dataclass(slots=True, kw_only=True)
class Loop:
    """One closed loop."""

    spec: ServerSpec
    load: Load
    seed: int
    guess: Limits = NO_LIMITS
    ceilings: Limits = NO_LIMITS
    share: float = 1.0
    concurrency: int = 4000

    def run(self) -> Outcome:
        """Work the load off."""
        chance = random.Random(self.seed)
        scheduler = Scheduler(
            SchedulerSettings(
                lane_of=lambda model: model,
                draw=chance.random,
                concurrency=self.concurrency,
                first_guess=lambda _: self.guess,
                ceilings=self.ceilings,
                share=self.share,
            ),
            now=0.0,
        )
        server = ServerModel(self.spec, seed=self.seed)
        pairs = list(requests_of(self.load, seed=self.seed))
        truths = {request.line: truth for request, truth in pairs}
        outcome = Outcome(server, list(truths.values()))
        for request, _ in pairs:
            scheduler.add(request, 0.0)
        scheduler.no_more()
        _Driver(scheduler, server, truths, outcome, chance, self.spec).drive()
        outcome.ended += [e.job.request.line for e in scheduler.release()]
        return outcome


@dataclass(slots=True)
class _Driver:
    scheduler: Scheduler
    server: ServerModel
    truths: dict[int, Truth]
    outcome: Outcome
    chance: random.Random
    spec: ServerSpec

    def drive(self) -> None:
        events: list[tuple[float, int, str, Attempt, Answer | Reply | Failure | None]] = []
        number = itertools.count()
        now = 0.0
        out = self.outcome
        while now < END_S:
            out.decisions += 1
            match self.scheduler.next(now):
                case Send(attempt):
                    out.launched_at.append(now)
                    out.first_launch.setdefault(attempt.job.request.line, now)
                    out.most_in_flight = max(out.most_in_flight, self.scheduler.in_flight)
                    heapq.heappush(
                        events, (now + self._travel(), next(number), "arrive", attempt, None)
                    )
                    continue
                case Finished(stop):
                    out.stop, out.took_s = stop, now
                    return
                case Sleep(until):
                    if not events or until < events[0][0]:
                        assert until > now
                        now = until
                        continue
                case Idle():
                    assert events, "idle with nothing under way"
            now, _, what, attempt, passed = heapq.heappop(events)
            request = attempt.job.request
            if what == "arrive":
                answer = self.server.arrive(request, self.truths[request.line], now)
                heapq.heappush(events, (answer.leaves_at, next(number), "leave", attempt, answer))
            elif what == "leave":
                assert isinstance(passed, Answer)
                said = self.server.leave(request, passed, now)
                heapq.heappush(events, (now + self._travel(), next(number), "back", attempt, said))
            else:
                assert isinstance(passed, Reply | Failure)
                self._back(attempt, passed, now)
        raise AssertionError("it never ends")

    def _travel(self) -> float:
        return self.spec.travel_s + self.chance.random() * self.spec.travel_jitter_s

    def _back(self, attempt: Attempt, said: Reply | Failure, now: float) -> None:
        out = self.outcome
        out.attempts += 1
        if isinstance(said, Failure) and said.kind is FailureKind.RATE_LIMITED:
            out.refused.append(now)
        ruling = self.scheduler.finished(attempt, said, now)
        out.ended += [ending.job.request.line for ending in ruling.endings]


__all__ = ["ITPM", "OTPM", "RPM", "LimitKind", "Load", "Loop", "Outcome"]
