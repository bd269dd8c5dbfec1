"""The files of a shard: results, journal and the rest of each epoch, and done.json, which counts.

A new holder begins with a copy of what the last one had, under the names of its own epoch. What the
last one still writes, if it is not dead after all, counts no more.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from claude_batch.core.shards.names import shard_name
from claude_batch.errors import CheckpointError, CheckpointWriteError
from claude_batch.storage.files import (
    beside,
    open_new,
    sync_directory,
    sync_open,
)
from claude_batch.storage.folder.claims import HeldClaim
from claude_batch.storage.folder.files import FolderFiles, make_folder_in
from claude_batch.storage.run.journal import journal_path, read_journal
from claude_batch.storage.run.paths import SHARDS, copied_prompts, files_of
from claude_batch.storage.run.recovery import as_put_back

_JOURNAL = re.compile(r"(\d+)\.results\.jsonl\.journal")

DONE = "done.json"
_DONE = re.compile(r"done(?:-(\d+))?\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a finished shard came to. `results` is the name of the file that counts.

    `cost_usd` is None where no price is known; `most_usd` is what the shard can have cost at most.
    `errors` counts errored results by the type of their error, `stop_reasons` answers that stopped
    before their end, `endpoints` results by the endpoint that gave them. `degraded` counts those of
    a fallback; None: a version wrote this that did not count them. `unreported` attempts may have
    been charged, with usage unknown. `segments` are the first and the last object of the results in
    object storage.
    """

    shard: int
    epoch: int
    results: str
    total: int
    succeeded: int
    errored: int
    canceled: int
    expired: int
    left_out: int
    output_errors: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    most_usd: float
    finished_at: float
    errors: Mapping[str, int] = field(default_factory=dict)
    stop_reasons: Mapping[str, int] = field(default_factory=dict)
    degraded: int | None = None
    endpoints: Mapping[str, int] = field(default_factory=dict)
    unreported: int = 0
    segments: tuple[int, int] | None = None

    @property
    def done(self) -> int:
        """Results there are."""
        return self.succeeded + self.errored + self.canceled + self.expired

    @property
    def has_failures(self) -> bool:
        """Whether some request has no good answer."""
        return self.succeeded < self.total or bool(self.left_out or self.output_errors)


class Shipping:
    """Brings the files of a run to where others find them: they are there already."""

    def open(self) -> None:
        """Begin, once the run is open. Raises StoreError."""

    def ship(self) -> None:
        """Return when others find all that there is now, the journal included.

        Raises CheckpointWriteError.
        """

    def finish(self) -> tuple[int, int] | None:
        """Ship what is left of a run that is finished; return the segments that are its results."""


def done_name(names: Iterable[str]) -> str | None:
    """Return the file, of those of a shard, that says what it came to; None where none does."""
    found = [each for each in map(_DONE.fullmatch, names) if each]
    return max(found, key=lambda each: int(each[1] or 0))[0] if found else None


def _refused_name(epoch: int) -> str:
    return f"refused-{epoch}.json"


def is_older(done: Done, name: str) -> bool:
    """Return whether the file `name` says what the shard came to after `done`."""
    found = _DONE.fullmatch(name)
    return found is not None and int(found[1] or 0) > done.epoch


def parse_done(content: bytes, name: str) -> Done:
    """Return what is in a file `name` that says what a shard came to. Raises CheckpointError."""
    try:
        record = orjson.loads(content)
        if record.get("segments") is not None:
            record["segments"] = tuple(record["segments"])
        return Done(**record)
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{name} cannot be read: {error}",
            hint="put it back from a copy, or remove it: the shard is looked at again",
        ) from error


