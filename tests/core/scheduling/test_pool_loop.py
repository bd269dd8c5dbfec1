"""Several endpoints against models of their servers, in a closed loop."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from claude_batch.core.model.requests import FailureKind
from claude_batch.core.scheduling.pool import EndpointSpec, Role
from tests.support.closed_loop import Load, Loop, Outcome, Server
from tests.support.server_model import RPM, ServerModel, ServerSpec

SPEC = ServerSpec(rpm=600, holds_s={RPM: 1.0})
ONE = replace(SPEC, organization="org-1")
TWO = replace(SPEC, organization="org-2")
A, B = EndpointSpec(name="a"), EndpointSpec(name="b")


def work(servers: dict[str, Server], *specs: EndpointSpec, count: int = 1_200) -> Outcome:
    """Work requests off through endpoints that reach `servers`."""
    loop = Loop(spec=ONE, load=Load(count=count), endpoints=specs, servers=servers)
    return loop.run()


def test_two_organizations_give_twice_the_throughput_of_one() -> None:
    alone = work({"a": ServerModel(ONE, seed=1)}, A)
    both = work({"a": ServerModel(ONE, seed=1), "b": ServerModel(TWO, seed=2)}, A, B)
    assert both.took_s == pytest.approx(alone.took_s / 2, rel=0.05)
    assert both.share_refused() <= 0.005


def test_two_keys_of_one_organization_do_not() -> None:
    server = ServerModel(ONE, seed=1)
    alone = work({"a": ServerModel(ONE, seed=1)}, A)
    both = work({"a": server, "b": server}, A, B)
    assert both.took_s == pytest.approx(alone.took_s, rel=0.03)
    assert both.share_refused() <= 0.005


def test_two_keys_of_one_organization_behind_different_hosts_do_not_either() -> None:
    server = ServerModel(ONE, seed=1)
    relay = EndpointSpec(name="b", host="relay.example.com")
    both = work({"a": server, "b": server}, A, relay)
    assert both.share_refused() <= 0.01
    assert sorted(both.ended) == list(range(1, 1_201))


def test_a_full_minute_in_each_bucket_is_worked_off_at_both() -> None:
    full = replace(SPEC, holds_s={})
    servers: dict[str, Server] = {
        name: ServerModel(replace(full, organization=name), seed=1) for name in "ab"
    }
    out = work(servers, A, B, count=3_000)
    # each has 600 at once and 600 a minute: 1,500 each takes 90 s
    assert out.took_s <= 90 / 0.97 + 2
    assert out.share_refused() <= 0.005


def test_a_fallback_answers_only_while_the_primary_is_down() -> None:
    down = replace(ONE, outage=(20.0, 110.0))
    local = EndpointSpec(name="local", host="localhost", role=Role.FALLBACK)
    servers: dict[str, Server] = {
        "a": ServerModel(down, seed=1),
        "local": ServerModel(ServerSpec(rpm=None, itpm=None, otpm=None, headers=False), seed=2),
    }
    out = work(servers, A, local, count=3_000)
    assert sorted(out.ended) == list(range(1, 3_001))
    assert out.degraded == out.answered["local", "Reply"] > 0
    served = servers["local"].arrived_at
    assert (served[0] > 50.0, served[-1] < 113.0) == (True, True)


def test_an_overload_of_one_leaves_the_other_at_full_speed_and_ends_within_seconds() -> None:
    down = replace(TWO, outage=(20.0, 80.0))
    servers: dict[str, Server] = {"a": ServerModel(ONE, seed=1), "b": ServerModel(down, seed=2)}
    out = work(servers, A, B, count=1_500)
    served = [at for server in servers.values() for at in server.served_at]
    during, after = (sum(1 for at in served if begin <= at < begin + 10) for begin in (40.0, 85.0))
    assert during == pytest.approx(100, abs=4)
    assert after == pytest.approx(200, abs=10)
    assert sorted(out.ended) == list(range(1, 1_501))


@pytest.mark.parametrize("host", ["", "relay.example.com"], ids=["same host", "elsewhere"])
@pytest.mark.parametrize("kind", [FailureKind.OVERLOADED, FailureKind.SERVER_ERROR])
def test_one_that_always_fails_does_not_slow_down_another_of_its_organization(
    host: str, kind: FailureKind
) -> None:
    plenty = replace(ONE, rpm=6_000)
    alone = work({"a": ServerModel(plenty, seed=1)}, A)
    down = replace(plenty, outage=(0.0, math.inf), outage_kind=kind)
    servers: dict[str, Server] = {"a": ServerModel(plenty, seed=1), "b": ServerModel(down, seed=2)}
    out = work(servers, A, replace(B, host=host))
    assert out.took_s <= alone.took_s + 8.0
    assert out.answered["b", "Failure"] <= 60
    assert out.answered["a", "Reply"] == 1_200


def test_an_overload_of_all_of_a_host_is_probed_within_seconds() -> None:
    down = replace(ONE, outage=(5.0, 60.0))
    server = ServerModel(down, seed=1)
    out = work({"a": server, "b": server}, A, B)
    assert min(at for at in server.served_at if at > 10.0) <= 63.0
    assert sum(at > 15.0 for at in out.launched_at if at < 60.0) <= 60
