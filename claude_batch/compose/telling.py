"""What a run tells the user as it begins and as it ends: what happened, where, and what next."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from claude_batch.core.catalog import DEFAULT_MAX_TOKENS, DEFAULT_MODEL
from claude_batch.core.routing import went_where
from claude_batch.core.scheduler import Stop, StopKind
from claude_batch.core.snapshot import Snapshot
from claude_batch.errors import Exit
from claude_batch.storage.opening import OpenRun, Wanted, left_out_path
from claude_batch.ui.screen import Ending, Screen


def tell_opened(screen: Screen, wanted: Wanted, opened: OpenRun) -> None:
    """Say what kind of run this is: new, resumed or done; and what was repaired or left out."""
    identity, checkpoint = opened.identity, opened.checkpoint
    done, total = checkpoint.tally.done, identity.total
    results = shown(wanted.results)
    if opened.is_done:
        screen.notice(
            f"this run is finished: {done:,} of {total:,} results are in {results}",
            "--fresh starts over, --retry-errored tries again what did not succeed",
        )
    elif opened.checked is None:
        why = f" ({opened.left.why})" if opened.left and opened.left.why else ""
        screen.notice(f"going on with {results}: {done:,} of {total:,} done before{why}")
    else:
        screen.notice(f"{total:,} prompts; results go to {results}")
    _tell_checked(screen, opened)
    _tell_repaired(screen, wanted, opened)
    if opened.retaken:
        screen.notice(f"trying again {opened.retaken:,} requests that did not succeed")


def _tell_checked(screen: Screen, opened: OpenRun) -> None:
    checked = opened.checked
    if checked is None:
        return
    if checked.unnamed_model and opened.identity.model is None:
        lines = "line names" if checked.unnamed_model == 1 else "lines name"
        screen.notice(
            f"{checked.unnamed_model:,} {lines} no model: {DEFAULT_MODEL}, max_tokens "
            f"{opened.identity.max_tokens or DEFAULT_MAX_TOKENS} unless the line says otherwise",
            "--model and --max-tokens say otherwise",
        )
    if checked.routed:
        screen.notice(f"routes: {went_where(checked.routed)}")
    for warning in checked.warnings:
        screen.notice(f"warning: {warning}")


def _tell_repaired(screen: Screen, wanted: Wanted, opened: OpenRun) -> None:
    checkpoint = opened.checkpoint
    if checkpoint.torn_bytes:
        screen.notice(f"repaired: a torn last line of {checkpoint.torn_bytes:,} bytes was cut off")
    if checkpoint.damaged:
        screen.notice(
            f"repaired: {checkpoint.damaged:,} damaged stretches were moved to "
            f"{shown(wanted.results)}.damaged; their requests are sent again"
        )
    if opened.identity.invalid:
        screen.notice(
            f"{opened.identity.invalid:,} bad lines were left out; they are listed in "
            f"{shown(left_out_path(wanted.results))}"
        )


def ending_of(
    code: int, stop: Stop | None, opened: OpenRun, snapshot: Snapshot | None, results: Path
) -> Ending:
    """Return how a run ended, and the command that goes on where it was, if there is more."""
    total = opened.identity.total
    left = total - (snapshot.done if snapshot else opened.checkpoint.tally.done)
    if stop is None:
        return _finished(code, opened, snapshot, results)
    command = f"claude-batch resume {shlex.quote(shown(results))}"
    return Ending(
        message=f"{_why(code, stop)}; {left:,} of {total:,} are left",
        resume_command=command,
        exit_code=code,
    )


def _finished(code: int, opened: OpenRun, snapshot: Snapshot | None, results: Path) -> Ending:
    failed = snapshot.failed if snapshot else 0
    if failed:
        return Ending(
            message=f"finished; {failed:,} did not succeed (claude-batch results --only errored)",
            resume_command=(f"claude-batch resume --retry-errored {shlex.quote(shown(results))}"),
            exit_code=code,
        )
    if opened.identity.invalid:
        message = f"finished; {opened.identity.invalid:,} bad lines were left out"
        return Ending(message=message, resume_command=None, exit_code=code)
    return Ending(message="finished: every request succeeded", resume_command=None, exit_code=code)


def _why(code: int, stop: Stop) -> str:
    match stop.kind:
        case StopKind.INTERRUPTED:
            return "stdout's reader is gone" if code == Exit.READER_GONE else "interrupted"
        case StopKind.REFUSED:
            return f"the API refuses this run: {stop.message}"
        case StopKind.ENDPOINT:
            return f"the endpoint refuses the credential: {stop.message}"
        case StopKind.MODEL:
            return f"the key may not use a model: {stop.message}"
        case StopKind.ALIKE:
            return (
                f"stopped: the first replies all failed alike, nothing was recorded for them: "
                f"{stop.message}"
            )
        case StopKind.PATIENCE:
            return f"gave up waiting: {stop.message}"
        case StopKind.COST:
            return f"stopped by --max-cost: {stop.message}"


def shown(path: Path) -> str:
    """Return a path as the user would type it from here."""
    try:
        return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
    except OSError:
        return str(path)
