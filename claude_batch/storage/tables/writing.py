"""Tables written as CSV, TSV, Parquet or a workbook, with flat memory.

A cell is what JSON can hold: text, number, boolean, null, list or object. A row is a list of cells.
"""

from __future__ import annotations

import csv
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson

from claude_batch.errors import UsageError
from claude_batch.storage.files import open_to_read

CSV, TSV, PARQUET, XLSX = ".csv", ".tsv", ".parquet", ".xlsx"
EXTENSIONS = (CSV, TSV, PARQUET, XLSX)

XLSX_ROWS = 1_048_576
"""Rows that a sheet holds, with the header (Excel specifications and limits)."""
XLSX_COLUMNS = 16_384
"""Columns that a sheet holds (the same page)."""
XLSX_CELL = 32_767
"""UTF-16 code units that a cell holds (the same page)."""

_EXACT = 10**15
"""Whole numbers from here on lose digits in a workbook, whose numbers are doubles."""

_GROUP_ROWS = 20_000
_GROUP_BYTES = 16_000_000
"""A row group of Parquet ends at either: that much is held in memory."""

_FORMULA_STARTS = ("=", "@", "\t", "\r")
_SIGNS = ("+", "-")
_MAY_BE_FORMULAS = frozenset((*_FORMULA_STARTS, *_SIGNS))

Row = list[Any]


class Holds(StrEnum):
    """What the cells of a column are, for formats that have types. `JSON`: of several kinds."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. `is_ours`: an answer or a fact about it, not a cell of the input.

    `is_typed`: it keeps the type that it had in the input, if the table knows that.
    """

    name: str
    holds: Holds = Holds.TEXT
    is_ours: bool = False
    is_typed: bool = True

    @property
    def keeps_type(self) -> bool:
        """Whether it has the type that it had in the input."""
        return self.is_typed and not self.is_ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What a table takes over from its input.

    In CSV a byte order mark, the line ends and the delimiter (None: a comma); in Parquet the types
    of columns (`arrow`, an Arrow schema in base64). `raw`: formulas in answers are left as such.
    """

    bom: bool = False
    crlf: bool = False
    raw: bool = False
    arrow: str | None = None
    delimiter: str | None = None


class CannotKeepTypeError(Exception):
    """A column has cells that its type in the input does not take."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


class TableWriter(Protocol):
    """Writes the rows of one table; its header is written already."""

    def write(self, rows: list[Row]) -> None:
        """Write some rows; it may change their cells."""


def is_table(path: Path) -> bool:
    """Return whether a file of this name is a table, not JSONL."""
    return path.suffix.lower() in EXTENSIONS


def most_rows(path: Path) -> int | None:
    """Return how many rows a table of this name can hold below its header; None: any number."""
    return XLSX_ROWS - 1 if path.suffix.lower() == XLSX else None


@contextmanager
def table_writer(
    name: Path, file: BinaryIO, columns: Sequence[Column], style: Style
) -> Iterator[TableWriter]:
    """Give what writes a table into `file`, in the format that the extension of `name` says.

    Raises UsageError where a library is missing or there are too many columns for the format,
    CannotKeepTypeError, here or from `write`, where types of the input are to be kept.
    """
    match name.suffix.lower():
        case ".parquet":
            with _parquet(name, file, columns, style) as parquet:
                yield parquet
        case ".xlsx":
            with _workbook(name, file, columns) as workbook:
                yield workbook
        case suffix:
            delimiter = "\t" if suffix == TSV else style.delimiter or ","
            yield _Csv(file, columns, style, delimiter)


def check_format(name: Path, columns: int = 0) -> None:
    """Refuse a table that could not be written: its library is missing, or it is too wide."""
    suffix = name.suffix.lower()
    if suffix == PARQUET:
        _extra("pyarrow", "parquet", name)
    elif suffix == XLSX:
        _extra("xlsxwriter", "xlsx", name)
        if columns > XLSX_COLUMNS:
            raise UsageError(
                f"{name}: {columns:,} columns are more than a sheet holds ({XLSX_COLUMNS:,})",
                hint=f"write CSV instead: -o {name.with_suffix(CSV)}",
            )


def _extra(module: str, extra: str, name: Path) -> Any:
    import importlib  # noqa: PLC0415  # only where it is needed

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{name}: needs {module}, which is not installed",
            hint=f"pip install 'claude-batch[{extra}]'",
        ) from error


