"""The response cache of a run, wired: which store, and whose answers it may give."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from claude_batch.compose.api import Api
from claude_batch.config import Options
from claude_batch.core.fingerprint import SANDBOX_FAMILY, endpoint_family, pool_family
from claude_batch.storage.caches.fail_safe import FailSafe
from claude_batch.storage.caches.lookup import CacheDesk
from claude_batch.storage.caches.memory import MemoryCache
from claude_batch.storage.caches.opening import CacheSettings, open_cache
from claude_batch.storage.caches.store import AnswerStore

DEDUPED_BYTES = 200_000_000
"""What --dedupe alone may remember of this run's answers."""


def answer_desk(
    options: Options, api: Api, *, dedupe: bool, warn: Callable[[str], None]
) -> CacheDesk | None:
    """Return the cache that was asked for; None without. Raises UsageError for a bad URL.

    A cache that cannot be reached, or fails later, costs a warning, not the run.
    """
    store: AnswerStore
    if options.cache or options.cache_url is not None:
        settings = CacheSettings(url=options.cache_url, ttl_s=options.cache_ttl_s)
        store = FailSafe(open_cache(settings, now=time.time, warn=warn), warn=warn)
    elif dedupe:
        store = MemoryCache(max_bytes=DEDUPED_BYTES, ttl_s=None, now=time.time)
    else:
        return None
    family = SANDBOX_FAMILY if api.sandbox else pool_family(_families(api))
    return CacheDesk(store=store, family=family, dedupe=dedupe, now=time.time)


def _families(api: Api) -> Iterable[str]:
    """Yield whose answers the endpoints of first choice give."""
    for endpoint in api.endpoints:
        if endpoint.role == "primary":
            transport = api.transports[endpoint.name]
            kind: str = endpoint.provider
            if not transport.is_anthropic and kind in {"anthropic", "openai"}:
                kind = f"{kind} {transport.host}"
            yield endpoint_family(kind, endpoint.models)
