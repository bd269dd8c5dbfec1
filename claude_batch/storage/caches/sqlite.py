"""The response cache in an SQLite file: the default. All its work is done in one thread.

When the size bound is reached, what was used longest ago goes first. Use is noted to the hour,
and only with the next answers kept: looking up is reading alone, and waits for nobody.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from claude_batch.storage.caches.packing import pack, unpack
from claude_batch.storage.caches.sqlite_file import SqliteFile, give_back_space, used_bytes, writing
from claude_batch.storage.caches.store import CachedAnswer, CacheStats, Now, Warn
from claude_batch.storage.daemon import DaemonThread

T = TypeVar("T")

USE_NOTED_EVERY_S = 3600.0
KEPT_WHEN_FULL = 0.9
"""What is left of the size bound once it was reached, so that it is not reached at once again."""

_KEYS_AT_ONCE = 500
"""Older SQLites take at most 999 values in one statement."""

_EVICTED_AT_ONCE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteSettings:
    """Where a cache is, and what it may hold. `ttl_s` None: answers stay until space is needed."""

    path: Path
    max_bytes: int
    ttl_s: float | None


class SqliteCache:
    """Answers in a file that several processes may share."""

    def __init__(self, settings: SqliteSettings, *, now: Now, warn: Warn) -> None:
        self._settings = settings
        self._now = now
        self._file = SqliteFile(settings.path, warn=warn)
        self._thread = DaemonThread("cache")
        self._touched: set[bytes] = set()
        self._hits = 0
        self._misses = 0

    async def get_many(self, keys: Sequence[bytes]) -> Mapping[bytes, CachedAnswer]:
        """Return the answers that are there and not past their time to live."""
        return await self._work(lambda connection: self._get(connection, keys))

    async def put_many(self, answers: Mapping[bytes, CachedAnswer]) -> None:
        """Keep `answers`, replacing older ones; other processes find them once this returns."""
        await self._work(lambda connection: self._put(connection, answers))

    async def stats(self) -> CacheStats:
        """Return how the cache stands."""
        return await self._work(self._stats)

    async def prune(self) -> int:
        """Drop what is past its time to live or beyond the size bound; return how many."""
        return await self._work(self._prune)

    async def clear(self) -> int:
        """Drop everything, a damaged file set aside included; return how many answers it was."""
        return await self._work(self._clear)

    async def close(self) -> None:
        """Write down what was used, and let go of the file."""
        try:
            await self._thread.do(self._close)
        finally:
            self._thread.end()

    async def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._thread.do(lambda: self._file.use(work))

    @property
    def _oldest_allowed(self) -> float:
        ttl_s = self._settings.ttl_s
        return float("-inf") if ttl_s is None else self._now() - ttl_s

    def _get(
        self, connection: sqlite3.Connection, keys: Sequence[bytes]
    ) -> dict[bytes, CachedAnswer]:
        found: dict[bytes, CachedAnswer] = {}
        noted_since = self._now() - USE_NOTED_EVERY_S
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            rows = connection.execute(
                "SELECT key, created_at, used_at, stop_reason, model, message FROM answer"  # noqa: S608  # question marks
                f" WHERE created_at >= ? AND key IN ({','.join('?' * len(some))})",
                (self._oldest_allowed, *some),
            )
            for key, created_at, used_at, stop_reason, model, message in rows:
                answer = _answer(message, stop_reason, model, created_at)
                if answer is None:
                    continue
                found[key] = answer
                if used_at < noted_since:
                    self._touched.add(key)
        self._hits += len(found)
        self._misses += len(keys) - len(found)
        return found

    def _put(self, connection: sqlite3.Connection, answers: Mapping[bytes, CachedAnswer]) -> None:
        now = self._now()
        rows = [
            (key, each.created_at, now, each.stop_reason, each.model, pack(each.message))
            for key, each in answers.items()
        ]
        with writing(connection):
            connection.executemany("INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._keep_books(connection)
            if used_bytes(connection) > self._settings.max_bytes:
                self._evict(connection)

    def _keep_books(self, connection: sqlite3.Connection) -> None:
        """Write down what was used and counted since this was last done."""
        now = self._now()
        connection.executemany(
            "UPDATE answer SET used_at = ? WHERE key = ?", [(now, key) for key in self._touched]
        )
        connection.executemany(
            "INSERT INTO counter VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = n + excluded.n",
            [("hits", self._hits), ("misses", self._misses)],
        )
        self._touched.clear()
        self._hits = self._misses = 0

    def _evict(self, connection: sqlite3.Connection) -> int:
        """Drop what was used longest ago until there is room again; return how many."""
        entries = before = _count(connection)
        enough = self._settings.max_bytes * KEPT_WHEN_FULL
        while entries and used_bytes(connection) > enough:
            entries -= connection.execute(
                "DELETE FROM answer WHERE rowid IN"
                " (SELECT rowid FROM answer ORDER BY used_at, rowid LIMIT ?)",
                (1 + int(entries * _EVICTED_AT_ONCE),),
            ).rowcount
        return before - entries

    def _stats(self, connection: sqlite3.Connection) -> CacheStats:
        with writing(connection):
            self._keep_books(connection)
        oldest, newest = connection.execute(
            "SELECT (SELECT MIN(created_at) FROM answer), (SELECT MAX(created_at) FROM answer)"
        ).fetchone()
        counters = dict(connection.execute("SELECT name, n FROM counter"))
        return CacheStats(
            place=str(self._settings.path),
            entries=_count(connection),
            bytes=used_bytes(connection),
            oldest=oldest,
            newest=newest,
            hits=counters.get("hits", 0),
            misses=counters.get("misses", 0),
        )

    def _prune(self, connection: sqlite3.Connection) -> int:
        with writing(connection):
            dropped = connection.execute(
                "DELETE FROM answer WHERE created_at < ?", (self._oldest_allowed,)
            ).rowcount
            if used_bytes(connection) > self._settings.max_bytes:
                dropped += self._evict(connection)
        give_back_space(connection)
        return dropped

    def _clear(self, connection: sqlite3.Connection) -> int:
        with writing(connection):
            dropped = _count(connection)
            connection.execute("DELETE FROM answer")
            connection.execute("DELETE FROM counter")
        self._touched.clear()
        self._hits = self._misses = 0
        give_back_space(connection)
        self._file.aside.unlink(missing_ok=True)
        return dropped

    def _close(self) -> None:
        try:
            if self._hits or self._misses:
                self._file.use(self._last_books)
        finally:
            self._file.close()

    def _last_books(self, connection: sqlite3.Connection) -> None:
        with writing(connection):
            self._keep_books(connection)


def _answer(packed: bytes, stop_reason: str, model: str, created_at: float) -> CachedAnswer | None:
    """Return a row's answer; None when its message was damaged."""
    try:
        message = unpack(packed)
    except zlib.error:
        return None
    return CachedAnswer(
        message=message, stop_reason=stop_reason, model=model, created_at=created_at
    )


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT COUNT(*) FROM answer").fetchone()[0])
