"""Whether all of a run folder may cost so much: asked once, before its shards go to a cluster."""

from __future__ import annotations

import sys

from claude_batch.commands.check import defaults_of
from claude_batch.commands.folder.check import copies_shown
from claude_batch.commands.folder.manifest import RunFolder
from claude_batch.commands.folder.progress import FolderReader
from claude_batch.commands.money import Forecast, catalog_for, forecast, look_ahead, may_spend
from claude_batch.core.model.shards import ShardState
from claude_batch.storage.folder.inputs import Input
from claude_batch.storage.prompts.input import first_rows
from claude_batch.storage.prompts.options import input_options
from claude_batch.storage.prompts.reading import read_requests
from claude_batch.storage.prompts.workload import Expectation
from claude_batch.ui.screen.screen import Screen


def may_place(folder: RunFolder, screen: Screen) -> bool:
    """Return whether the shards that are left may be placed; the user is asked on a terminal."""
    options = folder.settings.options
    asks = not (options.sandbox or options.yes) and sys.stdin.isatty() and sys.stderr.isatty()
    if not asks:
        return True
    found = _forecast(folder, screen)
    screen.checked()
    if found is None or may_spend(found, options):
        return True
    screen.notice("nothing was sent", "--yes asks nothing; --confirm-above asks later")
    return False


def _forecast(folder: RunFolder, screen: Screen) -> Forecast | None:
    """Return what is left will cost, judged by the first rows of the next shard; None: nothing is.

    Lines whose first ones cannot be read are reported by the worker that gets them.
    """
    reader = FolderReader(path=folder.path, files=folder.files, manifest=folder.manifest)
    left = [each for each in reader.read() if each.state is not ShardState.FINISHED]
    if not left:
        return None
    shard, settings = folder.manifest.shards[left[0].shard - 1], folder.settings
    source = Input(source=shard.source, name=shard.name, size=shard.size, pinned=shard.pinned)
    how, catalog = input_options(settings.options), catalog_for(settings.options)
    with (
        copies_shown(screen, settings.options) as copies,
        first_rows(copies.first_rows(source, how), shard.source, how) as few,
    ):
        requests = read_requests(few, defaults_of(settings, shard.source))
        rows = sum(each.total - each.done for each in left)
        outlook = look_ahead(requests, rows, Expectation(), catalog)
    return forecast(outlook, catalog, batch=folder.manifest.mode == "batch")
