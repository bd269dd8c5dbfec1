"""One run: files, endpoints, scheduler, screen and stdout are put together; then how it ended.

Batches come first where they are wanted (compose.batch); what they leave goes live.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial

from claude_batch.commands.api import Api
from claude_batch.commands.endpoints import bounds_of, endpoint_specs, sold_as
from claude_batch.commands.folder.stage import ShardStage
from claude_batch.commands.money import most_usd
from claude_batch.commands.run.control import Control
from claude_batch.commands.run.lease import open_lease, sharing_notices
from claude_batch.commands.run.messages import (
    OUTPUT_CLOSED,
    fallback_text,
    results_name,
    retried_text,
    stop_detail,
    summary_of,
    trial_text,
    with_output_errors,
)
from claude_batch.commands.run.options import enough_usd, outlook_of
from claude_batch.commands.run.remedies import changes_against
from claude_batch.commands.run.requests import marked_requests
from claude_batch.commands.run.response_cache import response_cache
from claude_batch.commands.run.retrying import enough_tokens, options_after, retry_options
from claude_batch.commands.run.stdout import Stdout, form_of
from claude_batch.commands.run.table import TableStage
from claude_batch.commands.run.watching import Watchers
from claude_batch.config.options import Options
from claude_batch.config.settings import Pool
from claude_batch.core.catalog.catalog import Catalog, model_class, tier_limits
from claude_batch.core.catalog.pricing import cost_usd
from claude_batch.core.catalog.serving import Serves
from claude_batch.core.model.batches import LeftForLive
from claude_batch.core.model.requests import ResultType, Usage
from claude_batch.core.model.snapshot import Phase, Snapshot
from claude_batch.core.planning.mode import Prospects
from claude_batch.core.planning.workload import Workload
from claude_batch.core.scheduling.decisions import Stop, StopKind
from claude_batch.core.scheduling.dispatch import Strategy
from claude_batch.core.scheduling.progress import (
    NO_STATUS,
    Progress,
    RunFacts,
    Tally,
    make_snapshot,
)
from claude_batch.core.scheduling.scheduler import Scheduler, SchedulerSettings
from claude_batch.engine.clock import LoopClock
from claude_batch.engine.live.run import LiveRun, Parts
from claude_batch.engine.shutdown import Interruption, handle_signals
from claude_batch.errors import ClaudeBatchError, Exit
from claude_batch.ports import Observe
from claude_batch.storage.caches.responses import CachedResponses
from claude_batch.storage.daemon import in_daemon
from claude_batch.storage.folder.claims import Loss
from claude_batch.storage.prompts.reading import FileSource
from claude_batch.storage.run.checkpoint import read_checkpoint
from claude_batch.storage.run.journal import Closed, JournalFile, Opened, Retry
from claude_batch.storage.run.opening import OpenRun, RunRequest, end_retry
from claude_batch.storage.run.recovery import is_retrying
from claude_batch.storage.run.results import ResultsFile, utc
from claude_batch.ui.screen.screen import Screen

PriceAt = Callable[[str, str, Usage], float | None]
"""Returns what a reply of an endpoint to a request for a model cost (USD); None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What a run needs in every mode; `price` returns what a reply cost."""

    results: ResultsFile
    journal: JournalFile
    clock: LoopClock
    progress: Progress
    facts: RunFacts
    interruption: Interruption
    publish: Callable[[Snapshot], None]
    observe: Observe | None
    adjustments: Control
    price: PriceAt


BatchStage = Callable[[RunContext], Awaitable[Stop | LeftForLive | None]]
"""Sends what it can through the Message Batches API."""


@dataclass(slots=True, kw_only=True)
class LiveStage:
    """One opened run and everything needed to work it off; `batches` go first, if there are any."""

    wanted: RunRequest
    opened: OpenRun
    api: Api
    options: Options
    pool: Pool
    catalog: Catalog
    serving: Mapping[str, Serves]
    screen: Screen
    to_stdout: bool
    new_only: bool
    batches: BatchStage | None = None
    prospects: Callable[[Workload], Prospects]
    watchers: Watchers
    table: TableStage | None = None
    shard: ShardStage | None = None
    _control: Control | None = None
    _latest: Snapshot | None = None
    _stand_in: str | None = None
    _stdout: Stdout | None = None
    _results: ResultsFile | None = None
    _output_errors_before: int = 0
    _is_recounted: bool = False
    _interruption: Interruption = field(default_factory=Interruption)
    _sold_as: dict[tuple[str, str], str] = field(default_factory=dict)
    _progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        tally = self.opened.checkpoint.tally.copy()
        self._progress = Progress(started_at=0.0, tally=tally)

    def work(self) -> int:
        """Work off what is left; return the exit code. Raises CheckpointError."""
        try:
            return self._work()
        finally:
            if self._control is not None:
                self._control.close()

    def _work(self) -> int:
        source = self._source() if self.batches is None else None
        self._output_errors_before = self.opened.checkpoint.tally.output_errors
        ship = _ship_nothing if self.shard is None else self.shard.shipping.ship
        with closing(JournalFile(self.wanted.results, ship=ship)) as journal:
            done = self.opened.checkpoint.tally.done
            journal.opened(Opened(at=utc(time.time()), process=os.getpid(), done=done))
            try:
                stop = self._early(asyncio.run(self._run(journal, source)))
                if self._stdout is not None:
                    self._stdout.finish()
            except ClaudeBatchError as error:
                with suppress(ClaudeBatchError, OSError):
                    closed = self._closed("stopped", error.exit_code, error.message)
                    if self.opened.retry is not None:
                        closed = replace(closed, again=retry_options(self.opened.retry))
                    self._end_retry(journal, closed)
                    self._write_table()
                self.screen.close(self._latest, None)
                raise
            closed = self._end_retry(journal, self._closed_by(stop, self._exit_code(stop)))
            closed = self._noted_again(journal, closed, stop)
            code = closed.exit_code
        failed = self._write_table()
        if code == Exit.READER_GONE:
            self.screen.close(None, OUTPUT_CLOSED)
            return code
        summary = summary_of(code, stop, self.opened, self._latest, self.wanted.results, closed)
        if self.shard is not None and self.shard.ending is not None:
            summary = self.shard.ending(summary)
        if self._output_errors:
            summary = with_output_errors(
                summary,
                self._output_errors,
                self.wanted.results,
                enough_tokens=enough_tokens(
                    self.opened, self._latest.stop_reasons if self._latest else {}
                ),
            )
        if self.table is not None and failed is None:
            summary = replace(summary, table=self.table.shown)
        self.screen.close(self._latest, summary)
        if failed is not None:
            raise failed
        return code

    def _early(self, stop: Stop | None) -> Stop | None:
        """Return the stop of a run that has something left; of --limit it says what that will take.

        A run that was interrupted and got its last answers all the same is finished.
        """
        done = self._latest.done if self._latest else self.opened.checkpoint.tally.done
        if done >= self.opened.identity.total:
            asked = self._interruption.signal_number
            if self.shard is not None and asked is not None:
                self.shard.interrupted = 128 + asked
            is_interrupted = stop is not None and stop.kind is StopKind.INTERRUPTED
            return None if is_interrupted else stop
        if stop is not None or self.opened.limited is None:
            return stop
        return Stop(kind=StopKind.LIMIT, message=self._trial_text(done))

    def _trial_text(self, done: int) -> str:
        """Return what was done and spent, and what the whole file will take and cost."""
        checkpoint = read_checkpoint(self.wanted.results)
        opened = replace(self.opened, checkpoint=checkpoint, limited=None)
        outlook = outlook_of(opened, self.wanted, self.catalog)
        return trial_text(
            done,
            self.opened.identity.total,
            spent_usd=checkpoint.tally.cost_usd,
            rest=self.prospects(outlook.likely),
        )

    def _end_retry(self, journal: JournalFile, closed: Closed) -> Closed:
        """Note how this process leaves the run, then put back what a retry has not replaced.

        That of a shard goes on until it is finished: others of its folder may wait for theirs.

        Where the results are still being written, on a disk that hangs, the next process does it.
        """
        journal.closed(closed)
        if self.opened.retry is None or not (self._results and self._results.is_closed):
            return closed
        if self.shard is not None:  # the results are about to be written again
            self.shard.shipping.ship()
        retried = end_retry(self.wanted.results, goes_on=closed.retry_goes_on)
        if is_retrying(self.wanted.results):  # the next process continues it
            return closed
        self.screen.notice(retried_text(retried, self.wanted.results))
        if closed.state == "finished":
            self._recount()
        return closed

    def _noted_again(self, journal: JournalFile, closed: Closed, stop: Stop | None) -> Closed:
        """Note, now that results are what they will be, the exit code and the next step."""
        if stop is not None:
            again = options_after(
                stop,
                self.opened,
                self.catalog,
                is_over=self.shard is not None or not is_retrying(self.wanted.results),
                canary=self.options.canary,
            )
        else:
            again = self._other_retry()
        noted = replace(closed, again=again, exit_code=int(self._exit_code(stop)))
        if noted.max_cost_usd is not None:  # after what must be on disk, for it may take long
            noted = replace(noted, enough_usd=self._enough_usd(noted.max_cost_usd))
        if noted != closed:
            journal.closed(noted)
        return noted

    def _other_retry(self) -> str:
        """Return how requests that all failed are retried with what the API does not refuse."""
        latest = self._latest
        if latest is None or latest.succeeded or not latest.failures:
            return ""
        changes = changes_against(latest.failures[-1].what, self.catalog)
        return retry_options(Retry(errored=True, **changes)) if changes else ""

    def _recount(self) -> None:
        """Count the results as they are after a retry that has not replaced all of them."""
        tally = read_checkpoint(self.wanted.results).tally
        self._output_errors_before, self._is_recounted = tally.output_errors, True
        if self._latest is not None:
            self._latest = replace(
                self._latest,
                succeeded=tally.ended[ResultType.SUCCEEDED],
                errored=tally.ended[ResultType.ERRORED],
                canceled=tally.ended[ResultType.CANCELED],
                expired=tally.ended[ResultType.EXPIRED],
                degraded=tally.degraded,
                stop_reasons=dict(tally.stops),
                output_errors=tally.output_errors,
            )

    def _write_table(self) -> ClaudeBatchError | None:
        """Write the table of the run, if one was asked for; return what prevented it."""
        if self.table is None:
            return None
        try:
            self.table.write(self.opened)
        except ClaudeBatchError as error:
            return error
        return None

    def _closed_by(self, stop: Stop | None, code: int) -> Closed:
        record = self._closed(_state(stop), code, stop_detail(stop) if stop else "")
        if stop is None:
            return record
        if stop.kind is not StopKind.COST:
            return replace(record, kind=stop.kind.value)
        if self.shard is not None:  # figures of a part mean nothing to who has bounded all
            record = replace(record, why="too little is left of its part of --max-cost")
        return replace(record, kind=stop.kind.value, max_cost_usd=self.options.max_cost)

    def _closed(self, state: str, code: int, why: str) -> Closed:
        return Closed(
            at=utc(time.time()),
            state=state,
            exit_code=int(code),
            why=why,
            cut_off=self._progress.cut_off,
            retry_goes_on=self.shard is not None and state != "finished",
        )

    def _enough_usd(self, bound_usd: float) -> float | None:
        """Return a --max-cost that will do for the rest; None where that cannot be found out."""
        try:
            checkpoint = read_checkpoint(self.wanted.results)
            opened = replace(self.opened, checkpoint=checkpoint)
            outlook = outlook_of(opened, self.wanted, self.catalog)
            return enough_usd(outlook, opened, bound_usd, self.catalog)
        except (ClaudeBatchError, OSError):
            return None

    def _source(self) -> FileSource:
        counted = self.options.caches and not self.options.dedupe
        return FileSource(
            marked_requests(
                self.opened,
                self.wanted,
                catalog=self.catalog,
                screen=self.screen,
                done_too=counted,
            )
        )

    async def _run(self, journal: JournalFile, source: FileSource | None) -> Stop | None:
        self._interruption = Interruption()
        clock = LoopClock(wall=time.time())
        self._progress.start(clock.now())
        if self.to_stdout:
            self._stdout = self._open_stdout()
        durable = self._stdout.durable if self._stdout else _ignore_durable
        with (
            closing(ResultsFile(self.wanted.results, durable=durable)) as self._results,
            handle_signals(self._interruption),
        ):
            self._control = self._open_control(journal)
            self._stop_when_lost()
            bench = RunContext(
                results=self._results,
                journal=journal,
                clock=clock,
                progress=self._progress,
                facts=self._facts(),
                interruption=self._interruption,
                publish=self._publish,
                observe=self.watchers.observe,
                adjustments=self._control,
                price=self._price,
            )
            try:
                return await self._work_off(bench, source)
            finally:
                await self.api.close()

    def _stop_when_lost(self) -> None:
        """Stop at once when another process has taken the shard over.

        Where the run folder was moved, answers on their way can still be written to it.
        """
        if self.shard is None:
            return
        claim = self.shard.claim
        loop, interruption = asyncio.get_running_loop(), self._interruption

        def stop() -> None:
            times = 1 if claim.lost is Loss.GONE else 2  # the second cuts off what is in flight
            for _ in range(times):
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(interruption.ask, signal.SIGTERM)

        claim.when_lost = stop
        if claim.is_lost:  # as the prompts were checked
            stop()

    async def _work_off(self, bench: RunContext, source: FileSource | None) -> Stop | None:
        """Go through batches where that is wanted, then live with what they leave."""
        if self.batches is not None:
            end = await self.batches(bench)
            if not isinstance(end, LeftForLive):
                return end
            checkpoint = await in_daemon(lambda: read_checkpoint(self.wanted.results))
            self.opened = replace(self.opened, checkpoint=checkpoint)
        bench.adjustments.batch_mode = False
        if source is None:
            source = await in_daemon(self._source)
        first_choice = [each for each in self.api.endpoints if each.role == "primary"]
        cache = response_cache(self.options, self.api, first_choice, warn=self.screen.notice)
        lease = open_lease(self.options, self.wanted.results)
        try:
            parts = self._parts(bench, source, cache)
            if lease is not None:
                notices = sharing_notices(self.screen)
                parts = replace(parts, lease=lease, sharing_notices=notices)
            return await LiveRun(parts).run()
        finally:
            if lease is not None:
                await lease.close()
            if cache is not None:
                await cache.close()

    def _parts(self, bench: RunContext, source: FileSource, cache: CachedResponses | None) -> Parts:
        done = self.opened.checkpoint.done
        now = bench.clock.now()
        scheduler = self._scheduler(now, bench.progress.tally)
        scheduler.adjust(bench.adjustments.adjustment, now)  # as batches have left it
        return Parts(
            scheduler=scheduler,
            transports=self.api.transports,
            source=source,
            results=bench.results,
            log=bench.journal,
            clock=bench.clock,
            progress=bench.progress,
            facts=bench.facts,
            interruption=bench.interruption,
            publish=bench.publish,
            observe=bench.observe,
            adjustments=bench.adjustments,
            price=bench.price,
            cache=cache,
            is_done=done.__contains__,
        )

    def _scheduler(self, now: float, tally: Tally) -> Scheduler:
        options = self.options
        settings = SchedulerSettings(
            model_class_of=lambda model: model_class(model, self.catalog).name,
            rng=random.random,
            endpoints=endpoint_specs(self.api, options, self.catalog, self.serving),
            strategy=Strategy(self.pool.strategy),
            fallback_after_s=self.pool.fallback_after_s,
            initial_limits=lambda model: tier_limits(options.tier, model, self.catalog),
            bounds=bounds_of(options, self.api),
            shares_limits=options.shared_limits is not None and not options.uses_sandbox,
            max_attempts=options.max_attempts,
            patience_s=options.patience_s,
            spent_usd=tally.most_spent_usd,
            most_usd=partial(most_usd, catalog=self.catalog),
            lost_marks=self.opened.lost_marks,
            has_succeeded=tally.done > tally.failed,
        )
        if self.shard is None:
            return Scheduler(settings, now=now)
        scheduler = Scheduler(settings, now=now, learned=self.shard.learned)
        self.shard.learned = scheduler.learned
        self._stand_in = scheduler.learned.pool.stand_in  # which was said
        return scheduler

    def _price(self, endpoint: str, model: str, usage: Usage) -> float | None:
        """Return the dollars a reply cost; None where the price, or what it used, is not known."""
        if not usage.prompt_tokens:  # no prompt has 0 tokens: usage was not reported
            return None
        sold = self._sold_as.get((endpoint, model))
        if sold is None:
            at = next((each for each in self.api.endpoints if each.name == endpoint), None)
            sold = self._sold_as[endpoint, model] = model if at is None else sold_as(at, model)
        return cost_usd(sold, usage, self.catalog)

    def _facts(self) -> RunFacts:
        identity = self.opened.identity
        return RunFacts(
            run_id=identity.run_id,
            prompts=self.wanted.prompts,
            results=results_name(self.wanted.results),
            sandbox=self.options.sandbox,
            host=", ".join(dict.fromkeys(each.host for each in self.api.transports.values())),
            total=self.opened.checkpoint.tally.done + self.opened.to_do,
            resumed=self.opened.checkpoint.tally.done,
        )

    def _open_control(self, journal: JournalFile) -> Control:
        control = Control(
            request=self.wanted,
            run_id=self.opened.identity.run_id,
            models=self.opened.identity.models,
            journal=journal,
            catalog=self.catalog,
            bounds=lambda options: bounds_of(options, self.api),
            on_change=self._change_options,
            warn=self.screen.notice,
            batch_mode=self.batches is not None,
            steering=None if self.shard is None else self.shard.steering,
        )
        control.open()
        return control

    def _change_options(self, options: Options) -> None:
        self.options = options

    def _publish(self, snapshot: Snapshot) -> None:
        snapshot = replace(snapshot, output_errors=self._output_errors)
        if snapshot.fallback != self._stand_in:
            self.screen.notice(fallback_text(self._stand_in, snapshot))
            self._stand_in = snapshot.fallback
        if self._control is not None:
            snapshot = self._control.show(snapshot)
        self._latest = snapshot
        self.watchers.show(snapshot)
        self.screen.publish(snapshot)

    def _open_stdout(self) -> Stdout:
        loop, interruption = asyncio.get_running_loop(), self._interruption
        return Stdout(
            results=self.wanted.results,
            form=form_of(self.options.format),
            start=self.opened.checkpoint.size if self.new_only else 0,
            gone=partial(loop.call_soon_threadsafe, interruption.ask, signal.SIGPIPE),
        )

    @property
    def _output_errors(self) -> int:
        """How many answers of the run break their schema."""
        if self._results is None or self._is_recounted:
            return self._output_errors_before
        return self._output_errors_before + self._results.output_errors

    def _exit_code(self, stop: Stop | None) -> int:
        if self._stdout is not None and self._stdout.error is not None:
            return Exit.READER_GONE
        if stop is not None and stop.kind is StopKind.INTERRUPTED:
            return 128 + (self._interruption.signal_number or signal.SIGINT)
        if stop is not None:
            own = {StopKind.COST, StopKind.DETACHED, StopKind.LIMIT}
            return Exit.BOUNDED if stop.kind in own else Exit.STOPPED
        complete = self._latest is not None and not self._latest.failed and not self._output_errors
        return Exit.SUCCEEDED if complete and not self.opened.identity.invalid else Exit.SOME_FAILED


def finished_snapshot(opened: OpenRun, wanted: RunRequest) -> Snapshot:
    """Return the figures of a run that was done before this command began."""
    facts = RunFacts(
        run_id=opened.identity.run_id,
        prompts=wanted.prompts,
        results=results_name(wanted.results),
        sandbox=wanted.options.sandbox,
        host="",
        total=opened.identity.total,
        resumed=opened.checkpoint.tally.done,
    )
    progress = Progress(started_at=0.0, tally=opened.checkpoint.tally)
    return make_snapshot(facts, progress, NO_STATUS, phase=Phase.FINISHED, now=0.0)


def _state(stop: Stop | None) -> str:
    if stop is None:
        return "finished"
    return "interrupted" if stop.kind is StopKind.INTERRUPTED else "stopped"


def _ship_nothing() -> None:
    """Ship nothing: all there is of a run is on this host."""


def _ignore_durable(_size: int) -> None:
    """Ignore what is durable: nothing is printed."""
