"""The results of a run as a table: every row of the input in its order, with its answer beside it.

Input and results are streamed twice: first for the names and types of the columns and for where
the result of each line lies (16 bytes per line), then to write.
"""

from __future__ import annotations

import gc
import hashlib
import os
import re
import shlex
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from claude_batch.core.model.answers import (
    ANSWER,
    NO_ANSWER,
    Answer,
    AnswerColumns,
    answer_of,
    inner,
)
from claude_batch.errors import CheckpointWriteError, UsageError
from claude_batch.storage.files import (
    beside,
    open_new,
    read_blocks,
    refuse_link,
    sync_directory,
    sync_open,
)
from claude_batch.storage.prompts.columns import ID_PREFIX
from claude_batch.storage.prompts.lines import PromptLines, Wrapping, wrapping_of
from claude_batch.storage.prompts.params import PARAMS
from claude_batch.storage.prompts.parse import generated_id
from claude_batch.storage.run.journal import JournalFile, journal_path, parse_record, read_records
from claude_batch.storage.run.results_by_line import MisreadError, ResultsByLine
from claude_batch.storage.tables.reading import delimiter_of
from claude_batch.storage.tables.writing import (
    CSV,
    PARQUET,
    XLSX,
    CannotKeepTypeError,
    Column,
    Holds,
    Style,
    TableWriter,
    arrow_types,
    is_cut,
    table_writer,
)

TABLE_RESULTS = ".results.jsonl"
"""What the checkpoint of a table is called, after the table's whole name."""

INVALID = "invalid"
"""The status of a row that --skip-invalid left out."""

_ROWS_AT_ONCE = 1_000
_BOM = b"\xef\xbb\xbf"
_REQUESTS = frozenset({"params", "messages", "body", "modelInput"})
"""A line with one of these keys is a request, not a row, unless columns were asked for."""

_OURS = PARAMS | {"custom_id", "meta"}
"""Keys of Messages params on a line of their own; others beside them are data."""

_WHOLE_LEAST, _WHOLE_BEYOND = -(2**63), 2**63
_FACTS = (
    Holds.TEXT,
    Holds.TEXT,
    Holds.TEXT,
    Holds.TEXT,
    Holds.INTEGER,
    Holds.INTEGER,
    Holds.NUMBER,
)
_ERROR = 2
"""Where the error is among our columns."""

Wanted = Callable[[str | None], bool]
"""Whether a row with this status is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRequest:
    """A table that is asked for.

    `prefix` names our columns; `expand`: JSON answers become columns, those of `properties` if
    they are known. `raw`: answers that look like formulas are left as such. `has_file`: a column
    names the file of each row.
    """

    path: Path
    prefix: str = ANSWER
    expand: bool = False
    properties: Mapping[str, Holds] = field(default_factory=dict)
    raw: bool = False
    has_file: bool = False

    def columns(self, properties: Iterable[str]) -> AnswerColumns:
        """Return the columns that are added to those of the input."""
        return AnswerColumns(
            prefix=self.prefix, properties=tuple(properties), has_file=self.has_file
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRows:
    """The rows of a run's prompts.

    `columns_asked`: an option names columns, so every object is a row. `path` None: the prompts are
    gone, and what results keep of them has to do. `id_prefix` begins generated ids.
    """

    path: Path | None
    columns_asked: bool = False
    id_prefix: str = ID_PREFIX

    @property
    def are_uniform(self) -> bool:
        """Whether all rows have the same columns, as those of a converted table have."""
        return self.path is not None and wrapping_of(self.path) is Wrapping.ROWS

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the line and the cells of each row. Raises OSError."""
        if self.path is None:
            return
        source = PromptLines(self.path)
        are_rows = self.columns_asked or source.wrapping is Wrapping.ROWS
        for numbers, lines in source:
            for number, raw in zip(numbers, lines, strict=True):
                if raw is None or (raw and not raw.isspace()):
                    yield self._cells(number, raw or b"", are_rows=are_rows)

    def _cells(self, number: int, raw: bytes, *, are_rows: bool) -> tuple[int, dict[str, Any]]:
        try:
            value = orjson.loads(raw.removeprefix(_BOM) if number == 1 else raw)
        except ValueError:
            return number, {}
        if type(value) is not dict:
            return number, {"prompt": value}
        if are_rows or _REQUESTS.isdisjoint(value):
            return number, value
        return number, request_cells(value, generated_id(number, self.id_prefix))


