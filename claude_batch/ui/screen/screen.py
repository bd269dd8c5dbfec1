"""What a screen is given and what it is made of: the interfaces and the values they exchange.

Everything goes to stderr. The forms are live (a dashboard), plain (lines for pipes and CI), json
(objects for scripts) and none. Loads no Rich.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from claude_batch.core.model.snapshot import Phase, Snapshot
from claude_batch.ui.messages import error_text, notice_text

SOFT_EXITS = frozenset({0, 3, 6, 129, 130, 141, 143})
"""Ends that are no error: all done, done with some failures, or stopped because someone asked."""

_SILENT = frozenset({0, 141})
_FINISHED = frozenset({0, 3})
_SIGNALED = frozenset({129, 130, 141, 143})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """How a command ended: the message, the command that resumes (None: nothing is left), the code.

    `look_command` shows what did not succeed, where that is worth a look; `table` is where the
    table of the run is; `first` is what has to be done before it is resumed ("": nothing).
    """

    message: str
    resume_command: str | None
    exit_code: int
    look_command: str | None = None
    table: str | None = None
    first: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checking:
    """How far a pass over a file is. `total_bytes` is None where the size is not known."""

    doing: str
    path: str
    done_bytes: int
    total_bytes: int | None
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Something that stays on the screen. `problem`: one line, as it is."""

    message: str
    hint: str = ""
    problem: bool = False


class Screen(Protocol):
    """What commands show a run on. No method waits for the terminal but `close`."""

    def checking(
        self, path: str, done_bytes: int, total_bytes: int | None, doing: str = "checking"
    ) -> None:
        """Report how far a pass over `path` is; shown only once it has taken a second."""

    def checked(self) -> None:
        """Report that the pass is over."""

    def notice(self, message: str, hint: str = "") -> None:
        """Show a notice that stays; nothing when quiet."""

    def problem(self, text: str) -> None:
        """Show what is wrong with the input, one line as it is, even when quiet."""

    def publish(self, snapshot: Snapshot) -> None:
        """Show `snapshot` soon, unless a later one comes first."""

    def close(self, snapshot: Snapshot | None, summary: RunSummary | None) -> None:
        """Show the last figures and the summary, and give the terminal back."""


class Renderer(Protocol):
    """One form of the screen. Its methods are called by the drawing thread alone."""

    def check(self, checking: Checking | None) -> None:
        """Show how far a pass over the prompts is; None: it is over."""

    def say(self, message: Message) -> None:
        """Show something that stays."""

    def show(self, snapshot: Snapshot) -> None:
        """Show the figures of the run."""

    def end(self, snapshot: Snapshot | None, summary: RunSummary | None) -> None:
        """Show the last figures and how the run ended."""


def is_silent(summary: RunSummary) -> bool:
    """Return whether an end goes without saying when quiet."""
    return summary.exit_code in _SILENT


def at_its_end(snapshot: Snapshot | None, summary: RunSummary | None) -> Snapshot | None:
    """Return the last figures with the phase in which the run ended."""
    if snapshot is None:
        return None
    phase = snapshot.phase
    if summary is not None:
        phase = end_phase(summary.exit_code)
    elif phase in {Phase.STARTING, Phase.RUNNING, Phase.STOPPING}:
        phase = Phase.STOPPED
    return replace(snapshot, phase=phase, wait=None, grace_s=None)


def end_phase(exit_code: int) -> Phase:
    """Return the phase that a run ends in with `exit_code`."""
    if exit_code in _FINISHED:
        return Phase.FINISHED
    return Phase.INTERRUPTED if exit_code in _SIGNALED else Phase.STOPPED


def message_text(message: Message) -> str:
    """Return a message as text for a person."""
    if message.problem:
        return message.message + "\n"
    return notice_text(message.message, message.hint)


def summary_text(summary: RunSummary) -> str:
    """Return why a run ended and, where there is more to do, the command that resumes it."""
    text = notice_text if summary.exit_code in SOFT_EXITS else error_text
    table = f"table: {summary.table}" if summary.table else None
    further = (table, summary.look_command, summary.first, summary.resume_command)
    return text(summary.message, "\n".join(filter(None, further)))
