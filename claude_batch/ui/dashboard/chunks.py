"""The batches of a run: what has been submitted, and how long it has been there.

There is no percentage and no expected end: until a batch has ended, the API reports no counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from claude_batch.core.model.batches import ChunkState, ChunkView
from claude_batch.ui.batch_words import (
    age_s,
    expected_text,
    expires_text,
    is_over,
    number_of,
    tally,
)
from claude_batch.ui.dashboard.lines import Room, foreign
from claude_batch.ui.figures import clock, count

_LONGEST_ID = 34
_ROOMY = 90
"""From this width on there is room for when a batch expires."""

_STYLES = {
    ChunkState.PACKED: "dim",
    ChunkState.SUBMITTING: "cyan",
    ChunkState.UNSETTLED: "yellow",
    ChunkState.WAITING: "cyan",
    ChunkState.CANCELING: "yellow",
    ChunkState.ENDED: "green",
    ChunkState.COLLECTED: "dim",
    ChunkState.MISSING: "bold red",
}
_STATE = max(len(state) for state in ChunkState)
_REQUESTS = len("100,000")
_CLOCK = len("23:59:59")


def chunk_lines(
    chunks: Sequence[ChunkView], room: Room, *, most: int, at: float | None
) -> list[Text]:
    """Return the batches in at most `most` lines; those that are over come last."""
    if most < 1:
        return []
    ordered = sorted(chunks, key=lambda chunk: (is_over(chunk), chunk.chunk))
    shown = ordered if len(ordered) < most else ordered[: max(0, most - 2)]
    hidden = ordered[len(shown) :]
    lines = [_title(chunks, room, at), *(_line(chunk, room, at) for chunk in shown)]
    if hidden:
        lines.append(Text(f"and {tally(hidden)} more", style="dim"))
    return lines[:most]


def _title(chunks: Sequence[ChunkView], room: Room, at: float | None) -> Text:
    title = Text(number_of(len(chunks)), style="bold")
    if all(map(is_over, chunks)):
        return title
    why = "; the API reports no counts before the end" if room.width >= _ROOMY else ""
    return title.append(f"   {expected_text(chunks, at)}{why}", style="dim")


def _line(chunk: ChunkView, room: Room, at: float | None) -> Text:
    width = min(_LONGEST_ID, max(8, room.width - _STATE - _REQUESTS - _CLOCK - 18))
    text = Text("  ").append_text(foreign(_name(chunk, width), width))
    text.append(f"  {count(chunk.requests).rjust(_REQUESTS)}", style="bold")
    text.append(" requests  ", style="dim").append(chunk.state.ljust(_STATE), _STYLES[chunk.state])
    text.append(clock(age_s(chunk, at)).rjust(_CLOCK + 1))
    if room.width >= _ROOMY and at is not None and chunk.expires_at and not is_over(chunk):
        left = expires_text(chunk.expires_at, at)
        text.append("  expired" if left == "over" else f"  expires in {left}", style="dim")
    return text


def _name(chunk: ChunkView, width: int) -> str:
    """Return the ID of a batch; where there is too little room, its end: that identifies it."""
    name = chunk.batch_id or f"chunk {chunk.chunk}"
    return name if len(name) <= width else "…" + name[1 - width :]
