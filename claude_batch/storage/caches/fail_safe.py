"""A cache that is down, damaged or hangs never stops a run: one warning, and on without it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar

from claude_batch.storage.caches.store import AnswerStore, CachedAnswer, Warn
from claude_batch.storage.daemon import HANGING_S

T = TypeVar("T")

PATIENCE_S = 15.0
"""How long a store may take to find or keep a few hundred answers before it counts as hanging."""

CLOSING_S = 6.0
"""How long closing may take: as long as another process may be writing, and a bit more."""


class FailSafe:
    """A store that finds and keeps nothing once the one behind it has failed."""

    def __init__(self, store: AnswerStore, *, warn: Warn) -> None:
        self._store = store
        self._warn = warn
        self._failed = False

    async def get_many(self, keys: Sequence[bytes]) -> Mapping[bytes, CachedAnswer]:
        """Return what the store has; nothing once it has failed."""
        if self._failed:
            return {}
        try:
            return await _in_time(self._store.get_many(keys), PATIENCE_S)
        except Exception as error:  # noqa: BLE001  # whatever it is, the run needs no cache
            self._give_up(error)
            return {}

    async def put_many(self, answers: Mapping[bytes, CachedAnswer]) -> None:
        """Keep `answers`, if the store still can."""
        if self._failed:
            return
        try:
            await _in_time(self._store.put_many(answers), PATIENCE_S)
        except Exception as error:  # noqa: BLE001  # whatever it is, the run needs no cache
            self._give_up(error)

    async def close(self) -> None:
        """Let go of the store, whatever state it is in."""
        try:
            await _in_time(self._store.close(), HANGING_S if self._failed else CLOSING_S)
        except Exception as error:  # noqa: BLE001  # whatever it is, the run has ended well
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            what = str(error) or type(error).__name__
            self._warn(
                f"response cache: {what}: going on without it, answers are bought and not kept; "
                "claude-batch doctor looks into it"
            )


async def _in_time(work: Awaitable[T], patience_s: float) -> T:
    """Return what comes of `work`. Raises OSError when that takes too long."""
    try:
        async with asyncio.timeout(patience_s):
            return await work
    except TimeoutError as error:
        raise OSError(str(error) or "no answer in time") from error
