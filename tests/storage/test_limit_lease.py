"""The lease of rate limits: the script in a real Redis against its model, and what users meet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from claude_batch.core.model.requests import LimitKind
from claude_batch.core.model.sharing import Claim, LaneKey, LimitFact, Sharer
from claude_batch.errors import LeaseAwayError, UsageError
from claude_batch.storage.limit_lease import PREFIX, RENEW, SILENT_S, RedisLease
from tests.support.lease_model import LeaseModel, granted
from tests.support.redis_server import free_port, redis_server

pytestmark = pytest.mark.services

T = TypeVar("T")

TIMED = RENEW.replace("redis.call('TIME')", "{ARGV[7], 0}")
"""The script on the test's own clock."""

HOST = LaneKey(place="host anthropic api.anthropic.com", model_class="Haiku 5.5")
ORGANIZATION = LaneKey(
    place="host anthropic api.anthropic.com", model_class="Haiku 5.5", organization="org-1"
)
FACTS = (LimitFact(LimitKind.REQUESTS, 2_400.0, 200.0),)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        yield address


@pytest.fixture
def server(url: str) -> Any:
    """Return a plain client of a server that is empty."""
    with Redis.from_url(url, decode_responses=True) as client:
        client.flushall()
        yield client


def claim(key: LaneKey = HOST, **changes: Any) -> Claim:
    """Return a plain claim of all it can get."""
    usual = {"number": 0, "weight": 1.0, "demand": None, "held": None, "facts": ()}
    return Claim(key=key, **(usual | changes))


def within(url: str, act: Callable[[list[RedisLease]], Awaitable[T]], programs: int = 2) -> T:
    """Return what `act` makes of the leases of some programs."""

    async def whole() -> T:
        leases = [RedisLease(url, name=f"program {number}") for number in range(programs)]
        try:
            return await act(leases)
        finally:
            for each in leases:
                await each.close()

    return asyncio.run(whole())


weights = st.sampled_from([0.1, 0.3, 1.0])
demands = st.one_of(st.none(), st.floats(0, 2, allow_subnormal=False))
steps = st.tuples(
    st.sampled_from("abcde"),
    st.sampled_from([0.0, 0.1, 0.3, 1.0, 1.0, 4.9, 5.0, 6.0]),
    weights,
    demands,
    st.sampled_from(["renew", "renew", "renew", "renew", "leave", "forget"]),
)


@given(st.lists(steps, max_size=30))
def test_the_script_grants_what_its_model_grants(url: str, history: list[Any]) -> None:
    model, now, held = LeaseModel(), 1_000.0, dict[str, float]()
    with Redis.from_url(url, decode_responses=True) as client:
        client.flushall()
        script = client.register_script(TIMED)
        for member, after_s, weight, demand, what in history:
            now += after_s
            if what == "forget":  # the server is restarted
                client.flushall()
                model = LeaseModel()
            if what == "leave":
                client.hdel(f"{PREFIX}lane", member)
                model.leave(member)
                held.pop(member, None)
                continue
            had = held.get(member)
            arguments = [
                *(member, repr(weight), "" if demand is None else repr(demand)),
                *("" if had is None else repr(had), "name|with bars", "", repr(now)),
            ]
            answer = script(keys=[f"{PREFIX}lane"], args=arguments)
            share, fair = model.renew(member, weight=weight, demand=demand, held=had, now=now)
            held[member] = share
            assert float(answer[1]) == pytest.approx(share, abs=1e-9)
            assert float(answer[2]) == pytest.approx(fair, abs=1e-9)
            assert len(answer[4:]) == 2 * (len(model.seats) - 1)
            assert granted(model.seats.values(), now) <= 1 + 1e-9


@pytest.mark.usefixtures("server")
def test_a_newcomer_gets_its_part_once_the_other_has_asked_again(url: str) -> None:
    async def act(leases: list[RedisLease]) -> list[float]:
        first, second = leases
        shares = []
        for lease, held in ((first, 1.0), (second, None), (first, 1.0), (second, 0.0)):
            grant = await lease.renew(claim(held=held))
            assert grant is not None
            shares.append(grant.share)
        return shares

    assert within(url, act) == [1.0, 0.0, 0.5, 0.0]  # the lane is young: it grows a little later


@pytest.mark.usefixtures("server")
def test_programs_meet_where_the_organization_is_known(url: str) -> None:
    async def act(leases: list[RedisLease]) -> Any:
        first, newcomer = leases
        await first.renew(claim())
        await first.renew(claim(ORGANIZATION, facts=FACTS))
        return await newcomer.renew(claim())

    grant = within(url, act)
    assert (grant.facts, [each.name for each in grant.others]) == (FACTS, ["program 0"])


@pytest.mark.usefixtures("server")
def test_who_shares_a_lane_can_be_asked(url: str) -> None:
    async def act(leases: list[RedisLease]) -> tuple[Sharer, ...]:
        await leases[0].renew(claim(ORGANIZATION))
        await leases[1].renew(claim(ORGANIZATION))
        return await leases[0].sharers(ORGANIZATION)

    assert within(url, act) == (Sharer("program 0", 0.25), Sharer("program 1", 0.25))


@pytest.mark.usefixtures("server")
def test_a_program_that_leaves_is_gone_at_once(url: str) -> None:
    async def act(leases: list[RedisLease]) -> tuple[Sharer, ...]:
        await leases[0].renew(claim())
        await leases[1].renew(claim())
        await leases[1].leave(0)
        return await leases[0].sharers(HOST)

    assert within(url, act) == (Sharer("program 0", 0.25),)


def test_a_program_that_falls_silent_counts_for_five_seconds(url: str, server: Any) -> None:
    within(url, lambda leases: _without_close(leases[0]))
    (name,) = server.keys(f"{PREFIX}host*")
    until = float(next(v for f, v in server.hgetall(name).items() if "-0" in f).split("|")[0])
    seconds, micros = server.time()
    assert 0 < until - (seconds + micros / 1e6) <= SILENT_S


async def _without_close(lease: RedisLease) -> None:
    await lease.renew(claim())
    lease._lanes.clear()


def test_facts_that_another_version_wrote_are_ignored(url: str, server: Any) -> None:
    server.hset(f"{PREFIX}{HOST.place}:{HOST.model_class}", "facts", '[["speed", 1, "x"]]')
    grant = within(url, lambda leases: leases[0].renew(claim()))
    assert grant is not None
    assert grant.facts == ()


def test_a_server_that_is_gone_grants_nothing() -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    assert within(url, lambda leases: leases[0].renew(claim())) is None


def test_a_server_that_cannot_be_reached_is_named_without_its_password() -> None:
    url = f"redis://user:secret@127.0.0.1:{free_port()}/0"
    with pytest.raises(LeaseAwayError) as caught:
        within(url, lambda leases: leases[0].check())
    assert "secret" not in str(caught.value)
    assert "redis://127.0.0.1:" in str(caught.value)


def test_a_server_that_refuses_us_is_named_wrongly(server: Any, url: str) -> None:
    server.config_set("requirepass", "other")
    try:
        with pytest.raises(UsageError, match="cannot be used"):
            within(url.replace("redis://", "redis://:wrong@"), lambda leases: leases[0].check())
    finally:
        server.config_set("requirepass", "")


@pytest.mark.parametrize("url", ["http://127.0.0.1/0", "sqlite:///x", "redis://127.0.0.1:port/0"])
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="--shared-limits"):
        RedisLease(url, name="x")
