"""Objects as files: a copy of one, or of a range of its bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from claude_batch.errors import UsageError
from claude_batch.storage.objects.errors import StoreError, StoreProblem
from claude_batch.storage.objects.finding import find_object
from claude_batch.storage.objects.locations import Fetch, Pinned, has_changed, location_of
from claude_batch.storage.objects.store import ObjectStore, StoredObject

READING_PATIENCE_S = 120.0
"""Seconds for which reading goes on trying: an object may take hours, and networks break."""

_HEAD = 1 << 16
"""Bytes that are read at once to find the end of the first line."""


def copy_object(
    url: str, target: BinaryIO, fetch: Fetch, start: int = 0, end: int | None = None
) -> int:
    """Copy an object, or its bytes from `start` up to, not including, `end`.

    Where `start` is not 0, bytes from the beginning of the object come first, its first line and
    more; their number is returned. Raises UsageError, and CheckpointMismatchError for an object
    that is not the one that is pinned.
    """
    location = location_of(url)
    pinned = fetch.pinned or _pinned(find_object(ObjectStore(location), location.key))
    store = ObjectStore(location, patience_s=READING_PATIENCE_S)
    with _as_it_was(url, is_pinned=fetch.pinned is not None):
        head = _head(store, location.key, start, pinned.etag)
        target.write(head)
        end = pinned.size if end is None else end
        assert end is not None  # noqa: S101  # a part has its end, a whole its size
        done, total = 0, end - start
        for block in store.blocks(location.key, start, end, etag=pinned.etag):
            target.write(block)
            done += len(block)
            if fetch.progress is not None:
                fetch.progress(done, total)
    return len(head)


def _pinned(found: StoredObject) -> Pinned:
    return Pinned(size=found.size, etag=found.etag)


def _head(store: ObjectStore, key: str, start: int, etag: str | None) -> bytes:
    """Return the first line of an object, and more, of what comes before `start`."""
    head = b""
    while len(head) < start and b"\n" not in head:
        more = min(len(head) + _HEAD, start)
        head += b"".join(store.blocks(key, len(head), more, etag=etag))
    return head


@contextmanager
def _as_it_was(url: str, *, is_pinned: bool) -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        if error.problem is not StoreProblem.CHANGED:
            raise
        if is_pinned:
            raise has_changed(url) from error
        raise UsageError(
            f"{url}: has changed while it was read", hint="run the same command again"
        ) from error


def refuse_changed_object(url: str, pinned: Pinned) -> None:
    """Refuse an object that is not what it was; one that is gone, or out of reach, is no fault.

    Raises CheckpointMismatchError.
    """
    location = location_of(url)
    try:
        found = ObjectStore(location).head(location.key)
    except UsageError:
        return
    if found is not None and not _pinned(found).is_like(pinned):
        raise has_changed(url)


def read_object(url: str, pinned: Pinned, size: int) -> Iterator[bytes]:
    """Yield the bytes of an object, in blocks. Raises as `copy_object` does."""
    location = location_of(url)
    store = ObjectStore(location, patience_s=READING_PATIENCE_S)
    with _as_it_was(url, is_pinned=False):
        yield from store.blocks(location.key, 0, size, etag=pinned.etag)
