"""Lines for pipes and CI: figures every ten seconds and when the phase changes.

In batch mode once a minute.

12:03:05  1,200/10,000 done (12 %)  3 failed  40 in flight  980/min  about 9 min left (12:12)
          waiting for input tokens (limit 40k/min)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from claude_batch.core.model.snapshot import EndpointView, Phase, Snapshot
from claude_batch.ui.batch_words import expected_text
from claude_batch.ui.figures import cost_text, count, flaws, percent, short, size, time_left
from claude_batch.ui.folder_words import whole_text
from claude_batch.ui.messages import printable
from claude_batch.ui.output_stream import OutputStream
from claude_batch.ui.screen.screen import (
    Checking,
    Message,
    RunSummary,
    is_silent,
    message_text,
    summary_text,
)
from claude_batch.ui.waiting import activity_text, adjusted_texts

EVERY_S = 10.0
BATCH_EVERY_S = 60.0
FIRST_AFTER_S = 2.0
"""The first lines come after 2, 6 and 14 seconds, so that one sees early that it works."""


@dataclass(slots=True, kw_only=True)
class PlainRenderer:
    """Writes lines; `wall` is the clock that they begin with, `monotonic` says when one is due."""

    stream: OutputStream
    quiet: bool = False
    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    _due_at: float | None = None
    _pause_s: float = FIRST_AFTER_S
    _state: tuple[object, ...] | None = None
    _failed: int = 0
    _last_line: str = ""
    _check_due_at: float = 0.0

    def check(self, checking: Checking | None) -> None:
        """Write how far a pass over the prompts is, every ten seconds."""
        now = self.monotonic()
        if checking is None or now < self._check_due_at:
            return
        self._check_due_at = now + EVERY_S
        self._line(f"{checking.doing} {printable(checking.path)}: {checked_so_far(checking)}")

    def say(self, message: Message) -> None:
        """Write a message."""
        self.stream.write(message_text(message))

    def show(self, snapshot: Snapshot) -> None:
        """Write a line when one is due, and when the phase or what the user has set changes."""
        now = self.monotonic()
        state = (_shown_phase(snapshot), snapshot.adjusted, snapshot.paused_at)
        if self._due_at is None:
            self._due_at = now + self._pause_s
            self._failed = _failed(snapshot)
        if now >= self._due_at:
            most_s = BATCH_EVERY_S if snapshot.chunks else EVERY_S
            self._pause_s = min(most_s, 2 * self._pause_s)
            self._due_at = now + self._pause_s
        elif self._state in {None, state}:
            self._state = state
            return
        self._state = state
        self._last_line = figures_text(snapshot)
        self._line(self._last_line + self._latest_failure(snapshot))

    def end(self, snapshot: Snapshot | None, summary: RunSummary | None) -> None:
        """Write the last line, and the summary unless quiet."""
        from claude_batch.ui.screen.summary import closing_text  # noqa: PLC0415  # it loads Rich

        if snapshot is not None and figures_text(snapshot) != self._last_line:
            self._line(figures_text(snapshot))
        self.stream.write(closing_text(snapshot, summary, self.stream, quiet=self.quiet))

    def _line(self, text: str) -> None:
        at = time.strftime("%H:%M:%S", time.localtime(self.wall()))
        self.stream.write(f"{at}  {text}\n")

    def _latest_failure(self, snapshot: Snapshot) -> str:
        """Return one example of what failed for good since the last line."""
        final = [failure for failure in snapshot.failures if failure.retry_in_s is None]
        if _failed(snapshot) <= self._failed or not final:
            return ""
        self._failed = _failed(snapshot)
        latest = final[-1]
        name = printable(latest.custom_id)
        return f"  last failure: {name} (line {latest.line}) {printable(latest.what)}"


def _shown_phase(snapshot: Snapshot) -> Phase:
    """Return the phase; of one shard after another, no more than whether it stops early."""
    is_one_of_many = snapshot.folder is not None and snapshot.folder.shard is not None
    calm = {Phase.STARTING, Phase.RUNNING, Phase.FINISHED}
    return Phase.RUNNING if is_one_of_many and snapshot.phase in calm else snapshot.phase


def _failed(snapshot: Snapshot) -> int:
    """Return how many results are no answers, in all of a run folder where it is one."""
    folder = snapshot.folder
    return snapshot.failed if folder is None else folder.done - folder.succeeded


@dataclass(frozen=True, slots=True, kw_only=True)
class SilentRenderer:
    """`--progress none` and `--quiet`: messages and how it ended; when quiet, only a bad end."""

    stream: OutputStream
    quiet: bool

    def check(self, checking: Checking | None) -> None:
        """Show nothing."""

    def say(self, message: Message) -> None:
        """Write a message."""
        self.stream.write(message_text(message))

    def show(self, snapshot: Snapshot) -> None:
        """Show nothing."""

    def end(self, snapshot: Snapshot | None, summary: RunSummary | None) -> None:
        """Write why the run ended and how to resume it."""
        del snapshot
        if summary is not None and not (self.quiet and is_silent(summary)):
            self.stream.write(summary_text(summary))


def checked_so_far(checking: Checking) -> str:
    """Return how much of a file has been read: 12.3 MB of 40.0 MB, 30 %."""
    done = size(checking.done_bytes)
    if not checking.total_bytes:
        return done
    share = percent(min(checking.done_bytes, checking.total_bytes), checking.total_bytes)
    return f"{done} of {size(checking.total_bytes)}, {share}"


def figures_text(snapshot: Snapshot) -> str:
    """Return the figures of a run in one line, and what it waits for."""
    of = "" if snapshot.total is None else f"/{count(snapshot.total)}"
    share = f" ({percent(snapshot.done, snapshot.total)})" if snapshot.total else ""
    parts = [f"{count(snapshot.done)}{of} done{share}", f"{count(snapshot.failed)} failed"]
    parts += [f"{count(number)} {name}" for name, number in flaws(snapshot)]
    if snapshot.retrying:
        parts.append(f"{count(snapshot.retrying)} retrying")
    if snapshot.cached:
        parts.append(f"{count(snapshot.cached)} reused")
    if not (snapshot.chunks or _is_over(snapshot)):
        parts.append(f"{count(snapshot.in_flight)} in flight")
        parts.append(f"{short(snapshot.requests_per_minute)}/min")
    if snapshot.phase is Phase.RUNNING:
        if snapshot.chunks:
            parts.append(expected_text(snapshot.chunks, snapshot.at))
        elif snapshot.eta_s is not None:
            parts.append(time_left(snapshot.eta_s, snapshot.at))
    else:
        parts.append(snapshot.phase.value)
    folder = snapshot.folder
    is_bounded = folder is not None and folder.shard is None and folder.max_cost_usd is not None
    if snapshot.cost_usd is not None and (is_bounded or not snapshot.sandbox):
        parts.append("would cost " * snapshot.sandbox + cost_text(snapshot))
    if activity := activity_text(snapshot):
        parts.append(activity)
    parts += adjusted_texts(snapshot)
    if len(snapshot.endpoints) > 1:
        parts += [_trouble(each) for each in snapshot.endpoints if each.why]
    return _in_its_folder("  ".join(parts), snapshot)


def _is_over(snapshot: Snapshot) -> bool:
    """Return whether these are the last figures of a run folder: it has no rate any more."""
    return snapshot.folder is not None and snapshot.requests_per_minute is None


def _in_its_folder(text: str, snapshot: Snapshot) -> str:
    """Return figures with what they are about, and all of the run folder after one shard."""
    label = "SANDBOX  " if snapshot.sandbox else ""
    folder = snapshot.folder
    if folder is None or folder.shard is None:
        return label + text
    whole = whole_text(folder, snapshot.at, sandbox=snapshot.sandbox)
    return f"{label}shard {count(folder.shard)}: {text}  | {whole}"


def _trouble(endpoint: EndpointView) -> str:
    return f"{printable(endpoint.name)} {endpoint.state} ({printable(endpoint.why or '')})"
