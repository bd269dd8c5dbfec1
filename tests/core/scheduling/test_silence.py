"""Dead connections: the network forgets what is in flight, and reports nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest

from claude_batch.core.model.requests import Failure, FailureKind, Reply, Request
from claude_batch.core.model.snapshot import WaitKind
from claude_batch.core.scheduling.decisions import GiveUp, Send
from claude_batch.core.scheduling.lane import Attempt
from claude_batch.core.scheduling.retry import attempt_timeout_s
from claude_batch.core.scheduling.scheduler import Scheduler
from tests.support.closed_loop import Load, Loop, Outcome
from tests.support.fakes import a_failure, a_reply, a_request, scheduler_settings
from tests.support.server_model import Answer, ServerModel, ServerSpec, Truth

BEGINS_S, LASTS_S = 60.0, 8.0
BACK_S = BEGINS_S + LASTS_S
IN_FLIGHT, MAX_TOKENS = 150, 8_000


@dataclass
class Forgetful:
    """A server behind a network that forgets its connections, and is away for `LASTS_S`.

    With `late_s` it forgets nothing: what it held back arrives so long after it is back.
    """

    server: ServerModel
    late_s: float | None = None
    forgotten: list[int] = field(default_factory=list)
    arrived_at: list[float] = field(default_factory=list)
    served_at: list[float] = field(default_factory=list)

    def arrive(self, request: Request, truth: Truth, t: float) -> Answer:
        answer = self.server.arrive(request, truth, t)
        if t >= BACK_S or answer.leaves_at < BEGINS_S:
            return answer
        if self.late_s is not None:
            return Answer(answer.outcome, max(answer.leaves_at, BACK_S + self.late_s))
        self.forgotten.append(request.line)
        failure = a_failure(FailureKind.TIMED_OUT)
        return Answer(failure, t + attempt_timeout_s(request))

    def leave(self, request: Request, answer: Answer, t: float) -> Reply | Failure:
        return self.server.leave(request, answer, t)


def a_server(latency_s: float, *, jitter: float = 0.2) -> ServerSpec:
    """Return a server without limits; half of the latency is that of the output."""
    per_token_s = latency_s / 2 / 400
    return ServerSpec(
        rpm=None,
        itpm=None,
        otpm=None,
        headers=False,
        base_s=latency_s / 2,
        per_output_token_s=per_token_s,
        jitter=jitter,
    )


def a_load(count: int, *, output_spread: float = 0.5) -> Load:
    return Load(count=count, output_tokens=400, output_spread=output_spread, max_tokens=MAX_TOKENS)


def a_blackout(
    latency_s: float, *, count: int, late_s: float | None = None
) -> tuple[Outcome, Forgetful]:
    """Work off requests, `IN_FLIGHT` at a time, while the network is away."""
    spec = a_server(latency_s)
    server = Forgetful(ServerModel(spec, seed=7), late_s)
    loop = Loop(spec=spec, load=a_load(count), server=server, concurrency=IN_FLIGHT)
    return loop.run(), server


@pytest.mark.parametrize("latency_s", [1.0, 3.0, 10.0])
def test_a_run_sends_again_within_25_s_after_the_network_is_back(latency_s: float) -> None:
    count = int(IN_FLIGHT * 80 / latency_s)
    out, server = a_blackout(latency_s, count=count)
    back = [at for at in out.launched_at if at >= BACK_S]
    assert len(server.forgotten) >= IN_FLIGHT
    assert back[IN_FLIGHT - 1] < BACK_S + 25.0
    assert Counter(out.ended) == Counter(range(1, count + 1))
    assert len(out.given_up_at) == len(server.forgotten)


def test_answers_that_come_late_are_kept() -> None:
    out, _ = a_blackout(3.0, count=4_000, late_s=6.0)
    assert out.given_up_at == []
    assert out.attempts == 4_000


@pytest.mark.parametrize("output_spread", [0.5, 1.5])
@pytest.mark.parametrize("concurrency", [1, 3, 20, 300])
def test_a_request_that_only_takes_long_is_not_given_up(
    concurrency: int, output_spread: float
) -> None:
    spec = a_server(4.0, jitter=0.5)
    load = a_load(600, output_spread=output_spread)
    out = Loop(spec=spec, load=load, concurrency=concurrency).run()
    assert out.given_up_at == []
    assert Counter(out.ended) == Counter(range(1, 601))


def a_scheduler(*, requests: int = 100, concurrency: int = 10, **changes: object) -> Scheduler:
    scheduler = Scheduler(scheduler_settings(concurrency=concurrency, **changes), now=0.0)
    for line in range(1, requests + 1):
        scheduler.add(a_request(line))
    scheduler.end_input()
    return scheduler


def launched(scheduler: Scheduler, now: float) -> list[Attempt]:
    attempts: list[Attempt] = []
    while isinstance(decision := scheduler.next(now), Send):
        attempts.append(decision.attempt)
    return attempts


def answered(scheduler: Scheduler, count: int) -> float:
    """Let `count` requests be answered, each in a second; return the time."""
    now = 0.0
    while count > 0:
        attempts = launched(scheduler, now)
        now += 1.0
        for attempt in attempts:
            scheduler.record_outcome(attempt, a_reply(), now, cost_usd=0.1)
        count -= len(attempts)
    return now


def test_one_hung_request_holds_nothing_back_even_where_one_is_all_that_may_be_in_flight() -> None:
    scheduler = a_scheduler(requests=40, concurrency=1)
    now = answered(scheduler, 20)
    (hung,) = launched(scheduler, now)
    ended: list[int] = []
    while len(ended) < 19:
        now += 1.0
        for attempt in launched(scheduler, now):
            scheduler.record_outcome(attempt, a_reply(), now + 0.5)
            ended.append(attempt.job.request.line)
    assert now < 60.0
    assert hung.job.request.line not in ended
    assert scheduler.in_flight == 1


def test_what_is_overtaken_after_a_silence_is_sent_again_and_its_cost_is_unknown() -> None:
    scheduler = a_scheduler(
        requests=400, max_cost_usd=200.0, most_usd=lambda _request, _tokens: 0.5
    )
    now = answered(scheduler, 30)
    dead = launched(scheduler, now)
    given_up: list[GiveUp] = []
    while len(given_up) < len(dead):
        assert now < 60.0
        sent: list[Attempt] = []
        while isinstance(decision := scheduler.next(now), (Send, GiveUp)):
            if isinstance(decision, GiveUp):
                given_up.append(decision)
            else:
                sent.append(decision.attempt)
        now += 1.0
        for attempt in sent:
            scheduler.record_outcome(attempt, a_reply(), now, cost_usd=0.1)
    lines = [each.attempt.job.request.line for each in given_up]
    assert sorted(lines) == sorted(each.job.request.line for each in dead)
    expenses = [each.verdict.expense for each in given_up]
    assert [(each.unreported, each.at_most_usd) for each in expenses if each] == [(1, 0.5)] * 10


def test_the_last_requests_of_a_run_are_sent_again_one_first_to_see_if_it_is_answered() -> None:
    scheduler = a_scheduler(requests=48)
    now = answered(scheduler, 38)
    assert len(launched(scheduler, now)) == 10
    events: list[str] = []
    while len(events) < 2:
        now += 1.0
        assert now < 60.0
        decision = scheduler.next(now)
        if isinstance(decision, (Send, GiveUp)):
            events.append(type(decision).__name__)
    assert events == ["GiveUp", "Send"]


def test_the_screen_says_that_a_silent_endpoint_is_tried_again() -> None:
    scheduler = a_scheduler()
    now = answered(scheduler, 30)
    launched(scheduler, now)
    assert launched(scheduler, now + 6.0)
    status = scheduler.status(now + 40.0)
    assert status.wait is not None
    assert (status.wait.kind, status.wait.seconds, status.wait.probing) == (
        *(WaitKind.SILENCE, 40.0, True),
    )
    assert status.endpoints[0].why == "nothing heard, trying again"


def test_a_silence_no_longer_than_usual_is_not_probed() -> None:
    scheduler = a_scheduler()
    now = answered(scheduler, 30)
    launched(scheduler, now)
    assert launched(scheduler, now + 4.9) == []
