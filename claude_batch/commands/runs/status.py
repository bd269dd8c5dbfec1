"""`status`: how far runs are and what to do next, as a table or as JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from claude_batch.commands.find_run import no_run_at
from claude_batch.commands.run.messages import counted, resume_command, shown, stop_text
from claude_batch.commands.runs.in_force import options_to_look
from claude_batch.commands.terminal import print_json
from claude_batch.core.model.batches import ChunkState, ChunkView
from claude_batch.core.model.requests import ResultType
from claude_batch.core.scheduling.decisions import Stop, StopKind
from claude_batch.errors import ClaudeBatchError, SettingsError
from claude_batch.storage.run.batch_journal import read_batches
from claude_batch.storage.run.results import utc
from claude_batch.storage.run.status import (
    RunState,
    RunStatus,
    run_folders_below,
    run_status,
    runs_below,
    wall_time,
)
from claude_batch.ui.batch_words import age_s, chunks_text
from claude_batch.ui.figures import moment, short, stops_text, time_left
from claude_batch.ui.messages import notice_text
from claude_batch.ui.tables.batches import run_batches_table
from claude_batch.ui.tables.status import StatusRow, results_by_endpoint, status_table
from claude_batch.ui.tables.tables import print_table
from claude_batch.ui.waiting import activity_text, adjusted_texts

if TYPE_CHECKING:
    from claude_batch.commands.folder.show import FolderReport

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkReport:
    """A batch of a run as --json prints it; times are ISO 8601 in UTC. None: not known."""

    chunk: int
    id: str | None
    requests: int
    state: ChunkState
    age_s: float | None
    created_at: str | None
    expires_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """A run as --json prints it; times are ISO 8601 in UTC. None: not known."""

    results: str
    prompts: str
    run_id: str
    mode: str
    sandbox: bool
    state: str
    why: str
    stop_kind: str | None
    stopped_at: str | None
    next_command: str | None
    results_per_minute: float | None
    eta_s: float | None
    attempts: int | None
    rate_limited: int | None
    activity: str | None
    total: int
    done: int
    succeeded: int
    errored: int
    canceled: int
    expired: int
    left: int
    left_out: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    max_cost_usd: float | None
    unreported: int
    stop_reasons: Mapping[str, int]
    output_errors: int
    degraded: int
    endpoints: Mapping[str, int]
    started_at: str
    last_activity_at: str
    batches: tuple[ChunkReport, ...]


def show_status(results: Path | None, *, as_json: bool) -> None:
    """Print how far a run is, or all runs in and below this folder, the last active first."""
    runs = [ShownRun(status_of(results))] if results is not None else list(_all_runs())
    runs.sort(key=lambda run: -run.status.last_activity_at)
    if as_json:
        reports = [_report(run, time.time()) for run in runs]
        print_json([*reports, *_folder_reports()] if results is None else reports[0])
        return
    folders = _folder_rows() if results is None else []
    if not runs and not folders:
        sys.stderr.write("there is no run in or below this folder\n")
        return
    now = time.time()
    print_table(status_table([*(_row(run, now) for run in runs), *folders], now), to_stdout=True)
    if results is not None and runs[0].batches:
        print_table(run_batches_table(runs[0].batches, time.time()), to_stdout=True)
    if results is not None and len(runs[0].status.endpoints) > 1:
        print_table(results_by_endpoint(runs[0].status.endpoints), to_stdout=True)


def _all_runs() -> Iterator[ShownRun]:
    """Yield the runs in and below this folder; one that cannot be read is reported and left out."""
    for path in runs_below(Path.cwd()):
        try:
            status = run_status(path)
            if status is not None:
                yield ShownRun(status)
        except (OSError, ClaudeBatchError) as error:
            sys.stderr.write(notice_text(f"{shown(path)} cannot be read: {error}"))


def _folder_rows() -> list[StatusRow]:
    """Return the run folders in and below this folder as rows of the table."""
    if not (found := run_folders_below(Path.cwd())):
        return []
    from claude_batch.commands.folder.show import row_of  # noqa: PLC0415  # rarely needed

    return list(_readable(found, row_of))


def _folder_reports() -> list[FolderReport]:
    """Return the run folders in and below this folder as --json prints them."""
    if not (found := run_folders_below(Path.cwd())):
        return []
    from claude_batch.commands.folder.show import report_of  # noqa: PLC0415  # as above

    return list(_readable(found, report_of))


def _readable(paths: Sequence[Path], read: Callable[[Path], T]) -> Iterator[T]:
    """Yield what is read of each; what cannot be read is reported and left out."""
    for path in paths:
        try:
            yield read(path)
        except (OSError, ClaudeBatchError) as error:
            sys.stderr.write(notice_text(f"{shown(path)} cannot be read: {error}"))


class ShownRun:
    """A run and its batches, as its files show them.

    A run that no process works on while batches of it are in progress is `waiting`.
    """

    def __init__(self, status: RunStatus) -> None:
        self.status = status
        self.history = read_batches(status.results)
        self.batches = tuple(chunk.view for chunk in self.history.chunks.values())

    @property
    def state(self) -> str:
        """What the run is doing."""
        return "waiting" if self._idle and self.history.open_chunks else self.status.state.value

    @property
    def _idle(self) -> bool:
        return self.status.state in {RunState.INTERRUPTED, RunState.STOPPED}

    @property
    def mode(self) -> str:
        """The mode in which the run is worked off."""
        chosen = self.history.mode
        return chosen.asked if chosen else self.status.identity.mode

    @property
    def max_cost_usd(self) -> float | None:
        """What the run may cost, as it was worked on last; None: no bound, or not known."""
        try:
            return options_to_look(self.status.settings, {}).max_cost
        except SettingsError:  # of a settings file that can be read no more
            return None

    @property
    def left(self) -> int:
        """Requests without a result."""
        return max(0, self.status.identity.total - self.status.tally.done)

    @property
    def eta_s(self) -> float | None:
        """The seconds to the end of a running run, at its present rate; None: not known."""
        pace, live = self.status.pace, self.status.live
        if live is not None and not self.history.open_chunks:
            return live.eta_s
        if pace is None or pace.results_per_minute <= 0 or self.history.open_chunks:
            return None
        return self.left * 60.0 / pace.results_per_minute

    @property
    def stop(self) -> Stop | None:
        """Why the last process stopped early, by its record; None without one."""
        closed = self.status.closed
        if closed is None:
            return None
        kind = StopKind(closed.kind) if closed.kind in set(StopKind) else StopKind.BATCH
        if not closed.kind and closed.state == RunState.INTERRUPTED:
            kind = StopKind.INTERRUPTED
        return Stop(kind=kind, message=closed.why)

    @property
    def next_command(self) -> str:
        """The command that resumes the run; empty where there is nothing to resume."""
        if not self._idle:
            return ""
        return resume_command(self.status.results, self.status.closed)

    def sentence(self, now: float) -> str:
        """Return how a running run gets on, or why it stopped; and which answers are incomplete."""
        tally = self.status.tally
        stops = stops_text(tally.stops, tally.output_errors)
        incomplete = f"of those that succeeded: {stops}" if stops else ""
        degraded = f"a fallback answered {tally.degraded:,}" if tally.degraded else ""
        return "; ".join(filter(None, (self._progress_text(now), incomplete, degraded)))

    def _progress_text(self, now: float) -> str:
        if self.status.state is RunState.RUNNING:
            return self._running_text(now)
        if not self._idle:
            return ""
        status, closed, stop = self.status, self.status.closed, self.stop
        at = f"at {status.tally.done:,} of {status.identity.total:,}"
        stopped_at = wall_time(closed.at) if closed else None
        when = moment(stopped_at or status.last_activity_at, now)
        if closed is None or stop is None:
            text = f"ended unexpectedly about {when} {at}"
        else:
            text = stop_text(stop, closed.max_cost_usd, when=when, at=at)
        return f"{text}; {self._batches_text(now)}" if self.history.open_chunks else text

    def _batches_text(self, now: float) -> str:
        return f"at the API: {chunks_text(self.batches, now)}"

    def _running_text(self, now: float) -> str:
        if self.history.open_chunks:
            return self._batches_text(now)
        pace, eta_s = self.status.pace, self.eta_s
        if pace is None:
            return ""
        parts = [f"{short(pace.results_per_minute)}/min"]
        parts.append("time left not known" if eta_s is None else time_left(eta_s, now))
        if pace.attempts:
            parts.append(f"{pace.rate_limited:,} 429s in {counted(pace.attempts, 'attempt')}")
        if self.status.live is not None:
            parts += [activity_text(self.status.live), *adjusted_texts(self.status.live)]
        return ", ".join(parts)


def status_of(results: Path) -> RunStatus:
    """Return the state of a run. Raises UsageError where there is none."""
    status = run_status(results.absolute())
    if status is None:
        raise no_run_at(results)
    return status


def _row(run: ShownRun, now: float) -> StatusRow:
    status, tally = run.status, run.status.tally
    return StatusRow(
        results=shown(status.results),
        state=run.state,
        done=tally.done,
        failed=tally.failed,
        total=status.identity.total,
        last_activity_at=status.last_activity_at,
        mode=run.mode,
        sandbox=status.identity.options.sandbox,
        cost_usd=tally.cost_usd,
        max_cost_usd=run.max_cost_usd,
        sentence=run.sentence(now),
        next_command=run.next_command,
    )


def _report(run: ShownRun, now: float) -> StatusReport:
    status, tally, identity = run.status, run.status.tally, run.status.identity
    closed, pace = status.closed, status.pace
    return StatusReport(
        results=str(status.results),
        prompts=identity.prompts,
        run_id=identity.run_id,
        mode=run.mode,
        sandbox=identity.options.sandbox,
        state=run.state,
        why=status.why,
        stop_kind=closed.kind or None if closed else None,
        stopped_at=closed.at if closed else None,
        next_command=run.next_command or None,
        results_per_minute=pace.results_per_minute if pace else None,
        eta_s=run.eta_s,
        attempts=pace.attempts if pace else None,
        rate_limited=pace.rate_limited if pace else None,
        activity=activity_text(status.live) if status.live else None,
        total=identity.total,
        done=tally.done,
        succeeded=tally.ended[ResultType.SUCCEEDED],
        errored=tally.ended[ResultType.ERRORED],
        canceled=tally.ended[ResultType.CANCELED],
        expired=tally.ended[ResultType.EXPIRED],
        left=run.left,
        left_out=identity.invalid,
        input_tokens=tally.input_tokens,
        output_tokens=tally.output_tokens,
        cost_usd=tally.cost_usd,
        max_cost_usd=run.max_cost_usd,
        unreported=tally.expenses.unreported,
        stop_reasons=dict(tally.stops),
        output_errors=tally.output_errors,
        degraded=tally.degraded,
        endpoints=status.endpoints,
        started_at=identity.started_at,
        last_activity_at=utc(status.last_activity_at),
        batches=_chunk_reports(run, now),
    )


def batch_reports(status: RunStatus, now: float) -> tuple[ChunkReport, ...]:
    """Return the batches of a run as --json prints them."""
    return _chunk_reports(ShownRun(status), now)


def _chunk_reports(run: ShownRun, now: float) -> tuple[ChunkReport, ...]:
    return tuple(_chunk_report(chunk, now) for chunk in run.batches)


def _chunk_report(chunk: ChunkView, now: float) -> ChunkReport:
    return ChunkReport(
        chunk=chunk.chunk,
        id=chunk.batch_id,
        requests=chunk.requests,
        state=chunk.state,
        age_s=age_s(chunk, now),
        created_at=None if chunk.created_at is None else utc(chunk.created_at),
        expires_at=None if chunk.expires_at is None else utc(chunk.expires_at),
    )
