"""A run folder on the dashboard: how far all of it is, and the shards that are being worked on."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from claude_batch.core.model.shards import FolderView, ShardView
from claude_batch.core.model.snapshot import Snapshot
from claude_batch.ui.dashboard.lines import Field, Room, bar, cut, flow, foreign, spread
from claude_batch.ui.figures import bound_text, clock, count, percent, short, time_left
from claude_batch.ui.folder_words import SILENT_AFTER_S, errors_text, state_counts
from claude_batch.ui.messages import printable

_WITH_NAMES = 80
_WITH_HOLDERS = 120
"""From these widths on there is room for what shards are about, and for who works on them."""

_HOLDER_WIDTH = 36
_NAME_WIDTH = 12
"""How many cells of a name have to fit for it to say anything."""


def whole_lines(snapshot: Snapshot, folder: FolderView, room: Room) -> list[Text]:
    """Return how far all of a folder is, above the shard that the snapshot is about."""
    path = Text(f"{printable(folder.path)} ", style="bold")
    figures = _done_text(folder.done, folder.total)
    width = room.width - path.cell_len - figures.cell_len - 1
    if width < _NAME_WIDTH:
        head = spread(path, figures, room.width)
    else:
        share = folder.done / folder.total if folder.total else 1.0
        head = path.append_text(bar(share, width, "cyan", room)).append(" ").append_text(figures)
    fields = [_state_field(number, name) for number, name in state_counts(folder)]
    if folder.eta_s is not None:
        fields.append(Field("", time_left(folder.eta_s, snapshot.at)))
    if folder.cost_usd is not None:
        name = "would cost" if snapshot.sandbox else "cost"
        fields.append(Field(name, bound_text(folder.cost_usd, folder.max_cost_usd)))
    if errors := errors_text(folder.errors):
        fields.append(Field("errors", errors, 0, "red"))
    return [head, *flow(fields, room.width), Text()]


def shard_lines(folder: FolderView, room: Room, *, most: int) -> list[Text]:
    """Return a line for each shard that others work on, `most` at most."""
    shards = folder.at_work
    if not shards or most < 1:
        return []
    shown = shards if len(shards) <= most else shards[: most - 1]
    lines = _rows(shown, room)
    if len(shown) < len(shards):
        lines.append(Text(f"  and {count(len(shards) - len(shown))} more shards", style="dim"))
    return lines


def _rows(shards: Sequence[ShardView], room: Room) -> list[Text]:
    widest = max((len(count(each.total)) for each in shards), default=0)
    number = max((len(str(each.shard)) for each in shards), default=0)
    return [cut(_row(each, room, number, widest), room.width) for each in shards]


def _row(shard: ShardView, room: Room, number: int, widest: int) -> Text:
    done = count(shard.done).rjust(widest)
    right = Text.assemble(
        (done, "bold"),
        f" of {count(shard.total).rjust(widest)} ",
        percent(shard.done, shard.total).rjust(len("100 %")),
    )
    if shard.failed:
        right = Text.assemble((f"{count(shard.failed)} failed  ", "red")).append_text(right)
    right.append("  ").append_text(_pace(shard))
    if room.width >= _WITH_HOLDERS:
        right.append("  ").append_text(foreign(shard.holder, _HOLDER_WIDTH, "dim"))
    left = Text(f"  shard {str(shard.shard).rjust(number)}  ")
    if room.width >= _WITH_NAMES:
        left.append(printable(shard.name), style="dim")
    return spread(left, right, room.width)


def _pace(shard: ShardView) -> Text:
    """Return how fast a shard gets on, or why nothing is heard of it."""
    width = len("silent 0:30")
    if shard.silent_s is not None and shard.silent_s >= SILENT_AFTER_S:
        return Text(f"silent {clock(shard.silent_s)}".rjust(width), style="yellow")
    if shard.is_paused:
        return Text("paused".rjust(width), style="yellow")
    rate = shard.requests_per_minute
    return Text(("" if rate is None else f"{short(rate)}/min").rjust(width))


def _done_text(done: int, total: int) -> Text:
    of = count(total)
    return Text.assemble(
        (count(done).rjust(len(of)), "bold"),
        f" of {of} ",
        percent(done, total).rjust(len("100 %")),
    )


def _state_field(number: str, name: str) -> Field:
    return Field(name, number, 0, "bold red" if name == "failed" else "bold", after=True)
