"""Opens the store that the user asked for: SQLite unless a URL names another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from claude_batch.errors import UsageError
from claude_batch.storage.caches.redis import RedisCache
from claude_batch.storage.caches.sqlite import SqliteCache, SqliteSettings
from claude_batch.storage.caches.store import ManagedStore, Now, Warn
from claude_batch.storage.redis import SCHEMES

MAX_BYTES = 2_000_000_000
"""Size limit of an SQLite cache: about two million short answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """Where answers are stored and for how long. `url` None: a file in the user's cache folder.

    `url` is redis://, rediss://, unix:// or sqlite:///PATH. `ttl_s` None: no time to live.
    """

    url: str | None = None
    ttl_s: float | None = None
    max_bytes: int = MAX_BYTES


def default_path() -> Path:
    """Return the file of the user's own cache; its name contains the version of its layout."""
    return user_cache_path("claude-batch", appauthor=False) / "answers-1.sqlite"


def open_cache(settings: CacheSettings, *, now: Now, warn: Warn) -> ManagedStore:
    """Return the store, not yet connected: what goes wrong then is for `FailSafe`.

    Raises UsageError for a URL that names no cache.
    """
    url = f"sqlite://{default_path()}" if settings.url is None else settings.url
    scheme, separator, rest = url.partition("://")
    if separator and scheme in SCHEMES:
        return RedisCache(url, ttl_s=settings.ttl_s, now=now)
    if separator and scheme == "sqlite" and rest:
        return SqliteCache(
            SqliteSettings(path=Path(rest), max_bytes=settings.max_bytes, ttl_s=settings.ttl_s),
            now=now,
            warn=warn,
        )
    raise UsageError(
        f"--cache-url: unknown scheme {scheme}://" if separator else "--cache-url: not a URL",
        hint="write redis://HOST:PORT/0 or sqlite:///PATH, or leave it out: answers are then "
        "stored in your cache folder",
    )
