"""Which run is meant: that of a results file, or the one active last in or below this folder."""

from __future__ import annotations

import shlex
from pathlib import Path

from claude_batch.commands.run.messages import shown
from claude_batch.errors import UsageError
from claude_batch.storage.prompts.input import name_nearest
from claude_batch.storage.run.journal import Journal, read_journal
from claude_batch.storage.run.paths import has_manifest, results_beside
from claude_batch.storage.run.status import is_unfinished, runs_below


def journal_of(results: Path) -> Journal:
    """Return what the run of a results file was started with.

    Raises UsageError where there is none, CheckpointError where it cannot be read.
    """
    journal = read_journal(results.absolute())
    if journal is None:
        raise no_run_at(results)
    return journal


def no_run_at(results: Path) -> UsageError:
    """Return the error that a file is the results of no run."""
    if has_manifest(results):
        name = shlex.quote(shown(results.absolute()))
        return UsageError(
            f"{results} is a run folder, which this command does not take",
            hint=f"name the results of one of its shards: claude-batch status {name}/ --json lists "
            "them",
        )
    beside = results_beside(results) if results.is_file() else []
    near = next((each for each in beside if each.is_file()), None)
    meant = "" if results.exists() else name_nearest(results)
    return UsageError(
        f"{results}: no run has left a journal there{meant}",
        hint=f"did you mean {shown(near.absolute())}?"
        if near
        else "name the results file of a run, or its table; claude-batch status lists them",
    )


def last_active() -> Path:
    """Return the results file of the run active last. Raises UsageError."""
    for path in runs_below(Path.cwd()):
        return path
    raise UsageError(
        "there is no run in or below this folder",
        hint="name its results file: claude-batch status RESULTS --watch",
    )


def last_unfinished() -> Path:
    """Return the results file of the unfinished run active last. Raises UsageError."""
    for path in runs_below(Path.cwd()):
        if is_unfinished(path):
            return path
    raise UsageError(
        "there is no unfinished run in or below this folder",
        hint="name its results file: claude-batch resume RESULTS",
    )
