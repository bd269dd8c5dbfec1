"""Any supported input as a stream of records: CSV, TSV, text, JSON, Parquet, workbooks.

Memory is flat, whatever the size of the file, except for workbooks, which are read as a whole.
Libraries that not every user needs are imported when a file needs them; a missing one is an error
that names the command that installs it.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, NamedTuple, NoReturn

from claude_batch.core.model.typos import nearest
from claude_batch.errors import UsageError
from claude_batch.storage.files import open_to_read
from claude_batch.storage.tables.json_values import JsonStream
from claude_batch.storage.tables.kinds import (
    CSV,
    FORMATS,
    GZIP,
    JSON,
    PARQUET,
    START,
    TSV,
    UTF8,
    XLSX,
    InputOptions,
    Kind,
    Part,
    format_of,
    packed_as,
    read_start,
)

PROMPT = "prompt"
"""The column of a text file."""

_ROWS_AT_ONCE = 1_000
_COPY = 1 << 20
_LONGEST_RECORD = 32_000_000
_MOST_NAMED = 8


class Bad(NamedTuple):
    """A record that cannot be used: what is wrong with it, and what to do."""

    what: str
    remedy: str


Record = tuple[int, Any]
"""Where a record begins, and its value: a dict by column, any JSON value, or Bad."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """The records of an input. `columns` is None for JSON, whose values have keys of their own."""

    columns: tuple[str, ...] | None
    records: Iterator[Record]


def kind_of(path: Path, name: str, options: InputOptions) -> Kind:
    """Return what kind of file `path` is, which the user calls `name`. Raises UsageError."""
    start = read_start(path)
    packed = packed_as(start)
    if packed is not None:
        with unpacked(path, name, packed) as file:
            start = file.read(START)
    found = format_of(name, start, options)
    if options.field is not None and found != JSON:
        raise UsageError(
            f"--field is for JSON, and {name} is {found}",
            hint="leave --field out, or add --input-format json",
        )
    for flag, is_given, formats in (
        ("--sheet", options.sheet is not None, {XLSX}),
        ("--delimiter", options.delimiter is not None, {CSV, TSV}),
        ("--no-headers", not options.headers, {CSV, TSV, XLSX}),
        ("--encoding", options.encoding is not None, {*FORMATS} - {XLSX, PARQUET}),
    ):
        if is_given and found not in formats:
            raise UsageError(
                f"{flag} is for {', '.join(sorted(formats))}, and {name} is {found}",
                hint=f"leave {flag} out, or name the kind of file with --input-format",
            )
    return Kind(format=found, packed=packed)


@contextmanager
def unpacked(path: Path, name: str, packed: str | None) -> Iterator[BinaryIO]:
    """Give the bytes of a file, decompressed. Raises UsageError for what is damaged."""
    with ExitStack() as stack:
        file: BinaryIO = stack.enter_context(open_to_read(path))
        if packed == GZIP:
            import gzip  # noqa: PLC0415  # only where it is needed

            file = stack.enter_context(gzip.open(file))  # type: ignore[assignment]  # reads bytes
        elif packed is not None:
            zstandard = extra("zstandard", "zstd", name)
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            file = stack.enter_context(io.BufferedReader(reader))
        try:
            yield file
        except (EOFError, zlib.error, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            _damaged(name, packed, error)
        except Exception as error:
            if type(error).__name__ != "ZstdError":
                raise
            _damaged(name, packed, error)


def _damaged(name: str, packed: str | None, error: Exception) -> NoReturn:
    raise UsageError(
        f"{name}: is damaged, or cut off: {error}", hint=f"get it again; check it with {packed} -t"
    ) from error


def extra(module: str, name: str, needed_by: str) -> Any:
    """Return a library that is not installed with the program. Raises UsageError without it."""
    import importlib  # noqa: PLC0415  # only where it is needed

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{needed_by}: needs {module.partition('.')[0]}, which is not installed",
            hint=f"pip install 'claude-batch[{name}]'",
        ) from error


@contextmanager
def open_records(
    path: Path, name: str, kind: Kind, options: InputOptions, needed: Collection[str] | None = None
) -> Iterator[Records]:
    """Give the records of a file that is not JSONL.

    Where only some columns are `needed`, others may be left out. Raises UsageError, when it is
    opened or later, for what cannot be read at all.
    """
    with (
        unpacked(path, name, kind.packed) as file,
        _read(file, name, kind, options, needed) as records,
    ):
        yield records


@contextmanager
def open_part(
    path: Path, name: str, kind: Kind, options: InputOptions, part: Part
) -> Iterator[Records]:
    """Give the records of a part of a text file, numbered as in the whole; raises as open_records.

    A table's part is read below the first line of the file.
    """
    with open_to_read(path) as whole:
        is_table = kind.format in {CSV, TSV}
        first_line = len(whole.readline()) if is_table and part.start else 0
        file = io.BufferedReader(_Ranges(whole, (0, first_line), (part.start, part.end)))
        with _read(file, name, kind, options) as found:
            before = part.first_line - (2 if first_line else 1) if part.start else 0
            records = ((line + before, value) for line, value in found.records)
            if first_line and not options.headers:
                next(records, None)
            yield Records(columns=found.columns, records=records)


class _Ranges(io.RawIOBase):
    """Some byte ranges of a file, one after the other."""

    def __init__(self, file: BinaryIO, *ranges: tuple[int, int]) -> None:
        self._file = file
        self._ranges = [*ranges]

    def readable(self) -> bool:
        """Return that this can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes into `buffer`; return how many, 0 at the end."""
        while self._ranges:
            start, end = self._ranges[0]
            self._file.seek(start)
            block = self._file.read(min(len(buffer), end - start))
            if block:
                buffer[: len(block)] = block
                self._ranges[0] = start + len(block), end
                return len(block)
            del self._ranges[0]
        return 0


@contextmanager
def _read(
    file: BinaryIO,
    name: str,
    kind: Kind,
    options: InputOptions,
    needed: Collection[str] | None = None,
) -> Iterator[Records]:
    with ExitStack() as stack:
        if kind.format in {PARQUET, XLSX}:
            if kind.packed is not None:  # they are read from their end
                file = stack.enter_context(_spooled(file))
            if kind.format == PARQUET:
                yield _parquet(file, name, needed)
            else:
                yield _workbook(file, name, options)
            return
        text = stack.enter_context(_text(file, options.encoding))
        try:
            match kind.format:
                case "csv" | "tsv":
                    yield _table(text, name, kind.format, options)
                case "txt":
                    yield Records(columns=(PROMPT,), records=_lines(text))
                case _:
                    yield Records(columns=None, records=_json(text, name, options))
        except UnicodeDecodeError as error:
            raise undecodable(name, error, options.encoding) from error


def _text(file: BinaryIO, encoding: str | None) -> io.TextIOWrapper:
    try:
        return io.TextIOWrapper(file, encoding=encoding or UTF8, newline="")
    except LookupError as error:
        raise UsageError(
            f"--encoding {encoding}: there is no such encoding",
            hint="name one as Python does, such as utf-8, utf-16, cp1252 or latin-1",
        ) from error


def undecodable(name: str, error: UnicodeDecodeError, encoding: str | None) -> UsageError:
    """Return the error of a text in another encoding than was thought."""
    byte = error.object[error.start]
    return UsageError(
        f"{name}: is not {encoding or 'UTF-8'}: it has a byte 0x{byte:02x}",
        hint="name its encoding, such as --encoding cp1252 (Excel's CSV on Windows) or utf-16",
    )


@contextmanager
def _spooled(file: BinaryIO) -> Iterator[BinaryIO]:
    with TemporaryFile() as copy:
        while block := file.read(_COPY):
            copy.write(block)
        copy.seek(0)
        yield copy


def _lines(text: io.TextIOWrapper) -> Iterator[Record]:
    for number, line in enumerate(text, 1):
        if line and not line.isspace():
            yield number, {PROMPT: line.rstrip("\r\n")}


# CSV and TSV


def _table(text: io.TextIOWrapper, name: str, form: str, options: InputOptions) -> Records:
    csv.field_size_limit(_LONGEST_RECORD)
    lines = _Lines(text, name)
    delimiter = options.delimiter or delimiter_of(lines.first(), form)
    try:
        reader = csv.reader(lines, delimiter=delimiter)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"--delimiter must be one character (got {delimiter!r})",
            hint="for example --delimiter ';'; for tabs: --input-format tsv",
        ) from error
    rows = _rows(reader, lines, name)
    first = next(rows, None)
    if first is None:
        return Records(columns=(), records=iter(()))
    if options.headers:
        columns = column_names(first[1], name)
    else:
        columns = tuple(f"column_{number}" for number in range(1, len(first[1]) + 1))
        rows = _chain(first, rows)
    return Records(columns=columns, records=_records(rows, columns, lines, options))


class _Lines:
    """The lines of a table as csv.reader takes them, and whether they have ended."""

    def __init__(self, text: io.TextIOWrapper, name: str) -> None:
        self._text = text
        self.name = name
        self._first: list[str] = []
        self._held = 0
        self.number = 0
        self.ended = False

    def first(self) -> str:
        """Return the first line, which is read again later."""
        self._first = [self._text.readline()]
        return self._first[0]

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._first.pop() if self._first else self._text.readline()
        if line:
            self.number += 1
            self._held += len(line)
            if self._held > _LONGEST_RECORD:
                raise UsageError(
                    f"{self.name}: a row that begins before line {self.number} does not end",
                    hint="is a quote not closed? Correct it, or name the right --delimiter",
                )
            return line
        if self.ended:
            raise StopIteration
        self.ended = True
        return "\n"  # within quotes that are never closed it becomes part of the last cell

    def begin_row(self) -> None:
        """Forget how long the last row was."""
        self._held = 0


def delimiter_of(first: str, form: str) -> str:
    """Return the delimiter of a table: a comma, unless its first line has only others."""
    if form == TSV:
        return "\t"
    if "," in first:
        return ","
    return max((";", "\t", "|"), key=first.count) if any(c in first for c in ";\t|") else ","


def _rows(reader: Iterator[list[str]], lines: _Lines, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, with the line where each begins."""
    begins = 1
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UsageError(
                f"{name}:{begins}: not CSV: {error}",
                hint="is a quote not closed, or is it another kind of file? See --input-format, "
                "--delimiter",
            ) from error
        lines.begin_row()
        if row:
            yield begins, row
        begins = lines.number + 1


