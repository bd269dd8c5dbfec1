"""What is said of a run folder, in few words. Loads no Rich."""

from __future__ import annotations

from collections.abc import Mapping

from claude_batch.core.model.shards import FolderView
from claude_batch.ui.figures import bound_text, count, percent, time_left
from claude_batch.ui.messages import printable

SILENT_AFTER_S = 15.0
"""A holder that has been silent for so long, in seconds, has missed its turn to show that it
lives."""

_MOST_KINDS = 3
"""Kinds of errors that are named; the rest is counted."""


def state_counts(folder: FolderView) -> list[tuple[str, str]]:
    """Return how many shards are how far, with the words for it; none that is 0."""
    finished = f"{count(folder.finished)} of {count(folder.shards)}"
    others = (
        (folder.running, "at work"),
        (folder.failed, "failed"),
        (folder.interrupted, "interrupted"),
        (folder.waiting, "waiting"),
    )
    counts = [(finished, "shards finished" if folder.shards > 1 else "shard finished")]
    return counts + [(count(number), name) for number, name in others if number]


def states_text(folder: FolderView) -> str:
    """Return how far the shards are: 3 of 12 shards finished, 2 at work, 7 waiting."""
    return ", ".join(f"{number} {name}" for number, name in state_counts(folder))


def errors_text(errors: Mapping[str, int]) -> str:
    """Return failures by kind, the most first: 12 invalid_request_error, 3 api_error."""
    found = sorted(errors.items(), key=lambda pair: (-pair[1], pair[0]))
    parts = [
        f"{count(number)} {printable(kind) or 'other'}" for kind, number in found[:_MOST_KINDS]
    ]
    if rest := sum(number for _, number in found[_MOST_KINDS:]):
        parts.append(f"{count(rest)} others")
    return ", ".join(parts)


def whole_text(folder: FolderView, at: float | None, *, sandbox: bool) -> str:
    """Return how far all of a folder is, in one line with the shard that is being worked on."""
    share = percent(folder.done, folder.total)
    parts = [
        f"all shards: {count(folder.done)}/{count(folder.total)} done ({share})",
        f"{count(folder.finished)}/{count(folder.shards)} finished",
    ]
    if folder.failed:
        parts.append(f"{count(folder.failed)} failed")
    if folder.running > 1:
        parts.append(f"{count(folder.running)} at work")
    if folder.eta_s is not None:
        parts.append(time_left(folder.eta_s, at))
    if folder.cost_usd is not None and (folder.max_cost_usd is not None or not sandbox):
        parts.append("would cost " * sandbox + bound_text(folder.cost_usd, folder.max_cost_usd))
    return "  ".join(parts)
