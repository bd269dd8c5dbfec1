"""The table of `status`: how far runs are and what to do next; what came from which endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from claude_batch.ui.figures import ago, bound_text, count, percent
from claude_batch.ui.messages import printable
from claude_batch.ui.tables.tables import cell, plain_table, stacked

_STATE_STYLES = {
    "running": "cyan",
    "waiting": "cyan",
    "finished": "green",
    "interrupted": "yellow",
    "stopped": "red",
    "failed": "red",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRow:
    """One run of `status`. `last_activity_at` is seconds since 1970, None when nothing is known.

    `sentence` says how a running one gets on, or why it stopped; `next_command` resumes it.
    """

    results: str
    state: str
    done: int
    failed: int
    total: int
    last_activity_at: float | None
    mode: str = "live"
    sandbox: bool = False
    cost_usd: float | None = None
    max_cost_usd: float | None = None
    sentence: str = ""
    next_command: str = ""


def status_table(rows: Sequence[StatusRow], now: float) -> RenderableType:
    """Return how far runs are at `now`, one row each; then how they get on, or why they stopped."""
    costs = any(row.cost_usd is not None for row in rows)
    columns = ["results", "state", "mode", ">done", ">failed"]
    table = plain_table(*columns, *([">cost"] if costs else []), ">last active")
    for row in rows:
        cells: list[str | Text] = [
            cell(row.results),
            Text(row.state, style=_STATE_STYLES.get(row.state, "")),
            f"{row.mode}, sandbox" if row.sandbox else row.mode,
            f"{count(row.done)} of {count(row.total)} ({percent(row.done, row.total)})",
            Text(count(row.failed), style="red" if row.failed else ""),
        ]
        if costs:
            cells.append("" if row.cost_usd is None else bound_text(row.cost_usd, row.max_cost_usd))
        active_at = row.last_activity_at
        table.add_row(*cells, "" if active_at is None else ago(now - active_at))
    lines = [line for row in rows for line in _advice(row, named=len(rows) > 1)]
    return Group(stacked(table), *([Text(), *lines] if lines else []))


def _advice(row: StatusRow, *, named: bool) -> Iterator[Text]:
    """Yield how a run gets on, or why it stopped, and the command that resumes it, uncut."""
    name = f"{printable(row.results)}: " if named and row.sentence else ""
    if row.sentence:
        yield Text.assemble((name, "bold"), printable(row.sentence))
    if row.next_command:
        line = Text.assemble(("  next: ", "dim"), printable(row.next_command))
        line.no_wrap, line.overflow = True, "ignore"
        yield line


def results_by_endpoint(counts: Mapping[str, int]) -> RenderableType:
    """Return how many results came from where, the most first."""
    table = plain_table("endpoint", ">results")
    for name, number in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        table.add_row(Text(printable(name) or "not known"), count(number))
    return table
