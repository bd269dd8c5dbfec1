"""Cutting a file of lines into pieces: each ends where a line ends, none is too long."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

MOST_BYTES = 256 << 20
"""A piece is cut at the first end of a line from here on: bytes that one worker copies at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A byte range of a file, up to, not including, `end`; `first_line` counts from 1."""

    start: int
    end: int
    first_line: int
    lines: int
    sha256: str


class Cutter:
    """Cuts what it is fed into pieces of `lines` lines, or of `most_bytes` and the rest of a line.

    A last line without a newline counts as one; the first `header` lines do not: they are no rows.
    """

    def __init__(self, *, lines: int, most_bytes: int = MOST_BYTES, header: int = 0) -> None:
        self._most_lines = lines
        self._most_bytes = most_bytes
        self._at = 0
        self._line = 1
        self._open_line = False
        self._begin()
        self._first_line, self._lines = 1 + header, -header

    def _begin(self) -> None:
        self._start, self._first_line, self._lines = self._at, self._line, 0
        self._hash = hashlib.sha256()

    def feed(self, block: bytes) -> Iterator[Piece]:
        """Take in the next bytes; yield the pieces that end in them."""
        begin = 0
        while begin < len(block):
            end, ends_piece = self._end_in(block, begin)
            self._take(block, begin, end)
            begin = end
            if ends_piece:
                yield self._piece()
                self._begin()

    def finish(self) -> Iterator[Piece]:
        """Yield the last piece, if there is more."""
        if self._at > self._start:
            self._line += self._open_line
            self._lines += self._open_line
            yield self._piece()
            self._begin()

    def _end_in(self, block: bytes, begin: int) -> tuple[int, bool]:
        """Return up to where a block belongs to the piece, and whether the piece ends there."""
        full_at = begin + max(0, self._most_bytes - (self._at - self._start) - 1)
        by_bytes = block.find(b"\n", full_at) if full_at < len(block) else -1
        wanted = self._most_lines - self._lines
        if block.count(b"\n", begin) >= wanted:
            place = begin - 1
            for _ in range(wanted):
                place = block.index(b"\n", place + 1)
            by_bytes = place if by_bytes < 0 else min(by_bytes, place)
        return (len(block), False) if by_bytes < 0 else (by_bytes + 1, True)

    def _take(self, block: bytes, begin: int, end: int) -> None:
        newlines = block.count(b"\n", begin, end)
        self._hash.update(memoryview(block)[begin:end])
        self._at += end - begin
        self._line += newlines
        self._lines += newlines
        self._open_line = block[end - 1 : end] != b"\n"

    def _piece(self) -> Piece:
        return Piece(
            start=self._start,
            end=self._at,
            first_line=self._first_line,
            lines=self._lines,
            sha256=self._hash.hexdigest(),
        )