def as_text(cell: Any) -> str:
    """Return a cell as text: null is empty, booleans, lists and objects are JSON."""
    match cell:
        case str():
            return cell
        case None:
            return ""
        case bool():
            return "true" if cell else "false"
        case int() | float():
            return repr(cell)
        case _:
            return orjson.dumps(cell).decode()


def without_formula(text: str) -> str:
    """Return a text of ours that no spreadsheet takes for a formula: with a leading `'`.

    A list that begins with "- ", and a negative number, are none.
    """
    if text.startswith(_FORMULA_STARTS):
        return "'" + text
    if text.startswith(_SIGNS):
        following = text[1:2]
        if following != " " and not ("0" <= following <= "9"):
            return "'" + text
    return text


# CSV and TSV


class _Csv:
    """Quotes as little as needed. Lines end with a newline, or as those of the input."""

    def __init__(
        self, file: BinaryIO, columns: Sequence[Column], style: Style, delimiter: str
    ) -> None:
        self._file = file
        self._end = "\r\n" if style.crlf else "\n"
        self._lines: list[str] = []
        # this line end makes it quote both kinds of line ends in cells; `_flush` corrects it
        sink = _Sink(self._lines.append)
        self._writer = csv.writer(sink, delimiter=delimiter, lineterminator="\r\n")
        self._mixed = [n for n, each in enumerate(columns) if each.holds in _NEED_TEXT]
        texts = (Holds.TEXT, Holds.JSON)
        guarded = [n for n, each in enumerate(columns) if each.is_ours and each.holds in texts]
        self._guarded = [] if style.raw else guarded
        if style.bom:
            file.write(b"\xef\xbb\xbf")
        header = [each.name for each in columns]
        self._writer.writerow(header)
        self._flush()

    def write(self, rows: list[Row]) -> None:
        mixed, guarded = self._mixed, self._guarded
        for row in rows:
            if not _AS_JSON.isdisjoint(map(type, row)):
                for at in mixed:
                    if type(row[at]) in _AS_JSON:
                        row[at] = as_text(row[at])
            for at in guarded:
                cell = row[at]
                if cell and type(cell) is str and cell[0] in _MAY_BE_FORMULAS:
                    row[at] = without_formula(cell)
        self._writer.writerows(rows)
        self._flush()

    def _flush(self) -> None:
        end = self._end
        self._file.write("".join([line[:-2] + end for line in self._lines]).encode())
        self._lines.clear()


_NEED_TEXT = {Holds.BOOLEAN, Holds.JSON}
_AS_JSON = frozenset({bool, list, dict})


class _Sink:
    """What csv.writer takes for a file."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write


# Parquet


@contextmanager
def _parquet(
    name: Path, file: BinaryIO, columns: Sequence[Column], style: Style
) -> Iterator[TableWriter]:
    pyarrow = _extra("pyarrow", "parquet", name)
    parquet = _extra("pyarrow.parquet", "parquet", name)
    types = {
        Holds.TEXT: pyarrow.large_string(),
        Holds.JSON: pyarrow.large_string(),
        Holds.INTEGER: pyarrow.int64(),
        Holds.NUMBER: pyarrow.float64(),
        Holds.BOOLEAN: pyarrow.bool_(),
    }
    kept = _kept_types(style, pyarrow)
    named = [
        (
            each.name,
            kept.get(each.name, types[each.holds]) if each.keeps_type else types[each.holds],
        )
        for each in columns
    ]
    schema = pyarrow.schema(named)
    with parquet.ParquetWriter(file, schema, compression="snappy") as writer:
        table = _Parquet(writer, schema, columns, kept, pyarrow)
        yield table
        table.flush()


class _Parquet:
    def __init__(
        self,
        writer: Any,
        schema: Any,
        columns: Sequence[Column],
        kept: Mapping[str, Any],
        pyarrow: Any,
    ) -> None:
        self._kept = kept
        self._writer = writer
        self._schema = schema
        self._columns = columns
        self._pyarrow = pyarrow
        self._cells: list[list[Any]] = [[] for _ in columns]
        self._bytes = 0

    def write(self, rows: list[Row]) -> None:
        for held, cells in zip(self._cells, zip(*rows, strict=True), strict=bool(rows)):
            held.extend(cells)
            if str in set(map(type, cells)):
                self._bytes += sum([len(cell) for cell in cells if type(cell) is str])
        if len(self._cells[0]) >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is held as one row group."""
        if not self._cells[0]:
            return
        arrays = [
            self._array(cells, column, field.type)
            for cells, column, field in zip(self._cells, self._columns, self._schema, strict=True)
        ]
        self._writer.write_batch(self._pyarrow.record_batch(arrays, schema=self._schema))
        self._bytes = 0
        for held in self._cells:
            held.clear()

    def _array(self, cells: Sequence[Any], column: Column, kind: Any) -> Any:
        if not column.keeps_type or column.name not in self._kept:
            return self._pyarrow.array(_typed(cells, column.holds), type=kind)
        try:
            if _TEXT.issuperset(map(type, cells)):  # dates and decimals, too
                return self._pyarrow.array(cells, type=self._pyarrow.string()).cast(kind)
            return self._pyarrow.array(cells, type=kind)
        except (ValueError, TypeError, NotImplementedError) as error:
            raise CannotKeepTypeError(column.name) from error