def _chain(first: tuple[int, list[str]], rows: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rows


def _records(
    rows: Iterator[tuple[int, list[str]]],
    columns: tuple[str, ...],
    lines: _Lines,
    options: InputOptions,
) -> Iterator[Record]:
    width = len(columns)
    for line, row in rows:
        if lines.ended and row[-1].endswith("\n"):
            yield line, Bad("a quote in this row is never closed", 'close it, or double it: ""')
        elif len(row) == width:
            yield line, dict(zip(columns, row, strict=True))
        elif len(row) > width and not any(row[width:]):
            yield line, dict(zip(columns, row[:width], strict=True))
        else:
            first = "header" if options.headers else "first row"
            what = f"the row has {_cells(len(row))}, the {first} has {width}"
            remedy = "put cells that hold the delimiter into quotes; see --delimiter"
            if options.headers and _is_title(columns):
                begin = f"tail -n +{line} {shlex.quote(lines.name)} > table.csv"
                remedy += f"; if line 1 is a title: {begin}"
            yield line, Bad(what, remedy)


def _is_title(columns: Sequence[str]) -> bool:
    """Return whether a first row is probably no header: one name, or most cells empty."""
    unnamed = sum(name == f"column_{number}" for number, name in enumerate(columns, 1))
    return len(columns) == 1 or unnamed > len(columns) / 2


def _cells(number: int) -> str:
    return "1 cell" if number == 1 else f"{number} cells"


def column_names(header: Sequence[Any], name: str, least: int = 1) -> tuple[str, ...]:
    """Return the names in a header, `least` or more; what is not named is `column_N`.

    Raises UsageError for a name that is there twice.
    """
    names = [str(each).strip() if each is not None else "" for each in header]
    while len(names) > least and not names[-1]:
        names.pop()
    names = [each or f"column_{number}" for number, each in enumerate(names, 1)]
    twice = [each for each, uses in Counter(names).items() if uses > 1]
    if twice:
        raise UsageError(
            f"{name}: the column {twice[0]!r} is there twice",
            hint="rename one of them; if the first row is data, add --no-headers",
        )
    return tuple(names)


# JSON


def _json(text: io.TextIOWrapper, name: str, options: InputOptions) -> Iterator[Record]:
    stream = JsonStream(text, name, _DECODER)
    first = stream.peek()
    if not first:
        return
    if first == "[":
        if options.field is not None:
            raise UsageError(
                f"{name}: is one JSON array: its rows are under no key", hint="leave --field out"
            )
    elif first == "{":
        _go_to(stream, name, options.field)
    else:
        raise stream.error("neither an array nor an object")
    last = 0
    for line, value in stream.values():
        last = max(line, last + 1)
        yield last, value
    if first == "[" and stream.peek():
        raise stream.error("there is more after the array")


def _go_to(stream: JsonStream, name: str, field: str | None) -> None:
    """Read an object up to the array under the key `field`. Raises UsageError without one."""
    lists: list[str] = []
    others: list[str] = []
    stream.take("{")
    while stream.peek() not in {"}", ""}:
        key = stream.value()
        stream.take(":")
        is_list = stream.peek() == "["
        if key == field and is_list:
            return
        (lists if is_list else others).append(str(key))
        stream.value()
        if stream.peek() == ",":
            stream.take(",")
    if field is not None:
        near = nearest(field, lists, most=1) or lists[:1]
        hint = f"use --field {near[0]}" if near else "write the rows as an array: [{...}, {...}]"
        what = "is no array" if field in others else "is not there"
        raise UsageError(f"{name}: the key {field!r} {what}", hint=hint)
    if lists:
        named = ", ".join(lists[:_MOST_NAMED])
        raise UsageError(
            f"{name}: is one JSON object, with arrays under {named}",
            hint=f"name the one that holds the rows: --field {lists[0]}",
        )
    raise UsageError(
        f"{name}: is one JSON object over several lines",
        hint=f"for a row per key: jq to_entries {shlex.quote(name)} > rows.json; for one row in "
        f"all: jq -c . {shlex.quote(name)} > rows.jsonl",
    )


_DIGITS = 21


def _pairs(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) < len(pairs):
        key = next(key for key, uses in Counter(key for key, _ in pairs).items() if uses > 1)
        return _Lossy(f"the key {key[:60]!r} is there twice", "remove one of the two")
    for each in found.values():
        if isinstance(each, _Lossy):
            return each
    return found


class _Lossy(Bad):
    """What stands in the place of a value that cannot be kept as it is."""


def _whole(digits: str) -> Any:
    if len(digits) <= _DIGITS and -(2**63) <= int(digits) < 2**64:
        return int(digits)
    return _Lossy(
        f"the whole number {digits[:_DIGITS]} does not fit into 64 bits: it would be changed",
        "write it as a text, in quotes",
    )


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=_whole)