def request_cells(value: Mapping[str, Any], generated: str) -> dict[str, Any]:
    """Return what a table shows of a request: its id, data beside it, and the keys of its meta.

    Its id is `generated` where it has none of its own.
    """
    custom_id = value.get("custom_id") or value.get("recordId") or generated
    beside = {} if "messages" not in value else {k: v for k, v in value.items() if k not in _OURS}
    meta = value.get("meta")
    if isinstance(meta, dict):
        return {"custom_id": custom_id, **beside, **meta}
    return {"custom_id": custom_id, **beside, **({} if meta is None else {"meta": meta})}


# the columns of the input


_MOST_KNOWN = 100
"""Names with types that are kept, of rows that need no second look."""


class Types:
    """The columns that rows have, in the order in which they appear, and what they hold."""

    def __init__(self) -> None:
        self._types: dict[str, set[type | None]] = {}
        self._known: set[tuple[Any, ...]] = set()

    def add(self, cells: Mapping[str, Any]) -> None:
        """Take in one more row."""
        alike = (*cells, *map(type, cells.values()))
        if alike in self._known:
            return
        if int not in alike and len(self._known) < _MOST_KNOWN:  # whole numbers are looked at each
            self._known.add(alike)
        types = self._types
        for name, cell in cells.items():
            kind = type(cell)
            try:
                kinds = types[name]
            except KeyError:
                kinds = types[name] = set()
            kinds.add(kind)
            if kind is int and not _WHOLE_LEAST <= cell < _WHOLE_BEYOND:
                kinds.add(None)  # beyond what a typed column takes

    def items(self) -> Iterator[tuple[str, Holds]]:
        """Yield each column with what it holds."""
        for name, kinds in self._types.items():
            yield name, _HOLDS.get(frozenset(kinds - {type(None)}), Holds.JSON)


_HOLDS = {
    frozenset[type | None](): Holds.TEXT,
    frozenset({str}): Holds.TEXT,
    frozenset({int}): Holds.INTEGER,
    frozenset({float}): Holds.NUMBER,
    frozenset({int, float}): Holds.NUMBER,
    frozenset({bool}): Holds.BOOLEAN,
}


def refuse_own_columns(names: Sequence[str], request: TableRequest, command: str) -> None:
    """Refuse a table in which a column of ours would be called as one of the input.

    `command` is what was typed: it is printed with a name that works.
    """
    both = [name for name in request.columns(request.properties).names if name in names]
    if not both:
        return
    free = f"claude_{ANSWER}"
    while any(name == free or name.startswith(f"{free}_") for name in names):
        free += "_2"
    again = re.sub(r" --answer-column(?:=| )(?:'[^']*'|[^' ])+", "", command)
    raise UsageError(
        f"the input has a column {both[0]!r} already, and so would the table",
        hint=f"name the columns of answers otherwise: {again} --answer-column {free}",
    )


# the table


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRows:
    """The rows of one run, its results, and why rows were left out, by line.

    `file` is what the table calls the file of the rows, where it names that.
    """

    rows: InputRows
    results: Path
    left_out: Mapping[int, str] = field(default_factory=dict)
    file: str = ""


