"""The upper part of the dashboard: what runs where, how far it is, how fast, at what cost."""

from __future__ import annotations

import textwrap
from pathlib import PurePath

from rich.text import Text

from claude_batch.core.model.snapshot import Phase, Snapshot
from claude_batch.core.model.units import dollars
from claude_batch.ui.dashboard.folder import whole_lines
from claude_batch.ui.dashboard.lines import GAP, Field, Room, bar, cut, flow, spread
from claude_batch.ui.figures import clock, cost_text, count, flaws, percent, short, time_left
from claude_batch.ui.folder_words import errors_text
from claude_batch.ui.messages import printable
from claude_batch.ui.waiting import TROUBLES, activity_text, adjusted_texts

ANTHROPIC = "api.anthropic.com"

_WITH_SUCCEEDED = 80
"""From this width on there is room for what follows from the other counts."""

_TIME_LEFT = len("about 59 min left (23:59)")


def head_lines(snapshot: Snapshot, room: Room) -> list[Text]:
    """Return everything but lanes and errors; what the run waits for is always in the same line."""
    lines = banner_lines(snapshot, room)
    if snapshot.folder is not None and snapshot.folder.shard is not None:
        lines += whole_lines(snapshot, snapshot.folder, room)
    lines += [*_files_lines(snapshot, room), progress_line(snapshot, room)]
    lines += _activity_lines(snapshot, room)
    lines += flow(_counts(snapshot, room), room.width)
    lines += flow(_speeds(snapshot), room.width)
    lines += flow(
        [Field("", text, style="magenta") for text in adjusted_texts(snapshot)], room.width
    )
    return lines


def banner_lines(snapshot: Snapshot, room: Room) -> list[Text]:
    """Return warnings: answers are simulated, or the host is not Anthropic's."""
    if snapshot.sandbox:
        text = Text.assemble(
            (" SANDBOX ", "bold black on yellow" if not room.ascii_only else "bold reverse"),
            ("  answers are simulated; nothing costs", "yellow"),
        )
        return [text]
    if snapshot.host and snapshot.host != ANTHROPIC:
        return [Text.assemble(("host ", "dim"), (printable(snapshot.host), "bold yellow"))]
    return []


def _files_lines(snapshot: Snapshot, room: Room) -> list[Text]:
    """Return the files and the phase: in one line, in two where the names need them."""
    folder, phase = snapshot.folder, _phase(snapshot)
    if folder is not None and folder.shard is not None:
        text = Text(f"shard {count(folder.shard)}", style="bold")
        return [spread(text.append(f"  {printable(folder.shard_name)}"), phase, room.width)]
    arrow = "-> " if room.ascii_only else "→ "
    prompts = Text(printable(PurePath(snapshot.prompts).name), style="bold")
    name = PurePath(snapshot.results).name + ("" if folder is None else "/")
    results = Text.assemble((arrow, "dim"), printable(name))
    if prompts.cell_len + results.cell_len + phase.cell_len + 1 + len(GAP) <= room.width:
        return [spread(prompts.append(" ").append_text(results), phase, room.width)]
    return [spread(prompts, phase, room.width), results]


def _phase(snapshot: Snapshot) -> Text:
    phase = snapshot.phase
    match phase:
        case Phase.STARTING | Phase.RUNNING:
            return Text(phase.value, style="dim")
        case Phase.STOPPING | Phase.INTERRUPTED | Phase.STOPPED:
            return Text(phase.value, style="bold yellow")
        case Phase.FINISHED:
            return Text(phase.value, style="green")


def _activity_lines(snapshot: Snapshot, room: Room) -> list[Text]:
    """Return the sentence whole: in more than one line where it is too long for one."""
    trouble = snapshot.wait is not None and snapshot.wait.kind in TROUBLES
    alarming = trouble or snapshot.phase is Phase.STOPPING
    style = "bold yellow" if alarming else "cyan"
    lines = textwrap.wrap(activity_text(snapshot), max(1, room.width)) or [""]
    return [Text(line, style=style) for line in lines]


def progress_line(snapshot: Snapshot, room: Room) -> Text:
    """Return the bar with done of total; without a bar where the total is not known."""
    if snapshot.total is None:
        return Text.assemble((count(snapshot.done), "bold"), " done, the total is not known")
    total = count(snapshot.total)
    share = snapshot.done / snapshot.total if snapshot.total else 1.0
    figures = Text.assemble(
        (count(snapshot.done).rjust(len(total)), "bold"),
        f" of {total} ",
        percent(snapshot.done, snapshot.total).rjust(len("100 %")),
    )
    width = room.width - figures.cell_len - 1
    if width < 1:
        return cut(figures, room.width)
    colour = "green" if share >= 1 else "cyan"
    return bar(share, width, colour, room).append(" ").append_text(figures)


def _counts(snapshot: Snapshot, room: Room) -> list[Field]:
    width = max(len(count(snapshot.total or snapshot.done)), 4)
    failed = "bold red" if snapshot.failed else "bold"
    again = "bold yellow" if snapshot.retrying else "bold"
    fields = [Field("failed", count(snapshot.failed), width, failed, after=True)]
    folder = snapshot.folder
    if folder is None or folder.shard is not None:
        fields.append(Field("retrying", count(snapshot.retrying), width, again, after=True))
    elif errors := errors_text(folder.errors):
        fields.append(Field("errors", errors, 0, "red"))
    if not snapshot.lanes:
        where = "at the API" if snapshot.chunks else "in flight"
        fields.append(Field(where, count(snapshot.in_flight), width, after=True))
    if snapshot.cached:
        fields.append(Field("reused", count(snapshot.cached), width, after=True))
    fields += [
        Field(name, count(number), 0, "bold yellow", after=True) for name, number in flaws(snapshot)
    ]
    if room.width >= _WITH_SUCCEEDED:
        done = count(snapshot.succeeded)
        fields.insert(0, Field("succeeded", done, width, after=True))
    return fields


def _speeds(snapshot: Snapshot) -> list[Field]:
    limited = "bold yellow" if snapshot.rate_limited else "bold"
    fields = [Field("elapsed", clock(snapshot.elapsed_s), 7)] if snapshot.elapsed_s else []
    if snapshot.phase is Phase.RUNNING and not snapshot.chunks:
        left = "time left not known"
        if snapshot.eta_s is not None:
            left = time_left(snapshot.eta_s, snapshot.at)
        fields.append(Field("", left.ljust(_TIME_LEFT)))
    has_rate = snapshot.folder is None or snapshot.requests_per_minute is not None
    if has_rate and not snapshot.chunks:  # the answers of a batch come all at once
        rate = short(snapshot.requests_per_minute)
        fields.append(Field("requests/min", rate, 6, after=True))
    fields += [
        Field("429s", short(snapshot.rate_limited), 5, limited),
        Field("tokens in", _with_rate(snapshot.input_tokens, snapshot.input_tokens_per_minute)),
        Field("tokens out", _with_rate(snapshot.output_tokens, snapshot.output_tokens_per_minute)),
    ]
    if snapshot.cost_usd is not None:
        name = "would cost" if snapshot.sandbox else "cost"
        fields.append(Field(name, cost_text(snapshot), 10))
    if snapshot.projected_cost_usd is not None:
        fields.append(Field("estimated total", dollars(snapshot.projected_cost_usd), 10))
    return fields


def _with_rate(number: float, per_minute: float | None) -> str:
    if per_minute is None:
        return short(number).rjust(6)
    return f"{short(number).rjust(6)}, {short(per_minute).rjust(6)}/min"
