"""`batches`: list, show and cancel Message Batches of the endpoints in the settings."""

from __future__ import annotations

import asyncio
import shlex
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from claude_batch.commands.account.probing import batches_of, remedy
from claude_batch.commands.api import Api
from claude_batch.commands.find_run import journal_of
from claude_batch.commands.run.messages import counted, shown
from claude_batch.commands.table import checkpoint_of
from claude_batch.commands.terminal import print_json, require_yes
from claude_batch.config.settings import Settings
from claude_batch.core.batch.history import BY_USER, BatchCancelRequested
from claude_batch.core.model.batches import BatchCounts, BatchStatus, BatchView
from claude_batch.core.model.requests import Failure, FailureKind
from claude_batch.errors import RunStoppedError, UsageError
from claude_batch.storage.folder.shards import ShardFolder
from claude_batch.storage.run.batch_journal import read_batches, request_cancel
from claude_batch.storage.run.paths import SHARDS, has_manifest, run_folder_of
from claude_batch.storage.run.results import utc
from claude_batch.storage.run.status import run_folders_below, runs_below
from claude_batch.ui.messages import notice_text
from claude_batch.ui.tables.batches import BatchRow, batch_sheet, batches_table
from claude_batch.ui.tables.tables import print_table

if TYPE_CHECKING:
    from claude_batch.transport.batches import BatchesTransport

T = TypeVar("T")

Action = Literal["list", "show", "cancel"]

_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchesRequest:
    """What the user asks of `batches`; `run` is a results file, or a run folder."""

    action: Action
    batch_id: str | None
    run: Path | None
    limit: int
    settings: Settings
    as_json: bool
    yes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """A batch as --json prints it; times are ISO 8601 in UTC. None: not known."""

    id: str
    endpoint: str
    state: BatchStatus
    requests: int | None
    counts: BatchCounts | None
    created_at: str
    expires_at: str
    ended_at: str | None
    has_results: bool
    run: str | None


BatchApis = dict[str, "BatchesTransport"]
"""The endpoints that have batches, by name."""


def manage_batches(request: BatchesRequest) -> None:
    """List, show or cancel batches. Raises UsageError, RunStoppedError, CheckpointError."""
    _refuse_unclear(request)
    match request.action:
        case "list":
            _list(request)
        case "show":
            _show(request)
        case "cancel":
            _cancel(request)


def _refuse_unclear(request: BatchesRequest) -> None:
    named = [name for name in (request.batch_id, request.run) if name is not None]
    if request.action == "list" and named:
        raise UsageError("batches list takes no name", hint="claude-batch batches show ID")
    if request.action == "show" and (request.batch_id is None or request.run is not None):
        raise UsageError(
            "which batch?", hint="claude-batch batches show ID; claude-batch batches list has IDs"
        )
    if request.action == "cancel" and len(named) != 1:
        raise UsageError(
            "which batches?", hint="claude-batch batches cancel ID, or cancel --run RESULTS"
        )
    if request.batch_id is not None and Path(request.batch_id).is_file():
        name = shlex.quote(request.batch_id)
        raise UsageError(
            f"{request.batch_id} is a file, not the ID of a batch",
            hint=f"claude-batch status {name} shows the batches of a run; all of them: "
            f"claude-batch batches cancel --run {name}",
        )


# list and show


def _list(request: BatchesRequest) -> None:
    rows = _rows(_ask(request.settings, lambda apis: _newest_of_all(apis, request.limit)))
    rows.sort(key=lambda row: -row.batch.created_at)
    rows = rows[: request.limit]
    if request.as_json:
        print_json([_report(row) for row in rows])
    elif rows:
        print_table(batches_table(rows, time.time()), to_stdout=True)
    else:
        _note("the workspace of this key has no batches")


async def _newest_of_all(apis: BatchApis, limit: int) -> list[tuple[str, BatchView]]:
    """Return batches with their endpoints, leaving out endpoints that cannot list any.

    Raises RunStoppedError where none can.
    """
    found: list[tuple[str, BatchView]] = []
    refused: list[RunStoppedError] = []
    for name, api in apis.items():
        try:
            found += [(name, batch) for batch in await _newest(api, limit)]
        except RunStoppedError as error:
            refused.append(error)
            if len(refused) == len(apis):
                raise
            _note(f"{name}: {error.message}", error.hint)
    return found


