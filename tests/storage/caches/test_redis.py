"""The response cache in Redis: what it leaves alone, what it hides, and a server that is gone."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from redis import Redis

from claude_batch.core.model.requests import Reply, Request, Usage
from claude_batch.errors import UsageError
from claude_batch.storage.caches.redis import PREFIX, RedisCache
from claude_batch.storage.caches.store import CachedAnswer, FailSafe
from tests.support.fake_cache import responses_in
from tests.support.redis_server import redis_server

pytestmark = pytest.mark.services

T = TypeVar("T")

NOW = 1_790_000_000.0
KEY, OTHER = b"\x01" * 20, b"\x02" * 20
ANSWER = CachedAnswer(
    message=b'{"type":"message"}', stop_reason="end_turn", model="claude-haiku-5-5", created_at=NOW
)
SHARED, AT_ONCE = 500, 25
REPLY = Reply(message=b'{"type":"message","usage":{}}', usage=Usage(), stop_reason="end_turn")


def asking(line: int) -> Request:
    return Request(
        custom_id=f"line-{line}",
        line=line,
        model="claude-haiku-5-5",
        max_tokens=100,
        body=b'{"messages":[{"role":"user","content":"%d"}]}' % line,
        input_tokens=10,
    )


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        yield address


@pytest.fixture
def server(url: str) -> Any:
    """Return a plain client of a server that is empty."""
    with Redis.from_url(url) as client:
        client.flushall()
        yield client


def within(url: str, act: Callable[[RedisCache], Awaitable[T]], ttl_s: float | None = None) -> T:
    async def whole() -> T:
        cache = RedisCache(url, ttl_s=ttl_s, now=lambda: NOW)
        try:
            return await act(cache)
        finally:
            await cache.close()

    return asyncio.run(whole())


def keep(url: str, ttl_s: float | None = None) -> None:
    within(url, lambda cache: cache.put_many({KEY: ANSWER, OTHER: ANSWER}), ttl_s)


def test_the_server_itself_forgets_an_answer_in_time(url: str, server: Any) -> None:
    keep(url, ttl_s=3600)
    assert 3_500_000 < server.pttl(PREFIX + KEY.hex().encode()) <= 3_600_000


def test_without_a_time_to_live_the_server_keeps_it(url: str, server: Any) -> None:
    keep(url)
    assert server.pttl(PREFIX + KEY.hex().encode()) == -1


def test_clearing_leaves_what_others_keep_there(url: str, server: Any) -> None:
    server.set("theirs", "x")
    keep(url)
    within(url, lambda cache: cache.clear())
    assert server.keys() == [b"theirs"]


@pytest.mark.parametrize(
    "value", [b"", b"\xff\xff", b"{}\n{}", b'[1,"a"]\n{}', b'["x","a","m"]\n{']
)
def test_a_value_that_is_not_ours_is_a_miss(url: str, server: Any, value: bytes) -> None:
    keep(url)
    server.set(PREFIX + KEY.hex().encode(), value)
    assert list(within(url, lambda cache: cache.get_many([KEY, OTHER]))) == [OTHER]


def test_stats_name_the_place_without_its_password(url: str, server: Any) -> None:
    server.config_set("requirepass", "marked-secret")
    try:
        private = url.replace("://", "://:marked-secret@")
        assert within(private, lambda cache: cache.stats()).place == url
    finally:
        server.config_set("requirepass", "")


def test_a_wrong_password_is_not_repeated_in_the_warning(url: str, server: Any) -> None:
    said: list[str] = []
    server.config_set("requirepass", "right")
    try:
        private = url.replace("://", "://:marked-secret@")
        within(private, lambda cache: FailSafe(cache, warn=said.append).get_many([KEY]))
    finally:
        server.config_set("requirepass", "")
    assert ["marked-secret" in each for each in said] == [False]


def test_a_server_that_goes_away_leaves_a_run_without_cache(tmp_path: Path, url: str) -> None:
    said: list[str] = []

    async def whole() -> list[int]:
        with redis_server(tmp_path) as address:
            cache = FailSafe(RedisCache(address, ttl_s=None, now=lambda: NOW), warn=said.append)
            await cache.put_many({KEY: ANSWER})
            before = len(await cache.get_many([KEY]))
        after = len(await cache.get_many([KEY]))
        await cache.put_many({OTHER: ANSWER})
        await cache.close()
        return [before, after, len(said)]

    assert url
    assert asyncio.run(whole()) == [1, 0, 1]


def test_without_the_redis_package_the_hint_is_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(UsageError) as caught:
        RedisCache("redis://127.0.0.1:1/0", ttl_s=None, now=lambda: NOW)
    assert "pip install 'claude-batch[redis]'" in caught.value.hint


def test_a_url_that_cannot_be_used_is_shown_without_its_password() -> None:
    with pytest.raises(UsageError) as caught:
        RedisCache("redis://:marked-secret@127.0.0.1:port/0", ttl_s=None, now=lambda: NOW)
    assert "marked-secret" not in caught.value.message


def work_off(url: str) -> None:
    """Work off one file over the shared cache; the server counts what is sent."""

    async def work() -> None:
        store = RedisCache(url, ttl_s=None, now=lambda: NOW)
        cache = responses_in(store)
        for start in range(0, SHARED, AT_ONCE):
            some = [asking(line) for line in range(start, start + AT_ONCE)]
            lookup = await cache.split(some, is_done=lambda _line: False)
            await asyncio.sleep(0.005)
            with Redis.from_url(url) as counter:
                for request, key in lookup.to_send:
                    counter.hincrby("sent", request.custom_id)
                    cache.settle(key, request.model, REPLY)
            await cache.flush()
        await cache.close()

    asyncio.run(work())


def test_two_processes_at_once_send_each_request_at_most_twice(url: str, server: Any) -> None:
    spawning = multiprocessing.get_context("spawn")
    workers = [spawning.Process(target=work_off, args=(url,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sent = {int(times) for times in server.hgetall("sent").values()}
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert (server.hlen("sent"), sent <= {1, 2}) == (SHARED, True)
