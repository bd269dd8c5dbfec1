"""The composition root: from what the user asked to a wired run. Concrete classes are named here.

What costs to import (the SDK, aiohttp, Rich) is imported by the functions that need it.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from claude_batch.config import Settings, secret
from claude_batch.core.catalog import model_class, tier_limits
from claude_batch.core.limits import NO_LIMITS, Limits
from claude_batch.core.progress import Progress, RunFacts, view
from claude_batch.core.scheduler import Scheduler, SchedulerSettings, Stop, StopKind
from claude_batch.core.snapshot import Phase, Snapshot
from claude_batch.errors import CheckpointError, ClaudeBatchError, Exit, RunStoppedError, UsageError
from claude_batch.storage.files import locked
from claude_batch.storage.journal import Closed, JournalFile, Opened, read_journal
from claude_batch.storage.opening import OpenRun, Wanted, left_out, left_out_path, open_run
from claude_batch.storage.output import Printer, as_is, as_text, print_results
from claude_batch.storage.prompts import CheckReport, Defaults, InvalidLine, check, read_requests
from claude_batch.storage.results import ResultsFile, utc
from claude_batch.storage.run_files import (
    STDIN,
    default_results,
    refuse_as_stdout,
    refuse_unreadable,
    set_aside,
)
from claude_batch.storage.run_index import remember_run, runs_below
from claude_batch.storage.run_status import RunStatus, is_unfinished, run_status
from claude_batch.storage.source import FileSource

if TYPE_CHECKING:
    from claude_batch.transport.messages import MessagesTransport
    from claude_batch.ui.screen import Screen

STDOUT = 1
MOST_CONCURRENT = 2_000
SPARE_FILES = 200
"""Open files that are left for everything but connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOrder:
    """`run`, as it was typed."""

    prompts: str
    out: Path | None
    settings: Settings
    sandbox: bool
    scenario: Path | None
    skip_invalid: bool
    new_only: bool
    fresh: bool
    retry_errored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeOrder:
    """`resume`, as it was typed."""

    results: Path | None
    settings: Settings
    new_only: bool
    retry_errored: bool


def run(order: RunOrder) -> Exit:
    """Start, or go on with, a run; return how it ended."""
    refuse_unreadable(order.prompts)
    if order.out is None and order.prompts == STDIN:
        raise UsageError("prompts come from stdin: where should the results go?", hint="--out FILE")
    results = order.out or default_results(Path(order.prompts), sandbox=order.sandbox)
    wanted = Wanted(
        prompts=order.prompts,
        results=results.absolute(),
        defaults=_defaults(order.settings),
        sandbox=order.sandbox,
        scenario=str(order.scenario.absolute()) if order.scenario else None,
        endpoint=order.settings.endpoint.name,
        skip_invalid=order.skip_invalid,
        retry_errored=order.retry_errored,
        started_at=utc(time.time()),
    )
    return _carry_out(wanted, order.settings, new_only=order.new_only, fresh=order.fresh)


def resume(order: ResumeOrder) -> Exit:
    """Go on with an interrupted run, as its journal tells it; return how it ended."""
    results = (order.results or _newest_unfinished()).absolute()
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
        defaults=Defaults(model=was.model, max_tokens=was.max_tokens, system=was.system),
        sandbox=was.sandbox,
        scenario=was.scenario,
        endpoint=was.endpoint,
        skip_invalid=was.skip_invalid,
        retry_errored=order.retry_errored,
        started_at=utc(time.time()),
    )
    return _carry_out(wanted, order.settings, new_only=order.new_only, fresh=False)


def _defaults(settings: Settings) -> Defaults:
    options = settings.options
    given = {"model": options.model, "max_tokens": options.max_tokens, "system": options.system}
    return Defaults(**{name: value for name, value in given.items() if value is not None})


def _newest_unfinished() -> Path:
    unfinished = [path for path in runs_below(Path.cwd()) if is_unfinished(path)]
    if not unfinished:
        raise CheckpointError(
            "there is no unfinished run in or below this folder",
            hint="name its results file: claude-batch resume RESULTS",
        )
    return unfinished[-1]


def _carry_out(wanted: Wanted, settings: Settings, *, new_only: bool, fresh: bool) -> Exit:
    """Open the run under its lock, and work off what is left of it."""
    options = settings.options
    to_stdout = not sys.stdout.isatty() if options.stdout is None else options.stdout
    if to_stdout:
        refuse_as_stdout(STDOUT, wanted.results, Path(wanted.prompts))
    with locked(wanted.results), _api(wanted, settings) as api:
        if fresh:
            set_aside(wanted.results, time.strftime("%Y%m%d-%H%M%S"))
        opened = open_run(
            wanted,
            check_file=lambda path, note: _check_file(path, wanted, settings, note),
            before_start=api.open,
        )
        remember_run(wanted.results)
        desk = _Desk(wanted, opened, api, settings)
        if opened.is_done:
            return desk.show_again(to_stdout=to_stdout)
        return desk.work(to_stdout=to_stdout, new_only=new_only)
