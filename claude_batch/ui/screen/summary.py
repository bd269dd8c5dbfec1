"""How a run ended: the last table on the screen."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from claude_batch.core.model.snapshot import Snapshot
from claude_batch.ui.dashboard.dashboard import failure_lines
from claude_batch.ui.dashboard.head import banner_lines, progress_line
from claude_batch.ui.dashboard.lines import Lines, TextConsole
from claude_batch.ui.figures import clock, cost_text, count, flaws
from claude_batch.ui.folder_words import errors_text
from claude_batch.ui.messages import printable
from claude_batch.ui.output_stream import OutputStream
from claude_batch.ui.screen.screen import SOFT_EXITS, RunSummary, is_silent, summary_text

_MOST_FAILURES = 3


def closing_text(
    snapshot: Snapshot | None, summary: RunSummary | None, stream: OutputStream, *, quiet: bool
) -> str:
    """Return the summary as text; when quiet only a bad end; nothing without a summary."""
    if summary is None or (quiet and is_silent(summary)):
        return ""
    if quiet or snapshot is None:
        return summary_text(summary)
    return TextConsole(stream).text(summary_picture(snapshot, summary))


def summary_picture(snapshot: Snapshot | None, summary: RunSummary | None) -> RenderableType:
    """Return the last figures of a run, why it ended, and the command that resumes it."""
    parts: list[RenderableType] = []
    if snapshot is not None:
        parts += [_head(snapshot), _figures(snapshot), *_failures(snapshot)]
    if summary is not None:
        parts.append(_end_lines(summary))
    return Group(*parts)


def _end_lines(summary: RunSummary) -> RenderableType:
    """Return why a run ended and how to resume; commands are not cut: they are to be copied."""
    soft = "bold yellow" if summary.exit_code in SOFT_EXITS else "bold red"
    style = "bold green" if summary.exit_code == 0 else soft
    message = Text(printable(summary.message), style=style)
    further = (
        ("table     ", summary.table),
        ("inspect   ", summary.look_command),
        ("continue  ", summary.resume_command),
    )
    first = (
        [Text.assemble(("first     ", "dim"), printable(summary.first))] if summary.first else []
    )
    commands = [_command(lead, text) for lead, text in further if text]
    return Group(message, *commands[:-1], *first, *commands[-1:])


def _command(lead: str, command: str) -> Text:
    line = Text.assemble((lead, "dim"), printable(command))
    line.no_wrap, line.overflow = True, "ignore"
    return line


def _head(snapshot: Snapshot) -> RenderableType:
    return Lines(lambda room: [*banner_lines(snapshot, room), progress_line(snapshot, room)])


def _figures(snapshot: Snapshot) -> RenderableType:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    for _ in range(2):
        table.add_column(style="dim", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
    left, right = _ends(snapshot), _speeds(snapshot)
    for number in range(max(len(left), len(right))):
        table.add_row(*_pair(left, number), *_pair(right, number))
    where = [Text.assemble(("results  ", "dim"), printable(snapshot.results))]
    if snapshot.folder is not None and (errors := errors_text(snapshot.folder.errors)):
        where.append(Text.assemble(("errors   ", "dim"), (errors, "red")))
    return Group("", table, "", *where)


def _failures(snapshot: Snapshot) -> list[RenderableType]:
    """Return a few of the latest requests that did not succeed."""
    final = [failure for failure in snapshot.failures if failure.retry_in_s is None]
    if not snapshot.failed or not final:
        return []
    latest = list(reversed(final))[:_MOST_FAILURES]
    return [
        Text("latest failures", style="dim"),
        Lines(lambda room: failure_lines(latest, room, snapshot.at)),
    ]


def _pair(pairs: list[tuple[str, Text]], number: int) -> tuple[str, Text]:
    return pairs[number] if number < len(pairs) else ("", Text())


def _ends(snapshot: Snapshot) -> list[tuple[str, Text]]:
    """Return the four outcomes of requests; a zero is dim."""
    counts = (
        ("succeeded", snapshot.succeeded, "green"),
        ("errored", snapshot.errored, "red"),
        ("canceled", snapshot.canceled, "yellow"),
        ("expired", snapshot.expired, "yellow"),
    )
    rows = [
        (name, Text(count(number), style=style if number else "dim"))
        for name, number, style in counts
    ]
    if snapshot.total is not None:
        rows.append(("left", Text(count(max(0, snapshot.total - snapshot.done)))))
    if snapshot.folder is not None and snapshot.folder.left_out:
        rows.append(("left out", Text(count(snapshot.folder.left_out), style="yellow")))
    if snapshot.cached:
        rows.append(("reused", Text(count(snapshot.cached))))
    rows += [(name, Text(count(number), style="yellow")) for name, number in flaws(snapshot)]
    if snapshot.degraded:
        rows.append(("by fallback", Text(count(snapshot.degraded), style="yellow")))
    if snapshot.resumed:
        rows.append(("done before", Text(count(snapshot.resumed))))
    return rows


def _speeds(snapshot: Snapshot) -> list[tuple[str, Text]]:
    now_done = max(0, snapshot.done - snapshot.resumed)
    per_minute = now_done * 60.0 / snapshot.elapsed_s if snapshot.elapsed_s > 0 else 0.0
    rows = [
        ("time", clock(snapshot.elapsed_s)),
        ("results/min", count(per_minute)),
        ("tokens in", count(snapshot.input_tokens)),
        ("tokens out", count(snapshot.output_tokens)),
    ]
    if snapshot.attempts or snapshot.folder is None:
        limited = f"{count(snapshot.rate_limited)} of {count(snapshot.attempts)} attempts"
        rows.append(("429s", limited))
    if snapshot.cost_usd is not None:
        rows.append(("would cost" if snapshot.sandbox else "cost", cost_text(snapshot)))
    return [(name, Text(value)) for name, value in rows]
