"""The requests of a run that have no result yet, in file order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from claude_batch.core.caching.prefix import Lifetime, PrefixPlan, report
from claude_batch.core.catalog.catalog import Catalog
from claude_batch.core.model.requests import Request
from claude_batch.storage.prompts.check import ignore
from claude_batch.storage.prompts.reading import marked, plan_prefixes, read_requests
from claude_batch.storage.run.checkpoint import Done
from claude_batch.storage.run.opening import OpenRun, RunRequest, left_out
from claude_batch.ui.plan_words import prefix_words
from claude_batch.ui.screen.screen import Screen


def _any(_: int) -> bool:
    return True


def requests_left(
    opened: OpenRun,
    wanted: RunRequest,
    *,
    among: Callable[[int], bool] = _any,
    estimated: bool = True,
    done_too: bool = False,
    progress: Callable[[int], None] = ignore,
) -> Iterator[Request]:
    """Yield what is left to be done, of the lines `among` which it is looked for.

    The prompts are hashed on the way, to notice a change. `done_too` yields lines that have a
    result as well, for a response cache that counts equal ones.
    """
    identity, done = opened.identity, opened.checkpoint.done
    out = frozenset(left_out(wanted.results)) if identity.options.skip_invalid else frozenset()
    ids, limited = done.ids, opened.limited
    if done_too:
        done = Done()
    requests = read_requests(
        opened.prompts,
        opened.defaults(wanted),
        skip=lambda line: (
            line in done
            or line in out
            or not among(line)
            or (limited is not None and line not in limited)
        ),
        expected=(identity.size, identity.sha256),
        estimated=estimated,
        progress=progress,
    )
    return (request for request in requests if not ids or request.custom_id not in ids)


def models_left(opened: OpenRun, wanted: RunRequest) -> frozenset[str]:
    """Return all models that requests may go to: as a check found, else by a look at each."""
    others = opened.retry is None or opened.retry.model is None
    if others and (opened.checked is not None or opened.identity.models):
        return frozenset(opened.checked.models if opened.checked else opened.identity.models)
    left = requests_left(opened, wanted, estimated=False)
    return frozenset(request.model for request in left)


def marked_requests(
    opened: OpenRun,
    wanted: RunRequest,
    *,
    catalog: Catalog,
    screen: Screen,
    done_too: bool,
) -> Iterator[Request]:
    """Yield what is left; with --cache-prefix, marked where prompts share a prefix.

    Finding that out takes a pass of its own over the prompts: call it off the event loop.
    """
    left = requests_left(opened, wanted, done_too=done_too)
    if wanted.options.cache_prefix != "auto":
        return left
    return marked(left, prefix_plan(opened, wanted, "5m", catalog, screen))


def prefix_plan(
    opened: OpenRun, wanted: RunRequest, lifetime: Lifetime, catalog: Catalog, screen: Screen
) -> PrefixPlan:
    """Return which prefixes are worth caching; the screen shows the pass and what it found.

    Takes a pass over the prompts: call it off the event loop.
    """
    size = opened.identity.size

    def progress(done: int) -> None:
        screen.checking(wanted.prompts, done, size, "looking for shared prefixes in")

    try:
        left = requests_left(opened, wanted, progress=progress)
        plan = plan_prefixes(left, lifetime, catalog)
    finally:
        screen.checked()
    screen.notice(f"--cache-prefix: {prefix_words(report(plan.prefixes.values(), catalog))}")
    return plan
