"""The journal's records about batches, written durably and read back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from claude_batch.core.batch.history import (
    BatchCancelRequested,
    BatchCollected,
    BatchCreated,
    BatchHistory,
    BatchIntent,
    BatchLost,
    BatchRecord,
    BatchRefused,
    BatchShapesProved,
    ModeChosen,
    fold_batches,
)
from claude_batch.core.model.line_ranges import LineRanges
from claude_batch.core.model.typos import quoted
from claude_batch.storage.daemon import in_daemon
from claude_batch.storage.run.journal import JournalFile, parse_record, read_records, refused_record

_TYPES: Mapping[str, Any] = {
    "batch_intent": BatchIntent,
    "batch_created": BatchCreated,
    "batch_refused": BatchRefused,
    "batch_lost": BatchLost,
    "batch_collected": BatchCollected,
    "batch_cancel_requested": BatchCancelRequested,
    "batch_shapes_proved": BatchShapesProved,
    "mode_chosen": ModeChosen,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}


class BatchJournalFile:
    """The batch records of a journal that is open."""

    def __init__(self, results: Path, journal: JournalFile) -> None:
        self._results = results
        self._journal = journal

    async def record(self, record: BatchRecord) -> None:
        """Append `record`; once this returns, it outlives the process."""
        kind = _NAMES[type(record)]
        await in_daemon(lambda: self._journal.durable_everywhere(kind, record))

    async def cancels(self) -> Mapping[str, str]:
        """Return who canceled which batches, by batch ID, whichever process recorded it."""
        return await in_daemon(lambda: _canceled_by(self._results))


def read_batches(results: Path) -> BatchHistory:
    """Return what the journal of `results` says about its batches. Raises CheckpointError."""
    return history_of(read_records(results))


def history_of(records: Iterable[Mapping[str, Any]]) -> BatchHistory:
    """Return what records of a journal say about batches. Raises CheckpointError."""
    return fold_batches(_batch_records(records))


def _canceled_by(results: Path) -> Mapping[str, str]:
    records = _batch_records(read_records(results))
    return {each.id: each.by for each in records if isinstance(each, BatchCancelRequested)}


def request_cancel(results: Path, record: BatchCancelRequested) -> None:
    """Record durably that the user cancels a batch; the run may be active meanwhile."""
    _note(results, record)


def note_mode(results: Path, record: ModeChosen) -> None:
    """Record durably how a run continues."""
    _note(results, record)


def _note(results: Path, record: BatchRecord) -> None:
    journal = JournalFile(results)
    try:
        journal.durable(_NAMES[type(record)], record)
    finally:
        journal.close()


def _batch_records(records: Iterable[Mapping[str, Any]]) -> Iterator[BatchRecord]:
    for record in records:
        kind = _TYPES.get(str(record.get("type")))
        if kind is not None:
            _refuse_no_ranges(record)
            yield parse_record(kind, record)


def _refuse_no_ranges(record: Mapping[str, Any]) -> None:
    for name in ("lines", "retry"):
        if isinstance(text := record.get(name), str):
            try:
                LineRanges.parse(text)
            except ValueError as error:
                raise refused_record(record, f"{name} is {quoted(repr(text))}") from error
