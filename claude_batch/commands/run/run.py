"""`run` and `resume`, wired: open the run under its lock, and work off what is left of it."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from claude_batch.commands.api import Api
from claude_batch.commands.check import check_shown, defaults_of, fetching, refuse_random_alone
from claude_batch.commands.find_run import journal_of
from claude_batch.commands.folder.stage import ShardStage
from claude_batch.commands.inputs import results_of
from claude_batch.commands.money import (
    catalog_for,
    forecast,
    may_spend,
    refuse_unpriced,
)
from claude_batch.commands.run.batch import BatchStage
from claude_batch.commands.run.lease import refuse_lost_lease
from claude_batch.commands.run.live import LiveStage, finished_snapshot
from claude_batch.commands.run.messages import shown, tell_left_running, tell_opened
from claude_batch.commands.run.mode import ModeSelector, refuse_detached
from claude_batch.commands.run.models import accept_models, models_to_ask_about
from claude_batch.commands.run.options import (
    outlook_of,
    refuse_met_bound,
    refuse_small_bound,
    resumed,
    unused,
)
from claude_batch.commands.run.requests import models_left
from claude_batch.commands.run.response_cache import refuse_bad_cache
from claude_batch.commands.run.retrying import overrides_of, retries, set_by, started_over
from claude_batch.commands.run.serving import find_serving
from claude_batch.commands.run.stdout import STDOUT, form_of
from claude_batch.commands.run.table import TableStage
from claude_batch.commands.run.watching import Watchers, watched
from claude_batch.commands.table import (
    checkpoint_of,
    refuse_other_kind_of_table,
    typed_command,
)
from claude_batch.config.declaration import Owner
from claude_batch.config.options import (
    OVERRIDING,
    WITH_SANDBOX,
    WITHOUT_CACHE,
    WITHOUT_METRICS,
    WITHOUT_TABLE,
    Options,
    owned_by,
)
from claude_batch.config.reading import read_settings, typed_options, unknown_variables
from claude_batch.config.settings import Settings
from claude_batch.core.catalog.routing import routes_of_text
from claude_batch.core.catalog.serving import Serves
from claude_batch.errors import CheckpointMismatchError, Exit, InvalidPromptsError, UsageError
from claude_batch.storage.files import beside, locked, refuse_dash
from claude_batch.storage.objects.locations import is_url
from claude_batch.storage.prompts.check import CheckReport
from claude_batch.storage.prompts.input import (
    STDIN,
    is_regular,
    refuse_odd_name,
    refuse_unreadable,
)
from claude_batch.storage.prompts.parse import InvalidLine
from claude_batch.storage.prompts.shapes import NO_OVERRIDES, Overrides
from claude_batch.storage.run.journal import KnownModels, journal_path, note, read_journal
from claude_batch.storage.run.opening import SKIPPING, OpenRun, RunRequest, end_retry, open_run
from claude_batch.storage.run.output import print_results
from claude_batch.storage.run.paths import (
    default_results,
    refuse_as_stdout,
    refuse_own_prompts,
    run_folder_of,
    set_aside,
)
from claude_batch.storage.run.results import utc
from claude_batch.storage.run.status import remember_run
from claude_batch.storage.run.table import TABLE_RESULTS, kept_table
from claude_batch.storage.tables.writing import is_table
from claude_batch.ui.screen.opening import open_screen
from claude_batch.ui.screen.screen import Screen


def run(prompts: str, given: Mapping[str, Any]) -> int:
    """Start or resume a run, with the options given; return the exit code."""
    request = run_request(prompts, given)
    return carry_out(_screen(request.options), request)


def resume(results: Path, given: Mapping[str, Any]) -> int:
    """Resume an interrupted run with the options in its journal; return the exit code."""
    if "on" in given or "workers" in given:
        raise UsageError(
            "--on ray is for run folders", hint="claude-batch resume DIR/ --on ray; or leave it out"
        )
    request = _resume_request(_whole(checkpoint_of(results)), given)
    return carry_out(_screen(request.options), request)


def run_request(prompts: str, given: Mapping[str, Any]) -> RunRequest:
    """Return what `run` asks for. Raises UsageError, CheckpointError."""
    typed = typed_options(given, os.environ)
    refuse_random_alone(typed)
    if typed.out is None and prompts == STDIN:
        raise UsageError(
            "prompts come from stdin: where should the results go?",
            hint="name a file: --out results.jsonl",
        )
    if typed.out is None and is_url(prompts):
        name = shlex.quote(prompts)
        where = " ".join(results_of([prompts]))
        raise UsageError(
            f"{prompts} is in object storage: where should the results go?",
            hint=f"name a file: claude-batch run {name} {where}; or a folder, for "
            f"shards: claude-batch run {name} --out DIR/",
        )
    sandbox = typed.uses_sandbox
    if typed.out is not None:
        refuse_dash(typed.out, "name a file: --out FILE; results go to stdout, too, with --stdout")
    out = None if typed.out is None else _whole(typed.out)
    table = out if out is not None and is_table(out) else None
    if out is None:
        results = _whole(default_results(Path(prompts), sandbox=sandbox))
    else:
        if not journal_path(out).exists():  # else it is continued, whatever its name is
            refuse_other_kind_of_table(out)
        results = out if table is None else beside(out, TABLE_RESULTS)
    journal = None if typed.fresh else read_journal(results)
    if journal is None or not is_regular(prompts) or Path(prompts).exists():
        refuse_unreadable(prompts)  # those of a run may be gone: opening it looks what is left
    fixed, overrides = {"sandbox": sandbox}, NO_OVERRIDES
    if journal is not None and retries(given):
        overrides = overrides_of(given, besides=journal.identity.options)
        fixed |= {name: getattr(journal.identity.options, name) for name in set_by(overrides)}
    settings = read_settings(
        given,
        os.environ,
        run=journal.settings if journal else None,
        fixed=fixed,
        repeats=True,
    )
    return _request(prompts, results, settings, table, overrides)


def _resume_request(results: Path, given: Mapping[str, Any]) -> RunRequest:
    """Return what `resume` asks for: what shapes results is as the run was started with."""
    refuse_shard(results)
    journal = journal_of(results)
    was = journal.identity
    if typed_options({}, os.environ).uses_sandbox and not was.options.sandbox:
        raise CheckpointMismatchError(
            f"{results} belongs to a run with the real API, but the environment asks for the "
            "sandbox",
            hint="unset CLAUDE_BATCH_SANDBOX and CLAUDE_BATCH_SCENARIO to resume it",
        )
    if "skip_invalid" in given and not was.options.skip_invalid:
        raise UsageError(
            "--skip-invalid: this run has no invalid lines: it would not have begun",
            hint="leave it out; it is for a run folder: claude-batch resume DIR/ --skip-invalid",
        )
    # a copy of ours that is gone can be made again
    is_there = Path(was.prompts_path).exists() or not Path(was.prompts).exists()
    prompts = was.prompts_path if is_there else was.prompts
    if Path(prompts).exists():
        refuse_unreadable(prompts)
    overrides = NO_OVERRIDES
    fixed = {name: getattr(was.options, name) for name in owned_by(Owner.RESULTS)}
    if retries(given):
        overrides = overrides_of(given)
    elif any(name in given for name in OVERRIDING):
        prompts = started_over(results, journal)
        if "drop" in given:
            given = {**given, "drop": (*was.options.drop, *given["drop"])}
        fixed = {name: value for name, value in fixed.items() if name not in given}
    settings = read_settings(given, os.environ, run=journal.settings, fixed=fixed)
    settings = replace(settings, routes=routes_of_text(was.routes))
    request = _request(prompts, results, settings, None, overrides)
    return replace(request, defaults=defaults_of(settings, was.prompts))  # it may be a copy


def refuse_shard(results: Path) -> None:
    """Refuse to continue a shard as if it were a run of its own: nobody else would know of it."""
    folder = run_folder_of(results)
    if folder is not None:
        name = shlex.quote(shown(folder))
        raise UsageError(
            f"{results} belongs to a shard of {folder}",
            hint=f"claude-batch run {name}/ --shard {int(results.parent.name)}",
        )


def _request(
    prompts: str,
    results: Path,
    settings: Settings,
    table: Path | None,
    overrides: Overrides,
) -> RunRequest:
    if table is None and not settings.options.fresh:
        table = kept_table(results).path
    return RunRequest(
        prompts=prompts,
        results=results,
        defaults=defaults_of(settings, prompts),
        settings=settings,
        started_at=utc(time.time()),
        table=table,
        overrides=overrides,
    )


def _whole(path: Path) -> Path:
    """Return `path` from the root on, without `..`; links are left as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow links


