"""Requests that always fail, and outages: the first end after their attempts, the second cost none.

Both look the same while nothing else is sent: failures in a row. So what has not been tried yet
goes first, and what is left then has its attempts when it has failed for a part of the patience.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field, replace

import pytest

from claude_batch.core.model.requests import FailureKind, Request
from claude_batch.core.scheduling.pool import EndpointSpec
from claude_batch.core.scheduling.retry import DOUBT_SHARE
from tests.support.closed_loop import Load, Loop, Outcome
from tests.support.fakes import a_failure
from tests.support.server_model import Answer, ServerModel, ServerSpec, Truth

PATIENCE_S = 3600.0
MAX_ATTEMPTS = 6
SPEC = ServerSpec(rpm=3_000, itpm=10**7, otpm=2 * 10**6)
KINDS = [FailureKind.SERVER_ERROR, FailureKind.INVALID_RESPONSE, FailureKind.TIMED_OUT]

every_kind = pytest.mark.parametrize("kind", KINDS)


@dataclass
class Failing(ServerModel):
    """A server that fails with the requests of `bad` lines, whenever they come."""

    bad: Container[int] = field(default=range(0))
    kind: FailureKind = FailureKind.SERVER_ERROR
    took_s: float = 0.3
    tries: Counter[int] = field(default_factory=Counter)
    spec: ServerSpec = SPEC

    def __post_init__(self) -> None:
        super().__init__(self.spec, seed=7)

    def arrive(self, request: Request, truth: Truth, t: float) -> Answer:
        if request.line not in self.bad:
            return super().arrive(request, truth, t)
        self.tries[request.line] += 1
        self.arrived_at.append(t)
        took_s = 80.0 if self.kind is FailureKind.TIMED_OUT else self.took_s
        return Answer(a_failure(self.kind), t + took_s)


def run(server: ServerModel, count: int = 2_000) -> Outcome:
    return Loop(spec=SPEC, load=Load(count=count), server=server, seed=3).run()


@pytest.mark.parametrize("kind", [FailureKind.SERVER_ERROR, FailureKind.INVALID_RESPONSE])
def test_300_requests_that_always_fail_at_the_end_have_their_attempts(kind: FailureKind) -> None:
    server = Failing(bad=range(1_701, 2_001), kind=kind)
    out = run(server)
    assert out.stop is None
    assert sorted(out.ended) == list(range(1, 2_001))
    assert min(server.tries.values()) >= MAX_ATTEMPTS
    assert out.took_s <= DOUBT_SHARE * PATIENCE_S + 120


def test_300_requests_that_always_fail_midway_do_not_keep_the_others_waiting() -> None:
    server = Failing(bad=range(700, 1_000))
    out = run(server)
    assert out.stop is None
    assert len(out.ended) == 2_000
    assert server.served_at[-1] <= 400  # a probe a second for each of the 300


@every_kind
def test_the_last_ten_that_always_fail_have_their_attempts(kind: FailureKind) -> None:
    server = Failing(bad=range(191, 201), kind=kind)
    out = run(server, 200)
    assert out.stop is None
    assert len(out.ended) == 200


@every_kind
@pytest.mark.parametrize(
    ("count", "outage"),
    [(2_000, (20.0, 1_220.0)), (1_010, (20.0, 520.0))],
    ids=["of 20 minutes with 1,000 left", "of 8 minutes with 10 left"],
)
def test_an_outage_costs_no_request_its_result(
    kind: FailureKind, count: int, outage: tuple[float, float]
) -> None:
    spec = replace(SPEC, outage=outage, outage_kind=kind)
    out = Loop(spec=spec, load=Load(count=count)).run()
    assert out.stop is None
    assert out.answered["default", "Reply"] == count


@pytest.mark.parametrize("base_s", [0.5, 5.0])
@pytest.mark.parametrize("rpm", [300, 600])
def test_an_outage_is_noticed_however_slow_the_requests_are(rpm: int, base_s: float) -> None:
    spec = replace(SPEC, rpm=rpm, base_s=base_s, outage=(60.0, 180.0), outage_kind=KINDS[0])
    out = Loop(spec=spec, load=Load(count=4 * rpm)).run()
    assert out.answered["default", "Reply"] >= 4 * rpm - 2


def test_of_requests_of_which_every_third_fails_each_has_its_attempts() -> None:
    server = Failing(bad=range(1, 2_001, 3))
    out = run(server)
    assert (out.stop, len(out.ended)) == (None, 2_000)
    assert min(server.tries.values()) >= MAX_ATTEMPTS
    assert out.took_s <= 240


def test_a_success_during_doubt_forgives_what_failed_before_it() -> None:
    spec = replace(SPEC, outage=(20.0, 720.0), outage_kind=FailureKind.SERVER_ERROR)
    out = Loop(spec=spec, load=Load(count=1_300), settings={"max_attempts": 60}).run()
    assert out.answered["default", "Reply"] == 1_300


def test_in_a_pool_requests_that_always_fail_have_their_attempts() -> None:
    servers = {name: Failing(bad=range(301, 401)) for name in ("a", "b")}
    endpoints = tuple(EndpointSpec(name=name, host=name) for name in servers)
    loop = Loop(spec=SPEC, load=Load(count=400), endpoints=endpoints, servers=servers)
    out = loop.run()
    assert out.stop is None
    assert len(out.ended) == 400
