"""`status` and `results` of a run folder."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from claude_batch.commands.folder.manifest import existing_folder
from claude_batch.commands.folder.status import ShardStatus, shard_statuses
from claude_batch.commands.folder.table import write_folder_table
from claude_batch.commands.results import ResultsOrder, print_run, write_lines
from claude_batch.commands.run.messages import counted, shown
from claude_batch.commands.terminal import print_json
from claude_batch.storage.folder.files import LocalFiles
from claude_batch.storage.folder.manifest import Manifest
from claude_batch.storage.run.paths import refuse_as_stdout
from claude_batch.storage.tables.writing import is_table
from claude_batch.ui.tables.status import StatusRow, status_table
from claude_batch.ui.tables.tables import print_table

RUNNING, WAITING, FINISHED, INTERRUPTED = "running", "waiting", "finished", "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReport:
    """A shard as --json prints it. None: not known, or nobody."""

    shard: int
    source: str
    first_line: int
    lines: int | None
    state: str
    holder: str | None
    results: str | None
    total: int
    done: int
    failed: int
    cost_usd: float | None


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
    total: int
    done: int
    failed: int
    cost_usd: float | None
    per_shard: tuple[ShardReport, ...]


def show_folder_status(path: Path, *, as_json: bool) -> None:
    """Print how far a run folder is: all of it, then shards that were begun and are not finished.

    Takes no lock and changes nothing.
    """
    path = path.absolute()
    manifest = existing_folder(path)
    statuses = shard_statuses(path, LocalFiles(path), manifest)
    if as_json:
        print_json(_report(path, manifest, statuses))
        return
    rows = [folder_row(path, manifest, statuses)]
    begun = [each for each in statuses if each.done is None and (each.run or each.is_held)]
    rows += [_row(each, manifest) for each in begun]
    print_table(status_table(rows, time.time()), to_stdout=True)


def row_of(path: Path) -> StatusRow:
    """Return the run folder at `path` as a row of the table. Raises CheckpointError."""
    manifest = existing_folder(path)
    return folder_row(path, manifest, shard_statuses(path, LocalFiles(path), manifest))


def folder_row(path: Path, manifest: Manifest, statuses: Sequence[ShardStatus]) -> StatusRow:
    """Return a run folder as a row of the table."""
    state = _folder_state(statuses)
    finished = sum(each.done is not None for each in statuses)
    held = sum(each.is_held for each in statuses)
    sentence = f"{finished:,} of {counted(len(statuses), 'shard')} finished"
    if held:
        sentence += f", {held:,} being worked on"
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
        sentence=sentence,
        next_command=_next(path, state),
    )


def _row(status: ShardStatus, manifest: Manifest) -> StatusRow:
    return StatusRow(
        results=f"  shard {status.shard.shard}",
        state=_state(status),
        done=status.results_there,
        failed=status.failed,
        total=status.total,
        last_activity_at=_active_at(status) or None,
        mode=manifest.mode,
        sandbox=manifest.options.sandbox,
        cost_usd=status.cost_usd,
        sentence=status.claim.holder if status.is_held and status.claim is not None else "",
    )


def _state(status: ShardStatus) -> str:
    if status.done is not None:
        return FINISHED
    if status.is_held:
        return RUNNING
    return WAITING if status.run is None else INTERRUPTED


def _folder_state(statuses: Sequence[ShardStatus]) -> str:
    states = {_state(each) for each in statuses}
    if states == {FINISHED}:
        return FINISHED
    if RUNNING in states:
        return RUNNING
    return WAITING if states == {WAITING} else INTERRUPTED


def _next(path: Path, state: str) -> str:
    if state in {FINISHED, RUNNING}:
        return ""
    return f"claude-batch resume {shlex.quote(shown(path))}/"


def _active_at(status: ShardStatus) -> float:
    if status.done is not None:
        return status.done.finished_at
    if status.is_held and status.claim is not None:
        return time.time() - status.claim.silent_s
    return 0.0 if status.run is None else status.run.last_activity_at


def _sum(costs: Iterable[float | None]) -> float | None:
    known = [each for each in costs if each is not None]
    return sum(known) if known else None


def _report(path: Path, manifest: Manifest, statuses: Sequence[ShardStatus]) -> FolderReport:
    row = folder_row(path, manifest, statuses)
    return FolderReport(
        folder=str(path),
        run_id=manifest.run_id,
        mode=row.mode,
        sandbox=row.sandbox,
        state=row.state,
        next_command=row.next_command or None,
        shards=len(statuses),
        shards_finished=sum(each.done is not None for each in statuses),
        shards_running=sum(each.is_held for each in statuses),
        total=row.total,
        done=row.done,
        failed=row.failed,
        cost_usd=row.cost_usd,
        per_shard=tuple(map(_shard_report, statuses)),
    )


def _shard_report(status: ShardStatus) -> ShardReport:
    shard = status.shard
    return ShardReport(
        shard=shard.shard,
        source=shard.source,
        first_line=shard.first_line,
        lines=shard.lines,
        state=_state(status),
        holder=status.claim.holder if status.is_held and status.claim is not None else None,
        results=None if status.results is None else str(status.results),
        total=status.total,
        done=status.results_there,
        failed=status.failed,
        cost_usd=status.cost_usd,
    )


def show_folder_results(order: ResultsOrder) -> None:
    """Print the results of all shards, in their order; of unfinished ones what there is.

    Raises UsageError, CheckpointError.
    """
    path = order.results.absolute()
    manifest = existing_folder(path)
    statuses = shard_statuses(path, LocalFiles(path), manifest)
    there = [each.results for each in statuses if each.results is not None]
    results = [each for each in there if each.exists()]
    if order.out is not None and is_table(order.out):
        write_folder_table(order, path, manifest, statuses)
        return
    if order.out is not None:
        write_lines(order.out, partial(_print, order, results))
        return
    stdout = sys.stdout.fileno()
    refuse_as_stdout(stdout, *results)
    _print(order, results, stdout)


def _print(order: ResultsOrder, results: Sequence[Path], fd: int) -> None:
    for each in results:
        print_run(order, each, fd)
