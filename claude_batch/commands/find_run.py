"""Which run is meant: that of a results file, or the one active last in or below this folder."""

from __future__ import annotations

import shlex
from pathlib import Path

from claude_batch.commands.run.messages import shown
from claude_batch.errors import ClaudeBatchError, UsageError
from claude_batch.storage.files import name_nearest
from claude_batch.storage.run.journal import Journal, read_journal
from claude_batch.storage.run.paths import has_manifest, results_beside
from claude_batch.storage.run.status import all_below, is_unfinished


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
    """Return the results file of the run, or the run folder, active last. Raises UsageError."""
    for path in all_below(Path.cwd()):
        return path
    raise UsageError(
        "there is no run in or below this folder",
        hint="name its results file, its table, or its run folder",
    )


def last_unfinished() -> Path:
    """Return the results file of the unfinished run, or the run folder, active last.

    Raises UsageError.
    """
    for path in all_below(Path.cwd()):
        if _has_unfinished_shards(path) if path.is_dir() else is_unfinished(path):
            return path
    raise UsageError(
        "there is no unfinished run in or below this folder",
        hint="name its results file, or its run folder: claude-batch resume RESULTS",
    )


def _has_unfinished_shards(folder: Path) -> bool:
    from claude_batch.commands.folder.manifest import existing_folder  # noqa: PLC0415  # rarely needed
    from claude_batch.commands.folder.status import settled_shards  # noqa: PLC0415  # as above

    try:
        found = existing_folder(str(folder))
        settled = settled_shards(found.path, found.files, found.manifest)
        return len(settled) < len(found.manifest.shards)
    except (OSError, ClaudeBatchError):  # naming that folder shows the error
        return False
