"""The files of a run folder that several processes write: each is created once, by one of them.

Other places than a file system of this host (object storage, say) have the same few calls.
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from claude_batch.errors import CheckpointWriteError, FolderGoneError
from claude_batch.storage.files import (
    PRIVATE_FOLDER,
    make_private_folder,
    open_new,
    sync_directory,
    sync_open,
)
from claude_batch.storage.run.paths import MANIFEST

_OF_THE_DISK = "lost+found"
"""What is in the topmost folder of an empty disk, a mounted volume, say."""


class Held(Protocol):
    """A file that this process has created, and holds until it lets go, or ends."""

    def touch(self) -> None:
        """Show others that this process lives. Raises OSError."""

    def let_go(self) -> None:
        """Show others that it holds the file no more; they need not wait until it is silent."""


class FolderFiles(Protocol):
    """Files of a folder by their names, as `claims/0017-1`.

    Object storage raises StoreError where a file system raises OSError.
    """

    @property
    def place(self) -> str:
        """The path of the folder, or its URL."""

    def create(self, name: str, content: bytes) -> bool:
        """Create a file, whole and durably; return False, and change nothing, if there is one.

        Raises CheckpointWriteError; FolderGoneError where the folder itself is gone.
        """

    def hold(self, name: str, content: bytes) -> Held | None:
        """Create a file as `create` does, and hold it; None if there is one."""

    def read(self, name: str) -> bytes | None:
        """Return what is in a file; None without one. Raises OSError."""

    def exists(self, name: str) -> bool:
        """Return whether there is a file of that name. Raises OSError."""

    def read_all(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """Return what is in files, of those that there are. Raises OSError."""

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder. Raises OSError."""

    def any_name(self) -> str | None:
        """Return the name of something in the folder, not hidden; None where it is empty.

        Raises OSError.
        """

    def names_below(self, folder: str) -> Mapping[str, Sequence[str]]:
        """Return the names of the files in each folder of a folder. Raises OSError."""

    def ages(self, folder: str, begin: str = "") -> Mapping[str, float]:
        """Return how long ago (s) each file of a folder was touched, by one clock for all.

        Only files whose names begin so. Raises OSError.
        """

    def learn_clock(self) -> None:
        """Find out how far that clock is ahead of this host's."""

    def is_let_go(self, name: str) -> bool:
        """Return whether a file is certainly held by nobody; False where that is not known."""

    def forget_copies(self, finished: Mapping[int, int], shards: int) -> None:
        """Have copies of finished shards removed from this host, when this process ends.

        `finished` maps each finished shard to its epoch; `shards` is the number of all shards.
        """


