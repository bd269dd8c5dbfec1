"""The requests of a run that have no result yet, in file order."""

from __future__ import annotations

from collections.abc import Iterator

from claude_batch.core.catalog import Catalog
from claude_batch.core.model import Request
from claude_batch.core.prefix import Lifetime
from claude_batch.core.prefix_saving import report
from claude_batch.storage.opening import OpenRun, Wanted, left_out
from claude_batch.storage.prefixing import marked, plan_prefixes
from claude_batch.storage.prompts import read_requests
from claude_batch.ui.screen import Screen


def requests_left(opened: OpenRun, wanted: Wanted) -> Iterator[Request]:
    """Yield what is left to be done; the prompts are hashed on the way, to notice a change."""
    identity, done = opened.identity, opened.checkpoint.done
    out = frozenset(left_out(wanted.results)) if identity.skip_invalid else frozenset()
    requests = read_requests(
        opened.prompts,
        wanted.defaults,
        skip=lambda line: line in done or line in out,
        expected=(identity.size, identity.sha256),
    )
    return (request for request in requests if not done.ids or request.custom_id not in done.ids)


def marked_requests(
    opened: OpenRun, wanted: Wanted, lifetime: Lifetime, catalog: Catalog, screen: Screen
) -> Iterator[Request]:
    """Yield what is left; with --cache-prefix, marked where prompts begin alike.

    Finding that out takes a pass of its own over the prompts: call it off the event loop.
    """
    if wanted.cache_prefix != "auto":
        return requests_left(opened, wanted)
    plan = plan_prefixes(requests_left(opened, wanted), lifetime, catalog)
    screen.notice(f"--cache-prefix: {report(plan.prefixes.values(), lifetime, catalog)}")
    return marked(requests_left(opened, wanted), plan)