async def _newest(api: BatchesTransport, limit: int) -> list[BatchView]:
    """Return up to `limit` batches, newest first. Raises RunStoppedError."""
    found: list[BatchView] = []
    after_id: str | None = None
    while len(found) < limit:
        page_size = min(_PAGE, limit - len(found))
        page = _answer(await api.list(limit=page_size, after_id=after_id))
        found += page.batches
        after_id = page.last_id
        if not page.has_more or not page.batches:
            break
    return found


def _show(request: BatchesRequest) -> None:
    found = _ask(request.settings, lambda apis: _find(apis, request.batch_id or ""))
    (row,) = _rows([found])
    if request.as_json:
        print_json(_report(row))
    else:
        print_table(batch_sheet(row, time.time()), to_stdout=True)


async def _find(apis: BatchApis, batch_id: str) -> tuple[str, BatchView]:
    """Return a batch and the endpoint that knows it. Raises UsageError, RunStoppedError."""
    failed: list[Failure] = []
    for name, api in apis.items():
        answer = await api.retrieve(batch_id)
        if not isinstance(answer, Failure):
            return name, answer
        if answer.kind is not FailureKind.REQUEST_REJECTED:
            failed.append(answer)
    if failed:
        _answer(failed[0])
    raise UsageError(
        f"{batch_id}: there is no such batch for this key",
        hint="batches belong to the workspace of the key they were made with: use that key; "
        "claude-batch batches list shows what this one can see",
    )


# cancel


def _cancel(request: BatchesRequest) -> None:
    """Cancel batches that are under way, after a yes, and noted in the journals of their runs."""
    runs = [] if request.run is None else _results_of(checkpoint_of(request.run))
    ids = (request.batch_id,) if request.batch_id else _under_way(request.run or Path(), runs)

    async def find_all(apis: BatchApis) -> list[tuple[str, BatchView]]:
        return [await _find(apis, batch_id) for batch_id in ids]

    rows = _rows(_ask(request.settings, find_all), runs) if ids else []
    open_rows = [row for row in rows if row.batch.status is not BatchStatus.ENDED]
    for row in rows:
        if row.batch.status is BatchStatus.ENDED:
            _note(f"{row.batch.id} has ended already", "claude-batch resume collects its results")
    if open_rows and not request.yes:
        _confirm(open_rows)
    for row in open_rows:
        _note_in_journal(row)

    async def cancel_all(apis: BatchApis) -> list[tuple[str, BatchView]]:
        return [
            (row.endpoint, _answer(await apis[row.endpoint].cancel(row.batch.id)))
            for row in open_rows
        ]

    canceled = _rows(_ask(request.settings, cancel_all), runs) if open_rows else []
    if request.as_json:
        print_json([_report(row) for row in canceled])
    elif canceled:
        print_table(batches_table(canceled, time.time()), to_stdout=True)
        _note(
            "canceling takes a while; requests done by then are charged, and their results kept",
            "claude-batch resume collects them, and submits what was never submitted; canceled "
            "requests stay canceled unless --retry-errored sends them again",
        )


def _results_of(run: Path) -> list[Path]:
    """Return the results file of a run, or those of all shards that a run folder has begun.

    Raises UsageError where there is no run, CheckpointError.
    """
    if has_manifest(run):
        return _shards_of(run.absolute())
    journal_of(run)
    return [run.absolute()]


def _shards_of(folder: Path) -> list[Path]:
    """Return the latest results of each shard of a run folder on this host."""
    shards = (ShardFolder(folder, int(path.name)) for path in sorted(folder.glob(f"{SHARDS}/*")))
    return [shard.results(epochs[-1]) for shard in shards if (epochs := shard.epochs())]


def _under_way(named: Path, runs: Iterable[Path]) -> tuple[str, ...]:
    """Return the batches of runs that are not collected yet. Raises UsageError, CheckpointError."""
    chunks = [chunk for results in runs for chunk in read_batches(results).open_chunks]
    ids = tuple(chunk.batch_id for chunk in chunks if chunk.batch_id is not None)
    name = f"{shown(named)}{'/' if has_manifest(named) else ''}"
    if unknown := len(chunks) - len(ids):
        message = (
            f"{name}: no answer came when {counted(unknown, 'batch')} "
            f"{'was' if unknown == 1 else 'were'} submitted: what exists of that is not known yet"
        )
        hint = f"claude-batch resume {shlex.quote(name)} finds out; then cancel again"
        if not ids:
            raise UsageError(f"{message}; nothing was canceled", hint=hint)
        _note(message, hint)
    elif not ids:
        _note(f"{name}: no batch is under way")
    return ids


