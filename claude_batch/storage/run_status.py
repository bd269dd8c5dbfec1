"""Where a run stands, read from its files. Takes no lock and changes nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from claude_batch.core.progress import Tally
from claude_batch.storage.entries import read_checkpoint
from claude_batch.storage.journal import Journal, RunIdentity, journal_path, read_journal


class RunState(StrEnum):
    """What a run is doing, as far as its files tell."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"  # by Ctrl-C, a crash or a power loss: to be resumed
    STOPPED = "stopped"  # by the API; to be resumed once the cause is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """One run. `why` is what its last process said when it stopped early.

    `last_activity_at` is wall time: when its files were last written to.
    """

    identity: RunIdentity
    results: Path
    state: RunState
    tally: Tally
    last_activity_at: float
    why: str


def run_status(results: Path) -> RunStatus | None:
    """Return where the run of `results` stands; None where no journal tells of one."""
    journal = read_journal(results)
    if journal is None:
        return None
    checkpoint = read_checkpoint(results)
    return RunStatus(
        identity=journal.identity,
        results=results,
        state=_state(journal, checkpoint.tally),
        tally=checkpoint.tally,
        last_activity_at=_last_activity_at(results),
        why=journal.closed.why if journal.closed else "",
    )


def _last_activity_at(results: Path) -> float:
    paths = [path for path in (results, journal_path(results)) if path.exists()]
    return max((path.stat().st_mtime for path in paths), default=0.0)


def is_unfinished(results: Path) -> bool:
    """Tell from the journal alone whether there is something to resume."""
    journal = read_journal(results)
    return journal is not None and not (journal.closed and journal.closed.state == "finished")


def _state(journal: Journal, tally: Tally) -> RunState:
    if journal.closed is None and journal.opened is not None and _alive(journal.opened.process):
        return RunState.RUNNING
    if tally.done >= journal.identity.total:
        return RunState.FINISHED
    if journal.closed is not None and journal.closed.state == RunState.STOPPED:
        return RunState.STOPPED
    return RunState.INTERRUPTED


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
