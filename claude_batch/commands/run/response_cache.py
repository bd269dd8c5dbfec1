"""Opens the response cache of a run: which store, and whose answers it may give."""

from __future__ import annotations

import time
from collections.abc import Iterable

from claude_batch.commands.api import Api
from claude_batch.config.options import Options
from claude_batch.config.settings import Endpoint
from claude_batch.core.caching.fingerprint import SANDBOX_FAMILY, endpoint_family, pool_family
from claude_batch.storage.caches.memory import MemoryCache
from claude_batch.storage.caches.opening import CacheSettings, open_cache
from claude_batch.storage.caches.responses import CachedResponses
from claude_batch.storage.caches.store import AnswerStore, FailSafe, Warn
from claude_batch.storage.daemon import in_daemon

DEDUPED_BYTES = 200_000_000
"""How much of this run's answers --dedupe alone keeps in memory."""


def response_cache(
    options: Options, api: Api, endpoints: Iterable[Endpoint], *, warn: Warn
) -> CachedResponses | None:
    """Return the cache with the answers of `endpoints`; None unless --cache or --dedupe is set.

    A cache that cannot be reached, or fails later, costs a warning, not the run. Raises UsageError
    for a bad URL.
    """
    store = _store(options, warn=warn)
    if store is None:
        return None
    families = (_family(each, api) for each in endpoints)
    return CachedResponses(
        store=store,
        family=SANDBOX_FAMILY if api.sandbox else pool_family(families),
        dedupe=options.dedupe,
        lasting=options.caches,
        now=time.time,
        in_thread=in_daemon,
    )


def refuse_bad_cache(options: Options) -> None:
    """Refuse a URL that names no cache, before options are kept. Raises UsageError."""
    _store(options, warn=lambda _: None)


def _store(options: Options, *, warn: Warn) -> AnswerStore | None:
    if options.caches:
        settings = CacheSettings(url=options.cache_url, ttl_s=options.cache_ttl_s)
        return FailSafe(open_cache(settings, now=time.time, warn=warn), warn=warn)
    if options.dedupe:
        return MemoryCache(max_bytes=DEDUPED_BYTES, ttl_s=None, now=time.time)
    return None


def _family(endpoint: Endpoint, api: Api) -> str:
    transport = api.transports[endpoint.name]
    kind: str = endpoint.provider
    if not transport.is_anthropic and kind in {"anthropic", "openai"}:
        kind = f"{kind} {transport.host}"
    return endpoint_family(kind, endpoint.models)
