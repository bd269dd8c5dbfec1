"""The result of each line, found again in a results file: 16 bytes are kept of each."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from claude_batch.storage.by_line import ByLine
from claude_batch.storage.files import open_to_read
from claude_batch.storage.run.checkpoint import parse_entry, read_lines

_LINE = b'"meta":{"line":'
_START = b'{"custom_id":'
_MAPPED_BYTES = 32_000_000
"""After so many bytes read, the pages of the results file are given back: memory stays flat."""

_SIZE_BITS = 26
_SIZE = (1 << _SIZE_BITS) - 1
"""Room for lines of 64 MB in files of 128 GB, in one number."""


class ResultsByLine:
    """The results of a run by line. A look-up reads the line again."""

    def __init__(self, path: Path, *, quick: bool) -> None:
        self._places = ByLine()  # 37 bits for where a line begins, 26 for its length
        self._by_id: dict[str, tuple[int, int]] = {}
        self.lines: list[int] | None = None
        self.file = open_to_read(path) if path.exists() else None
        self._mapped: mmap.mmap | None = None
        self._read_bytes = 0
        at = 0
        if self.file is None:
            return
        for raw, line, custom_id in _quick_lines(self.file) if quick else _slow_lines(path):
            size = len(raw)
            if line is not None and not self._places[line]:
                self._places[line] = at << _SIZE_BITS | size
            elif custom_id is not None:
                self._by_id.setdefault(custom_id, (at, size))
            at += size
        if at:  # a system call per result would take longer than all else
            self._mapped = mmap.mmap(self.file.fileno(), at, access=mmap.ACCESS_READ)

    @property
    def has_ids(self) -> bool:
        """Whether some results are known by their id only."""
        return bool(self._by_id)

    def get(self, line: int, custom_id: str | None) -> dict[str, Any] | None:
        """Return the parsed result of a row. Raises MisreadError if its place was misread."""
        place = self._places[line]
        if place:
            value = self._read(place >> _SIZE_BITS, place & _SIZE)
            try:
                is_misread = value["meta"]["line"] != line
            except (KeyError, TypeError):
                is_misread = True
            if is_misread:
                raise MisreadError
            if custom_id is None or value["custom_id"] == custom_id:
                return value
        by_id = self._by_id.get(custom_id) if custom_id is not None else None
        return None if by_id is None else self._read(*by_id)

    def _read(self, start: int, size: int) -> dict[str, Any]:
        assert self._mapped is not None  # noqa: S101  # what has a place was read from it
        self._read_bytes += size
        if self._read_bytes >= _MAPPED_BYTES:
            self._read_bytes = 0
            self._mapped.madvise(mmap.MADV_DONTNEED)  # they stay in the system's cache
        value: dict[str, Any] = orjson.loads(self._mapped[start : start + size])
        return value

    def all(self) -> Iterator[dict[str, Any]]:
        """Yield all results: in the order of their lines, then those without one."""
        for place in self._places:
            yield self._read(place >> _SIZE_BITS, place & _SIZE)
        for by_id in self._by_id.values():
            yield self._read(*by_id)

    def close(self) -> None:
        """Close the results file."""
        if self._mapped is not None:
            self._mapped.close()
        if self.file is not None:
            self.file.close()


class MisreadError(Exception):
    """A result is not where a quick look at its line had put it."""


def _quick_lines(file: BinaryIO) -> Iterator[tuple[bytes, int | None, str | None]]:
    """Yield raw lines with the line number that our own results carry, found without parsing.

    What an answer says may look alike: `get` compares.
    """
    size = len(_LINE)
    for raw in file:
        at = raw.find(_LINE)
        if at > 0 and raw.rfind(_LINE) == at and raw.startswith(_START) and raw.endswith(b"}\n"):
            digits = raw[at + size : raw.find(b",", at)]
            if digits.isdigit():
                yield raw, int(digits) or None, None
                continue
        entry = parse_entry(raw)
        if entry is None:
            raise MisreadError
        yield raw, entry.line, entry.custom_id


def _slow_lines(path: Path) -> Iterator[tuple[bytes, int | None, str | None]]:
    for raw, entry in read_lines(path):
        if entry is None:
            yield raw, None, None
        else:
            yield raw, entry.line, entry.custom_id
