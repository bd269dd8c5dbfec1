"""Files that survive a crash: private, synced, replaced whole; and the lock of a single writer.

Sources: fsync(2), rename(2), flock(2).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from claude_batch.errors import CheckpointLockedError, CheckpointWriteError

PRIVATE = 0o600


def beside(path: Path, suffix: str) -> Path:
    """Return `path` with `suffix` added to its whole name: x.jsonl -> x.jsonl.journal."""
    return path.with_name(path.name + suffix)


def sync_directory(directory: Path) -> None:
    """Make creations and renames in `directory` outlive a power loss."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Replace `path` by `chunks`, whole or not at all, durably."""
    temporary = beside(path, ".part")
    with open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def append_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Append `chunks` to `path`, creating it if need be, durably."""
    with open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path.parent)


@contextmanager
def open_private(path: Path, flags: int) -> Iterator[BinaryIO]:
    """Open `path` for writing; if it is created, nobody else may read it."""
    with os.fdopen(os.open(path, flags, PRIVATE), "wb") as file:
        yield file


@contextmanager
def locked(results: Path) -> Iterator[None]:
    """Hold the lock of a results file, so that it has one writer.

    The lock is a file of its own, never renamed or removed; the system lets go of it when the
    process ends, however it ends.
    """
    path = beside(results, ".lock")
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE)
    except OSError as error:
        raise CheckpointWriteError(
            f"{path}: {error.strerror}", hint="choose another place with --out FILE"
        ) from error
    try:
        _lock(fd, results)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, results: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        raise CheckpointLockedError(
            f"{results} is being written by another claude-batch (process {owner})",
            hint="wait for it or stop it (Ctrl-C), or write elsewhere with --out FILE",
        ) from error
