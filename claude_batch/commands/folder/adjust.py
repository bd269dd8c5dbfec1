"""`adjust` of a run folder: every shard at work is asked; what follows keeps to it."""

from __future__ import annotations

import shlex
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_batch.commands.folder.manifest import FolderPlace, existing_folder
from claude_batch.commands.folder.status import shard_statuses
from claude_batch.commands.run.messages import counted, shown
from claude_batch.commands.runs.adjust import (
    LOOK_EVERY_S,
    WAIT_S,
    change_run,
    done_text,
    live_run,
    wanted,
)
from claude_batch.config.spelling import as_typed
from claude_batch.core.model.units import dollars
from claude_batch.core.shards.claims import Claim
from claude_batch.core.shards.names import shard_name
from claude_batch.errors import UsageError
from claude_batch.storage.folder.adjusted import FolderChange, note_change
from claude_batch.storage.folder.claims import CLAIMS, read_claims
from claude_batch.storage.folder.files import FolderFiles
from claude_batch.storage.folder.places import open_shard
from claude_batch.storage.folder.shards import ShardFolder
from claude_batch.storage.run.control import NotOursError, read_live

_AT_ONCE = 16
"""Processes that are asked at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A shard at work, and what came of asking its process: `refused` is None if it obeyed.

    `is_far`: it is on another host, and cannot be asked from here.
    """

    claim: Claim
    refused: UsageError | None = None
    is_far: bool = False


class _FarError(UsageError):
    """A process is on a host from which nothing can be heard here."""


def adjust_folder(
    name: str, given: Mapping[str, Any], *, pause: bool | None, shard: int | None
) -> None:
    """Change options of all processes that work on a run folder, or of the one on a `shard`.

    Raises UsageError where none is there, or one has not obeyed.
    """
    changes, place = wanted(given, pause=pause), existing_folder(name)
    path, files = place.path, place.files
    if shard is not None:
        _refuse_shard(place, shard, changes)
    at_work = [each for each in _at_work(path, files) if shard in {None, each.shard}]
    if not at_work:
        raise _nobody(path, changes, shard)

    def ask(claim: Claim) -> _Asked:
        try:
            _ask(path, claim, changes, pause=pause)
        except UsageError as error:
            return _Asked(claim=claim, refused=error, is_far=isinstance(error, _FarError))
        return _Asked(claim=claim)

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        asked = [*threads.map(ask, at_work)]
    is_kept = bool(changes) and shard is None
    is_kept = is_kept and any(each.refused is None or each.is_far for each in asked)
    if is_kept:
        note_change(files, FolderChange(at=time.time(), changes=changes))
    later = [each for each in asked if each.is_far and is_kept and pause is None]
    for each in asked:
        if each.refused is None:
            done = done_text(changes, pause=pause)
            sys.stdout.write(f"{_named(path, each.claim)}: {done}\n")
    for each in later:
        far = f"{each.claim.holder} cannot be asked from here; its next shard keeps to it"
        sys.stdout.write(f"{_named(path, each.claim)}: {far}\n")
    if is_kept:
        sys.stdout.write(f"{shown(path)}/: {_from_now_on(place, changes)}\n")
    _refuse([each for each in asked if each.refused and each not in later], len(asked))


def _refuse_shard(place: FolderPlace, shard: int, changes: Mapping[str, Any]) -> None:
    """Refuse a shard that is not there, and what is not changed for one. Raises UsageError."""
    name, shards = f"{shown(place.path)}/", len(place.manifest.shards)
    if not 1 <= shard <= shards:
        raise UsageError(
            f"there is no shard {shard}: {name} has shards 1 to {shards}",
            hint=f"claude-batch status {shlex.quote(name)}",
        )
    if "max_cost" in changes:
        bound = as_typed("max_cost", changes["max_cost"])
        raise UsageError(
            "--max-cost is the bound of all shards together, so it cannot be changed for one",
            hint=f"claude-batch adjust {shlex.quote(name)} {bound}",
        )


def _from_now_on(place: FolderPlace, changes: Mapping[str, Any]) -> str:
    """Return what a change means for all of a run folder."""
    bound = changes.get("max_cost")
    statuses = [] if bound is None else shard_statuses(place.path, place.files, place.manifest)
    spent = sum(each.money.spent_usd for each in statuses)
    if bound is not None and spent >= bound:
        return f"{dollars(spent)} spent: no more is sent than is in flight"
    return "shards that are begun from now on keep to it"


def _ask(path: Path, claim: Claim, changes: Mapping[str, Any], *, pause: bool | None) -> None:
    """Ask the process that works on a shard, and wait until it has obeyed. Raises UsageError."""
    results, named = ShardFolder(path, claim.shard).results(claim.epoch), _named(path, claim)
    ends = time.monotonic() + WAIT_S
    while _says_nothing(results):
        is_late = time.monotonic() > ends
        if not claim.holder.endswith(f" on {socket.gethostname()}") or (
            is_late and not _is_copied_here(path, claim)
        ):
            raise _FarError(
                f"{named}: {claim.holder} works on it, which cannot be asked from here",
                hint="run the same command where that process was started, as the same user",
            )
        if is_late:
            raise UsageError(
                f"{named}: {claim.holder} still reads its prompts; nothing was changed",
                hint="try again in a moment",
            )
        time.sleep(LOOK_EVERY_S)
    live = live_run(results, named, resume=_resume(path, changes))
    change_run(results, live, changes, pause=pause, named=named)


def _is_copied_here(path: Path, claim: Claim) -> bool:
    """Return whether the claim's files are here: another user's, or a container's, are not."""
    return (path / CLAIMS / f"{shard_name(claim.shard)}-{claim.epoch}").exists()


def _says_nothing(results: Path) -> bool:
    try:
        return read_live(results) is None
    except NotOursError:
        return False


def _at_work(path: Path, files: FolderFiles) -> list[Claim]:
    """Return the claims on shards that processes work on."""
    held = [each for _, each in sorted(read_claims(files).items()) if each.is_held]
    done = {each.shard: open_shard(path, files, each.shard).done(files) for each in held}
    return [
        each
        for each in held
        if (ended := done[each.shard]) is None or ended.epoch < each.epoch  # a retry
    ]


def _named(path: Path, claim: Claim) -> str:
    return f"{shown(path)}/, shard {claim.shard}"


def _nobody(path: Path, changes: Mapping[str, Any], shard: int | None) -> UsageError:
    """Return the error that there is no process to be asked."""
    what = f"{shown(path)}/" if shard is None else f"{shown(path)}/, shard {shard}"
    return UsageError(
        f"{what}: no process works on it now; nothing was changed", hint=_resume(path, changes)
    )


def _resume(path: Path, changes: Mapping[str, Any]) -> str:
    options = " ".join(as_typed(name, value) for name, value in changes.items())
    return f"claude-batch resume {shlex.quote(shown(path))}/ {options}".rstrip()


def _refuse(refused: Sequence[_Asked], asked: int) -> None:
    """Report which processes have not obeyed. Raises UsageError where there are any."""
    errors = [each.refused for each in refused if each.refused is not None]
    if not errors:
        return
    message = "; ".join(dict.fromkeys(error.message for error in errors))
    if asked > 1:
        message = f"{len(errors):,} of {counted(asked, 'shard')} at work not changed: {message}"
    raise UsageError(message, hint=errors[0].hint)
