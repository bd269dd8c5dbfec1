"""`run` and `resume`, wired: open the run under its lock, and work off what is left of it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from claude_batch.compose.api import Api
from claude_batch.compose.batch import BatchDesk
from claude_batch.compose.batch_mode import Crossroads, TypedMode, refuse_detached
from claude_batch.compose.checking import check_shown, defaults_of
from claude_batch.compose.live import STDOUT, LiveDesk, finished_snapshot
from claude_batch.compose.money import ask_if_expensive, catalog_for, forecast, refuse_unpriced
from claude_batch.compose.requests import requests_left
from claude_batch.compose.telling import tell_left_running, tell_opened
from claude_batch.config import Options, Settings
from claude_batch.core.catalog import Catalog
from claude_batch.core.routing import routes_of_text
from claude_batch.errors import CheckpointError, Exit, UsageError
from claude_batch.storage.files import locked
from claude_batch.storage.journal import read_journal
from claude_batch.storage.opening import OpenRun, Wanted, open_run
from claude_batch.storage.output import as_is, as_text, print_results
from claude_batch.storage.prompts import CheckReport, Defaults, InvalidLine
from claude_batch.storage.results import utc
from claude_batch.storage.run_files import (
    STDIN,
    default_results,
    refuse_as_stdout,
    refuse_unreadable,
    set_aside,
)
from claude_batch.storage.run_index import remember_run, runs_below
from claude_batch.storage.run_status import is_unfinished
from claude_batch.ui.screen import Screen, open_screen


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOrder:
    """`run`, as it was typed."""

    prompts: str
    out: Path | None
    settings: Settings
    sandbox: bool
    scenario: Path | None
    skip_invalid: bool
    typed: TypedMode
    new_only: bool
    fresh: bool
    retry_errored: bool
    retry_degraded: bool
    yes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeOrder:
    """`resume`, as it was typed."""

    results: Path | None
    settings: Settings
    typed: TypedMode
    new_only: bool
    retry_errored: bool
    retry_degraded: bool
    yes: bool


def run(order: RunOrder) -> int:
    """Start, or go on with, a run, shown as the settings say; return the exit code."""
    return run_on(_screen(order.settings), order)


def run_on(screen: Screen, order: RunOrder) -> int:
    """Start, or go on with, a run, shown on `screen`; return the exit code."""
    refuse_unreadable(order.prompts)
    if order.out is None and order.prompts == STDIN:
        raise UsageError(
            "prompts come from stdin: where should the results go?",
            hint="name a file: --out results.jsonl",
        )
    results = order.out or default_results(Path(order.prompts), sandbox=order.sandbox)
    wanted = Wanted(
        prompts=order.prompts,
        results=_whole(results),
        defaults=defaults_of(order.settings),
        sandbox=order.sandbox,
        scenario=str(order.scenario.absolute()) if order.scenario else None,
        endpoint=order.settings.endpoint.name,
        skip_invalid=order.skip_invalid,
        dedupe=order.settings.options.dedupe,
        cache_prefix=order.settings.options.cache_prefix,
        mode=order.settings.options.mode,
        retry_errored=order.retry_errored,
        retry_degraded=order.retry_degraded,
        fresh=order.fresh,
        started_at=utc(time.time()),
    )
    return _carry_out(screen, wanted, order)


def resume(order: ResumeOrder) -> int:
    """Go on with an interrupted run, as its journal tells it; return the exit code."""
    results = _whole(order.results or _newest_unfinished())
    journal = read_journal(results)
    if journal is None:
        raise CheckpointError(
            f"{results}: no run has left a journal there",
            hint="name the results file of a run; claude-batch status lists them",
        )
    was = journal.identity
    refuse_unreadable(was.prompts_path)
    wanted = Wanted(
        prompts=was.prompts_path,
        results=results,
        defaults=Defaults(
            model=was.model,
            max_tokens=was.max_tokens,
            system=was.system,
            routes=routes_of_text(was.routes),
            catalog=catalog_for(order.settings.options),
        ),
        sandbox=was.sandbox,
        scenario=was.scenario,
        endpoint=was.endpoint,
        skip_invalid=was.skip_invalid,
        dedupe=was.dedupe,
        cache_prefix=was.cache_prefix,
        retry_errored=order.retry_errored,
        retry_degraded=order.retry_degraded,
        fresh=False,
        started_at=utc(time.time()),
    )
    return _carry_out(_screen(order.settings), wanted, order)


def _whole(path: Path) -> Path:
    """Return `path` from the root on, without `..`; links are left as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow links


