"""Files that survive a crash: private, synced, replaced whole; and the lock of a single writer.

A link is followed to the file it names, so that two names of one file have one lock.

Sources: fsync(2), rename(2), flock(2).
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from claude_batch.errors import CheckpointLockedError, CheckpointWriteError, UsageError

PRIVATE = 0o600

_BUFFER = 1 << 20
_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EPERM}
"""What some file systems (FUSE, SMB, NFS) answer when a directory is to be synced."""


def beside(path: Path, suffix: str) -> Path:
    """Return `path` with `suffix` added to its whole name: x.jsonl -> x.jsonl.journal."""
    return path.with_name(path.name + suffix)


def sync_directory(directory: Path) -> None:
    """Make creations and renames in `directory` outlive a power loss, where the system can."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def sync_file(path: Path) -> None:
    """Make what `path` holds, and that it exists, outlive a power loss."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_directory(path.resolve().parent)


def replace_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Replace `path` by `chunks`, whole or not at all, durably; its permissions stay."""
    path = path.resolve()
    temporary = beside(path, ".part")
    try:
        with open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
            with suppress(FileNotFoundError):
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def append_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Append `chunks` to `path`, creating it if need be, durably."""
    with open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path.resolve().parent)


@contextmanager
def open_private(path: Path, flags: int) -> Iterator[BinaryIO]:
    """Open `path` for writing; if it is created, nobody else may read it."""
    with os.fdopen(os.open(path, flags, PRIVATE), "wb", buffering=_BUFFER) as file:
        yield file


@contextmanager
def locked(results: Path) -> Iterator[None]:
    """Hold the lock of a results file, so that it has one writer.

    The lock is a file of its own, never renamed or removed; the system lets go of it when the
    process ends, however it ends. Raises CheckpointLockedError, CheckpointWriteError, and
    UsageError for what can never be a results file.
    """
    _refuse_unsuitable(results)
    path = lock_path(results)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE)
    except OSError as error:
        raise CheckpointWriteError(
            f"{path}: {error.strerror}", hint="choose another place with --out FILE"
        ) from error
    try:
        _lock(fd, results)
        with suppress(OSError):  # whose lock it is helps people; a full disk may not know
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def lock_path(results: Path) -> Path:
    """Return where the lock of `results` is."""
    return beside(results.resolve(), ".lock")


def _refuse_unsuitable(results: Path) -> None:
    """Refuse folders, devices and pipes: nothing in them can be found again."""
    if not results.parent.is_dir():
        raise UsageError(
            f"{results}: there is no folder {results.parent}",
            hint=f"mkdir -p {shlex.quote(str(results.parent))}, or another file with --out FILE",
        )
    try:
        mode = results.stat().st_mode
    except OSError:
        return  # it is to be created, or whoever opens it will say what is wrong
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise UsageError(
            f"{results}: is {what}, and results must be found again",
            hint="name a file with --out FILE; results also go to stdout, with --stdout",
        )


def _lock(fd: int, results: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        raise CheckpointLockedError(
            f"{results} is being written by another claude-batch (process {owner})",
            hint="wait for it or stop it (Ctrl-C), or write elsewhere with --out FILE",
        ) from error
    except OSError as error:
        raise CheckpointWriteError(
            f"{lock_path(results)}: cannot be locked: {error.strerror}",
            hint="choose a place with --out FILE whose file system has locks",
        ) from error
