"""Message Batches as tables: those of a key, one of them, and those of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from claude_batch.core.model.batches import BatchStatus, BatchView, ChunkState, ChunkView
from claude_batch.ui.batch_words import EXPECTED, age_s, expires_text, is_over
from claude_batch.ui.figures import ago, clock, count
from claude_batch.ui.messages import printable
from claude_batch.ui.tables.tables import plain_table, stacked

_STYLES = {
    BatchStatus.IN_PROGRESS: "cyan",
    BatchStatus.CANCELING: "yellow",
    BatchStatus.ENDED: "green",
}
_COLUMNS = ("batch", "state", ">requests", "outcome", ">created", ">expires in", "run")
_WIDEST = 10_000
_INDENT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """A batch, its endpoint, and the `run` it belongs to, if that is known: its `results` file."""

    endpoint: str
    batch: BatchView
    run: str | None = None
    results: Path | None = None


def batches_table(rows: Sequence[BatchRow], now: float) -> RenderableType:
    """Return batches at `now`, a row each; where the width does not suffice, some lines each."""
    return _Batches([_cells(row, now) for row in rows])


def _cells(row: BatchRow, now: float) -> list[Text]:
    batch = row.batch
    ended = batch.status is BatchStatus.ENDED
    return [
        Text(printable(batch.id)),
        Text(batch.status.value, style=_STYLES[batch.status]),
        Text(_size(batch)),
        Text(_outcome(batch)) if ended else Text("not known yet", style="dim"),
        Text(ago(now - batch.created_at)),
        Text("" if ended else expires_text(batch.expires_at, now)),
        Text(printable(row.run or "")),
    ]


@dataclass(frozen=True, slots=True)
class _Batches:
    """The cells of batches: a table, or where that is too wide, lines that lead with the ID."""

    rows: list[list[Text]]

    def _table(self) -> Table:
        table = plain_table(*_COLUMNS)
        for row in self.rows:
            table.add_row(*row)
        return table

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._table())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._table()
        whole = Measurement.get(console, options.update(width=_WIDEST), table)
        if whole.maximum <= options.max_width:
            yield table
            return
        for name, state, size, outcome, created, expires_in, run in self.rows:
            yield Text.assemble(name, overflow="fold")
            details = [state, Text.assemble(size, " requests"), Text.assemble("created ", created)]
            details.append(Text.assemble("expires in ", expires_in) if expires_in else outcome)
            lines = [Text(", ").join(details), *([Text.assemble("run ", run)] if run else [])]
            yield Padding(Group(*lines), (0, 0, 0, _INDENT))


def batch_sheet(row: BatchRow, now: float) -> RenderableType:
    """Return everything that is known of one batch."""
    batch = row.batch
    ended = batch.status is BatchStatus.ENDED
    pairs = [
        ("state", Text(batch.status.value, style=_STYLES[batch.status])),
        ("requests", Text(_size(batch))),
        ("outcome", Text(_outcome(batch)) if ended else _no_outcome(batch)),
        ("created", Text(ago(now - batch.created_at))),
        ("endpoint", Text(printable(row.endpoint))),
        ("run", Text(printable(row.run or "none in or below this folder"))),
    ]
    if batch.ended_at is not None:
        pairs.append(("took", Text(clock(batch.ended_at - batch.created_at))))
        pairs.append(("results", Text(_results(batch))))
    else:
        pairs.append(("expires in", Text(expires_text(batch.expires_at, now))))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, value)
    return Group(Text(printable(batch.id), style="bold"), table)


def run_batches_table(chunks: Sequence[ChunkView], now: float) -> RenderableType:
    """Return the batches of a run as its journal has them, and what to do about them."""
    table = plain_table("batch", "state", ">requests", ">age", ">expires in")
    for chunk in chunks:
        over = is_over(chunk)
        expires_at = None if over else chunk.expires_at
        table.add_row(
            Text(printable(chunk.batch_id or f"chunk {chunk.chunk}, no ID yet")),
            Text(chunk.state.value, style="dim" if over else "cyan"),
            count(chunk.requests),
            "" if over else clock(age_s(chunk, now)),
            "" if expires_at is None else expires_text(expires_at, now),
        )
    return Group(stacked(table), *_remarks(chunks))


def _remarks(chunks: Sequence[ChunkView]) -> Iterator[Text]:
    if any(chunk.state is ChunkState.WAITING for chunk in chunks):
        yield Text(
            f"done {EXPECTED}; the API reports no counts before a batch has ended. "
            "claude-batch resume collects results, claude-batch batches show ID shows the state",
            style="dim",
        )
    if any(chunk.state is ChunkState.UNSETTLED for chunk in chunks):
        yield Text(
            "unsettled: no answer to a submission; claude-batch resume finds out whether there "
            "is a batch",
            style="dim",
        )


def _size(batch: BatchView) -> str:
    """Return how many requests a batch has, where that is reported."""
    return count(batch.counts.total) if batch.counts_reported else "?"


def _outcome(batch: BatchView) -> str:
    """Return how the requests of an ended batch ended."""
    counts = batch.counts
    numbers = {
        "succeeded": counts.succeeded,
        "errored": counts.errored,
        "canceled": counts.canceled,
        "expired": counts.expired,
    }
    return ", ".join(f"{count(number)} {name}" for name, number in numbers.items() if number)


def _no_outcome(batch: BatchView) -> Text:
    state = "canceling" if batch.status is BatchStatus.CANCELING else EXPECTED
    return Text(f"{state}; the API reports no counts before the end", style="dim")


def _results(batch: BatchView) -> str:
    if batch.archived_at is not None or not batch.has_results:
        return "gone: the API keeps them for 29 days"
    return "ready to be collected"