class _Opened:
    """Runs with their results found, one at a time: those of the last one stay open."""

    def __init__(self, runs: Sequence[RunRows], *, quick: bool) -> None:
        self._runs, self._quick = runs, quick
        self._run: RunRows | None = None
        self._results: ResultsByLine | None = None

    def __iter__(self) -> Iterator[tuple[RunRows, ResultsByLine]]:
        for run in self._runs:
            if self._results is None or run is not self._run:
                self.close()
                self._run, self._results = run, ResultsByLine(run.results, quick=self._quick)
            yield run, self._results

    def close(self) -> None:
        """Close the results file that is open."""
        if self._results is not None:
            self._results.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTable:
    """Runs as one table: all rows of the first, then those of the next. `named`: as users do."""

    request: TableRequest
    runs: tuple[RunRows, ...]
    named: Path
    style: Style = field(default_factory=Style)
    wanted: Wanted = lambda _status: True
    progress: Callable[[int], None] = lambda _rows: None

    @property
    def made_from(self) -> str:
        """What the table depends on, besides the input: results and options."""
        request = self.request
        sizes = [run.results.stat().st_size for run in self.runs if run.results.exists()]
        size = sum(sizes)
        names = ",".join(request.properties)
        return f"{size} {request.prefix} {request.expand:d}{request.raw:d} {names}"

    def write(self, file: BinaryIO) -> int:
        """Write the table into `file`; return how many rows it has."""
        quick = True
        untyped: set[str] = set()
        while True:
            try:
                return self._write(file, untyped, quick=quick)
            except MisreadError:
                quick = False
            except CannotKeepTypeError as error:
                untyped.add(error.column)
            file.seek(0)
            file.truncate()

    def _write(self, file: BinaryIO, untyped: Container[str], *, quick: bool) -> int:
        opened = _Opened(self.runs, quick=quick)
        try:
            types = self._types(opened)
            properties = self._properties(opened)
            ours = self.request.columns(properties)
            of_file = (Holds.TEXT,) if self.request.has_file else ()
            holds = (*_FACTS, *of_file, *properties.values())
            columns = [
                Column(name=name, holds=kind, is_typed=name not in untyped) for name, kind in types
            ]
            columns += [
                Column(name=name, holds=kind, is_ours=True)
                for name, kind in zip(ours.names, holds, strict=True)
            ]
            with table_writer(self.request.path, file, columns, self.style) as writer:
                return self._write_rows(writer, opened, [name for name, _ in types], properties)
        finally:
            opened.close()

    def _types(self, opened: _Opened) -> Iterable[tuple[str, Holds]]:
        is_typed = self.request.path.suffix.lower() == PARQUET and self.style.arrow is None
        if not is_typed and all(run.rows.are_uniform for run in self.runs):
            names = (name for run in self.runs for name in columns_of(run.rows))
            return [(name, Holds.JSON) for name in dict.fromkeys(names)]
        types = Types()
        for run, results in opened:
            for cells in _row_cells(run.rows, results):
                types.add(cells)
        return list(types.items())

    def _properties(self, opened: _Opened) -> Mapping[str, Holds]:
        """Return the columns that JSON answers become: as the schema says, or as they are."""
        if not self.request.expand:
            return {}
        if self.request.properties:
            return self.request.properties
        types = Types()
        for _, results in opened:
            for value in results.all():
                types.add(_object(answer_of(value).text))
        return dict(types.items())

    def _write_rows(
        self,
        writer: TableWriter,
        opened: _Opened,
        names: list[str],
        properties: Mapping[str, Holds],
    ) -> int:
        rows: list[list[Any]] = []
        count = 0
        is_sheet = self.request.path.suffix.lower() == XLSX
        has_file = self.request.has_file
        answered = ((run, *each) for run, results in opened for each in _answered(run, results))
        for run, cells, answer in answered:
            if not self.wanted(answer.status):
                continue
            row = [*cells.values()] if [*cells] == names else [cells.get(name) for name in names]
            row += answer
            if has_file:
                row.append(run.file)
            if properties:
                parsed = _object(answer.text)
                row += [parsed.get(name) for name in properties]
            if is_sheet:
                _say_cut(row, len(names) + _ERROR)
            rows.append(row)
            if len(rows) == _ROWS_AT_ONCE:
                count += len(rows)
                writer.write(rows)
                self.progress(count)
                rows = []
        writer.write(rows)
        return count + len(rows)


