"""Which runs there are, and the state of each, read from their files without a lock.

A small list per user lets `resume` and `status` find runs without an argument.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from platformdirs import user_state_path

from claude_batch.config.settings import RunSettings
from claude_batch.core.model.requests import FailureKind
from claude_batch.core.model.snapshot import Snapshot
from claude_batch.core.scheduling.progress import Tally
from claude_batch.errors import CheckpointError, CheckpointWriteError
from claude_batch.storage.files import lock_path, make_private_folder, open_new, read_blocks
from claude_batch.storage.run.checkpoint import read_checkpoint
from claude_batch.storage.run.control import FRESH_S, read_live
from claude_batch.storage.run.journal import (
    Closed,
    Journal,
    RunIdentity,
    journal_path,
    read_journal,
    read_records,
)
from claude_batch.storage.run.paths import MANIFEST, SHARDS, has_manifest
from claude_batch.storage.run.recovery import as_put_back, is_retrying, retry_expense

_LOCKS = Path("/proc/locks")
_LIMITED = (FailureKind.RATE_LIMITED.value, FailureKind.RAMP_LIMITED.value)

MOST_RUNS = 1_000
"""Runs in the list; the oldest are dropped first."""


class RunState(StrEnum):
    """What a run is doing, as far as its files show."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"  # by Ctrl-C, a crash or a power loss: to be resumed
    STOPPED = "stopped"  # by the API; to be resumed once the cause is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """One run. `why` is the reason its last process gave for stopping early, `closed` its record.

    `pace` is how a running process gets on, `live` what it has said of itself a moment ago.

    `settings` are the options in force for it.

    `endpoints` counts results by where they came from. `last_activity_at` is wall time: when its
    files were last written to.
    """

    identity: RunIdentity
    results: Path
    state: RunState
    tally: Tally
    endpoints: Mapping[str, int]
    last_activity_at: float
    why: str
    settings: RunSettings
    closed: Closed | None = None
    pace: RunPace | None = None
    live: Snapshot | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPace:
    """How the process that works on a run gets on; the journal has its figures minute by minute.

    `results_per_minute` are those of the last whole minute; before, those since it began.
    """

    results_per_minute: float
    attempts: int
    rate_limited: int


def run_status(results: Path) -> RunStatus | None:
    """Return the state of the run of `results`; None where it has no journal."""
    journal = read_journal(results)
    if journal is None:
        return None
    checkpoint = read_checkpoint(results)
    return status_from(results, journal, checkpoint.tally, checkpoint.endpoints)


def shard_status(results: Path, *, is_held: bool) -> RunStatus | None:
    """Return the state of the run of a shard; None where it has no journal.

    Of one that was finished, and whose retry nobody works on now, the better of old and new results
    are counted.
    """
    status = run_status(results)
    if is_held or status is None or status.state is RunState.RUNNING or not is_retrying(results):
        return status
    with as_put_back(results) as better:
        checkpoint, journal = read_checkpoint(better), read_journal(results)
        if journal is not None:
            checkpoint.tally.add_expense(journal.expenses)
        checkpoint.tally.add_expense(retry_expense(better))
    return replace(status, tally=checkpoint.tally, endpoints=checkpoint.endpoints)


def status_from(
    results: Path, journal: Journal, tally: Tally, endpoints: Mapping[str, int]
) -> RunStatus:
    """Return the state of a run whose journal and results have been read.

    To the `tally` of its results is added what was spent without one.
    """
    state = _state(results, journal, tally)
    running = state is RunState.RUNNING
    tally.add_expense(journal.expenses)
    tally.add_expense(retry_expense(results))
    live = _live(results) if running else None
    early = state in {RunState.INTERRUPTED, RunState.STOPPED}
    return RunStatus(
        identity=journal.identity,
        results=results,
        state=state,
        tally=tally,
        endpoints=endpoints,
        last_activity_at=_last_activity_at(results),
        why=journal.closed.why if journal.closed and early else "",
        closed=journal.closed if early else None,
        pace=_pace(results, journal, tally, live) if running else None,
        live=live,
        settings=journal.settings,
    )


def _live(results: Path) -> Snapshot | None:
    """Return the snapshot that the process that works on a run has just published."""
    try:
        live = read_live(results)
    except OSError:
        return None
    return live.snapshot if live is not None and time.time() - live.at < FRESH_S else None


def _pace(results: Path, journal: Journal, tally: Tally, live: Snapshot | None) -> RunPace | None:
    """Return how the process that opened a run last gets on."""
    if live is not None and live.requests_per_minute is not None:
        return RunPace(
            results_per_minute=live.requests_per_minute,
            attempts=live.attempts,
            rate_limited=live.rate_limited,
        )
    began_at = None if journal.opened is None else wall_time(journal.opened.at)
    if journal.opened is None or began_at is None:
        return None
    minutes: list[Mapping[str, Any]] = []
    for record in read_records(results):
        match record.get("type"):
            case "opened":
                minutes.clear()
            case "minute":
                minutes.append(record)
            case _:
                pass
    if minutes:
        seconds = minutes[-1].get("seconds")  # older journals have whole minutes only
        length_s = seconds if isinstance(seconds, int | float) and seconds >= 1 else 60.0
        per_minute = _sum(minutes[-1:], "succeeded", "failed") * 60.0 / length_s
    else:
        new = max(0, tally.done - journal.opened.done)
        per_minute = new * 60.0 / max(1.0, time.time() - began_at)
    failures = [each for record in minutes if isinstance(each := record.get("failures"), dict)]
    return RunPace(
        results_per_minute=per_minute,
        attempts=_sum(minutes, "attempts"),
        rate_limited=_sum(failures, *_LIMITED),
    )


def wall_time(text: str) -> float | None:
    """Return the seconds since 1970 of a time in a journal; None where it is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _sum(records: Iterable[Mapping[str, Any]], *names: str) -> int:
    values = (record.get(name) for record in records for name in names)
    return sum(value for value in values if isinstance(value, int))


