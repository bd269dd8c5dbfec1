"""Ids that rows bring along, in all inputs of a run folder: where they are, and that none is twice.

Shards are checked one by one, on any host. What only all inputs together show is found out here,
before the manifest is created: in flat memory, and in one pass over the inputs that have ids.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from tempfile import TemporaryFile
from typing import IO, Any

import orjson

from claude_batch.core.shards.names import id_prefix
from claude_batch.errors import InvalidPromptsError
from claude_batch.storage.folder.copies import Copies
from claude_batch.storage.folder.inputs import Input
from claude_batch.storage.prompts.columns import CUSTOM_ID, ID, LONGEST_ID, Columns, own_id, row_id
from claude_batch.storage.prompts.input import as_json, rereadable
from claude_batch.storage.prompts.lines import PromptLines
from claude_batch.storage.prompts.parse import generated_id, parsed_lines
from claude_batch.storage.tables.kinds import (
    CSV,
    JSON,
    JSONL,
    PARQUET,
    TSV,
    TXT,
    XLSX,
    InputOptions,
    Kind,
)
from claude_batch.storage.tables.reading import open_records

_AT_ONCE = 1_000
"""Records that are looked at together; and lines among which there is a good one."""

_IN_MEMORY = 1 << 20
"""Digests that are held in memory: 8 MB. More are written to a temporary file."""

_PARTS = 1_024
"""Parts in which digests are compared: of a billion ids, each has a million."""

_MOST_SUSPECTS = 100_000
"""Digests that occur twice and are looked for in the inputs; of more there is only the number."""

_PAIRS_NAMED = 3

_BEDROCK_ID = "recordId"

ID_KEYS = (CUSTOM_ID, ID, _BEDROCK_ID)
"""Keys in which lines of JSON have ids by themselves."""

Values = tuple[Sequence[int], Sequence[Any]]
"""Some lines of an input: their numbers, and their values; None for what is no JSON."""


@dataclass(frozen=True, slots=True)
class Place:
    """A line of an input."""

    source: Input
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderIds:
    """The columns that ids are taken from in all inputs; a note if they are not what one expects.

    `are_unique`: that was looked at.
    """

    columns: tuple[str, ...]
    note: str = ""
    are_unique: bool = False


class IdReader:
    """Reads the ids in the inputs of a run folder; `progress` is called with the bytes read."""

    def __init__(
        self,
        inputs: Sequence[Input],
        copies: Copies,
        columns: Columns,
        options: InputOptions,
        progress: Callable[[Input, int], None],
    ) -> None:
        self._inputs = inputs
        self._copies = copies
        self._columns = columns
        self._options = options
        self._progress = progress

    def plan(self) -> FolderIds:
        """Return the columns of ids: `id` is one where all rows have it, each another."""
        columns = self._columns
        if columns.id_column is not None:
            return FolderIds(columns=tuple(dict.fromkeys((columns.id_column, CUSTOM_ID))))
        having = sum(map(self._has_id, self._inputs)) if columns.ids else 0
        if not having:
            return FolderIds(columns=columns.ids)
        fault = "is not there in all files"
        if having == len(self._inputs):
            if self._are_unique():
                return FolderIds(columns=(CUSTOM_ID, ID), are_unique=True)
            fault = "is not unique over all files"
        return FolderIds(
            columns=columns.ids,
            note=f"The column id {fault}: results are called PATH:LINE (see --id-column)",
        )

    def refuse_repeated(
        self, ids: FolderIds, matters: Callable[[Place, Place], bool] | None = None
    ) -> None:
        """Refuse ids that are there twice, in places where that `matters`; None: everywhere.

        Raises InvalidPromptsError, which names the first ones.
        """
        if ids.are_unique or not ids.columns:
            return
        names = {each.name for each in self._inputs}
        called = set[str]()
        with closing(_Digests()) as digests:
            for source in self._inputs:
                for _, values in self._values(source, ids.columns):
                    own = [*filter(None, (own_id(each, ids.columns) for each in values))]
                    digests.add(own)
                    called.update(names.intersection(_files_named(own)))
            for source in self._inputs:
                if source.name in called:  # a line without an id may be called like another's id
                    digests.add(name for name, _ in self._generated(source, ids))
            suspects, count = digests.repeated()
        if suspects:
            self._refuse(ids, called, suspects, count, matters)

    def _has_id(self, source: Input) -> bool:
        """Return whether the first row of an input has an id that may be taken by itself."""
        is_table = self._is_table(source)
        looked_at = 0
        for _, values in self._values(source, (ID, CUSTOM_ID), all_lines=True, first_rows=True):
            first = next(filter(None, values), None)
            looked_at += len(values)
            if first is None and looked_at < _AT_ONCE:
                continue
            if not isinstance(first, dict):
                return False
            is_row = self._columns.are_data or is_table or "prompt" in first or "messages" in first
            return is_row and first.get(ID) is not None and CUSTOM_ID not in first
        return False

    def _is_table(self, source: Input) -> bool:
        kind = self._copies.kind(source, self._options)
        return kind.format not in {JSON, JSONL}

    def _are_unique(self) -> bool:
        """Return whether each row has an id of its own in the column id."""
        with closing(_Digests()) as digests:
            for source in self._inputs:
                for _, values in self._values(source, (ID, CUSTOM_ID), all_lines=True):
                    rows = [each for each in values if each is not None]  # neither blank nor bad
                    if not all(map(_has_own_id, rows)):
                        return False
                    digests.add(own_id(each, (CUSTOM_ID, ID)) or "" for each in rows)
            return not digests.repeated()[1]

    def _own(self, source: Input, ids: FolderIds) -> Iterator[tuple[str, Place]]:
        """Yield the ids that lines bring along, and the lines."""
        for numbers, values in self._values(source, ids.columns):
            for line, value in zip(numbers, values, strict=True):
                given = own_id(value, ids.columns)
                if given is not None:
                    yield given, Place(source, line)

    def _generated(self, source: Input, ids: FolderIds) -> Iterator[tuple[str, Place]]:
        """Yield what other lines are called, and the lines."""
        prefix = id_prefix(source.name)
        for numbers, values in self._values(source, ids.columns, all_lines=True):
            for line, value in zip(numbers, values, strict=True):
                if value is not None and own_id(value, ids.columns) is None:
                    yield generated_id(line, prefix), Place(source, line)

    def _refuse(
        self,
        ids: FolderIds,
        called: set[str],
        suspects: frozenset[int],
        count: int,
        matters: Callable[[Place, Place], bool] | None,
    ) -> None:
        """Refuse ids with these digests if they are really there twice."""
        first: dict[str, Place] = {}
        pairs: list[str] = []

        uses = [self._own(each, ids) for each in self._inputs]
        uses += [self._generated(each, ids) for each in self._inputs if each.name in called]
        for name, place in chain(*uses):
            if hash(name) in suspects:
                earlier = first.setdefault(name, place)
                if earlier != place and (matters is None or matters(earlier, place)):
                    pairs.append(_pair_text(name, earlier, place))
                    if len(pairs) == _PAIRS_NAMED:
                        break
        if pairs or count > _MOST_SUSPECTS:
            more = f"; {count:,} ids are there twice in all" if count > len(pairs) else ""
            raise InvalidPromptsError(
                f"ids must differ between all files: {'; '.join(pairs)}{more}",
                hint=self._remedy,
            )

    @property
    def _remedy(self) -> str:
        by_line = "--id-column none calls results by file and line"
        if self._columns.id_column is not None:
            return f"name a column of unique values, or leave out --id-column; {by_line}"
        return f"give every row an id of its own, or name another --id-column; {by_line}"

    def _values(
        self,
        source: Input,
        needed: tuple[str, ...],
        *,
        all_lines: bool = False,
        first_rows: bool = False,
    ) -> Iterator[Values]:
        """Yield the lines of an input; of one without ids none at all, unless `all_lines`.

        In rows the columns that are `needed` are there, others may be left out. `first_rows`: those
        are enough.
        """
        options, copies = self._options, self._copies
        kind = copies.kind(source, options)
        self._progress(source, 0)
        if not all_lines and not self._may_have(source, kind, needed):
            return
        path = copies.first_rows(source, options) if first_rows else copies.whole(source)
        if kind.format == JSONL:
            with rereadable(str(path), options=options) as lines_path:
                lines = PromptLines(lines_path)
                for numbers, some in lines:
                    yield numbers, parsed_lines(some)
                    self._progress(source, lines.size)
            return
        with open_records(path, source.source, kind, options, needed) as found:
            if found.columns is None or all_lines or not set(needed).isdisjoint(found.columns):
                has_types = kind.format in {PARQUET, XLSX}
                value_of = partial(_json_cells, columns=needed) if has_types else _as_it_is
                while few := list(islice(found.records, _AT_ONCE)):
                    yield [line for line, _ in few], [value_of(value) for _, value in few]

    def _may_have(self, source: Input, kind: Kind, needed: tuple[str, ...]) -> bool:
        """Return whether there may be ids in an input; of an object, often without reading it."""
        options = self._options
        if kind.format == JSONL:
            is_plain = kind.packed is None and options.encoding is None
            return not is_plain or self._copies.mention(source, {*needed, _BEDROCK_ID})
        if kind.format not in {CSV, TSV}:
            return kind.format != TXT
        path = self._copies.first_rows(source, options)
        with open_records(path, source.source, kind, options) as found:
            return found.columns is None or not set(needed).isdisjoint(found.columns)


def _has_own_id(row: Any) -> bool:
    """Return whether a value is a row with something in the column id that can be one."""
    found = row_id(row, (ID,)) if isinstance(row, dict) else None
    return isinstance(found, str) and len(found) <= LONGEST_ID


def _files_named(ids: Iterable[str]) -> set[str]:
    """Return what would be the file if ids were made of file and line: a.jsonl of a.jsonl:17."""
    return {each.rpartition(":")[0] for each in ids if ":" in each}


def _pair_text(name: str, earlier: Place, place: Place) -> str:
    return f"{_place_text(place)} has the id {name[:60]!r}, which {_place_text(earlier)} has, too"


def _place_text(place: Place) -> str:
    return f"{place.source.name}:{place.line}"


def _as_it_is(value: Any) -> Any:
    return value


def _json_cells(row: Any, columns: Sequence[str]) -> Any:
    """Return some cells of a row as they are in JSON."""
    if not isinstance(row, dict):
        return None
    cells = {name: row[name] for name in columns if name in row}
    try:
        return orjson.loads(orjson.dumps(cells, default=as_json, option=orjson.OPT_NON_STR_KEYS))
    except (TypeError, ValueError, RecursionError):
        return {}


class _Digests:
    """The digests of many ids, and which are there twice; most of them are in a file."""

    def __init__(self) -> None:
        self._parts = [array("q") for _ in range(_PARTS)]
        self._held = 0
        self._spilled: list[list[tuple[int, int]]] = [[] for _ in range(_PARTS)]
        self._file: IO[bytes] | None = None

    def add(self, ids: Iterable[str]) -> None:
        """Add ids."""
        parts, count = self._parts, 0
        for digest in map(hash, ids):
            parts[digest % _PARTS].append(digest)
            count += 1
        self._held += count
        if self._held > _IN_MEMORY:
            self._spill()

    def repeated(self) -> tuple[frozenset[int], int]:
        """Return digests that are there twice, up to a number, and how many there are."""
        found: set[int] = set()
        count = 0
        for number, held in enumerate(self._parts):
            digests = held[:]
            for start, size in self._spilled[number]:
                assert self._file is not None  # noqa: S101  # something was written
                self._file.seek(start)
                digests.frombytes(self._file.read(size))
            if len(set(digests)) == len(digests):
                continue
            twice = [each for each, uses in Counter(digests).items() if uses > 1]
            count += len(twice)
            found.update(twice[: _MOST_SUSPECTS - len(found)])
        return frozenset(found), count

    def close(self) -> None:
        """Give up the file."""
        if self._file is not None:
            self._file.close()

    def _spill(self) -> None:
        """Write what is held to the file."""
        if self._file is None:
            self._file = TemporaryFile()  # noqa: SIM115  # closed in close()
        for number, held in enumerate(self._parts):
            self._spilled[number].append((self._file.tell(), len(held) * held.itemsize))
            self._file.write(held.tobytes())
            self._parts[number] = array("q")
        self._held = 0