def _to_stdout(options: Options) -> bool:
    return not sys.stdout.isatty() if options.stdout is None else options.stdout


def _screen(options: Options) -> Screen:
    # results and a moving picture on one terminal would write over each other
    shared = _to_stdout(options) and sys.stdout.isatty() and options.progress == "auto"
    return open_screen("plain" if shared else options.progress, quiet=options.quiet)


def carry_out(screen: Screen, request: RunRequest, shard: ShardStage | None = None) -> int:
    """Open the run under its lock and work off what is left of it; return the exit code.

    The run may be a `shard` of several.
    """
    options, results = request.options, request.results
    if _to_stdout(options):
        refuse_as_stdout(STDOUT, results, Path(request.prompts))
    for path in (results, options.scenario or Path()):
        refuse_odd_name(path)
    refuse_own_prompts(request.prompts, results)
    if is_url(request.prompts):
        progress = fetching(request.prompts, screen).progress
        request = replace(request, fetch=replace(request.fetch, progress=progress))
    api = Api(
        options=options,
        endpoints=request.settings.endpoints,
        sandbox=options.sandbox,
        scenario=options.scenario,
    )
    watching = watched if shard is None or shard.watching is None else shard.watching
    try:
        with locked(results), api, watching(request, api, screen) as watchers:
            table = None if request.table is None else TableStage(request=request, screen=screen)
            if table is not None:
                table.refuse_foreign()
            accepted: list[str] = []
            opened = _open(request, screen, api, table, accepted, shard)
            if shard is None:
                remember_run(results)
            if accepted:
                note(results, KnownModels(models=tuple(accepted)))
            tell_opened(screen, request, opened, is_first=shard is None or shard.is_first)
            if shard is not None:
                shard.shipping.open()
            if opened.is_done:
                return _show_again(screen, request, opened, table)
            return _work_off(request, opened, _Around(screen, api, table, watchers, shard))
    finally:
        screen.close(None, None)


