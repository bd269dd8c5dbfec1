"""A results file made whole again after a crash, and rewritten when requests are to be redone.

Every valid line is kept; nothing that was in the file is thrown away but a torn tail.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from claude_batch.core.model import ResultType
from claude_batch.errors import CheckpointWriteError
from claude_batch.storage.entries import Checkpoint, Done, Entry, read_checkpoint, read_lines
from claude_batch.storage.files import append_file, beside, replace_file


def recover(results: Path) -> Checkpoint:
    """Make `results` a file of whole result lines, and return what it holds.

    A torn tail is cut; damaged bytes elsewhere are moved to RESULTS.damaged. Call it under the
    lock. Raises CheckpointWriteError when the file cannot be mended.
    """
    checkpoint = read_checkpoint(results)
    try:
        if checkpoint.damaged:
            _sort_out(results, beside(results, ".damaged"), _first_results())
        elif checkpoint.torn_bytes:
            _truncate(results, checkpoint.size)
        elif checkpoint.open_end:
            append_file(results, [b"\n"])
    except OSError as error:
        raise CheckpointWriteError(
            f"{results}: cannot be repaired: {error.strerror}",
            hint="make room or give write permission, then run the same command again",
        ) from error
    return checkpoint


def take_out_unsuccessful(results: Path) -> None:
    """Rewrite `results` without errored, canceled and expired lines, so that they are tried again.

    The old lines are kept in RESULTS.retried.
    """
    _sort_out(
        results, beside(results, ".retried"), lambda entry: entry.type is ResultType.SUCCEEDED
    )


def _first_results() -> Callable[[Entry], bool]:
    done = Done()
    return done.add


def _sort_out(results: Path, aside: Path, keep: Callable[[Entry], bool]) -> None:
    """Keep the results that `keep` wants, and move everything else to `aside`, which comes first.

    A crash in between repeats lines in `aside`, and loses none.
    """
    moved: list[bytes] = []

    def kept() -> Iterator[bytes]:
        for raw, entry in read_lines(results):
            if entry is not None and keep(entry):
                yield _ended(raw)
            else:
                moved.append(_ended(raw))
        append_file(aside, moved)

    replace_file(results, kept())


def _ended(raw: bytes) -> bytes:
    return raw if raw.endswith(b"\n") else raw + b"\n"


def _truncate(path: Path, size: int) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.ftruncate(fd, size)
        os.fsync(fd)
    finally:
        os.close(fd)
