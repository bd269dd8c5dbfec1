"""What watches a run for others: the log of its attempts (--log)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from claude_batch.ports import Observe
from claude_batch.storage.attempt_log import AttemptLog
from claude_batch.storage.files import lock_path
from claude_batch.storage.run.opening import RunRequest
from claude_batch.storage.run.paths import files_of
from claude_batch.ui.screen.screen import Screen


@contextmanager
def watched(request: RunRequest, screen: Screen) -> Iterator[Observe | None]:
    """Open what the command asks for; yield what every attempt is reported to, None: nothing.

    Raises UsageError before anything is sent.
    """
    if request.options.log is None:
        yield None
        return
    log = AttemptLog(request.options.log, not_into=_files(request), warn=screen.notice)
    try:
        yield log
    finally:
        log.close()


def _files(request: RunRequest) -> list[Path]:
    """Return the files that a run writes, whether they are there yet or not, and its prompts."""
    files = [*files_of(request.results), lock_path(request.results), Path(request.prompts)]
    return files if request.table is None else [*files, request.table]
