"""Every file of prompts, results and journals is opened here, for reading or for writing.

Reading follows links and can begin and end at any byte. Writing is private and durable, and never
goes through a link: a link in the place of one of our own files may have been planted there. Only
a results file may be one: whoever writes it resolves the link first.

Sources: open(2), fsync(2), rename(2), flock(2).
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from claude_batch.core.model.typos import nearest
from claude_batch.errors import CheckpointLockedError, CheckpointWriteError, UsageError

BLOCK = 1 << 18
"""Bytes that are read at once."""

PRIVATE, PRIVATE_FOLDER = 0o600, 0o700
_BUFFER = 1 << 20
_TEMPORARY = "claude-batch-copies-"
_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EPERM}
"""What some file systems (FUSE, SMB, NFS) answer when a directory is to be synced."""


def open_to_read(path: Path, start: int = 0) -> BinaryIO:
    """Open a file for reading, at byte `start`. Raises OSError."""
    file = path.open("rb")
    if start:
        file.seek(start)
    return file


def read_blocks(path: Path, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Yield a file in blocks, from byte `start` up to, not including, byte `end`.

    Raises OSError.
    """
    with open_to_read(path, start) as file:
        left = BLOCK if end is None else end - start
        while block := file.read(min(BLOCK, left)):
            yield block
            if end is not None:
                left -= len(block)


def beside(path: Path, suffix: str) -> Path:
    """Return `path` with `suffix` added to its whole name: x.jsonl -> x.jsonl.journal."""
    return path.parent / (path.name + suffix)  # / and . have no name that could be replaced


def refuse_dash(path: Path, hint: str) -> None:
    """Refuse - as a file to write: it means stdout elsewhere, and would be a file of that name."""
    if str(path) == "-":
        raise UsageError("- is no file that could be written", hint=hint)


def make_private_folder(folder: Path) -> None:
    """Create a folder, and those above it that are missing; nobody else may look into them."""
    if not folder.is_dir():
        make_private_folder(folder.parent)
        folder.mkdir(PRIVATE_FOLDER, exist_ok=True)


@contextmanager
def temporary_folder(place: Path | None = None) -> Iterator[Path]:
    """Give a folder for copies in `place`, or where temporary files are; it is removed at the end.

    A signal or a crash leaves it: so those are removed here whose process, which has locked its
    folder, is gone. It gets its name once it is locked: else another process might remove it.
    """
    place = Path(tempfile.gettempdir()) if place is None else place
    for left in place.glob(f"{_TEMPORARY}*"):
        with suppress(OSError):
            os.close(_lock_folder(left))
            shutil.rmtree(left)
    new = Path(tempfile.mkdtemp(prefix=f".{_TEMPORARY}", dir=place))
    with ExitStack() as stack:
        with suppress(OSError):  # a file system without locks, where nothing is removed either
            stack.callback(os.close, _lock_folder(new))
        folder = new.rename(place / new.name[1:])
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def _lock_folder(folder: Path) -> int:
    """Return the descriptor of a folder that is locked until it is closed. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def open_own(path: Path, flags: int) -> int:
    """Open one of our own files for writing; if it is created, nobody else may read it.

    Returns its descriptor. Raises CheckpointWriteError for a link, otherwise OSError.
    """
    try:
        return os.open(path, flags | os.O_NOFOLLOW, PRIVATE)
    except OSError as error:
        if path.is_symlink():
            raise _link(path) from error
        raise


def open_new(path: Path) -> BinaryIO:
    """Create one of our own files, in place of one that a crash may have left, for writing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        fd = open_own(path, flags)
    except FileExistsError:
        path.unlink()
        fd = open_own(path, flags)
    return os.fdopen(fd, "wb", buffering=_BUFFER)


