"""The summary as text, for the forms of the screen that end with it."""

from __future__ import annotations

from claude_batch.core.snapshot import Snapshot
from claude_batch.ui.endings import ending_text
from claude_batch.ui.paper import Paper
from claude_batch.ui.screen import Ending
from claude_batch.ui.sheet import Sheet
from claude_batch.ui.summary import summary


def closing_text(
    snapshot: Snapshot | None, ending: Ending | None, paper: Paper, *, quiet: bool
) -> str:
    """Return the summary; when quiet only a bad end; nothing without an ending."""
    if ending is None or (quiet and ending.exit_code == 0):
        return ""
    if quiet or snapshot is None:
        return ending_text(ending)
    return Sheet(paper).text(summary(snapshot, ending))
