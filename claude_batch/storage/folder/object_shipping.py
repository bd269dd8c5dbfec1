"""What a run has written on this host, shipped to object storage as it grows.

The files themselves are followed, so that writing them waits for nothing. Only what is durable on
this host is shipped, in whole lines: results first, then the journal as it was before, so that it
never speaks of results that are not there.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from claude_batch.core.shards.segments import (
    JOURNAL,
    LEAST_BYTES,
    MOST_BYTES,
    SHIP_EVERY_S,
    file_name,
    next_interval_s,
    segment_name,
)
from claude_batch.errors import CheckpointWriteError
from claude_batch.storage.files import beside
from claude_batch.storage.folder.claims import HeldClaim
from claude_batch.storage.folder.object_files import ObjectFiles
from claude_batch.storage.folder.shards import Shipping
from claude_batch.storage.objects.errors import StoreError
from claude_batch.storage.run.journal import journal_path

OTHER_FILES = (".invalid.jsonl", ".retrying", ".retried", ".damaged")
"""What a run has besides results and journal, and cannot make again."""

_LOOK_EVERY_S = 0.5
"""Seconds after which the size of the results is looked at."""

_AGAIN_S = 1.0
"""Seconds after which storage that has failed is tried again."""


_STOPPING_S = 5.0
"""Seconds for which a call to storage is waited for that is under way at the end."""


class Shipper(Shipping):
    """Ships the files of one run, from a thread of its own, into the folder `name` of `files`."""

    def __init__(self, files: ObjectFiles, name: str, claim: HeldClaim, results: Path) -> None:
        self._files, self._name, self._claim, self._results = files, name, claim, results
        self._shipping = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._segments = 0  # shipped so far
        self._at = 0  # up to here the results are shipped
        self._inode: int | None = None
        self._most = MOST_BYTES
        self._shipped: dict[str, object] = {}  # other files: what they were like
        self._is_away = False
        self.say: Callable[[str], object] = lambda _: None

    def open(self) -> None:
        """Ship what there is, the journal last: from then on the epoch counts. Raises StoreError.

        Before this nothing may be sent: it would be sent again if this host were lost.
        """
        with self._shipping:
            self._cycle()
        self._thread = threading.Thread(target=self._follow, name="shipping", daemon=True)
        self._thread.start()

    def ship(self) -> None:
        """Return when storage has all that there is now.

        It is tried again as long as the claim counts. Raises CheckpointWriteError.
        """
        while True:
            try:
                with self._shipping:
                    self._cycle()
            except StoreError as error:
                self._failed(error)
                if self._claim.is_lost or self._ended.wait(_AGAIN_S):
                    raise _unshipped(self._results, error) from error
            except OSError as error:
                raise CheckpointWriteError(
                    f"{self._results}: cannot be shipped: {error.strerror}",
                    hint="run the same command again: it goes on from what was shipped",
                ) from error
            else:
                self._succeeded()
                return

    def finish(self) -> tuple[int, int]:
        """Ship what is left of a finished run; return the first and last segment that count.

        A retry has written the results again: then they are shipped again.
        """
        self.ship()
        first = 1
        if self._is_rewritten():
            first, self._at, self._inode = self._segments + 1, 0, None
            self.ship()
        self.stop()
        return first, self._segments

    def close(self) -> None:
        """Ship what is left of a run that has ended, if it was begun. Raises CheckpointWriteError.

        A process that was superseded ships nothing more; of one that is finished nothing is left.
        """
        is_at_work = self._thread is not None and not self._ended.is_set()
        if is_at_work and not self._claim.is_lost:
            self.ship()

    def stop(self) -> None:
        """Ship no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(_STOPPING_S)

    def _follow(self) -> None:
        interval_s, shipped_at = SHIP_EVERY_S, time.monotonic()
        wait_s = _LOOK_EVERY_S
        while not self._ended.wait(wait_s):
            wait_s = _LOOK_EVERY_S
            is_due = time.monotonic() - shipped_at >= interval_s
            if not is_due and _size(self._results) - self._at < MOST_BYTES:
                continue
            before = self._at
            try:
                with self._shipping:
                    self._cycle()
            except StoreError as error:
                self._failed(error)
                wait_s = _AGAIN_S
                continue
            except OSError:  # the run finds out, too
                continue
            self._succeeded()
            shipped_at = time.monotonic()
            if self._at > before and is_due:
                interval_s = next_interval_s(interval_s, self._at - before)

    def _failed(self, error: StoreError) -> None:
        """Say so once; ship less at once: the way to storage may be too slow for so much."""
        self._most = max(LEAST_BYTES, self._most // 2)
        if not self._is_away:
            self._is_away = True
            self.say(f"{error.message}; results are kept on this host until they can be shipped")

    def _succeeded(self) -> None:
        if self._is_away:
            self._is_away = False
            self.say("object storage answers again: what was kept is shipped")

    def _cycle(self) -> None:
        """Ship what has changed. Raises StoreError, OSError."""
        journal = _read_durable(journal_path(self._results))
        if not self._is_rewritten():  # by a retry that ends: what storage has leads there, too
            self._ship_results()
            for suffix in OTHER_FILES:
                self._ship_file(suffix)
        if self._shipped.get(JOURNAL) != len(journal):
            self._put(file_name(self._claim.epoch, JOURNAL), journal)
            self._shipped[JOURNAL] = len(journal)

    def _ship_results(self) -> None:
        with suppress(FileNotFoundError), self._results.open("rb", buffering=0) as file:
            stat = os.fstat(file.fileno())
            self._inode = self._inode or stat.st_ino
            if stat.st_size <= self._at:
                return
            os.fdatasync(file.fileno())
            while self._at < stat.st_size:
                lines = _lines_at(file.fileno(), self._at, stat.st_size, self._most)
                if not lines:
                    return
                self._put(segment_name(self._claim.epoch, self._segments + 1), lines)
                self._segments += 1
                self._at += len(lines)

    def _is_rewritten(self) -> bool:
        if self._inode is None:
            return False
        with suppress(FileNotFoundError):
            stat = self._results.stat()
            return stat.st_ino != self._inode or stat.st_size < self._at
        return False

    def _ship_file(self, suffix: str) -> None:
        """Ship one of the other files, if it has changed. It stays in storage when it is gone here.

        Results that are retried, compared with the new ones twice, come to the same.
        """
        path = beside(self._results, suffix)
        with suppress(FileNotFoundError):
            stat = path.stat()
            state = stat.st_ino, stat.st_size, stat.st_mtime_ns
            if self._shipped.get(suffix) != state:
                self._put(file_name(self._claim.epoch, suffix), _read_durable(path))
                self._shipped[suffix] = state

    def _put(self, name: str, content: bytes) -> None:
        self._files.store.put(self._key(name), content)

    def _key(self, name: str) -> str:
        return f"{self._files.key}{self._name}/{name}"


def _lines_at(fd: int, start: int, end: int, most: int) -> bytes:
    """Return whole lines of a file, from byte `start` on: `most` bytes, or one line that is longer.

    Nothing where no line ends before `end`.
    """
    while True:
        data = os.pread(fd, min(most, end - start), start)
        whole = data.rfind(b"\n") + 1
        if whole or len(data) < most:
            return data[:whole]
        most *= 2


def _read_durable(path: Path) -> bytes:
    """Return the whole lines of a file, once they are durable on this host."""
    with path.open("rb", buffering=0) as file:
        content = file.read()
        os.fdatasync(file.fileno())
    return content[: content.rfind(b"\n") + 1]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _unshipped(results: Path, error: StoreError) -> CheckpointWriteError:
    return CheckpointWriteError(
        f"{error.message}; what was not shipped yet is on this host, in {results.parent}",
        hint=f"{error.hint}; then run the same command again, on this host",
    )