def _newest_unfinished() -> Path:
    unfinished = [path for path in runs_below(Path.cwd()) if is_unfinished(path)]
    if not unfinished:
        raise CheckpointError(
            "there is no unfinished run in or below this folder",
            hint="name its results file: claude-batch resume RESULTS",
        )
    return unfinished[-1]


def _to_stdout(options: Options) -> bool:
    return not sys.stdout.isatty() if options.stdout is None else options.stdout


def _screen(settings: Settings) -> Screen:
    options = settings.options
    # results and a moving picture on one terminal would write over each other
    shared = _to_stdout(options) and sys.stdout.isatty() and options.progress == "auto"
    return open_screen("plain" if shared else options.progress, quiet=options.quiet)


def _carry_out(screen: Screen, wanted: Wanted, order: RunOrder | ResumeOrder) -> int:
    """Open the run under its lock, and work off what is left of it."""
    options = order.settings.options
    if _to_stdout(options):
        refuse_as_stdout(STDOUT, wanted.results, Path(wanted.prompts))
    api = Api(
        options=options,
        endpoints=order.settings.endpoints,
        sandbox=wanted.sandbox,
        scenario=Path(wanted.scenario) if wanted.scenario else None,
    )
    try:
        with locked(wanted.results), api:
            opened = _open(wanted, screen, api, order.typed)
            remember_run(wanted.results)
            tell_opened(screen, wanted, opened)
            if opened.is_done:
                return _show_again(screen, wanted, opened, options)
            return _work_off(screen, wanted, opened, order, api)
    finally:
        screen.close(None, None)


def _work_off(
    screen: Screen, wanted: Wanted, opened: OpenRun, order: RunOrder | ResumeOrder, api: Api
) -> int:
    """Choose the way that an opened run goes on, and go it; return the exit code."""
    options = order.settings.options
    api.open()
    catalog = catalog_for(options)
    way = Crossroads(
        wanted=wanted,
        opened=opened,
        settings=order.settings,
        typed=order.typed,
        api=api,
        catalog=catalog,
        screen=screen,
    ).choose()
    _mind_the_cost(wanted, opened, order, catalog, batch=way.endpoint is not None)
    if way.endpoint is not None and (options.cache or options.cache_url or wanted.dedupe):
        screen.notice("--cache and --dedupe are for live requests: batches are sent in full")
    batches = BatchDesk(
        wanted=wanted,
        opened=opened,
        api=api,
        options=options,
        catalog=catalog,
        screen=screen,
        way=way,
    )
    desk = LiveDesk(
        wanted=wanted,
        opened=opened,
        api=api,
        options=options,
        pool=order.settings.pool,
        catalog=catalog,
        screen=screen,
        to_stdout=_to_stdout(options),
        new_only=order.new_only,
        batches=batches if way.endpoint is not None else None,
    )
    return desk.work()


def _mind_the_cost(
    wanted: Wanted,
    opened: OpenRun,
    order: RunOrder | ResumeOrder,
    catalog: Catalog,
    *,
    batch: bool,
) -> None:
    """Refuse a bound that cannot be kept; ask before the run gets expensive."""
    options = order.settings.options
    asks = not (wanted.sandbox or order.yes) and sys.stdin.isatty() and sys.stderr.isatty()
    if options.max_cost is None and not asks:
        return
    left = opened.identity.total - opened.checkpoint.tally.done
    found = forecast(requests_left(opened, wanted), left, catalog, batch=batch)
    if options.max_cost is not None:
        refuse_unpriced(found)
    if asks:
        ask_if_expensive(found, options)


def _open(wanted: Wanted, screen: Screen, api: Api, typed: TypedMode) -> OpenRun:
    def before_start() -> None:
        refuse_detached(typed, mode=wanted.mode, sandbox=wanted.sandbox)
        api.open()
        if wanted.fresh:
            tell_left_running(screen, wanted)
            for path in set_aside(wanted.results, time.strftime("%Y%m%d-%H%M%S")):
                screen.notice(f"set aside: {path.name}")

    def check_file(path: Path, note: Callable[[InvalidLine], None]) -> CheckReport:
        return check_shown(path, wanted.prompts, wanted.defaults, screen, note)

    return open_run(wanted, check_file=check_file, before_start=before_start)


def _show_again(screen: Screen, wanted: Wanted, opened: OpenRun, options: Options) -> int:
    """Print the results of a run that is done, and end as it did."""
    snapshot = finished_snapshot(opened, wanted)
    screen.close(snapshot, None)
    if _to_stdout(options):
        form = as_text if options.format == "text" else as_is
        print_results(wanted.results, STDOUT, form=form, wanted=lambda _: True, ordered=False)
    complete = not snapshot.failed and not opened.identity.invalid
    return Exit.SUCCEEDED if complete else Exit.SOME_FAILED
