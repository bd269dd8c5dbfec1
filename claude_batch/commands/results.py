"""`results`: the results of a run on stdout, or in a file of their own."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from claude_batch.commands.find_run import last_active
from claude_batch.commands.run.messages import counted, shown
from claude_batch.commands.run.stdout import form_of
from claude_batch.commands.table import (
    checkpoint_of,
    input_rows,
    refuse_other_kind_of_table,
    table_request,
    typed_command,
)
from claude_batch.config.reading import typed_options
from claude_batch.core.model.requests import ResultType
from claude_batch.errors import CheckpointWriteError, UsageError
from claude_batch.storage.files import open_new, refuse_dash, refuse_missing_folder
from claude_batch.storage.prompts.lines import fingerprint
from claude_batch.storage.run.checkpoint import Entry
from claude_batch.storage.run.journal import Journal, read_journal
from claude_batch.storage.run.opening import invalid_rows
from claude_batch.storage.run.output import as_is, as_text, print_results
from claude_batch.storage.run.paths import copied_prompts, refuse_as_stdout, refuse_no_results
from claude_batch.storage.run.table import (
    InputRows,
    KeptTable,
    RunRows,
    RunTable,
    TableFile,
    columns_of,
    kept_table,
    note_written,
    refuse_foreign_table,
    refuse_own_columns,
    style_of,
    write_table,
)
from claude_batch.storage.tables.writing import Style, check_format, is_table
from claude_batch.ui.messages import notice_text

_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
"""What the system says of a file that may be read only."""


_LINES = {".jsonl", ".ndjson"}
"""Extensions of files whose lines are JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsOrder:
    """`results`, as it was typed; `out` None: to stdout."""

    results: Path
    out: Path | None
    given: Mapping[str, Any]
    form: Literal["full", "text"]
    ordered: bool
    only: frozenset[ResultType]


def last_results() -> str:
    """Return the results file, or run folder, of the run active last, which is said."""
    found = last_active()
    _say(f"the results of {shown(found)}{'/' if found.is_dir() else ''}")
    return str(found)


def show_results(order: ResultsOrder) -> None:
    """Print or write the results. Raises UsageError, CheckpointError."""
    results = checkpoint_of(order.results)
    if order.out is not None and is_table(order.out):
        _write_table(order, results.absolute(), order.out.absolute())
        return
    refuse_no_results(results)
    if order.out is not None:
        write_lines(order.out, partial(print_run, order, results))
        return
    stdout = sys.stdout.fileno()
    refuse_as_stdout(stdout, results)
    print_run(order, results, stdout)


def print_run(order: ResultsOrder, results: Path, fd: int) -> None:
    """Write the results of one run that are wanted to `fd`, in the form that is wanted."""
    in_file = as_text if order.form == "text" else as_is
    form = form_of(order.form) if order.out is None else in_file
    wanted = partial(_is_wanted, order.only)
    print_results(results, fd, form=form, wanted=wanted, ordered=order.ordered)


def _is_wanted(only: frozenset[ResultType], entry: Entry) -> bool:
    return entry.type in only


def write_lines(out: Path, write: Callable[[int], None]) -> None:
    """Have result lines written into a new file. Raises UsageError, CheckpointWriteError."""
    refuse_dash(out, "name a file: -o FILE; without -o, results go to stdout")
    refuse_other_kind_of_table(out)
    refuse_missing_folder(out)
    if os.path.lexists(out):
        raise UsageError(
            f"{out} exists", hint="name a file that does not: nothing is replaced by result lines"
        )
    try:
        with open_new(out) as file:
            write(file.fileno())
    except OSError as error:
        raise CheckpointWriteError(
            f"{out}: cannot be written: {error.strerror}", hint="make room, or name another file"
        ) from error
    kind = "" if out.suffix.lower() in _LINES else ", as lines of JSON"
    _say(f"the results are in {shown(out.absolute())}{kind}")


def _write_table(order: ResultsOrder, results: Path, out: Path) -> None:
    check_format(out)
    journal = read_journal(results)
    if journal is None or results.exists():
        refuse_no_results(results)
    inputs = [results] if journal is None else [results, Path(journal.identity.prompts)]
    refuse_missing_folder(out)
    refuse_foreign_table(out, results, inputs)
    kept = kept_table(results)
    of_run = {} if journal is None else journal.settings.flags
    schema = None if journal is None else journal.identity.options.schema
    request = table_request(out, typed_options(order.given, os.environ), schema, of_run)
    run = rows_of(results, journal)
    names = columns_of(run.rows)
    check_format(out, len(names))
    refuse_own_columns(names, request, typed_command())
    everything = order.only == frozenset(ResultType)
    table = RunTable(
        request=request,
        runs=(run,),
        named=results,
        style=replace(_style(kept, journal), raw=request.raw),
        wanted=lambda status: everything or status in order.only,
    )
    write_noted(table, lambda each: None if journal is None else note_written(results, each))


def write_noted(table: RunTable, note: Callable[[TableFile], None]) -> None:
    """Write a table, and `note` in its run that it may be replaced, unless that is read-only.

    Raises UsageError, CheckpointWriteError.
    """
    is_noted = True

    def try_to_note(written: TableFile) -> None:
        nonlocal is_noted
        try:
            note(written)
        except CheckpointWriteError as error:
            cause = error.__cause__
            if not (isinstance(cause, OSError) and cause.errno in _READ_ONLY):
                raise
            is_noted = False

    written = write_table(table, before_rename=try_to_note)
    _say(f"{counted(written.rows, 'row')} in {shown(table.request.path)}")
    if not is_noted:
        _say(
            f"{shown(table.named)} is read-only, so nothing there says that this table is of it: "
            "the same command will refuse to replace the table"
        )


def _style(kept: KeptTable, journal: Journal | None) -> Style:
    """Return what the table takes over from the input: as noted by the run, else as it is now."""
    if journal is None or kept.path is not None:
        return kept.style
    return style_of(Path(journal.identity.prompts), journal.identity.options.delimiter)


def rows_of(results: Path, journal: Journal | None) -> RunRows:
    """Return the rows of a run, with the results it has and why some were left out."""
    if journal is None:
        return RunRows(rows=InputRows(path=None), results=results)
    rows = replace(_rows(results, journal), id_prefix=journal.identity.id_prefix)
    return RunRows(rows=rows, results=results, left_out=invalid_rows(results))


def _rows(results: Path, journal: Journal) -> InputRows:
    """Return the rows of the run's input; none where it has changed, or is gone."""
    identity, copy = journal.identity, copied_prompts(results)
    path = copy if copy.exists() else Path(identity.prompts_path)
    try:
        same = fingerprint(path) == (identity.size, identity.sha256)
    except UsageError:
        same = False
    if same:
        return input_rows(path, identity.options)
    gone = "has changed since the run" if path.exists() else "is gone"
    _say(f"{identity.prompts} {gone}: the table has the columns that results keep of it")
    return InputRows(path=None)


def _say(text: str) -> None:
    sys.stderr.write(notice_text(text))
