"""No display: only what has to be said, in words."""

from __future__ import annotations

from dataclasses import dataclass

from claude_batch.core.snapshot import Snapshot
from claude_batch.ui.drawing import Checking, Said, said_text
from claude_batch.ui.endings import ending_text
from claude_batch.ui.paper import Paper
from claude_batch.ui.screen import Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class SilentArtist:
    """`--progress none` and `--quiet`: notices and how it ended; when quiet, only a bad end."""

    paper: Paper
    quiet: bool

    def check(self, checking: Checking | None) -> None:
        """Show nothing."""

    def say(self, said: Said) -> None:
        """Write what was said."""
        self.paper.write(said_text(said))

    def show(self, snapshot: Snapshot) -> None:
        """Show nothing."""

    def end(self, snapshot: Snapshot | None, ending: Ending | None) -> None:
        """Write why the run ended and how to go on."""
        del snapshot
        if ending is not None and not (self.quiet and ending.exit_code == 0):
            self.paper.write(ending_text(ending))