# Parquet and workbooks


def _parquet(file: BinaryIO, name: str, needed: Collection[str] | None) -> Records:
    parquet = extra("pyarrow.parquet", "parquet", name)
    try:
        table = parquet.ParquetFile(file, pre_buffer=False)
    except (ValueError, OSError) as error:
        raise UsageError(
            f"{name}: cannot be read as Parquet: {error}",
            hint="was it cut off? Get it again; or have the program that wrote it write CSV",
        ) from error
    columns = column_names(table.schema_arrow.names, name)
    chosen = None if needed is None else [each for each in columns if each in needed]
    return Records(columns=columns, records=_batches(table, chosen))


def _batches(table: Any, chosen: list[str] | None) -> Iterator[Record]:
    number = 1
    for batch in table.iter_batches(_ROWS_AT_ONCE, columns=chosen, use_threads=False):
        for row in batch.to_pylist():
            number += 1
            yield number, row


def _workbook(file: BinaryIO, name: str, options: InputOptions) -> Records:
    calamine = extra("python_calamine", "xlsx", name)
    try:
        book = calamine.CalamineWorkbook.from_filelike(file)
        sheet_name = _sheet(book.sheet_names, name, options.sheet)
        sheet = book.get_sheet_by_name(sheet_name)
    except UsageError:
        raise
    except Exception as error:  # its errors have no common ancestor of their own
        raise UsageError(
            f"{name}: cannot be read as a workbook: {error}",
            hint="save it as .xlsx again; one with a password must be saved without it",
        ) from error
    rows = list(_sheet_rows(sheet))
    if not rows:
        others = [each for each in book.sheet_names if each != sheet_name]
        named = ", ".join(map(shlex.quote, others[:_MOST_NAMED]))
        raise UsageError(
            f"{name}: the sheet {sheet_name!r} is empty",
            hint=f"name another one with --sheet: {named}" if others else "is it the right file?",
        )
    width = max(_filled(cells) for _, cells in rows)
    header = rows.pop(0)[1][:width] if options.headers else [None] * width
    columns = column_names(header, name, width)  # cells right of the header's last are data, too
    return Records(columns=columns, records=_cells_of(iter(rows), columns))