def open_to_append(path: Path) -> BinaryIO:
    """Open one of our own files for writing at its end, creating it if need be."""
    fd = open_own(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return os.fdopen(fd, "wb", buffering=_BUFFER)


def refuse_link(path: Path) -> None:
    """Refuse to replace a link. Raises CheckpointWriteError."""
    if path.is_symlink():
        raise _link(path)


def _link(path: Path) -> CheckpointWriteError:
    return CheckpointWriteError(
        f"{path} is a link: nothing is written through it, since it may lead anywhere",
        hint=f"look where it leads, then remove it: rm {shlex.quote(str(path))}",
    )


def sync_open(file: BinaryIO) -> None:
    """Make what was written to an open file outlive a power loss."""
    file.flush()
    os.fsync(file.fileno())


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
    """Make what one of our own files holds, and that it exists, outlive a power loss."""
    fd = open_own(path, os.O_WRONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_directory(path.parent)


def replace_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Replace `path` by `chunks`, whole or not at all, durably; its permissions stay.

    Raises CheckpointWriteError for a link, otherwise OSError.
    """
    refuse_link(path)
    part = beside(path, ".part")
    file = open_new(part)
    try:
        with file:
            with suppress(FileNotFoundError):
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            for chunk in chunks:
                file.write(chunk)
            sync_open(file)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


@contextmanager
def locked(results: Path) -> Iterator[None]:
    """Hold the lock of a results file, so that it has one writer.

    The lock is a file of its own, never renamed, and the same for a link and the file it leads
    to. It is removed only where nothing came of the run. The system releases it when the process
    ends, however it ends.

    Raises CheckpointLockedError, CheckpointWriteError, and UsageError for what can never be a
    results file.
    """
    _refuse_unsuitable(results)
    path = lock_path(results)
    fd = _take_lock(path, results)
    try:
        with suppress(OSError):  # the process id helps people; a full disk cannot take it
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        if not (os.path.lexists(results) or os.path.lexists(beside(results, ".journal"))):
            with suppress(OSError):
                path.unlink()
        os.close(fd)


def _take_lock(path: Path, results: Path) -> int:
    """Return the descriptor of the lock, which is held."""
    while True:
        try:
            fd = open_own(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise CheckpointWriteError(
                f"{path}: {error.strerror}", hint="choose another place with --out FILE"
            ) from error
        try:
            _lock(fd, results)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.lstat(path)):
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its owner has removed it meanwhile


def lock_path(results: Path) -> Path:
    """Return where the lock of `results` is."""
    return beside(results.resolve(), ".lock")


def refuse_missing_folder(path: Path) -> None:
    """Refuse to write a file into a folder that is not there. Raises UsageError."""
    folder = path.parent
    if not folder.is_dir():
        raise UsageError(
            f"{path}: there is no folder {folder}{name_nearest(folder)}",
            hint=f"mkdir -p {shlex.quote(str(folder))}, or another file with --out FILE",
        )


def name_nearest(path: Path) -> str:
    """Return which file beside it the user may have meant, as ` (did you mean x?)`."""
    try:
        names = [each.name for each in path.parent.iterdir()]
    except OSError:
        return ""
    near = nearest(path.name, names, most=1)
    return f" (did you mean {path.with_name(near[0])}?)" if near else ""


def _refuse_unsuitable(results: Path) -> None:
    """Refuse folders, devices and pipes: nothing in them can be found again."""
    refuse_missing_folder(results)
    try:
        mode = results.stat().st_mode
    except OSError:
        return  # it does not exist yet, or opening it will show what is wrong
    if not stat.S_ISREG(mode):
        if stat.S_ISDIR(mode):
            inside = shlex.quote(str(results / "results.jsonl"))
            new = shlex.quote(str(results / "run1"))
            raise UsageError(
                f"{results}: is a folder: results of one file are in a file",
                hint=f"name a file in it: --out {inside}; or a run folder, which takes several "
                f"files, and whose name ends with /: --out {new}/",
            )
        raise UsageError(
            f"{results}: is no regular file: results must be in a file that can be read again",
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
