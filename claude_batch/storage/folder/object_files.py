"""A run folder in object storage: objects that are created once, by conditional put.

A claim is an object that its holder puts again to show that it lives; how long ago that was is
reckoned by the storage's clock alone. An empty one was let go.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from claude_batch.errors import CheckpointWriteError
from claude_batch.storage.files import make_private_folder
from claude_batch.storage.folder.files import LocalFiles, LocalHeld
from claude_batch.storage.folder.host_copies import remove_copies
from claude_batch.storage.objects.errors import StoreError
from claude_batch.storage.objects.store import ObjectStore, StoredObject

_AT_ONCE = 16
"""Objects that are read at the same time."""

_TRIES = 3


class ObjectFiles:
    """The objects below `key`, which ends in /; their copies on this host are below `path`.

    A holder locks a file there, too, so that other processes of the host know when it is gone.
    """

    def __init__(self, store: ObjectStore, key: str, path: Path) -> None:
        self.store, self.key, self.path = store, key, path
        self._clock: tuple[datetime, float] | None = None  # the storage's time, and monotonic time
        self._finished: Mapping[int, int] = {}
        self._shards = 0

    @property
    def place(self) -> str:
        """The URL of the folder."""
        return self.url("").rstrip("/")

    def url(self, name: str) -> str:
        """Return the URL of an object."""
        return self.store.url(self.key + name)

    def learn_clock(self) -> None:
        """Find out how late it is at the storage: an object of ours says when it was put."""
        name = f"{self.key}.clock-{uuid.uuid4().hex[:12]}"
        self.store.put(name, b"")
        put_at = time.monotonic()
        found = self.store.head(name)
        if found is not None:
            self._clock = found.modified_at, put_at
        self.store.delete([name])

    def create(self, name: str, content: bytes) -> bool:
        """Create an object exclusively; see FolderFiles. Raises StoreError."""
        for _ in range(_TRIES):
            if self.store.create(self.key + name, content):
                return True
            there = self.store.read(self.key + name)
            if there is not None:  # our own, if the answer to the first try was lost
                return there == content
        return False

    def hold(self, name: str, content: bytes) -> ObjectHeld | None:
        """Create an object exclusively, and hold it; see FolderFiles. Raises StoreError."""
        if not self.create(name, content):
            return None
        held = ObjectHeld(self, name, content)
        try:
            make_private_folder(self.path)
            held.lock(LocalFiles(self.path))
        except CheckpointWriteError:
            held.let_go()
            raise
        return held

    def read(self, name: str) -> bytes | None:
        """Return what is in an object; None without one. Raises StoreError."""
        return self.store.read(self.key + name)

    def exists(self, name: str) -> bool:
        """Return whether there is an object of that name. Raises StoreError."""
        return self.store.head(self.key + name) is not None

    def read_all(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """Return what is in objects, of those that there are. Raises StoreError."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = dict(zip(names, pool.map(self.read, names), strict=True))
        return {name: content for name, content in found.items() if content is not None}

    def names(self, folder: str) -> list[str]:
        """Return the names of the objects in a folder. Raises StoreError."""
        return sorted(each for each in self.sizes(folder) if "/" not in each)

    def any_name(self) -> str | None:
        """Return the name of an object below the folder, not hidden. Raises StoreError."""
        names = (each.key.removeprefix(self.key) for each in self.store.list(self.key))
        return next((name for name in names if name and not name.startswith(".")), None)

    def names_below(self, folder: str) -> Mapping[str, Sequence[str]]:
        """Return the names of the objects in each folder of a folder. Raises StoreError."""
        below: dict[str, list[str]] = {}
        for name in self.sizes(folder):
            inner, slash, rest = name.partition("/")
            if slash:
                below.setdefault(inner, []).append(rest)
        return below

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the sizes of the objects below a folder by their names there."""
        start = f"{self.key}{folder}/"
        return {each.key.removeprefix(start): each.size for each in self.store.list(start)}

    def ages(self, folder: str, begin: str = "") -> dict[str, float]:
        """Return how long ago each object of a folder was put, if its name begins so."""
        start, ages = f"{self.key}{folder}/", {}
        for each in self.store.list(start, begin=start + begin):
            ages[each.key.removeprefix(start)] = self._age_s(each)
        return ages

    def _age_s(self, found: StoredObject) -> float:
        if not found.size:
            return math.inf
        if self._clock is None:  # a reader changes nothing: what it shows is by its own clock
            return max(0.0, (datetime.now(UTC) - found.modified_at).total_seconds())
        then, monotonic = self._clock
        since_s = time.monotonic() - monotonic
        return max(0.0, (then - found.modified_at).total_seconds() + since_s)

    def is_let_go(self, name: str) -> bool:
        """Return whether no process of this host, which created it, holds an object."""
        return LocalFiles(self.path).is_let_go(name)

    def forget_copies(self, finished: Mapping[int, int], shards: int) -> None:
        """Have copies of finished shards removed from this host, when this process ends."""
        self._finished, self._shards = finished, shards

    def remove_copies(self) -> None:
        """Remove the copies that are not needed, as far as this process has found that out."""
        if self._finished:
            remove_copies(self.path, self._finished, self._shards)


class ObjectHeld:
    """An object that this process holds."""

    def __init__(self, files: ObjectFiles, name: str, content: bytes) -> None:
        self._files, self._name, self._content = files, name, content
        self._local: LocalHeld | None = None

    def lock(self, local: LocalFiles) -> None:
        """Have the system show to other processes of this host how long this one lives."""
        self._local = local.hold(self._name, self._content)

    def touch(self) -> None:
        """Show others that this process lives. Raises StoreError."""
        self._files.store.put(self._files.key + self._name, self._content)

    def let_go(self) -> None:
        """Show others that they need not wait."""
        with suppress(StoreError):
            self._files.store.put(self._files.key + self._name, b"")
        if self._local is not None:
            self._local.let_go()