class LocalFiles:
    """A folder that this host, and perhaps others, have mounted (link(2), flock(2))."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ahead_s = 0.0  # the clock of the file system, against ours

    @property
    def place(self) -> str:
        """The path of the folder."""
        return str(self._root)

    def learn_clock(self) -> None:
        """Find out how far the clock of the file system is ahead of this host's."""
        path = self._root / f".clock.{uuid.uuid4().hex[:12]}"
        with suppress(OSError):
            with open_new(path) as file:
                self._ahead_s = os.fstat(file.fileno()).st_mtime - time.time()
            path.unlink()

    def create(self, name: str, content: bytes) -> bool:
        """Create a file exclusively; see FolderFiles."""
        held = self._create(name, content)
        if held is not None:
            os.close(held)
        return held is not None

    def hold(self, name: str, content: bytes) -> LocalHeld | None:
        """Create a file exclusively, and hold it; see FolderFiles."""
        fd = self._create(name, content)
        return None if fd is None else LocalHeld(self._root / name, fd)

    def _create(self, name: str, content: bytes) -> int | None:
        """Create a file; return its descriptor, which is locked from the first moment on."""
        path = self._root / name
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")
        try:
            if path.parent == self._root:  # a run folder begins with its manifest
                make_private_folder(self._root)
            else:
                make_folder_in(self._root, path.parent)
            with open_new(part) as file:
                file.write(content)
                sync_open(file)
                fd = os.dup(file.fileno())
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not _link(part, path):
                    os.close(fd)
                    return None
            except BaseException:
                with suppress(OSError):
                    os.close(fd)
                raise
            finally:
                part.unlink(missing_ok=True)
            sync_directory(path.parent)
        except OSError as error:
            raise CheckpointWriteError(
                f"{path}: cannot be created: {error.strerror}",
                hint="make room or give write permission, then run the same command again",
            ) from error
        return fd

    def read(self, name: str) -> bytes | None:
        """Return what is in a file; None without one."""
        try:
            return (self._root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, name: str) -> bool:
        """Return whether there is a file of that name."""
        try:
            (self._root / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def read_all(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return what is in files, of those that there are."""
        return {name: found for name in names if (found := self.read(name)) is not None}

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder."""
        try:
            found = os.listdir(self._root / folder)  # noqa: PTH208  # names, not paths
        except FileNotFoundError:
            return []
        return sorted(each for each in found if not each.startswith("."))

    def any_name(self) -> str | None:
        """Return the name of something in the folder, not hidden; None where it is empty."""
        return next((name for name in self.names("") if name != _OF_THE_DISK), None)

    def names_below(self, folder: str) -> dict[str, list[str]]:
        """Return the names of the files in each folder of a folder."""
        below = {}
        for each in self.names(folder):
            with suppress(NotADirectoryError):
                below[each] = self.names(f"{folder}/{each}")
        return below

    def ages(self, folder: str, begin: str = "") -> dict[str, float]:
        """Return how long ago each file of a folder was touched whose name begins so."""
        ages: dict[str, float] = {}
        for name in self.names(folder):
            if name.startswith(begin):
                with suppress(FileNotFoundError):
                    touched_at = (self._root / folder / name).stat().st_mtime
                    ages[name] = max(0.0, time.time() + self._ahead_s - touched_at)
        return ages

    def is_let_go(self, name: str) -> bool:
        """Return whether no process of this host, which created it, holds a file."""
        try:
            fd = os.open(self._root / name, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True

    def forget_copies(self, finished: Mapping[int, int], shards: int) -> None:
        """Do nothing: there are no copies."""


class LocalHeld:
    """A file that this process holds; the system lets go of it when the process ends."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path, self._fd = path, fd

    def touch(self) -> None:
        """Show others that this process lives."""
        os.utime(self._fd)

    def let_go(self) -> None:
        """Show others, on other hosts too, that they need not wait."""
        with suppress(OSError):
            os.utime(self._fd, (0, 0))
        with suppress(OSError):
            os.close(self._fd)


def make_folder_in(root: Path, folder: Path) -> None:
    """Create a folder in a run folder, and those between that are missing.

    Raises OSError; FolderGoneError where there is no run folder, which is never made again: results
    would be bought twice.
    """
    if not root.is_dir():
        raise folder_gone(str(root))
    below = folder.relative_to(root)
    for each in (*reversed(below.parents[:-1]), below):
        with suppress(FileExistsError):
            (root / each).mkdir(PRIVATE_FOLDER)


def folder_gone(place: str) -> FolderGoneError:
    """Return the error that a run folder is not where it was."""
    return FolderGoneError(
        f"{place}/ was moved or removed while this command worked on it: there is no {MANIFEST} "
        "any more, so nothing more is sent",
        hint="put it back, or name its new place: claude-batch resume NEW/; if it was removed, run "
        "the command again that made it",
    )


def _link(part: Path, path: Path) -> bool:
    """Give a file its name; return False if that is taken."""
    try:
        os.link(part, path)
    except FileExistsError:
        # NFS may repeat a call whose answer was lost
        return part.stat().st_nlink > 1
    return True
