"""The response cache in a Redis server, shared by many machines.

The server drops what is past its time to live, and what its own memory limit demands
(`maxmemory-policy allkeys-lru` suits a cache). A value is a line of JSON with the facts, then the
message. Without `maxmemory` only the time to live limits its size.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import orjson

from claude_batch.storage.caches.store import CachedAnswer, CacheStats, Now, pack, unpack
from claude_batch.storage.redis import connect, place

PREFIX = b"claude-batch:answer:"
COUNTERS = b"claude-batch:counters"

ANSWER_S = 3.0
"""A server that is silent for this long, in seconds, counts as down."""

_AT_ONCE = 1_000
_LONGEST_FACTS = 512


class RedisCache:
    """Answers in the Redis database that `url` names; its password is never shown."""

    def __init__(self, url: str, *, ttl_s: float | None, now: Now) -> None:
        self._redis = connect(
            url, flag="--cache-url", purpose="a cache", without="to use SQLite", answer_s=ANSWER_S
        )
        self._place = place(url)
        self._ttl_s = ttl_s
        self._now = now
        self._hits = 0
        self._misses = 0

    async def get_many(self, keys: Sequence[bytes]) -> Mapping[bytes, CachedAnswer]:
        """Return the answers that are there and not past their time to live."""
        found = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            for key, value in zip(some, await self._redis.mget([*map(_name, some)]), strict=True):
                answer = None if value is None else _decode(value)
                if answer is not None and not self._is_old(answer.created_at):
                    found[key] = answer
        self._hits += len(found)
        self._misses += len(keys) - len(found)
        return found

    async def put_many(self, answers: Mapping[bytes, CachedAnswer]) -> None:
        """Store `answers`, replacing older ones; other processes find them once this returns."""
        lifetime_ms = None if self._ttl_s is None else max(1, round(self._ttl_s * 1000))
        async with self._redis.pipeline(transaction=False) as pipe:
            for key, answer in answers.items():
                pipe.set(_name(key), _encode(answer), px=lifetime_ms)
            self._count_up(pipe)
            await pipe.execute()

    async def stats(self) -> CacheStats:
        """Return the figures of the cache: `bytes` are those of the values, without overhead."""
        entries = size = 0
        oldest: float | None = None
        newest: float | None = None
        async for _, created_at, length in self._scan():
            entries += 1
            size += length
            oldest = created_at if oldest is None else min(oldest, created_at)
            newest = created_at if newest is None else max(newest, created_at)
        counters = await self._redis.hgetall(COUNTERS)
        return CacheStats(
            place=self._place,
            entries=entries,
            bytes=size,
            oldest=oldest,
            newest=newest,
            hits=int(counters.get(b"hits", 0)) + self._hits,
            misses=int(counters.get(b"misses", 0)) + self._misses,
        )

    async def prune(self) -> int:
        """Delete what is past its time to live; return how many."""
        old = [name async for name, created_at, _ in self._scan() if self._is_old(created_at)]
        return await self._drop(old)

    async def clear(self) -> int:
        """Delete our answers, and nothing else that the server holds; return how many."""
        await self._redis.delete(COUNTERS)
        self._hits = self._misses = 0
        return await self._drop([name async for name, _, _ in self._scan()])

    async def close(self) -> None:
        """Record what was counted, and close the connections."""
        try:
            if self._hits or self._misses:
                async with self._redis.pipeline(transaction=False) as pipe:
                    self._count_up(pipe)
                    await pipe.execute()
        finally:
            await self._redis.aclose()

    async def _scan(self) -> AsyncIterator[tuple[bytes, float, int]]:
        """Yield each answer's name, time of creation and size in bytes, as the server has them."""
        cursor = -1
        while cursor != 0:
            cursor, names = await self._redis.scan(
                max(cursor, 0), match=PREFIX + b"*", count=_AT_ONCE
            )
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.getrange(name, 0, _LONGEST_FACTS)
                    pipe.strlen(name)
                replies = await pipe.execute()
            for name, head, length in zip(names, replies[::2], replies[1::2], strict=True):
                facts = _facts(head)
                if facts is not None:
                    yield name, facts[0], length

    async def _drop(self, names: Sequence[bytes]) -> int:
        dropped = 0
        for start in range(0, len(names), _AT_ONCE):
            dropped += await self._redis.unlink(*names[start : start + _AT_ONCE])
        return dropped

    def _count_up(self, pipe: Any) -> None:
        pipe.hincrby(COUNTERS, "hits", self._hits)
        pipe.hincrby(COUNTERS, "misses", self._misses)
        self._hits = self._misses = 0

    def _is_old(self, created_at: float) -> bool:
        return self._ttl_s is not None and created_at < self._now() - self._ttl_s


def _name(key: bytes) -> bytes:
    return PREFIX + key.hex().encode()


def _encode(answer: CachedAnswer) -> bytes:
    facts = [answer.created_at, answer.stop_reason, answer.model]
    return orjson.dumps(facts) + b"\n" + pack(answer.message)


def _decode(value: bytes) -> CachedAnswer | None:
    """Return the answer that a value holds; None if it is damaged, or not ours."""
    head, _, packed = value.partition(b"\n")
    facts = _facts(head + b"\n")
    if facts is None:
        return None
    created_at, stop_reason, model = facts
    message = unpack(packed)
    if message is None:
        return None
    return CachedAnswer(
        message=message, stop_reason=stop_reason, model=model, created_at=created_at
    )


def _facts(start: bytes) -> tuple[float, str, str] | None:
    """Return created_at, stop reason and model from the first line of a value."""
    head, newline, _ = start.partition(b"\n")
    try:
        created_at, stop_reason, model = orjson.loads(head if newline else b"")
        return float(created_at), str(stop_reason), str(model)
    except (ValueError, TypeError):
        return None
