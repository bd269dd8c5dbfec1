"""Inputs as local files: a file where it is, an object as a copy in a temporary folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from claude_batch.errors import CheckpointWriteError
from claude_batch.storage.files import BLOCK, temporary_folder
from claude_batch.storage.folder.inputs import Input
from claude_batch.storage.prompts.lines import LineBlocks
from claude_batch.storage.tables.kinds import CSV, JSONL, TSV, TXT, InputOptions, Kind
from claude_batch.storage.tables.reading import kind_of

START_BYTES = 4 << 20
"""Bytes of an object in which its first rows are looked for. A smaller one is copied at once."""

_MOST_BYTES = 1 << 30
"""Bytes of copies that are kept for the next pass; one is kept, however large it is."""


class Copies:
    """Copies of objects, made when they are needed. Raises UsageError, CheckpointWriteError.

    An object that has changed since it was found is refused. `progress` is called with an object,
    the bytes that have been copied, and how many they will be. `keys` are the keys of JSON objects
    that are looked for in what is streamed.
    """

    def __init__(
        self, progress: Callable[[Input, int, int], None], keys: Iterable[str] = ()
    ) -> None:
        self._progress = progress
        self._keys = tuple(keys)
        self._mentions: dict[str, bool] = {}
        self._around = ExitStack()
        self._folder: Path | None = None
        self._kept: dict[tuple[str, int], Path] = {}
        self._made = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._around.close()

    def whole(self, source: Input) -> Path:
        """Return where all of an input can be read."""
        return Path(source.source) if source.pinned is None else self._copy(source, source.size)

    def has_whole(self, source: Input) -> bool:
        """Return whether an input is small, or here: its bytes need not be fetched as a stream."""
        is_here = (source.source, source.size) in self._kept
        return source.pinned is None or source.size <= START_BYTES or is_here

    def kind(self, source: Input, options: InputOptions) -> Kind:
        """Return what kind of file an input is."""
        return kind_of(self._start(source), source.source, options)

    def first_rows(self, source: Input, options: InputOptions) -> Path:
        """Return where the first rows of an input can be read, and perhaps no others."""
        kind = self.kind(source, options)
        is_lines = kind.format in {JSONL, CSV, TSV, TXT} and kind.packed is None
        return self._start(source) if is_lines else self.whole(source)

    def stream(self, source: Input) -> Iterator[bytes]:
        """Yield the bytes of an input in blocks, as they arrive where it is large and elsewhere."""
        if self.has_whole(source):
            yield from LineBlocks(self.whole(source)).read()
            return
        from claude_batch.storage.objects.fetching import read_object  # noqa: PLC0415  # for URLs

        assert source.pinned is not None  # noqa: S101  # it is an object
        search = _KeySearch(self._keys)
        for block in read_object(source.source, source.pinned, source.size):
            for begin in range(0, len(block), BLOCK):
                few = block[begin : begin + BLOCK]
                search.look(few)
                yield few
        self._mentions[source.source] = search.found

    def mention(self, source: Input, keys: set[str]) -> bool:
        """Return whether some keys of JSON objects may be in an input."""
        if source.source in self._mentions and keys <= {*self._keys}:
            return self._mentions[source.source]
        search = _KeySearch(keys)
        for block in LineBlocks(self.whole(source)).read():
            search.look(block)
            if search.found:
                return True
        return False

    def _start(self, source: Input) -> Path:
        """Return where the first lines of an input are; of a small one, all."""
        return self.whole(source) if self.has_whole(source) else self._copy(source, START_BYTES)

    def _copy(self, source: Input, end: int) -> Path:
        """Return a copy of the bytes up to `end`; of a part only the lines that are whole."""
        path = self._kept.pop((source.source, end), None)
        if path is None:
            self._make_room(end)
            path = self._new_copy(source, end)
        self._kept[source.source, end] = path  # the last one to be given up
        return path

    def _new_copy(self, source: Input, end: int) -> Path:
        from claude_batch.storage.objects.fetching import read_object  # noqa: PLC0415  # for URLs

        assert source.pinned is not None  # noqa: S101  # it is an object
        if self._folder is None:
            self._folder = self._around.enter_context(temporary_folder())
        self._made += 1
        path = self._folder / str(self._made)
        try:
            with path.open("w+b") as file:
                for block in read_object(source.source, source.pinned, end):
                    file.write(block)
                    self._progress(source, file.tell(), end)
                if end < source.size:
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1 or end)
        except OSError as error:
            raise CheckpointWriteError(
                f"{path}: cannot copy {source.source}: {error.strerror}",
                hint="make room, or name a folder on a larger disk with TMPDIR=DIR",
            ) from error
        return path

    def _make_room(self, size: int) -> None:
        """Give up the copies that were used the longest time ago."""
        sizes = {each: each.stat().st_size for each in self._kept.values()}
        for key, path in [*self._kept.items()]:
            if sum(sizes.values()) + size <= _MOST_BYTES:
                return
            path.unlink()
            del self._kept[key], sizes[path]


class _KeySearch:
    """Finds out, block by block, whether some keys of JSON objects may be there."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = [orjson.dumps(key) for key in keys] + [b"\\u"]
        self._longest, self._before = max(map(len, self._keys)), b""
        self.found = False

    def look(self, block: bytes) -> None:
        """Take in the next block."""
        if not self.found:
            seam = self._before + block[: self._longest]
            self.found = any(key in block or key in seam for key in self._keys)
            self._before = block[-self._longest :]
