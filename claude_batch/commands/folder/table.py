"""One table of all shards of a run folder, in the order of its inputs."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from claude_batch.commands.folder.manifest import FolderPlace
from claude_batch.commands.folder.status import ShardStatus, reading
from claude_batch.commands.results import ResultsOrder, rows_of, write_noted
from claude_batch.commands.run.messages import counted, shown
from claude_batch.commands.table import (
    refuse_other_kind_of_table,
    table_request,
    typed_command,
)
from claude_batch.config.reading import typed_options
from claude_batch.core.model.requests import ResultType
from claude_batch.errors import ClaudeBatchError, UsageError
from claude_batch.storage.files import refuse_missing_folder
from claude_batch.storage.folder.adjusted import options_of
from claude_batch.storage.folder.files import LocalFiles
from claude_batch.storage.folder.manifest import Manifest, Shard
from claude_batch.storage.objects.locations import Fetch, is_url
from claude_batch.storage.prompts.options import input_options
from claude_batch.storage.run.journal import journal_path, read_journal
from claude_batch.storage.run.paths import TABLES, copied_prompts, keep_prompts
from claude_batch.storage.run.source import prompts_now
from claude_batch.storage.run.table import (
    RunRows,
    RunTable,
    TableFile,
    columns_of,
    note_written,
    refuse_foreign_table,
    refuse_own_columns,
    style_of,
)
from claude_batch.storage.tables.writing import CSV, Style, check_format, most_rows
from claude_batch.ui.messages import notice_text


def write_folder_table(
    order: ResultsOrder, place: FolderPlace, statuses: Sequence[ShardStatus]
) -> None:
    """Write the table. Raises UsageError, CheckpointError."""
    with reading(
        place.path, place.files, [each for each in statuses if each.run or each.done]
    ) as there:
        _write(order, place, statuses, there)


def _write(
    order: ResultsOrder,
    place: FolderPlace,
    statuses: Sequence[ShardStatus],
    there: Mapping[int, Path],
) -> None:
    path, manifest = place.path, place.manifest
    assert order.out is not None  # noqa: S101  # asked for only then
    out = order.out.absolute()
    refuse_other_kind_of_table(out)
    check_format(out)
    sources = [*dict.fromkeys(shard.source for shard in manifest.shards)]
    files = [Path(each) for each in sources if not is_url(each)]
    refuse_missing_folder(out)
    refuse_foreign_table(out, path / TABLES, files)
    runs = tuple(
        replace(_rows(each.shard, there[each.shard.shard], manifest), file=each.shard.name)
        for each in statuses
        if each.shard.shard in there
    )
    if not runs:
        raise UsageError(
            f"{shown(path)}: no shard was begun yet",
            hint=f"claude-batch resume {shlex.quote(shown(path))}/",
        )
    _refuse_unfit(out, sum(each.total for each in statuses))
    request = table_request(
        out,
        typed_options(order.given, os.environ),
        manifest.options.schema,
        options_of(manifest, place.files).run.flags,
    )
    request = replace(request, has_file=len(sources) > 1)
    names = [*dict.fromkeys(name for run in runs for name in columns_of(run.rows))]
    check_format(out, len(names))
    refuse_own_columns(names, request, typed_command())
    everything = order.only == frozenset(ResultType)
    table = RunTable(
        request=request,
        runs=runs,
        named=path,
        style=replace(Style() if is_url(sources[0]) else style_of(files[0]), raw=request.raw),
        wanted=lambda status: everything or status in order.only,
    )

    def note(written: TableFile) -> None:
        LocalFiles(path).create(journal_path(Path(TABLES)).name, b"")
        note_written(path / TABLES, written)

    write_noted(table, note)
    missing = len(statuses) - len(runs)
    if missing:
        sys.stderr.write(
            notice_text(
                f"the rows of {counted(missing, 'shard')} that were not begun yet are not in it"
            )
        )


def _rows(shard: Shard, results: Path, manifest: Manifest) -> RunRows:
    journal = read_journal(results)
    if journal is not None and not copied_prompts(results).exists():
        # another host has the copy of the shard's rows; where they are gone, that is said below
        how = input_options(manifest.options)
        with (
            suppress(ClaudeBatchError),
            prompts_now(
                shard.source,
                results,
                journal.identity,
                how,
                shard.part,
                Fetch(pinned=shard.pinned),
            ) as path,
        ):
            keep_prompts(path, results)
    return rows_of(results, journal)


def _refuse_unfit(out: Path, rows: int) -> None:
    most = most_rows(out)
    if most is not None and rows > most:
        raise UsageError(
            f"{shown(out)}: a sheet holds {most:,} rows, and there are {rows:,}",
            hint=f"write CSV instead: -o {shlex.quote(shown(out.with_suffix(CSV)))}",
        )