def _report_options(screen: Screen, request: RunRequest) -> None:
    """Say which options the journal has put in force, and what was said to no effect."""
    settings = request.settings
    if (message := resumed(settings, shown(request.results))) is not None:
        screen.notice(message)
    effects = {
        WITHOUT_CACHE: not settings.options.caches,
        WITHOUT_TABLE: request.table is None,
        WITHOUT_METRICS: settings.options.metrics_port is None,
        WITH_SANDBOX: settings.options.uses_sandbox,
    }
    for effect in (each for each, applies in effects.items() if applies):
        for message in unused(settings, effect):
            screen.notice(message)
    for name in unknown_variables(os.environ):
        screen.notice(f"the variable {name} is set, but there is no such setting")


@dataclass(frozen=True, slots=True)
class _Around:
    """What one command has besides the run itself."""

    screen: Screen
    api: Api
    table: TableStage | None
    watchers: Watchers
    shard: ShardStage | None


def _work_off(request: RunRequest, opened: OpenRun, around: _Around) -> int:
    """Work off an opened run; return the exit code. Where that is refused a retry is over.

    One of a shard that an earlier process began is not.
    """
    goes_on = around.shard is not None and opened.continued
    try:
        stage = _prepare(request, opened, around)
    except BaseException:
        end_retry(request.results, goes_on=goes_on)
        raise
    if stage is None:
        end_retry(request.results, goes_on=goes_on)
        return Exit.BOUNDED
    return stage.work()


