"""A cache that is down or damaged never stops a run: one warning, and on without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from claude_batch.storage.caches.store import AnswerStore, CachedAnswer, Warn


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
            return await self._store.get_many(keys)
        except Exception as error:  # noqa: BLE001  # whatever it is, the run needs no cache
            self._give_up(error)
            return {}

    async def put_many(self, answers: Mapping[bytes, CachedAnswer]) -> None:
        """Keep `answers`, if the store still can."""
        if self._failed:
            return
        try:
            await self._store.put_many(answers)
        except Exception as error:  # noqa: BLE001  # whatever it is, the run needs no cache
            self._give_up(error)

    async def close(self) -> None:
        """Let go of the store, whatever state it is in."""
        try:
            await self._store.close()
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
