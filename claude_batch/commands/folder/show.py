"""`status` and `results` of a run folder."""

from __future__ import annotations

import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from claude_batch.commands.folder.ending import needed_usd, resume_folder_command
from claude_batch.commands.folder.manifest import FolderPlace, existing_folder
from claude_batch.commands.folder.progress import bound_of, shard_view, state_of
from claude_batch.commands.folder.status import (
    CHANGED,
    MISSING,
    ShardStatus,
    input_problems,
    reading,
    shard_statuses,
)
from claude_batch.commands.folder.table import write_folder_table
from claude_batch.commands.results import ResultsOrder, print_run, write_lines
from claude_batch.commands.run.messages import counted, shown
from claude_batch.commands.runs.status import ChunkReport, batch_reports
from claude_batch.commands.terminal import print_json
from claude_batch.core.model.shards import ShardState, ShardView
from claude_batch.core.shards.progress import Pace, fold, timed
from claude_batch.storage.folder.manifest import Manifest
from claude_batch.storage.run.paths import refuse_as_stdout, url_of
from claude_batch.storage.run.results import utc
from claude_batch.storage.tables.writing import is_table
from claude_batch.ui.figures import short
from claude_batch.ui.folder_words import SILENT_AFTER_S
from claude_batch.ui.tables.status import StatusRow, results_by_endpoint, status_table
from claude_batch.ui.tables.tables import print_table
from claude_batch.ui.waiting import activity_text, adjusted_texts


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReport:
    """A shard as --json prints it. None: not known, or nobody.

    `batches` are those of a shard that is not finished. `input_problem`: its file is `missing`, or
    has `changed`, so that it cannot be continued.
    """

    shard: int
    source: str
    first_line: int
    lines: int | None
    state: str
    why: str
    input_problem: str | None
    holder: str | None
    silent_s: float | None
    results: str | None
    total: int
    done: int
    failed: int
    succeeded: int
    errored: int
    canceled: int
    expired: int
    left_out: int
    output_errors: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    unreported: int
    results_per_minute: float | None
    errors: Mapping[str, int]
    stop_reasons: Mapping[str, int]
    degraded: int
    endpoints: Mapping[str, int]
    batches: tuple[ChunkReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderReport:
    """A run folder as --json prints it. `total` counts lines where no request was counted yet."""

    folder: str
    run_id: str
    mode: str
    sandbox: bool
    state: str
    next_command: str | None
    shards: int
    shards_finished: int
    shards_running: int
    shards_failed: int
    shards_interrupted: int
    shards_waiting: int
    total: int
    done: int
    failed: int
    succeeded: int
    errored: int
    canceled: int
    expired: int
    left: int
    left_out: int
    output_errors: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    max_cost_usd: float | None
    unreported: int
    results_per_minute: float | None
    eta_s: float | None
    errors: Mapping[str, int]
    stop_reasons: Mapping[str, int]
    degraded: int
    endpoints: Mapping[str, int]
    batches: tuple[ChunkReport, ...]
    created_at: str
    last_activity_at: str
    per_shard: tuple[ShardReport, ...]


def show_folder_status(name: str, *, as_json: bool) -> None:
    """Print how far a run folder is: all of it, then shards that were begun and are not finished.

    Takes no lock and changes nothing.
    """
    place = existing_folder(name)
    path, manifest = place.path, place.manifest
    statuses = shard_statuses(path, place.files, manifest)
    if as_json:
        print_json(_report(place, statuses))
        return
    rows = [folder_row(place, statuses)]
    begun = [
        each
        for each in statuses
        if each.done is None and (each.run or each.is_held or each.refused)
    ]
    rows += [_row(path, each, manifest) for each in begun]
    print_table(status_table(rows, time.time()), to_stdout=True)
    if len(endpoints := _by_endpoint(statuses)) > 1:
        print_table(results_by_endpoint(endpoints), to_stdout=True)


def row_of(path: Path) -> StatusRow:
    """Return the run folder at `path` as a row of the table. Raises CheckpointError."""
    place = existing_folder(str(path))
    return folder_row(place, shard_statuses(path, place.files, place.manifest))


def report_of(path: Path) -> FolderReport:
    """Return the run folder at `path` as --json prints it. Raises CheckpointError."""
    place = existing_folder(str(path))
    return _report(place, shard_statuses(path, place.files, place.manifest))


def folder_row(place: FolderPlace, statuses: Sequence[ShardStatus]) -> StatusRow:
    """Return a run folder as a row of the table."""
    path, manifest = place.path, place.manifest
    bound, state = bound_of(manifest, place.files), _folder_state(statuses)
    finished = sum(each.done is not None for each in statuses)
    held = sum(each.is_held for each in statuses)
    sentence = f"{finished:,} of {counted(len(statuses), 'shard')} finished"
    if held:
        sentence += f", {held:,} being worked on"
    sentence += _fallback_text(path, statuses) + _problems_text(statuses)
    return StatusRow(
        results=f"{shown(path)}/",
        state=state,
        done=sum(each.results_there for each in statuses),
        failed=sum(each.failed for each in statuses),
        total=sum(each.total for each in statuses),
        last_activity_at=max(map(_active_at, statuses)) or manifest.created_at,
        mode=manifest.mode,
        sandbox=manifest.options.sandbox,
        cost_usd=_sum(each.cost_usd for each in statuses),
        max_cost_usd=bound,
        sentence=sentence,
        next_command=_next(path, state, statuses, bound),
    )


def _by_endpoint(statuses: Sequence[ShardStatus]) -> dict[str, int]:
    """Return how many results came from where, the most first."""
    counts: Counter[str] = Counter()
    for each in statuses:
        counts.update(each.endpoints)
    return dict(counts.most_common())


def _fallback_text(path: Path, statuses: Sequence[ShardStatus]) -> str:
    """Return how many results a fallback gave, and how to ask again; "" for none."""
    degraded = sum(each.degraded for each in statuses)
    if not degraded:
        return ""
    text = f"; a fallback answered {degraded:,}"
    if any(each.done is None for each in statuses):
        return text
    return f"{text} ({resume_folder_command(path)} --retry-degraded asks again)"


_MOST_NAMED = 3
"""Files that are named, of those that keep shards from being continued."""


def _problems_text(statuses: Sequence[ShardStatus]) -> str:
    """Return which files keep shards from being continued, and what to do; "" without any."""
    problems = input_problems(statuses)
    files = {
        each.shard.source: problems[each.shard.shard]
        for each in statuses
        if each.shard.shard in problems
    }
    if not files:
        return ""
    words = {MISSING: "is missing", CHANGED: "has changed"}
    named = [f"{shown(Path(each))} {words[files[each]]}" for each in [*files][:_MOST_NAMED]]
    if (more := len(files) - len(named)) > 0:
        named.append(f"and {more:,} more")
    back = "put it back as it was" if len(files) == 1 else "put them back as they were"
    left = counted(len(problems), "shard")
    return f"; {', '.join(named)}: {back}, or {left} cannot be continued"


def _row(path: Path, status: ShardStatus, manifest: Manifest) -> StatusRow:
    return StatusRow(
        results=f"  shard {status.shard.shard}",
        state=state_of(status),
        done=status.results_there,
        failed=status.failed,
        total=status.total,
        last_activity_at=_active_at(status) or None,
        mode=manifest.mode,
        sandbox=manifest.options.sandbox,
        cost_usd=status.cost_usd,
        sentence=_sentence(path, status),
    )


def _sentence(path: Path, status: ShardStatus) -> str:
    """Return who works on a shard, and how it gets on; or why it has stopped."""
    claim, run = status.claim, status.run
    if not status.is_held or claim is None:
        return "; ".join(filter(None, (_why(status), _retry_text(status))))
    parts = [claim.holder]
    if claim.silent_s >= SILENT_AFTER_S:
        parts.append(f"silent for {claim.silent_s:.0f} s")
    if run is not None and run.pace is not None:
        parts.append(f"{short(run.pace.results_per_minute)}/min")
    if run is not None and run.live is not None:
        live = replace(run.live, results=f"{shown(path)}/")  # where it is paused and continued
        parts += [activity_text(live), *adjusted_texts(live)]
    return ", ".join(parts)


def _why(status: ShardStatus) -> str:
    """Return why the last process has stopped to work on a shard; "" where it has not said so."""
    return status.refused or ("" if status.run is None else status.run.why)


def _retry_text(status: ShardStatus) -> str:
    """Return how much of a retry is left; "" without one."""
    left = status.to_retry
    return f"{counted(left, 'result')} {'is' if left == 1 else 'are'} still to be retried" * bool(
        left
    )


def _folder_state(statuses: Sequence[ShardStatus]) -> str:
    states = {state_of(each) for each in statuses}
    if states == {ShardState.FINISHED}:
        return ShardState.FINISHED
    if ShardState.RUNNING in states:
        return ShardState.RUNNING
    return ShardState.WAITING if states == {ShardState.WAITING} else ShardState.INTERRUPTED


def _next(path: Path, state: str, statuses: Sequence[ShardStatus], bound: float | None) -> str:
    if state in {ShardState.FINISHED, ShardState.RUNNING}:
        return ""
    again = f"claude-batch resume {shlex.quote(shown(path))}/"
    if (usd := needed_usd(bound, statuses)) is not None:
        again += f" --max-cost {usd:.10g}"
    return again


def _active_at(status: ShardStatus) -> float:
    if status.done is not None:
        return status.done.finished_at
    if status.is_held and status.claim is not None:
        return time.time() - status.claim.silent_s
    return 0.0 if status.run is None else status.run.last_activity_at


def _sum(costs: Iterable[float | None]) -> float | None:
    known = [each for each in costs if each is not None]
    return sum(known) if known else None


def _report(place: FolderPlace, statuses: Sequence[ShardStatus]) -> FolderReport:
    path, manifest = place.path, place.manifest
    row, views = folder_row(place, statuses), [shard_view(each) for each in statuses]
    problems = input_problems(statuses)
    shards = tuple(
        _shard_report(each, view, problems.get(each.shard.shard))
        for each, view in zip(statuses, views, strict=True)
    )
    whole = timed(
        fold(url_of(path) or str(path), views, max_cost_usd=row.max_cost_usd), Pace(), elapsed_s=0.0
    )
    return FolderReport(
        folder=url_of(path) or str(path),
        run_id=manifest.run_id,
        mode=row.mode,
        sandbox=row.sandbox,
        state=row.state,
        next_command=row.next_command or None,
        shards=whole.shards,
        shards_finished=whole.finished,
        shards_running=whole.running,
        shards_failed=whole.failed,
        shards_interrupted=whole.interrupted,
        shards_waiting=whole.waiting,
        total=whole.total,
        done=whole.done,
        failed=whole.done - whole.succeeded,
        succeeded=whole.succeeded,
        errored=whole.errored,
        canceled=whole.canceled,
        expired=whole.expired,
        left=max(0, whole.total - whole.done),
        left_out=whole.left_out,
        output_errors=whole.output_errors,
        input_tokens=whole.input_tokens,
        output_tokens=whole.output_tokens,
        cost_usd=whole.cost_usd,
        max_cost_usd=row.max_cost_usd,
        unreported=whole.unreported,
        results_per_minute=whole.requests_per_minute,
        eta_s=whole.eta_s,
        errors=whole.errors,
        stop_reasons=whole.stop_reasons,
        degraded=whole.degraded,
        endpoints=_by_endpoint(statuses),
        batches=tuple(batch for each in shards for batch in each.batches),
        created_at=utc(manifest.created_at),
        last_activity_at=utc(row.last_activity_at or manifest.created_at),
        per_shard=shards,
    )


def _shard_report(status: ShardStatus, view: ShardView, problem: str | None) -> ShardReport:
    shard = status.shard
    return ShardReport(
        shard=shard.shard,
        source=shard.source,
        first_line=shard.first_line,
        lines=shard.lines,
        state=view.state,
        why=_why(status),
        input_problem=problem,
        holder=view.holder or None,
        silent_s=view.silent_s,
        results=None if status.results is None else url_of(status.results) or str(status.results),
        total=view.total,
        done=view.done,
        failed=view.failed,
        succeeded=view.succeeded,
        errored=view.errored,
        canceled=view.canceled,
        expired=view.expired,
        left_out=view.left_out,
        output_errors=view.output_errors,
        input_tokens=view.input_tokens,
        output_tokens=view.output_tokens,
        cost_usd=view.cost_usd,
        unreported=view.unreported,
        results_per_minute=view.requests_per_minute,
        errors=view.errors,
        stop_reasons=view.stop_reasons,
        degraded=view.degraded,
        endpoints=status.endpoints,
        batches=() if status.run is None else batch_reports(status.run, time.time()),
    )


def show_folder_results(name: str, order: ResultsOrder) -> None:
    """Print the results of all shards, in their order; of unfinished ones what there is.

    Raises UsageError, CheckpointError.
    """
    place = existing_folder(name)
    statuses = shard_statuses(place.path, place.files, place.manifest)
    if order.out is not None and is_table(order.out):
        write_folder_table(order, place, statuses)
        return
    if order.out is not None:
        write_lines(order.out, partial(_print, order, place, statuses))
        return
    stdout = sys.stdout.fileno()
    refuse_as_stdout(stdout, *(each.results for each in statuses if each.results is not None))
    _print(order, place, statuses, stdout)


def _print(
    order: ResultsOrder, place: FolderPlace, statuses: Sequence[ShardStatus], fd: int
) -> None:
    for status in statuses:
        with reading(place.path, place.files, [status]) as there:
            for results in there.values():
                if results.exists():
                    print_run(order, results, fd)
