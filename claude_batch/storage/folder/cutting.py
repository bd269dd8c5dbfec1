"""The shards of an input: byte ranges that end where a line ends, or the whole where it is not cut.

Compressed files, JSON, Parquet and workbooks stay whole, and so does a table with line ends within
quotes, or a text with carriage returns alone.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

from claude_batch.core.shards.cutting import Cutter, Piece
from claude_batch.errors import UsageError
from claude_batch.storage.folder.copies import Copies
from claude_batch.storage.folder.inputs import Input
from claude_batch.storage.objects.locations import has_changed
from claude_batch.storage.prompts.lines import fingerprint
from claude_batch.storage.tables.kinds import (
    CSV,
    JSONL,
    TSV,
    TXT,
    InputOptions,
    Kind,
)
from claude_batch.storage.tables.reading import delimiter_of

_LINES_APART = {"utf-8", "utf8", "utf-8-sig", "ascii", "latin-1", "iso-8859-1", "cp1252"}
"""Encodings in which a newline, a quote and a delimiter are the bytes that they are in ASCII."""


def cut_input(
    source: Input,
    options: InputOptions,
    copies: Copies,
    *,
    lines: int,
    progress: Callable[[int], None],
) -> Iterator[tuple[Piece, bool]]:
    """Yield the pieces of an input; none where it has no row.

    The flag says whether the piece is the whole; its `lines` are 0 where nobody has counted them.
    `progress` is called with the bytes read so far. Raises UsageError for what cannot be read.
    """
    kind, pieces = copies.kind(source, options), None
    if _may_cut(kind, options):
        pieces = _cut(copies.stream(source), kind, options, lines, progress)
    if pieces is None:
        if source.size:
            sha256 = fingerprint(Path(source.source))[1] if source.pinned is None else ""
            yield Piece(start=0, end=source.size, first_line=1, lines=0, sha256=sha256), True
        return
    if sum(piece.lines for piece in pieces) < 1:  # a header is no row
        return
    for piece in pieces:
        yield piece, len(pieces) == 1


def _may_cut(kind: Kind, options: InputOptions) -> bool:
    lines_apart = options.encoding is None or options.encoding.lower() in _LINES_APART
    is_text = kind.format in {JSONL, CSV, TSV, TXT}
    as_is = kind.format != JSONL or options.encoding in {None, "utf-8", "utf8", "ascii"}
    return kind.packed is None and is_text and lines_apart and as_is


def _cut(
    blocks: Iterator[bytes],
    kind: Kind,
    options: InputOptions,
    lines: int,
    progress: Callable[[int], None],
) -> list[Piece] | None:
    """Return the pieces of a file of lines; None where an end of line may be within a row."""
    has_header = kind.format in {CSV, TSV} and options.headers
    cutter = Cutter(lines=lines, header=1 if has_header else 0)
    look = None if kind.format == JSONL else _TableLines(kind, options)
    pieces: list[Piece] = []
    done = 0
    for block in blocks:
        if look is not None and not look.are_rows(block):
            return None
        pieces += cutter.feed(block)
        done += len(block)
        progress(done)
    if look is not None and not look.are_rows(b""):
        return None
    return [*pieces, *cutter.finish()]


class _TableLines:
    """Finds out, block by block, whether each line of a table or text is a row."""

    def __init__(self, kind: Kind, options: InputOptions) -> None:
        self._rest = b""
        self._format = kind.format
        self._delimiter = options.delimiter

    def are_rows(self, block: bytes) -> bool:
        """Return whether the lines that end in `block` are rows; an empty block is the end."""
        text = self._rest + block
        if self._delimiter is None and self._format != TXT:
            first = text.partition(b"\n")[0].decode("latin-1")
            self._delimiter = delimiter_of(first, self._format)
        end = text.rfind(b"\n") + 1 if block else len(text)
        text, self._rest = text[:end], text[end:]
        if text.count(b"\r") != text.count(b"\r\n"):
            return False
        if self._format == TXT or self._delimiter is None or b'"' not in text:
            return True
        quoted = [line for line in text.decode("latin-1").split("\n") if '"' in line]
        try:
            rows = sum(1 for _ in csv.reader([*quoted, "end"], delimiter=self._delimiter))
        except (csv.Error, TypeError, ValueError):
            return False  # reading it will show what is wrong
        return rows == len(quoted) + 1


def refuse_changed(source: Path, start: int, end: int | None, sha256: str) -> None:
    """Refuse a shard whose bytes are not what they were when the folder was made."""
    if not source.exists():
        raise UsageError(
            f"{source}: is gone since the run folder was made",
            hint="put it back, or mount what it is on, and run the same command again",
        )
    if fingerprint(source, start, end)[1] != sha256:
        raise has_changed(str(source))
