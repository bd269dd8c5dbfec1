"""`status --watch`: the dashboard of a run that another terminal works on."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from claude_batch.commands.find_run import no_run_at
from claude_batch.commands.run.messages import shown
from claude_batch.commands.runs.status import show_status
from claude_batch.core.model.requests import ResultType
from claude_batch.core.model.snapshot import Phase, Snapshot
from claude_batch.errors import UsageError
from claude_batch.storage.run.control import FRESH_S, LiveState, NotOursError, read_live
from claude_batch.storage.run.journal import read_journal
from claude_batch.storage.run.status import RunState, is_being_written, run_status
from claude_batch.ui.figures import moment
from claude_batch.ui.messages import notice_text
from claude_batch.ui.screen.opening import open_screen
from claude_batch.ui.screen.screen import Screen

LOOK_EVERY_S = 0.5

ELSEWHERE_S = 30.0
"""A run on another host that has said nothing for so long has ended, as far as can be seen here."""

_PHASES = {
    RunState.RUNNING: Phase.STOPPED,
    RunState.FINISHED: Phase.FINISHED,
    RunState.INTERRUPTED: Phase.INTERRUPTED,
    RunState.STOPPED: Phase.STOPPED,
}


def watch(results: Path) -> None:
    """Show a run until it ends, then where it stands. Raises UsageError."""
    results = results.absolute()
    if read_journal(results) is None:
        raise no_run_at(results)
    if not _goes(results, _live(results)):
        sys.stdout.write(notice_text(f"{shown(results)}: no process works on this run now"))
        show_status(results, as_json=False)
        return
    screen = open_screen("auto", quiet=False, to_stdout=True)
    watching = _Watching(results=results, screen=screen)
    try:
        watching.follow()
        screen.close(watching.last_picture(), None)
    finally:
        screen.close(None, None)
    show_status(results, as_json=False)


@dataclass(slots=True, kw_only=True)
class _Watching:
    """What has been seen of a run: its `latest` snapshot, and since when it is `silent`."""

    results: Path
    screen: Screen
    latest: Snapshot | None = None
    seen_at: float = 0.0
    is_silent: bool = False

    def follow(self) -> None:
        """Show what the run says of itself until no process works on it."""
        while True:
            live = _live(self.results)
            if live is not None and live.at != self.seen_at:
                self.seen_at, self.is_silent = live.at, False
                self.latest = live.snapshot
                if self.latest is not None:
                    self.screen.publish(self.latest)
            if not _is_fresh(live):
                if not _goes(self.results, live):
                    return
                self._note_silence(live)
            time.sleep(LOOK_EVERY_S)

    def _note_silence(self, live: LiveState | None) -> None:
        if live is not None and not self.is_silent:
            self.is_silent = True
            at = moment(live.at, time.time())
            self.screen.notice(
                f"process {live.process} has said nothing since {at}: is it stopped (Ctrl-Z)?"
            )

    def last_picture(self) -> Snapshot | None:
        """Return the figures with which the run has ended, by its files."""
        status = run_status(self.results)
        if self.latest is None or status is None:
            return None
        tally = status.tally
        return replace(
            self.latest,
            phase=_PHASES[status.state],
            succeeded=tally.ended[ResultType.SUCCEEDED],
            errored=tally.ended[ResultType.ERRORED],
            canceled=tally.ended[ResultType.CANCELED],
            expired=tally.ended[ResultType.EXPIRED],
            cost_usd=tally.cost_usd,
            in_flight=0,
            retrying=0,
            lanes=(),
            paused_at=None,
        )


def _live(results: Path) -> LiveState | None:
    try:
        return read_live(results)
    except NotOursError as error:
        raise UsageError(
            f"{shown(results)}: the run belongs to another user",
            hint="watch it as the user who started it",
        ) from error


def _is_fresh(live: LiveState | None) -> bool:
    return live is not None and time.time() - live.at < FRESH_S


def _goes(results: Path, live: LiveState | None) -> bool:
    """Return whether a process works on a run, as far as can be seen from here."""
    if live is not None and not live.is_here and time.time() - live.at < ELSEWHERE_S:
        return True
    return is_being_written(results)
