"""Object storage in memory, with a clock of its own, that counts calls and can be gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

from claude_batch.storage.objects.errors import StoreError, StoreProblem
from claude_batch.storage.objects.store import StoredObject

if TYPE_CHECKING:
    from claude_batch.storage.objects.store import ObjectStore

_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class MemoryObjects:
    """What storage.objects.store.ObjectStore does, and no more.

    `now_s` is its time; `is_gone`: nothing is answered. A put answered by nobody is done all the
    same with `loses_answers`.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    put_at: dict[str, float] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    now_s: float = 0.0
    is_gone: bool = False
    loses_answers: bool = False

    @property
    def store(self) -> ObjectStore:
        """The same, for those who want the real one."""
        return cast("ObjectStore", self)

    def url(self, key: str) -> str:
        return f"s3://bucket/{key}"

    def _call(self, what: str) -> None:
        self.calls[what] += 1
        if self.is_gone:
            raise StoreError("no answer", hint="wait", problem=StoreProblem.UNREACHABLE)

    def _set(self, key: str, content: bytes) -> None:
        self.objects[key], self.put_at[key] = content, self.now_s
        if self.loses_answers:
            raise StoreError("no answer", hint="wait", problem=StoreProblem.UNREACHABLE)

    def _object(self, key: str) -> StoredObject:
        at = _EPOCH + timedelta(seconds=int(self.put_at[key]))
        return StoredObject(key=key, size=len(self.objects[key]), etag=None, modified_at=at)

    def head(self, key: str) -> StoredObject | None:
        self._call("head")
        return self._object(key) if key in self.objects else None

    def list(self, folder: str = "", *, begin: str = "") -> Iterator[StoredObject]:
        self._call("list")
        keys = [key for key in sorted(self.objects) if key.startswith((folder, begin)[bool(begin)])]
        yield from map(self._object, keys)

    def read(self, key: str) -> bytes | None:
        self._call("read")
        return self.objects.get(key)

    def blocks(self, key: str, start: int, end: int, *, etag: str | None = None) -> Iterator[bytes]:
        self._call("read")
        assert etag is None
        if key not in self.objects:
            raise StoreError("gone", hint="", problem=StoreProblem.MISSING)
        for at in range(start, end, 7):
            yield self.objects[key][at : min(at + 7, end)]

    def create(self, key: str, content: bytes) -> bool:
        self._call("put")
        if key in self.objects:
            return False
        self._set(key, content)
        return True

    def put(self, key: str, content: bytes) -> None:
        self._call("put")
        self._set(key, content)

    def delete(self, keys: Sequence[str]) -> None:
        self._call("delete")
        for key in keys:
            self.objects.pop(key, None)