def _sheet(names: Sequence[str], name: str, wanted: str | None) -> str:
    if not names:
        raise UsageError(f"{name}: has no sheet", hint="save it as .xlsx again")
    if wanted is None:
        return names[0]
    if wanted not in names:
        near = nearest(wanted, names, most=1)
        sheets = ", ".join(names[:_MOST_NAMED])
        hint = f"did you mean {near[0]!r}?" if near else f"its sheets: {sheets}"
        raise UsageError(f"{name}: has no sheet {wanted!r}", hint=hint)
    return wanted


def _sheet_rows(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """Yield the rows that are not empty, numbered as the workbook does."""
    for number, row in enumerate(sheet.to_python(skip_empty_area=False), 1):
        if any(cell not in {"", None} for cell in row):
            yield number, row


def _filled(cells: Sequence[Any]) -> int:
    """Return how many cells a row has, without empty ones at its end."""
    return next((n for n in range(len(cells), 0, -1) if cells[n - 1] not in {"", None}), 0)


def _cells_of(rows: Iterator[tuple[int, list[Any]]], columns: tuple[str, ...]) -> Iterator[Record]:
    width = len(columns)
    for number, row in rows:
        cells = row[:width] + [""] * (width - len(row))
        yield number, dict(zip(columns, map(_cell, cells), strict=True))


def _cell(value: Any) -> Any:
    """Return a cell as JSON holds it: whole numbers as such, an empty cell as an empty text."""
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