def _kept_types(style: Style, pyarrow: Any) -> dict[str, Any]:
    """Return the types that columns had in the input."""
    if style.arrow is None:
        return {}
    try:
        schema = pyarrow.ipc.read_schema(pyarrow.py_buffer(b64decode(style.arrow)))
    except (ValueError, OSError):
        return {}  # of another version, or damaged
    return {field.name: field.type for field in schema}


def arrow_types(path: Path) -> str | None:
    """Return the types of a Parquet file's columns, as `Style` has them; None for other files."""
    try:
        with open_to_read(path) as file:
            if file.read(4) != b"PAR1":
                return None
        parquet = _extra("pyarrow.parquet", "parquet", path)
        schema = parquet.read_schema(path).remove_metadata()
        return b64encode(schema.serialize().to_pybytes()).decode()
    except (OSError, ValueError, UsageError):
        return None


_TEXT = frozenset({str, type(None)})
_FITS = {
    Holds.INTEGER: frozenset({int, type(None)}),
    Holds.NUMBER: frozenset({int, float, type(None)}),
    Holds.BOOLEAN: frozenset({bool, type(None)}),
}


def _typed(cells: Sequence[Any], holds: Holds) -> Sequence[Any]:
    """Return cells of one type; what is of another, in a column that has a type, is null."""
    fits = _FITS.get(holds)
    types = set(map(type, cells))
    if types <= (fits or _TEXT):
        return cells
    if fits is None:
        return [cell if cell is None or type(cell) is str else as_text(cell) for cell in cells]
    return [cell if type(cell) in fits else None for cell in cells]


# Workbooks


@contextmanager
def _workbook(name: Path, file: BinaryIO, columns: Sequence[Column]) -> Iterator[TableWriter]:
    check_format(name, len(columns))
    xlsxwriter = _extra("xlsxwriter", "xlsx", name)
    book = xlsxwriter.Workbook(
        file,
        {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False},
    )
    try:
        sheet = book.add_worksheet()
        table = _Sheet(sheet)
        table.write([[each.name for each in columns]])
        sheet.freeze_panes(1, 0)
        yield table
    finally:
        book.close()


class _Sheet:
    def __init__(self, sheet: Any) -> None:
        self._sheet = sheet
        self._number = 0

    def write(self, rows: list[Row]) -> None:
        sheet = self._sheet
        for row in rows:
            number = self._number
            for at, cell in enumerate(row):
                if cell is None or cell == "":
                    continue
                if type(cell) is float or (type(cell) is int and -_EXACT < cell < _EXACT):
                    sheet.write_number(number, at, cell)
                elif type(cell) is bool:
                    sheet.write_boolean(number, at, cell)
                else:
                    sheet.write_string(number, at, cut(as_text(cell), XLSX_CELL))
            self._number += 1


def cut(text: str, units: int) -> str:
    """Return as much of a text as fits into so many UTF-16 code units."""
    if len(text) * 2 <= units or len(text.encode("utf-16-le")) // 2 <= units:
        return text
    return text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", "ignore")


def is_cut(cell: Any) -> bool:
    """Return whether a cell is longer than one of a workbook can be."""
    if type(cell) is not str:
        cell = as_text(cell)
    return len(cell) * 2 > XLSX_CELL and len(cell.encode("utf-16-le")) // 2 > XLSX_CELL
