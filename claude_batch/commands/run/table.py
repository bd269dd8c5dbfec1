"""The table that a run writes when it ends: refused early where it could not be, then written."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from claude_batch.commands.run.messages import shown
from claude_batch.commands.table import input_rows, table_request, typed_command
from claude_batch.errors import UsageError
from claude_batch.storage.prompts.input import is_regular
from claude_batch.storage.run.opening import OpenRun, RunRequest, invalid_rows
from claude_batch.storage.run.table import (
    RunRows,
    RunTable,
    TableFile,
    TableRequest,
    columns_of,
    kept_table,
    note_table,
    note_written,
    refuse_foreign_table,
    refuse_input,
    refuse_own_columns,
    style_of,
    write_table,
)
from claude_batch.storage.tables.writing import CSV, Style, check_format, most_rows
from claude_batch.ui.screen.screen import Screen


@dataclass(slots=True, kw_only=True)
class TableStage:
    """The table of one run; `request.table` is its path."""

    request: RunRequest
    screen: Screen
    _there: TableFile | None = None
    """What this run has written there before."""

    @property
    def path(self) -> Path:
        """Where the table is."""
        assert self.request.table is not None  # noqa: S101  # made only for a run with a table
        return self.request.table

    @property
    def shown(self) -> str:
        """Where it is, as the user would type it."""
        return shlex.quote(shown(self.path))

    @property
    def _asked(self) -> TableRequest:
        options = self.request.options
        return table_request(self.path, options, options.schema)

    def refuse_foreign(self) -> None:
        """Refuse to replace what this run did not write, or to write what cannot be written."""
        check_format(self.path)
        inputs = [Path(self.request.prompts)] if is_regular(self.request.prompts) else []
        if self.request.options.fresh:
            refuse_input(self.path, inputs)
        else:
            self._there = refuse_foreign_table(self.path, self.request.results, inputs)

    def refuse_unfit(self, prompts: Path, rows: int) -> None:
        """Refuse prompts that this table cannot hold, before anything is sent."""
        most = most_rows(self.path)
        if most is not None and rows > most:
            raise UsageError(
                f"{self.shown}: a sheet holds {most:,} rows, and there are {rows:,}",
                hint=f"write CSV instead: -o {shlex.quote(shown(self.path.with_suffix(CSV)))}",
            )
        names = columns_of(input_rows(prompts, self.request.options))
        check_format(self.path, len(names))
        refuse_own_columns(names, self._asked, typed_command())

    def note(self, opened: OpenRun) -> None:
        """Note in the journal where the table of an opened run goes, unless it says so."""
        if kept_table(self.request.results).path == self.path:
            return
        if opened.checked is None:  # no check has looked at the columns
            self.refuse_unfit(opened.prompts, opened.identity.total + opened.identity.invalid)
        prompts = opened.identity.prompts
        delimiter = opened.identity.options.delimiter
        style = style_of(Path(prompts), delimiter) if is_regular(prompts) else Style()
        note_table(self.request.results, self.path, style)
        if self._there is not None:  # the run has begun again, and its journal with it
            note_written(self.request.results, self._there)

    def write(self, opened: OpenRun) -> None:
        """Write the table, unless what is there is the same.

        Raises UsageError where another file has come into its place, CheckpointWriteError.
        """
        results = self.request.results
        refuse_foreign_table(self.path, results, [])
        kept = kept_table(results)
        total = opened.identity.total
        table = RunTable(
            request=self._asked,
            runs=(
                RunRows(
                    rows=input_rows(opened.prompts, self.request.options),
                    results=results,
                    left_out=invalid_rows(results) if opened.identity.invalid else {},
                ),
            ),
            named=results,
            style=replace(kept.style, raw=self._asked.raw),
            progress=lambda rows: self.screen.checking(self.shown, rows, total, "writing"),
        )
        there = kept.found(self.path)
        if there is not None and there.made_from == table.made_from:
            return
        try:
            write_table(table, before_rename=lambda written: note_written(results, written))
        finally:
            self.screen.checked()