def _row_cells(rows: InputRows, results: ResultsByLine) -> Iterator[Mapping[str, Any]]:
    if rows.path is None:
        yield from (_kept_cells(value) for value in results.all())
    else:
        yield from (cells for _, cells in rows)


def _answered(run: RunRows, results: ResultsByLine) -> Iterator[tuple[Mapping[str, Any], Answer]]:
    """Yield the rows of a run with their answers."""
    if run.rows.path is None:
        for each in results.all():
            yield _kept_cells(each), answer_of(each)
        return
    left_out, has_ids, prefix = run.left_out, results.has_ids, run.rows.id_prefix
    for line, cells in run.rows:
        custom_id = str(cells.get("custom_id") or generated_id(line, prefix)) if has_ids else None
        value = results.get(line, custom_id)
        if value is not None:
            yield cells, answer_of(value)
        elif line in left_out:
            yield cells, Answer(status=INVALID, error=left_out[line])
        else:
            yield cells, NO_ANSWER


def _kept_cells(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a result keeps of its row, or of its request."""
    user = inner(value, "meta").get("user")
    return {"custom_id": value["custom_id"], **(user if isinstance(user, dict) else {})}


def _object(text: str | None) -> dict[str, Any]:
    """Return the JSON object that an answer is; an empty one for anything else."""
    if not text or text.lstrip()[:1] != "{":
        return {}
    try:
        value: Any = orjson.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _say_cut(row: list[Any], error: int) -> None:
    """Say in the column of errors that a sheet does not hold all of a cell."""
    if any(cell is not None and is_cut(cell) for cell in row):
        said = "a cell is cut: a sheet holds 32,767 characters in each"
        row[error] = f"{row[error]}; {said}" if row[error] else said


# the file


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """A table as it was written; `made_from` is what it depends on beside the input."""

    path: str
    rows: int
    size: int
    sha256: str
    made_from: str


def write_table(table: RunTable, *, before_rename: Callable[[TableFile], None]) -> TableFile:
    """Write a table to a temporary file beside it, then put it into its place; durably.

    `before_rename` gets what will be there. Raises CheckpointWriteError where it cannot be
    written, UsageError where a library is missing.
    """
    path = table.request.path
    part = beside(path, ".part")
    try:
        refuse_link(path)
        try:
            with open_new(part) as file, _no_garbage():
                rows = table.write(file)
                sync_open(file)
            written = TableFile(
                path=str(path), rows=rows, made_from=table.made_from, **_fingerprint(part)
            )
            before_rename(written)
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    except OSError as error:
        again = shlex.join(["claude-batch", "results", str(table.named), "-o", str(path)])
        has_folder = path.parent.is_dir()
        first = "make room" if has_folder else f"mkdir -p {shlex.quote(str(path.parent))}"
        raise CheckpointWriteError(
            f"{path}: the table cannot be written: {error.strerror or error}",
            hint=f"{first}, then write it again: {again}",
        ) from error
    return written


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Look for no cycles meanwhile: rows have none, and looking takes an eighth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _fingerprint(path: Path) -> Mapping[str, Any]:
    digest = hashlib.sha256()
    size = 0
    for block in read_blocks(path):
        digest.update(block)
        size += len(block)
    return {"size": size, "sha256": digest.hexdigest()}


# whose table it is

_ASKED, _WRITTEN = "table", "table_written"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    path: str
    bom: bool
    crlf: bool
    arrow: str | None = None
    delimiter: str | None = None

    @property
    def style(self) -> Style:
        """What the table takes over from its input."""
        return Style(bom=self.bom, crlf=self.crlf, arrow=self.arrow, delimiter=self.delimiter)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTable:
    """What the journal of a run says about its table: where it is, and what was written there.

    `written` are the last two of each path: a crash may have come before the last one was in its
    place.
    """

    path: Path | None = None
    style: Style = field(default_factory=Style)
    written: Mapping[str, tuple[TableFile, ...]] = field(default_factory=dict)

    def found(self, path: Path) -> TableFile | None:
        """Return which of the tables that this run wrote is at `path`; None: another file is."""
        mine = self.written.get(str(path), ())
        if not path.is_file() or path.stat().st_size not in {each.size for each in mine}:
            return None
        found = _fingerprint(path)
        return next((each for each in mine if each.sha256 == found["sha256"]), None)


def kept_table(results: Path) -> KeptTable:
    """Return what a journal says about the run's table. Raises CheckpointError."""
    path, style = None, Style()
    written: dict[str, tuple[TableFile, ...]] = {}
    for record in read_records(results):
        kind = record.get("type")
        if kind == _ASKED:
            asked = parse_record(_Asked, record)
            path, style = Path(asked.path), asked.style
        elif kind == _WRITTEN:
            table = parse_record(TableFile, record)
            written[table.path] = (*written.get(table.path, ()), table)[-2:]
    return KeptTable(path=path, style=style, written=written)


def note_table(results: Path, path: Path, style: Style) -> None:
    """Note durably where the table of a run goes. Raises CheckpointWriteError."""
    of_input = {name: getattr(style, name) for name in ("bom", "crlf", "arrow", "delimiter")}
    _note(results, _ASKED, _Asked(path=str(path), **of_input))


def note_written(results: Path, written: TableFile) -> None:
    """Note durably what is about to be in the place of the table. Raises CheckpointWriteError."""
    _note(results, _WRITTEN, written)


def _note(results: Path, kind: str, record: Any) -> None:
    journal = JournalFile(results)
    try:
        journal.durable(kind, record)
    finally:
        journal.close()


def style_of(path: Path, delimiter: str | None = None) -> Style:
    """Return what a table takes over from an input: types, byte order mark, line ends, delimiter.

    `delimiter` is that of --delimiter; else that of CSV is what it is read with.
    """
    try:
        start = next(read_blocks(path, 0, 1 << 16), b"")
    except OSError:
        return Style()
    at = start.find(b"\n")
    if start.startswith(b"PAR1"):
        return Style(arrow=arrow_types(path))
    if b"\0" in start:  # a workbook, or compressed
        return Style()
    if delimiter is None and path.suffix.lower() == CSV:
        delimiter = delimiter_of(start.partition(b"\n")[0].decode("latin-1"), CSV)
    crlf = at > 0 and start[at - 1 : at] == b"\r"
    return Style(bom=start.startswith(_BOM), crlf=crlf, delimiter=delimiter)


def refuse_foreign_table(path: Path, results: Path, inputs: Sequence[Path]) -> TableFile | None:
    """Refuse to write a table over an input, or over a file that this run did not write.

    Raises UsageError.
    """
    refuse_input(path, inputs)
    if not os.path.lexists(path):
        return None
    if (found := kept_table(results).found(path)) is not None:
        return found
    mine = path.with_name(f"{path.stem}.mine{path.suffix}")
    move = f"move it away: mv {shlex.quote(str(path))} {shlex.quote(str(mine))}"
    has_run = os.path.lexists(journal_path(results))  # which another -o FILE would start over
    raise UsageError(
        f"{path} exists, and is not the table that this run wrote there last",
        hint=f"{move}, then run the same command again"
        if has_run
        else f"name another file with -o FILE, or {move}",
    )


def refuse_input(path: Path, inputs: Sequence[Path]) -> None:
    """Refuse to write a table over one of the files that the command reads."""
    for each in inputs:
        if path == each or (path.exists() and each.exists() and path.samefile(each)):
            raise UsageError(
                f"{path} is an input of this command: the table would replace it",
                hint="name another file: -o FILE",
            )


def columns_of(rows: InputRows) -> list[str]:
    """Return the names of the columns that rows have."""
    types = Types()
    uniform = rows.are_uniform
    for _, cells in rows:
        types.add(cells)
        if uniform and cells:  # one that could not be read has none
            break
    return [name for name, _ in types.items()]