def _prepare(request: RunRequest, opened: OpenRun, around: _Around) -> LiveStage | None:
    """Return how an opened run is worked off; None where the user does not want that after all."""
    screen, api, table = around.screen, around.api, around.table
    options = request.options
    if table is not None:
        table.note(opened)
    _report_options(screen, request)
    if around.shard is None or around.shard.is_first:  # the others keep the last share
        refuse_lost_lease(options, has_begun=True)
    refuse_bad_cache(options)
    api.open()
    catalog = catalog_for(options)
    if opened.checked is None:
        models = models_to_ask_about(opened, request)
        if accepted := accept_models(models, request, api, catalog):
            note(request.results, KnownModels(models=accepted))
    serving: Mapping[str, Serves] = {}
    if len(api.endpoints) > 1 and not api.sandbox:
        serving = find_serving(models_left(opened, request), api, screen)
    if options.max_cost is not None:
        refuse_unpriced(models_left(opened, request), catalog)
    outlook = cache(lambda: outlook_of(opened, request, catalog))
    refuse_met_bound(request, opened, catalog, outlook)
    selector = ModeSelector(
        request=request, opened=opened, api=api, catalog=catalog, screen=screen, outlook=outlook
    )
    way = selector.choose()
    live = way.endpoint is None or options.canary
    refuse_small_bound(request, opened, catalog, outlook, batch=not live)
    asks = not (options.sandbox or options.yes) and sys.stdin.isatty() and sys.stderr.isatty()
    scale = 1.0 if around.shard is None else 1.0 / around.shard.share
    foreseen = cache(lambda: forecast(outlook(), catalog, batch=way.endpoint is not None))
    if asks and not may_spend(foreseen().times(scale), options):
        screen.notice("nothing was sent", "--yes asks nothing; --confirm-above asks later")
        return None
    if around.shard is not None:
        around.shard.on_begin()
    if request.settings.of_run != opened.settings:
        note(request.results, request.settings.of_run)
    batches = BatchStage(
        request=request,
        opened=opened,
        api=api,
        options=options,
        catalog=catalog,
        screen=screen,
        plan=way,
        serving=serving,
    )
    return LiveStage(
        wanted=request,
        opened=opened,
        api=api,
        options=options,
        pool=request.settings.pool,
        catalog=catalog,
        serving=serving,
        screen=screen,
        to_stdout=_to_stdout(options),
        new_only=options.new_only,
        batches=batches if way.endpoint is not None else None,
        prospects=selector.prospects_of,
        table=table,
        watchers=around.watchers,
        shard=around.shard,
    )


def _open(
    request: RunRequest,
    screen: Screen,
    api: Api,
    table: TableStage | None,
    accepted: list[str],
    shard: ShardStage | None,
) -> OpenRun:
    """Open the run; of a new one the models that had to be asked about are `accepted`."""
    options = request.options

    def before_start(checked: CheckReport) -> None:
        refuse_detached(options, options.mode)
        if shard is None or shard.is_first:
            refuse_lost_lease(options, has_begun=shard is not None)
        refuse_bad_cache(options)
        api.open()
        accepted.extend(accept_models(checked.models, request, api, catalog_for(options)))
        if options.fresh:
            tell_left_running(screen, request)
            tables = () if request.table is None else (request.table,)
            for path in set_aside(request.results, time.strftime("%Y%m%d-%H%M%S"), *tables):
                screen.notice(f"set aside: {path.name}")

    def check_file(path: Path, note: Callable[[InvalidLine], None]) -> CheckReport:
        report = check_shown(path, request.prompts, request.defaults, screen, note)
        if table is not None:
            table.refuse_unfit(path, report.requests + report.invalid)
        return report

    try:
        return open_run(request, check_file=check_file, before_start=before_start)
    except InvalidPromptsError as error:
        skipping = f"fix the lines above, or send the good ones: {typed_command()} --skip-invalid"
        hint = skipping if error.hint == SKIPPING else error.hint
        raise InvalidPromptsError(error.message, hint=hint) from None


def _show_again(
    screen: Screen, request: RunRequest, opened: OpenRun, table: TableStage | None
) -> int:
    """Print the results of a run that is done, none of them new, and end as it did."""
    options = request.options
    if table is not None:
        table.note(opened)
        table.write(opened)
        screen.notice(f"the table is {table.shown}")
    snapshot = finished_snapshot(opened, request)
    screen.close(snapshot, None)
    if _to_stdout(options) and not options.new_only:
        form = form_of(options.format)
        print_results(request.results, STDOUT, form=form, wanted=lambda _: True, ordered=False)
    failed = snapshot.failed + opened.checkpoint.tally.output_errors
    complete = not failed and not opened.identity.invalid
    return Exit.SUCCEEDED if complete else Exit.SOME_FAILED
