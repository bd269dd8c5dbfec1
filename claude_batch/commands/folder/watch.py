"""`status --watch` and `--history` of a run folder that other terminals and hosts work on."""

from __future__ import annotations

import sys
import time

from claude_batch.commands.folder.manifest import existing_folder
from claude_batch.commands.folder.progress import (
    EVERY_S,
    READING_SHARE,
    FolderReader,
    FolderWatch,
    bound_of,
)
from claude_batch.commands.folder.show import show_folder_status
from claude_batch.commands.folder.status import reading, shard_statuses
from claude_batch.commands.run.messages import shown
from claude_batch.commands.runs.history import print_history
from claude_batch.core.history.run import by_minute, joined
from claude_batch.core.model.shards import FolderView
from claude_batch.core.model.snapshot import Snapshot
from claude_batch.errors import ClaudeBatchError
from claude_batch.storage.run.history import read_history
from claude_batch.ui.messages import notice_text
from claude_batch.ui.screen.opening import open_screen
from claude_batch.ui.screen.screen import Screen

IDLE_S = 15.0
"""A folder that nobody has worked on for so long, in seconds, is not worked on: a process that goes
from shard to shard, or places them, needs less."""


def watch_folder(name: str) -> None:
    """Show a run folder until nobody works on it, then where it stands.

    Raises UsageError, CheckpointError.
    """
    place = existing_folder(name)
    path, manifest = place.path, place.manifest
    reader = FolderReader(path=path, files=place.files, manifest=manifest)
    watch = FolderWatch(reader=reader, is_own=False)
    if not _folder(watch.look()).running:
        sys.stdout.write(notice_text(f"{shown(path)}/: no process works on this run folder now"))
        show_folder_status(name, as_json=False)
        return
    screen = open_screen("auto", quiet=False, to_stdout=True)
    try:
        screen.close(_follow(watch, screen), None)
    finally:
        screen.close(None, None)
    show_folder_status(name, as_json=False)


def _follow(watch: FolderWatch, screen: Screen) -> Snapshot | None:
    """Show all of a folder until nobody works on it; return the last figures."""
    worked_at, latest = time.monotonic(), None
    while True:
        began_at = time.monotonic()
        try:
            watch.max_cost_usd = bound_of(watch.reader.manifest, watch.reader.files)
            latest = watch.look()
        except (OSError, ClaudeBatchError) as error:  # a share that is gone for a moment
            if time.monotonic() - worked_at > IDLE_S:
                raise
            screen.notice(f"cannot be read now: {error}")
        else:
            screen.publish(latest)
            folder, now = _folder(latest), time.monotonic()
            worked_at = now if folder.running else worked_at
            if folder.finished == folder.shards or now - worked_at > IDLE_S:
                return latest
        took_s = time.monotonic() - began_at  # object storage is slow, and takes money
        time.sleep(max(EVERY_S, took_s / READING_SHARE))


def _folder(snapshot: Snapshot) -> FolderView:
    assert snapshot.folder is not None  # noqa: S101  # it is about one
    return snapshot.folder


def show_folder_history(name: str, *, as_json: bool) -> None:
    """Print what happened in all shards together, minute by minute."""
    place = existing_folder(name)
    statuses = shard_statuses(place.path, place.files, place.manifest)
    with reading(place.path, place.files, statuses) as results:
        minutes = by_minute(joined(map(read_history, results.values())))
    print_history(minutes, as_json=as_json)
