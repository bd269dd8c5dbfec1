"""`report` of a run folder: one page about all its shards."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from claude_batch import __version__
from claude_batch.commands.folder.manifest import FolderPlace, existing_folder
from claude_batch.commands.folder.show import folder_row
from claude_batch.commands.folder.status import ShardStatus, reading, shard_statuses
from claude_batch.commands.money import catalog_for
from claude_batch.commands.run.messages import counted, shown
from claude_batch.commands.runs.in_force import options_to_look
from claude_batch.commands.runs.report import (
    PAGE,
    batch_saving_usd,
    catalog_and_prompts,
    refuse_foreign,
    write_page,
)
from claude_batch.core.history.results import Sampled
from claude_batch.core.history.run import joined
from claude_batch.core.history.tiers import tier_gains
from claude_batch.core.model.events import NO_EXPENSE
from claude_batch.errors import UsageError
from claude_batch.report.data import ReportData
from claude_batch.storage.folder.adjusted import options_of
from claude_batch.storage.run.history import read_history
from claude_batch.storage.run.journal import read_journal
from claude_batch.storage.run.paths import url_of
from claude_batch.storage.run.sample import read_results


def write_folder_report(name: str, out: Path | None) -> None:
    """Write the report of a run folder. Raises UsageError, CheckpointError."""
    place = existing_folder(name)
    path, url = place.path, url_of(place.path)
    page = out or (path.with_name(f"{path.name}{PAGE}") if url is None else _beside_nothing(url))
    refuse_foreign(page, [])
    statuses = shard_statuses(path, place.files, place.manifest)
    with reading(path, place.files, statuses) as there:
        write_page(page, _data(place, statuses, [*there.values()]))


def _beside_nothing(url: str) -> Path:
    """Return where the page of a run folder goes that is not on this host."""
    return Path(f"{url.rpartition('/')[2]}{PAGE}").absolute()


def _data(place: FolderPlace, statuses: Sequence[ShardStatus], begun: Sequence[Path]) -> ReportData:
    path, manifest = place.path, place.manifest
    if not begun:
        raise UsageError(
            f"{shown(path)}: no shard was begun yet",
            hint=f"claude-batch resume {shlex.quote(shown(path))}/",
        )
    read, row = read_results(*begun), folder_row(place, statuses)
    history = joined(read_history(each) for each in begun)
    catalog = catalog_for(options_to_look(options_of(manifest, place.files).run))
    expenses = NO_EXPENSE
    for each in begun:
        journal = read_journal(each)
        expenses = expenses if journal is None else expenses.plus(journal.expenses)
    inputs = ", ".join(manifest.inputs[:3])
    more = f" and {len(manifest.inputs) - 3:,} more" if len(manifest.inputs) > 3 else ""  # noqa: PLR2004  # as above
    return ReportData(
        at=time.time(),
        version=__version__,
        name=f"{(url_of(path) or path.name)}/ ({counted(len(statuses), 'shard')})",
        prompts=f"{inputs}{more}",
        results=f"{url_of(path) or path}/",
        run_id=manifest.run_id,
        mode=row.mode,
        sandbox=row.sandbox,
        state=row.state,
        sentence=row.sentence,
        next_command=row.next_command,
        total=row.total,
        left_out=sum(_left_out(each) for each in statuses),
        figures=read.figures,
        history=history,
        expenses=expenses,
        batch_saving_usd=batch_saving_usd(history, catalog),
        tier_gains=tier_gains(history.minutes, catalog),
        sample=read.sample,
        prompts_note=_add_prompts(read.sample),
    )


def _left_out(status: ShardStatus) -> int:
    if status.done is not None:
        return status.done.left_out
    return 0 if status.run is None else status.run.identity.invalid


def _add_prompts(sample: Sequence[Sampled]) -> str:
    """Put the prompts into the sample; return why some are missing."""
    notes: dict[str, None] = {}
    for file in {each.file: None for each in sample}:
        if (journal := read_journal(Path(file))) is None:
            continue
        of_shard = [each for each in sample if each.file == file]
        notes[catalog_and_prompts(Path(file), journal, of_shard)[1]] = None
    return " ".join(filter(None, notes))
