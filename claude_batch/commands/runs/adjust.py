"""`adjust`: change a run while it goes, from another terminal."""

from __future__ import annotations

import shlex
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from claude_batch.commands.find_run import journal_of
from claude_batch.commands.run.control import changes_text
from claude_batch.commands.run.messages import shown
from claude_batch.config.reading import read_changes
from claude_batch.config.spelling import as_typed
from claude_batch.errors import CheckpointWriteError, UsageError
from claude_batch.storage.run.control import (
    FRESH_S,
    Answer,
    LiveState,
    NotOursError,
    Request,
    ask,
    read_live,
    withdraw,
)
from claude_batch.storage.run.status import is_being_written, is_unfinished

WAIT_S = 2.0
"""How long the run may take to acknowledge, in seconds."""

LOOK_EVERY_S = 0.05


def adjust(results: Path, given: Mapping[str, Any], *, pause: bool | None) -> None:
    """Change options of a run that goes, or pause or continue it. Raises UsageError."""
    results, changes = results.absolute(), wanted(given, pause=pause)
    named = shown(results)
    journal_of(results)
    live = live_run(results, named, resume=_resume_text(results, changes))
    change_run(results, live, changes, pause=pause, named=named)
    sys.stdout.write(f"{named}: {done_text(changes, pause=pause)}\n")


def wanted(given: Mapping[str, Any], *, pause: bool | None) -> dict[str, Any]:
    """Return the options that should change. Raises UsageError where nothing is asked for."""
    changes = read_changes(given)
    if not changes and pause is None:
        raise UsageError(
            "what should change?", hint="for example --rpm 200, --share 0.3, --pause or --continue"
        )
    return changes


def change_run(
    results: Path,
    live: LiveState,
    changes: Mapping[str, Any],
    *,
    pause: bool | None,
    named: str,
) -> None:
    """Ask a run, which says of itself that it is `live`, and wait until it has obeyed.

    Messages call it `named`. Raises UsageError.
    """
    request = Request(
        id=uuid.uuid4().hex,
        run_id=live.run_id,
        token=live.token,
        changes=changes,
        pause=pause,
    )
    ends = time.monotonic() + WAIT_S
    try:
        while not ask(results, request):  # another command's request is not taken yet
            if time.monotonic() > ends:
                raise _not_taken(named, live)
            time.sleep(LOOK_EVERY_S)
    except (OSError, CheckpointWriteError) as error:
        why = error.strerror if isinstance(error, OSError) else error.message
        raise UsageError(
            f"{named}: the run cannot be asked: {why}",
            hint="write permission in its folder is needed",
        ) from error
    answer = _answer(results, request) or _late_answer(results, request, live, named)
    if answer.refusal:
        raise UsageError(f"{named}: {answer.refusal}; nothing was changed", hint=answer.hint)


def live_run(results: Path, named: str, *, resume: str) -> LiveState:
    """Return what the run says of itself; `resume` is the command that continues it.

    Raises UsageError where no run is there to be asked.
    """
    try:
        live = read_live(results)
    except NotOursError as error:
        raise UsageError(
            f"{named}: the run belongs to another user",
            hint="adjust it as the user who started it",
        ) from error
    goes = is_being_written(results)
    if live is not None and not live.is_here and not goes:
        silent_s = time.time() - live.at
        if silent_s > FRESH_S:
            raise UsageError(
                f"{named}: the run was last worked on by host {live.host}, which has said "
                f"nothing for {silent_s:,.0f} s; nothing was changed",
                hint=f"look there whether it still goes (process {live.process})",
            )
        return live
    if not goes:
        raise UsageError(
            f"{named}: no process works on this run; nothing was changed",
            hint=resume if is_unfinished(results) else "it is finished",
        )
    if live is None:
        raise UsageError(
            f"{named}: the run has only just been opened; nothing was changed",
            hint="try again in a moment",
        )
    return live


def _resume_text(results: Path, changes: Mapping[str, Any]) -> str:
    options = " ".join(as_typed(name, value) for name, value in changes.items())
    return f"claude-batch resume {shlex.quote(shown(results))} {options}".rstrip()


def _answer(results: Path, request: Request) -> Answer | None:
    """Return the run's answer; None if it does not come in time."""
    ends = time.monotonic() + WAIT_S
    while time.monotonic() < ends:
        time.sleep(LOOK_EVERY_S)
        answer = _answered(results, request)
        if answer is not None:
            return answer
    return None


def _answered(results: Path, request: Request) -> Answer | None:
    try:
        live = read_live(results)
    except NotOursError:
        return None
    answers = () if live is None else live.answers
    return next((each for each in answers if each.id == request.id), None)


def _late_answer(results: Path, request: Request, live: LiveState, named: str) -> Answer:
    """Take a request back that was not answered. Raises UsageError unless it just has been."""
    was_there = withdraw(results, request)
    answer = _answered(results, request)
    if answer is not None:
        return answer
    if was_there:
        raise _not_taken(named, live)
    raise UsageError(
        f"{named}: {_who(live)} has taken the change, and has not acknowledged it within "
        f"{WAIT_S:g} s",
        hint=f"claude-batch status {shlex.quote(shown(results))} --watch shows what is in force",
    )


def _not_taken(named: str, live: LiveState) -> UsageError:
    return UsageError(
        f"{named}: {_who(live)} has not taken the change within {WAIT_S:g} s; nothing was changed",
        hint="is it stopped (Ctrl-Z; fg continues it), or is its disk very slow? Try again",
    )


def _who(live: LiveState) -> str:
    return f"process {live.process}" + ("" if live.is_here else f" on host {live.host}")


def done_text(changes: Mapping[str, Any], *, pause: bool | None) -> str:
    """Return what was changed, in words."""
    parts = [f"{changes_text(changes)} from now on"] if changes else []
    if pause is not None:
        parts.append("paused" if pause else "continued")
    return "; ".join(parts)