def is_unfinished(results: Path) -> bool:
    """Return whether there is something to resume: by the journal; in doubt, by counting lines."""
    try:
        journal = read_journal(results)
    except CheckpointError:  # naming that run shows the error
        return False
    if journal is None or (journal.closed and journal.closed.state == "finished"):
        return False
    return _lines(results) < journal.identity.total or is_retrying(results)


def is_being_written(results: Path) -> bool:
    """Return whether a process of this host works on a run. Raises CheckpointError."""
    journal = read_journal(results)
    opened = None if journal is None or journal.closed is not None else journal.opened
    return opened is not None and _is_writing(opened.process, results)


def _lines(path: Path) -> int:
    """Return how many lines end in a newline."""
    try:
        return sum(block.count(b"\n") for block in read_blocks(path))
    except OSError:
        return 0


def _state(results: Path, journal: Journal, tally: Tally) -> RunState:
    opened = journal.opened
    if journal.closed is None and opened is not None and _is_writing(opened.process, results):
        return RunState.RUNNING
    if tally.done >= journal.identity.total and not is_retrying(results):
        return RunState.FINISHED
    if journal.closed is not None and journal.closed.state == RunState.STOPPED:
        return RunState.STOPPED
    return RunState.INTERRUPTED


def _is_writing(process: int, results: Path) -> bool:
    """Return whether a process holds the lock of `results`; without /proc, whether it exists.

    Process ids are reused, in a container by the very next command: existence alone proves little.
    """
    try:
        lock = lock_path(results).stat().st_ino
        locks = _LOCKS.read_text()
    except OSError:
        return _alive(process)
    return any(
        words[4] == str(process) and words[5].endswith(f":{lock}")
        for words in map(str.split, locks.splitlines())
    )


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remember_run(results: Path) -> None:
    """Put a run, or a run folder, at the end of the list of runs. Failing to do so is no error."""
    index = _index()
    known = [path for path in _read(index) if path != results]
    lines = [*known[-MOST_RUNS:], results]
    temporary = index.with_name(f"{index.name}.{os.getpid()}")
    try:
        make_private_folder(index.parent)
        with open_new(temporary) as file:
            file.writelines(os.fsencode(path) + b"\n" for path in lines)
        temporary.replace(index)
    except (OSError, CheckpointWriteError):
        return


def runs_below(folder: Path) -> list[Path]:
    """Return the results files of runs in or below `folder`, the one active last first.

    Those in `folder` itself are found even if the list was lost.
    """
    folder = folder.resolve()
    suffix = journal_path(Path("x")).name[1:]
    here = [path.with_name(path.name.removesuffix(suffix)) for path in folder.glob(f"*{suffix}")]
    listed = [path for path in _read(_index()) if path.is_relative_to(folder)]
    found = dict.fromkeys([*here, *listed])
    return _last_active_first(path for path in found if not path.is_dir())


def run_folders_below(folder: Path) -> list[Path]:
    """Return the run folders in and below `folder`, itself included, the one active last first.

    Those in `folder` itself are found even if the list of runs was lost.
    """
    folder = folder.resolve()
    listed = [path for path in _read(_index()) if path.is_relative_to(folder)]
    found = dict.fromkeys([folder, *sorted(folder.iterdir()), *listed])
    return _last_active_first(path for path in found if path.is_dir() and has_manifest(path))


def all_below(folder: Path) -> list[Path]:
    """Return the results files of runs and the run folders in and below `folder`.

    The one active last comes first.
    """
    return _last_active_first([*runs_below(folder), *run_folders_below(folder)])


def _last_active_first(paths: Iterable[Path]) -> list[Path]:
    active = {path: _last_activity_at(path) for path in paths}
    return sorted((path for path in active if active[path]), key=lambda path: -active[path])


def _last_activity_at(run: Path) -> float:
    """Return when the files of a run, or run folder, were last written to; 0 for neither."""
    try:
        return _folder_activity_at(run) if run.is_dir() else _results_activity_at(run)
    except ValueError:  # a name with a NUL: the list was damaged
        return 0.0


def _folder_activity_at(folder: Path) -> float:
    at = 0.0
    for path in (folder / MANIFEST, *folder.glob(f"{SHARDS}/*/*")):
        with suppress(OSError):
            at = max(at, path.stat().st_mtime)
    return at


def _results_activity_at(results: Path) -> float:
    """Return when a run's files were last written to; 0 without a journal that we may see."""
    try:
        at = journal_path(results).stat().st_mtime
    except OSError:
        return 0.0
    with suppress(OSError):
        at = max(at, results.stat().st_mtime)
    return at


def _index() -> Path:
    return user_state_path("claude-batch", appauthor=False) / "runs"


def _read(index: Path) -> list[Path]:
    try:
        return [Path(os.fsdecode(line)) for line in index.read_bytes().split(b"\n") if line]
    except OSError:
        return []
