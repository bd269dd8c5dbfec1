"""The dashboard: a picture of a snapshot, for any width and height."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from claude_batch.core.model.snapshot import FailureView, Snapshot
from claude_batch.ui.dashboard.chunks import chunk_lines
from claude_batch.ui.dashboard.endpoints import endpoint_lines
from claude_batch.ui.dashboard.folder import shard_lines
from claude_batch.ui.dashboard.head import head_lines
from claude_batch.ui.dashboard.lanes import lane_lines
from claude_batch.ui.dashboard.lines import Lines, Room, foreign, spread
from claude_batch.ui.figures import clock
from claude_batch.ui.messages import printable

_FEWEST_FAILURES = 2
"""This many recent errors are shown before lanes get more than a line each."""

_ROOMY = 80
"""From this width on there is room for words around the figures."""

_MOST_OTHERS = 5
"""Lines for shards that other processes work on, where this one shows its own limits, too."""

_SHORTEST_ID, _LONGEST_ID = 10, 30


def dashboard(snapshot: Snapshot) -> RenderableType:
    """Return the picture of a run: it never wraps, and is never higher than the space it gets."""
    return Lines(lambda room: _picture(snapshot, room))


def _picture(snapshot: Snapshot, room: Room) -> list[Text]:
    """Head first; then batches or lanes, with room kept for a few errors, which take the rest."""
    lines = head_lines(snapshot, room)
    left = room.height - len(lines)
    failures = snapshot.failures
    kept = 2 + min(len(failures), _FEWEST_FAILURES) if failures else 0
    if snapshot.folder is not None and left > 1:
        shards = shard_lines(snapshot.folder, room, most=left - 1 - kept)
        if snapshot.lanes:  # of a shard of this process: its limits come before what others do
            shards = shards[:_MOST_OTHERS]
        lines += [Text(), *shards] if shards else []
        left = room.height - len(lines)
    if snapshot.chunks and left > 1:
        most = left - 1 - kept
        lines += [Text(), *chunk_lines(snapshot.chunks, room, most=most, at=snapshot.at)]
        left = room.height - len(lines)
    if snapshot.lanes and left > 1:
        most = max(left - 1 - kept, min(len(snapshot.lanes), left - 1))
        lines += [Text(), *lane_lines(snapshot, room, most=most)]
        left = room.height - len(lines)
    hosts = endpoint_lines(snapshot.endpoints, room, most=left - 1 - kept)
    if hosts:
        lines += [Text(), *hosts]
        left = room.height - len(lines)
    most_failures = left - 2
    if failures and most_failures > 0:
        latest = list(reversed(failures))[:most_failures]
        lines += [Text(), Text("recent errors", style="bold")]
        lines += failure_lines(latest, room, snapshot.at)
    return lines[: room.height]


def failure_lines(failures: Sequence[FailureView], room: Room, at: float | None) -> list[Text]:
    """Return a line for each failed attempt, in columns, as of wall time `at`."""
    id_width = min(_LONGEST_ID, max(_SHORTEST_ID, room.width // 4 - 6))
    line_width = max((len(f"line {failure.line}") for failure in failures), default=0)
    return [_failure_line(failure, room, at, id_width, line_width) for failure in failures]


def _failure_line(
    failure: FailureView, room: Room, at: float | None, id_width: int, line_width: int
) -> Text:
    text = Text("  ").append_text(foreign(failure.custom_id, id_width))
    text.append(f"  {f'line {failure.line}'.ljust(line_width)}  ", style="dim")
    text.append(printable(failure.what), style="red")
    return spread(text, _what_follows(failure, at, roomy=room.width >= _ROOMY), room.width)


def _what_follows(failure: FailureView, at: float | None, *, roomy: bool) -> Text:
    words = "again in " if roomy else "in "
    width = len(words) + len("00:00")
    if failure.retry_in_s is None:
        return Text("final".rjust(width), style="red")
    left_s = failure.retry_in_s - (0.0 if at is None else at - failure.at)
    label = f"{words}{clock(left_s).rjust(5)}" if left_s > 0 else "retried"
    return Text(label.rjust(width), style="yellow")
