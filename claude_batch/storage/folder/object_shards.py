"""A shard in object storage: its run works on files of this host, and ships them as they grow.

A new holder begins with what storage has of the last one; on the same host, with the files
themselves, which have more. What a superseded process still ships is of an earlier epoch.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from claude_batch.core.shards.names import shard_name
from claude_batch.core.shards.segments import (
    JOURNAL,
    EpochThere,
    epoch_of,
    epochs_there,
    file_name,
    missing,
    names_of,
    segment_name,
)
from claude_batch.errors import CheckpointError, CheckpointWriteError, ClaudeBatchError
from claude_batch.storage.files import (
    beside,
    make_private_folder,
    open_to_append,
    replace_file,
    sync_open,
    temporary_folder,
)
from claude_batch.storage.folder.claims import CLAIMS, HeldClaim
from claude_batch.storage.folder.object_files import ObjectFiles
from claude_batch.storage.folder.object_shipping import OTHER_FILES, Shipper
from claude_batch.storage.folder.shards import Done, ShardFolder, Shipping, retries
from claude_batch.storage.objects.errors import StoreError, StoreProblem
from claude_batch.storage.run.journal import journal_path
from claude_batch.storage.run.paths import SHARDS
from claude_batch.storage.run.recovery import RETRYING


class ObjectShardFolder(ShardFolder):
    """Where the files of one shard are, in object storage and on this host."""

    def __init__(self, files: ObjectFiles, shard: int) -> None:
        super().__init__(files.path, shard)
        self._files = files

    def epochs_in(self, names: Iterable[str]) -> list[int]:
        """Return the epochs in which a run has begun, the latest last, by the names of objects."""
        return sorted(epoch for epoch in map(epoch_of, names) if epoch is not None)

    def epochs(self) -> list[int]:
        """Return the epochs of which there are files on this host, the latest last."""
        return ShardFolder(self._files.path, self.shard).epochs()

    def current(self, done: Done | None, names: Iterable[str] | None = None) -> Path | None:
        """Return the results that count now; those of an unfinished shard are brought here."""
        least = 0 if done is None else done.epoch
        of_done = None if done is None else self.path / done.results
        if names is not None and all(epoch <= least for epoch in self.epochs_in(names)):
            return of_done
        latest = self._bring_latest(least)
        return latest if latest is not None and (done is None or retries(latest)) else of_done

    def _bring_latest(self, least: int) -> Path | None:
        """Return the results of the latest epoch after `least`, which are brought here."""
        for _ in range(2):
            latest = self._latest()
            if latest is None or latest.epoch <= least:
                return None
            results = self.results(latest.epoch)
            if self._is_own(latest.epoch):
                return results
            try:
                with self._locked():
                    self._bring(latest, results)
            except StoreError as error:
                if error.problem is not StoreProblem.MISSING:
                    raise
                continue  # it was superseded, and removed, meanwhile
            return results
        return None

    @contextmanager
    def reading(self, done: Done | None) -> Iterator[Path | None]:
        """Give the results that count now; those of a finished shard are brought for that time."""
        if done is None:
            with super().reading(None) as current:
                yield current
            return
        make_private_folder(self._files.path)
        with temporary_folder(self._files.path) as folder:
            results = folder / SHARDS / self.path.name / done.results
            make_private_folder(results.parent)
            self._bring(self._of(done), results, is_final=True)
            yield results

    def begin(self, epoch: int, done: Done | None = None) -> Path:
        """Return the results of an epoch; see ShardFolder. Raises StoreError, too."""
        latest, is_final = self._latest(epoch), False
        if done is not None and self.current(done) == self.path / done.results:
            latest, is_final = self._of(done), True
        make_private_folder(self.path)
        with self._locked():
            self._forget_others(latest)
            if latest is not None:
                results = self.results(latest.epoch)
                if not (self._is_own(latest.epoch) and _has_all(results, latest)):
                    # of others; or lost with a power failure
                    self._forget(results)
                    self._bring(latest, results, is_final=is_final)
            return super().begin(epoch, done)

    @contextmanager
    def shipping(
        self, results: Path, claim: HeldClaim, say: Callable[[str], object]
    ) -> Iterator[Shipping]:
        """Give what ships the files of a run that this process works on, as they grow."""
        shipper = Shipper(self._files, self._name, claim, results)
        shipper.say = say
        try:
            yield shipper
            shipper.close()
        except Exception:
            with suppress(ClaudeBatchError):  # the first one says more
                shipper.close()
            raise
        finally:
            shipper.stop()

    def tidy(self, done: Done) -> None:
        """Remove what a finished shard needs no more: other epochs, and all there is on this host.

        What cannot be removed stays.
        """
        with suppress(StoreError):
            there = self._there()
            names = [
                name
                for each in there.values()
                if each.epoch < done.epoch
                for name in names_of(each)
            ]
            if done.epoch in there and done.segments is not None:
                first, last = done.segments
                own = there[done.epoch].segments
                numbers = [each.number for each in own if not first <= each.number <= last]
                names += [segment_name(done.epoch, number) for number in numbers]
                if RETRYING in there[done.epoch].files:
                    names.append(file_name(done.epoch, RETRYING))
            self._remove(names)
        with suppress(OSError):
            shutil.rmtree(self.path)

    def _there(self) -> dict[int, EpochThere]:
        return epochs_there(self._files.sizes(self._name))

    def _latest(self, before: int | None = None) -> EpochThere | None:
        """Return the latest epoch, before another one, in which a run has begun."""
        found = [
            each
            for each in self._there().values()
            if JOURNAL in each.files and (before is None or each.epoch < before)
        ]
        return max(found, key=lambda each: each.epoch, default=None)

    def _of(self, done: Done) -> EpochThere:
        """Return what there is of a finished shard. Raises CheckpointError."""
        found = self._there().get(done.epoch) or EpochThere(epoch=done.epoch)
        first, last = done.segments or (1, 0)
        found.segments = [each for each in found.segments if first <= each.number <= last]
        found.files.pop(RETRYING, None)
        if len(found.segments) != last - first + 1 or JOURNAL not in found.files:
            raise CheckpointError(
                f"{self._files.url(self._name)}/: results of epoch {done.epoch} are missing",
                hint="put them back from a copy",
            )
        return found

    def _is_own(self, epoch: int) -> bool:
        """Return whether the files of an epoch were written on this host."""
        claim = self._files.path / CLAIMS / f"{shard_name(self.shard)}-{epoch}"
        return claim.exists() and journal_path(self.results(epoch)).exists()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes of this host from bringing the same files."""
        make_private_folder(self.path)
        fd = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _bring(self, there: EpochThere, results: Path, *, is_final: bool = False) -> None:
        """Bring the files of an epoch here, or what there is more of them. Raises StoreError.

        The journal is read first, for it must not speak of results that are missing: they may
        grow, unless it `is_final`. It is put into place last, for it makes them a run.
        """
        store, key = self._files.store, f"{self._files.key}{self._name}/"
        journal = store.read(key + file_name(there.epoch, JOURNAL))
        if not is_final:
            there = self._there().get(there.epoch, there)
        try:
            self._append(key, there, results)
            for suffix in OTHER_FILES:
                if suffix in there.files:
                    content = store.read(key + file_name(there.epoch, suffix))
                    if content is not None:
                        replace_file(beside(results, suffix), [content])
            if journal is not None:
                replace_file(journal_path(results), [journal])
        except OSError as error:
            raise CheckpointWriteError(
                f"{results}: cannot be copied here: {error.strerror}",
                hint="make room, then run the same command again",
            ) from error

    def _append(self, key: str, there: EpochThere, results: Path) -> None:
        have = results.stat().st_size if results.exists() else 0
        whole, rest = missing(there.segments, have)
        if results.exists() and not rest and whole == have:
            return
        with open_to_append(results) as file:
            file.truncate(whole)
            for segment in rest:
                name = key + segment_name(there.epoch, segment.number)
                for block in self._files.store.blocks(name, 0, segment.size):
                    file.write(block)
            sync_open(file)

    def _forget_others(self, latest: EpochThere | None) -> None:
        """Remove from this host what is left of epochs that count no more, or never did."""
        for epoch in self.epochs():
            if latest is None or epoch != latest.epoch:
                self._forget(self.results(epoch))

    def _forget(self, results: Path) -> None:
        for path in (journal_path(results), *results.parent.glob(f"{results.name}*")):
            with suppress(OSError):
                path.unlink()

    def _remove(self, names: Iterable[str]) -> None:
        self._files.store.delete([f"{self._files.key}{self._name}/{name}" for name in names])


def _has_all(results: Path, there: EpochThere) -> bool:
    """Return whether files of this host have all that storage has."""

    def size(path: Path) -> int:
        return path.stat().st_size if path.exists() else -1

    journal = there.files.get(JOURNAL, 0)
    return size(results) >= there.size and size(journal_path(results)) >= journal
