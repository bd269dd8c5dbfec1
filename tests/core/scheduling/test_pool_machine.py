"""A pool as a machine: whatever endpoints do, nothing is lost, doubled or counted wrongly."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from claude_batch.core.model.account import Limits
from claude_batch.core.model.requests import Failure, FailureKind, Reply, ResponseHeaders
from claude_batch.core.scheduling.decisions import Finished, GiveUp, Idle, Send, Sleep
from claude_batch.core.scheduling.dispatch import Strategy
from claude_batch.core.scheduling.lane import Attempt
from claude_batch.core.scheduling.pool import EndpointSpec, Role
from claude_batch.core.scheduling.scheduler import SPARE, Scheduler
from tests.support.fakes import a_failure, a_reply, a_request, scheduler_settings

CONCURRENCY = 12
ENDPOINTS = (
    EndpointSpec(name="a"),
    EndpointSpec(name="b"),
    EndpointSpec(name="relay", host="relay"),
    EndpointSpec(name="own", limit_group="own"),
    EndpointSpec(name="local", host="local", role=Role.FALLBACK),
)
ANY = [
    FailureKind.RATE_LIMITED,
    FailureKind.OVERLOADED,
    FailureKind.UNREACHABLE,
    FailureKind.SERVER_ERROR,
    FailureKind.TIMED_OUT,
]
FINAL = [FailureKind.ENDPOINT_REJECTED, FailureKind.MODEL_FORBIDDEN, FailureKind.RUN_REFUSED]
"""What takes an endpoint out: only some of them, lest the run should end."""


class PoolMachine(RuleBasedStateMachine):
    """Adds, launches, answers and waits in any order, at several endpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.added = 0
        self.in_flight: list[Attempt] = []
        self.ended: list[str] = []
        self.scheduler = Scheduler(
            scheduler_settings(
                model_class_of=lambda model: "class" if model != "c" else "other class",
                concurrency=CONCURRENCY,
                max_attempts=3,
                endpoints=ENDPOINTS,
                strategy=Strategy.HEADROOM,
                ceilings=Limits(requests=600),
                initial_limits=lambda _: Limits(input_tokens=5_000),
            ),
            now=0.0,
        )

    @rule(
        model=st.sampled_from(["x", "y", "rare", "c"]),
        count=st.integers(1, 10),
        prefix=st.sampled_from([None, None, 1, 2]),
    )
    def add(self, model: str, count: int, prefix: int | None) -> None:
        for _ in range(count):
            self.added += 1
            request = replace(a_request(self.added, model=model), prefix=prefix, cached_tokens=5)
            self.scheduler.add(request)

    @rule()
    def step(self) -> None:
        match self.scheduler.next(self.now):
            case Send(attempt):
                self.in_flight.append(attempt)
            case Sleep(until):
                assert until > self.now
                self.now = min(until, self.now + 100)
            case GiveUp(attempt):
                self.in_flight.remove(attempt)
            case Idle():
                self.now += 0.1
            case Finished():
                raise AssertionError("more may come")

    @precondition(lambda self: self.in_flight)
    @rule(
        pick=st.integers(0, 100),
        kind=st.sampled_from([None, None, *ANY, *FINAL]),
        organization=st.sampled_from([None, "org-1", "org-2"]),
    )
    def answer(self, pick: int, kind: FailureKind | None, organization: str | None) -> None:
        attempt = self.in_flight.pop(pick % len(self.in_flight))
        if attempt.endpoint in {"own", "local"} and kind in FINAL:
            kind = None
        outcome: Reply | Failure = a_reply() if kind is None else a_failure(kind)
        headers = ResponseHeaders(organization_id=organization)
        self._settle(attempt, replace(outcome, headers=headers))

    def _settle(self, attempt: Attempt, outcome: Reply | Failure) -> None:
        verdict = self.scheduler.record_outcome(attempt, outcome, self.now)
        self.ended += [ending.job.request.custom_id for ending in verdict.ended]

    @invariant()
    def no_request_ends_twice_or_is_sent_twice_at_once(self) -> None:
        assert len(self.ended) == len(set(self.ended))
        lines = [attempt.job.request.line for attempt in self.in_flight]
        assert len(lines) == len(set(lines))

    @invariant()
    def what_is_in_flight_is_known_everywhere(self) -> None:
        assert self.scheduler.in_flight == len(self.in_flight) <= CONCURRENCY + SPARE
        at = Counter(attempt.endpoint for attempt in self.in_flight)
        views = self.scheduler.status(self.now).endpoints
        assert {view.name: view.in_flight for view in views if view.in_flight} == dict(at)

    def teardown(self) -> None:
        self.scheduler.end_input()
        for _ in range(100_000):
            match self.scheduler.next(self.now):
                case Send(attempt):
                    self.in_flight.append(attempt)
                case GiveUp(attempt):
                    self.in_flight.remove(attempt)
                case Sleep(until):
                    self.now = until
                case Idle():
                    for attempt in self.in_flight:
                        self._settle(attempt, a_reply())
                    self.in_flight.clear()
                case Finished(stop):
                    assert stop is None
                    break
        assert len(self.ended) == self.added
        assert all(lane.in_flight == 0 for lane in self.scheduler.lanes)


PoolMachine.TestCase.settings = settings(stateful_step_count=60)
TestPool = PoolMachine.TestCase
