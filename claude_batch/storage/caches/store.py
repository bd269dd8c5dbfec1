"""What a response cache is: answers by key. Three stores hold to it; one suite tests them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Now = Callable[[], float]
"""The wall clock: seconds since 1970."""

Warn = Callable[[str], None]
"""Tells the user something; called from any thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedAnswer:
    """An answer as it is kept: `message` is the API's own JSON, `created_at` its wall time."""

    message: bytes
    stop_reason: str
    model: str
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """How a cache stands. `oldest` and `newest` are wall times; None in an empty cache.

    `hits` and `misses` count every look-up since the cache was last cleared.
    """

    place: str
    entries: int
    bytes: int
    oldest: float | None
    newest: float | None
    hits: int
    misses: int


class AnswerStore(Protocol):
    """What a run needs of a cache. Any call may raise; see `FailSafe`."""

    async def get_many(self, keys: Sequence[bytes]) -> Mapping[bytes, CachedAnswer]:
        """Return the answers that are there and not past their time to live."""

    async def put_many(self, answers: Mapping[bytes, CachedAnswer]) -> None:
        """Keep `answers`, replacing older ones; other processes find them once this returns."""

    async def close(self) -> None:
        """Let go of files and connections."""


class ResponseCache(AnswerStore, Protocol):
    """What `claude-batch cache` needs besides."""

    async def stats(self) -> CacheStats:
        """Return how the cache stands."""

    async def prune(self) -> int:
        """Drop what is past its time to live or beyond the size bound; return how many."""

    async def clear(self) -> int:
        """Drop everything; return how many answers that was."""
