"""The lines of a prompts file, in blocks: hashed as they are read, one block held at a time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

import orjson

from claude_batch.errors import UsageError
from claude_batch.storage.files import read_blocks

MOST_BYTES = 32_000_000
"""The API takes requests up to 32 MB (docs/claude-api.md#size-limits)."""

Lines = list[bytes | None]
"""Raw lines without their newline; None stands for one that was too long to keep."""


class LineBlocks:
    """Reads `path` block by block; after the last one `size` and `sha256` are the whole file's.

    Or those of the bytes from `start` up to, not including, `end`.
    """

    def __init__(self, path: Path, start: int = 0, end: int | None = None) -> None:
        self._path, self._start, self._end = path, start, end
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The hash of what has been read so far."""
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[Lines]:
        """Yield the lines; split on newlines only. Raises UsageError when it cannot be read."""
        pieces: list[bytes] = []  # of a line that has not ended yet: joined once, not per block
        held = 0
        for block in self.read():
            first, newline, rest = block.partition(b"\n")
            held += len(first)
            if held <= MOST_BYTES:
                pieces.append(first)
            if not newline:
                continue
            lines: Lines = [b"".join(pieces) if held <= MOST_BYTES else None, *rest.split(b"\n")]
            last = lines.pop() or b""
            pieces, held = [last], len(last)
            yield lines
        if held:
            yield [b"".join(pieces) if held <= MOST_BYTES else None]

    def read(self) -> Iterator[bytes]:
        """Yield the blocks as they are in the file. Raises UsageError when it cannot be read."""
        try:
            for block in read_blocks(self._path, self._start, self._end):
                self.size += len(block)
                self._hash.update(block)
                yield block
        except OSError as error:
            raise UsageError(
                f"{self._path}: cannot be read: {error.strerror}",
                hint="give a file of prompts that you may read",
            ) from error


def fingerprint(path: Path, start: int = 0, end: int | None = None) -> tuple[int, str]:
    """Return size and SHA-256 of a file, from byte `start` up to, not including, byte `end`.

    Raises UsageError when it cannot be read.
    """
    blocks = LineBlocks(path, start, end)
    for _ in blocks.read():
        pass
    return blocks.size, blocks.sha256


class Wrapping(StrEnum):
    """What the lines of a converted file are: `{"line":N,"row":...}`, written by us."""

    ROWS = "rows"
    """Rows of a table: their columns are data."""
    JSON = "json"
    """Values of a JSON array: what the lines of a JSONL file may be."""
    LINES = "lines"
    """Lines of a part of a JSONL file, as they are."""


_START, _ROW, _ERROR = b'{"line":', b'"row":', b'"error":'
_KINDS = {Wrapping.ROWS: b"", Wrapping.JSON: b'"json":true,', Wrapping.LINES: b'"raw":true,'}
_WRAPPED = re.compile(rb'\{"line":\d+,(?P<kind>(?:"json":true,|"raw":true,)?)"(?:row|error)":')


def wrapped(line: int, value: bytes, wrapping: Wrapping) -> bytes:
    """Return a record of an input as a line of a converted file; `value` is JSON."""
    return b"%s%d,%s%s%s}\n" % (_START, line, _KINDS[wrapping], _ROW, value)


def wrapped_error(line: int, what: str, remedy: str, wrapping: Wrapping) -> bytes:
    """Return a record that cannot be used as a line of a converted file."""
    said = orjson.dumps([what, remedy])
    return b"%s%d,%s%s%s}\n" % (_START, line, _KINDS[wrapping], _ERROR, said)


def error_of(raw: bytes) -> tuple[str, str] | None:
    """Return what is wrong with an unwrapped record that cannot be used, and what to do."""
    if not raw.startswith(_ERROR):
        return None
    what, remedy = orjson.loads(raw[len(_ERROR) :])
    return what, remedy


def wrapping_of(path: Path) -> Wrapping | None:
    """Return what the lines of a converted file are; None for a file of any other kind."""
    try:
        start = next(read_blocks(path, 0, _WRAPPED_START), b"")
    except OSError:
        return None  # reading its lines will show what is wrong
    found = _WRAPPED.match(start)
    if found is None:
        return None
    return next(each for each, kind in _KINDS.items() if kind == found["kind"])


_WRAPPED_START = 64


class PromptLines:
    """The lines of a prompts file with their numbers: in a converted file those of the source."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._blocks = LineBlocks(path)
        self.wrapping = wrapping_of(path)

    @property
    def size(self) -> int:
        """The bytes that have been read so far."""
        return self._blocks.size

    @property
    def sha256(self) -> str:
        """The hash of what has been read so far."""
        return self._blocks.sha256

    def __iter__(self) -> Iterator[tuple[Sequence[int], Lines]]:
        """Yield lines and their numbers. Raises UsageError when they cannot be read."""
        before = 0
        for lines in self._blocks:
            if self.wrapping is None:
                yield range(before + 1, before + 1 + len(lines)), lines
            else:
                yield self._unwrapped(lines)
            before += len(lines)

    def _unwrapped(self, lines: Lines) -> tuple[list[int], Lines]:
        numbers: list[int] = []
        inner: Lines = []
        kind = 0 if self.wrapping is None else len(_KINDS[self.wrapping])
        try:
            for raw in filter(None, lines):
                comma = raw.index(b",", len(_START))
                numbers.append(int(raw[len(_START) : comma]))
                begins = comma + 1 + kind
                if not raw.startswith(_ERROR, begins):
                    begins += len(_ROW)
                inner.append(raw[begins:-1])
        except ValueError as error:
            raise UsageError(
                f"{self._path}: holds a line that claude-batch has not written",
                hint="put it back as it was, or give the file that it was made from",
            ) from error
        return numbers, inner