class ShardFolder:
    """Where the files of one shard are."""

    def __init__(self, folder: Path, shard: int) -> None:
        self.shard = shard
        self._root = folder
        self.path = folder / SHARDS / shard_name(shard)
        self._name = f"{SHARDS}/{shard_name(shard)}"

    def results(self, epoch: int) -> Path:
        """Return where the results of an epoch are."""
        return self.path / f"{epoch}.results.jsonl"

    def epochs(self) -> list[int]:
        """Return the epochs in which a run has begun, the latest last."""
        try:
            names = os.listdir(self.path)  # noqa: PTH208  # names, not paths
        except FileNotFoundError:
            return []
        return self.epochs_in(names)

    def epochs_in(self, names: Iterable[str]) -> list[int]:
        """Return the epochs in which a run has begun, the latest last, by the names of files."""
        return sorted(int(found[1]) for found in map(_JOURNAL.fullmatch, names) if found)

    def current(self, done: Done | None, names: Iterable[str] | None = None) -> Path | None:
        """Return the results that count now; None before a run has begun.

        Those of a finished shard count until a later epoch has begun to retry some of them.
        `names` are those of the shard's files, where they are known.
        """
        epochs = self.epochs() if names is None else self.epochs_in(names)
        latest = self.results(epochs[-1]) if epochs else None
        if done is None:
            return latest
        if latest is not None and epochs[-1] > done.epoch and retries(latest):
            return latest
        return self.path / done.results

    def is_unfinished(self, done: Done | None, names: Iterable[str] | None = None) -> bool:
        """Return whether there is something to continue, be it a retry after `done`."""
        return done is None or self.current(done, names) != self.path / done.results

    def done(self, files: FolderFiles) -> Done | None:
        """Return what the shard came to; None while it is unfinished. Raises CheckpointError.

        After a retry that is what it came to then.
        """
        name = done_name(files.names(self._name))
        content = None if name is None else files.read(f"{self._name}/{name}")
        return None if content is None else parse_done(content, f"{self._name}/{name}")

    @contextmanager
    def reading(self, done: Done | None) -> Iterator[Path | None]:
        """Give the results of a shard that is finished, or begun, for as long as they are read.

        While a retry of them is unfinished these are the better of the old and the new ones.
        """
        current = self.current(None) if done is None else self.path / done.results
        if current is None:
            yield None
            return
        with as_put_back(current) as results:
            yield results

    @contextmanager
    def shipping(
        self,
        results: Path,  # noqa: ARG002  # for others
        claim: HeldClaim,  # noqa: ARG002  # as above
        say: Callable[[str], object],  # noqa: ARG002  # as above
    ) -> Iterator[Shipping]:
        """Give what brings the files of a run that this process works on to where others are.

        It may `say` from a thread of its own that it cannot do that now.
        """
        yield Shipping()

    def finish(self, files: FolderFiles, done: Done) -> bool:
        """Note that the shard is finished, or was retried; return False if another was quicker."""
        name = DONE if self.done(files) is None else f"done-{done.epoch}.json"
        return files.create(f"{self._name}/{name}", orjson.dumps(asdict(done)) + b"\n")

    def note_refused(self, files: FolderFiles, epoch: int, why: str) -> None:
        """Note for readers why the process that has claimed an epoch has stopped."""
        files.create(f"{self._name}/{_refused_name(epoch)}", orjson.dumps({"why": why}) + b"\n")

    def refused(self, files: FolderFiles, epoch: int, names: Iterable[str]) -> str:
        """Return why the process that has claimed an epoch has stopped, if it said so; else "".

        `names` are those of the shard's files.
        """
        name = _refused_name(epoch)
        with suppress(ValueError, TypeError, KeyError):
            if name in names:
                return str(orjson.loads(files.read(f"{self._name}/{name}") or b"")["why"])
        return ""

    def begin(self, epoch: int, done: Done | None = None) -> Path:
        """Return the results of an epoch, which begins with what the latest one before it has.

        After `done` that is the one which retries, if there is one. Of earlier ones only that
        stays, and the one that the shard was finished in. Raises CheckpointWriteError,
        FolderGoneError.
        """
        make_folder_in(self._root, self.path)
        results = self.results(epoch)
        earlier = [each for each in self.epochs() if each < epoch]
        if earlier and not journal_path(results).exists():
            last = earlier[-1]
            if done is not None and done.epoch in earlier and not retries(self.results(last)):
                last = done.epoch
            try:
                _carry_over(self.results(last), results)
                for each in {*earlier} - {last, done and done.epoch}:
                    _remove(self.results(each))
            except OSError as error:
                raise CheckpointWriteError(
                    f"{results}: what there is of the shard cannot be copied: {error.strerror}",
                    hint="make room, then run the same command again",
                ) from error
        return results

    def tidy(self, done: Done) -> None:
        """Remove what a finished shard needs no more: earlier epochs."""
        with suppress(OSError):
            for epoch in self.epochs():
                if epoch < done.epoch:
                    _remove(self.results(epoch))


def retries(results: Path) -> bool:
    """Return whether the run of `results` has retried some, or was about to."""
    with suppress(CheckpointError):  # a journal that is damaged: what was finished counts
        journal = read_journal(results)
        return journal is not None and journal.retry is not None
    return False


def _carry_over(old: Path, new: Path) -> None:
    """Copy the files of a run; its journal comes last, for it makes them a run."""
    for source, target in _renamed(old, new):
        if source == copied_prompts(old):  # it never changes
            with suppress(OSError):
                target.unlink(missing_ok=True)
                os.link(source, target)
                continue
        part = beside(target, ".part")
        with source.open("rb") as file, open_new(part) as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
            sync_open(copy)
        part.replace(target)
    sync_directory(new.parent)


def _renamed(old: Path, new: Path) -> Iterator[tuple[Path, Path]]:
    journal = journal_path(old)
    for source in sorted(files_of(old), key=lambda path: path == journal):
        if source.exists():
            yield source, new.with_name(new.name + source.name.removeprefix(old.name))


def _remove(results: Path) -> None:
    """Remove the files of an earlier epoch; the journal first, so that it is no run any more."""
    journal_path(results).unlink(missing_ok=True)
    for path in results.parent.glob(f"{results.name}*"):
        path.unlink(missing_ok=True)