def _confirm(rows: list[BatchRow]) -> None:
    """Ask before batches are canceled. Raises UsageError without a yes."""
    requests = sum(row.batch.counts.total for row in rows)
    batches = f"batch {rows[0].batch.id}" if len(rows) == 1 else f"{len(rows):,} batches"
    require_yes(f"cancel {batches} ({requests:,} requests)?", otherwise="nothing was canceled")


def _note_in_journal(row: BatchRow) -> None:
    """Note in a run's journal that the user cancels its batch: it is not resubmitted."""
    if row.results is None:
        _note(
            f"no run in or below this folder has the batch {row.batch.id}: whichever run has it "
            "records its canceled requests as canceled",
            "there, claude-batch resume --retry-errored sends them again",
        )
        return
    record = BatchCancelRequested(id=row.batch.id, by=BY_USER, at=time.time())
    request_cancel(row.results, record)


# shared


def _rows(found: Iterable[tuple[str, BatchView]], besides: Iterable[Path] = ()) -> list[BatchRow]:
    """Return batches with the runs they belong to: in or below this folder, or one of others."""
    here = Path.cwd()
    shards = (each for folder in run_folders_below(here) for each in _shards_of(folder))
    runs = {
        chunk.batch_id: path
        for path in (*reversed(runs_below(here)), *shards, *besides)
        for chunk in read_batches(path).chunks.values()
    }
    return [
        BatchRow(endpoint=name, batch=each, run=_run_text(results), results=results)
        for name, each in found
        for results in (runs.get(each.id),)
    ]


def _run_text(results: Path | None) -> str | None:
    """Return which run results are of, or which shard of a run folder."""
    if results is None:
        return None
    folder = run_folder_of(results)
    if folder is None:
        return shown(results)
    return f"{shown(folder)}/ shard {int(results.parent.name)}"


def _ask(settings: Settings, ask: Callable[[BatchApis], Awaitable[T]]) -> T:
    """Return what `ask` gets from the endpoints that have batches. Raises UsageError."""
    api = Api(options=settings.options, endpoints=settings.endpoints, sandbox=False, scenario=None)

    async def ask_and_close(apis: BatchApis) -> T:
        try:
            return await ask(apis)
        finally:
            await api.close()

    with api:
        api.open()
        by_name = {name: batches_of(each) for name, each in api.transports.items()}
        apis = {name: each for name, each in by_name.items() if each is not None}
        if not apis:
            raise UsageError(
                f"no endpoint has Message Batches: {', '.join(by_name)}",
                hint="Anthropic itself and Claude Platform on AWS have them",
            )
        return asyncio.run(ask_and_close(apis))


def _answer(answer: T | Failure) -> T:
    """Return what the API answered. Raises RunStoppedError for a failure."""
    if not isinstance(answer, Failure):
        return answer
    if answer.kind is FailureKind.REQUEST_REJECTED:
        raise RunStoppedError(
            f"batches: {answer.message}",
            hint="where there are no Message Batches, as at most relays, runs go live",
        )
    raise RunStoppedError(f"batches: {answer.message}", hint=remedy(answer))


def _note(message: str, hint: str = "") -> None:
    sys.stderr.write(notice_text(message, hint))


def _report(row: BatchRow) -> BatchReport:
    batch = row.batch
    has_counts = batch.status is BatchStatus.ENDED and batch.counts_reported
    return BatchReport(
        id=batch.id,
        endpoint=row.endpoint,
        state=batch.status,
        requests=batch.counts.total if batch.counts_reported else None,
        counts=batch.counts if has_counts else None,
        created_at=utc(batch.created_at),
        expires_at=utc(batch.expires_at),
        ended_at=None if batch.ended_at is None else utc(batch.ended_at),
        has_results=batch.has_results,
        run=row.run,
    )
