"""Where the ids of a run folder come from, found out with progress on the screen."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from claude_batch.config.options import Options
from claude_batch.storage.folder.copies import Copies
from claude_batch.storage.folder.ids import FolderIds, IdReader, Place
from claude_batch.storage.folder.inputs import Input
from claude_batch.storage.folder.manifest import Shard
from claude_batch.storage.prompts.options import columns_of, input_options
from claude_batch.ui.screen.screen import Screen


def ids_of_shards(
    shards: Sequence[Shard],
    found: Sequence[Input],
    copies: Copies,
    options: Options,
    screen: Screen,
) -> FolderIds:
    """Return where ids come from. Raises InvalidPromptsError where one is there twice.

    What --skip-invalid leaves out is found in each shard by itself.
    """
    by_source: dict[str, list[int]] = {}
    for shard in shards:
        by_source.setdefault(shard.source, []).append(shard.first_line)

    def are_apart(one: Place, other: Place) -> bool:
        if one.source != other.source:
            return True
        lines = by_source[one.source.source]
        return bisect_right(lines, one.line) != bisect_right(lines, other.line)

    return find_ids(
        [each for each in found if each.source in by_source],
        copies,
        options,
        screen,
        matters=are_apart if options.skip_invalid else None,
    )


def find_ids(
    inputs: Sequence[Input],
    copies: Copies,
    options: Options,
    screen: Screen,
    matters: Callable[[Place, Place], bool] | None = None,
) -> FolderIds:
    """Return where the ids of all inputs come from.

    Raises InvalidPromptsError where one is twice in places where that `matters`.
    """

    def progress(source: Input, done: int) -> None:
        screen.checking(source.name, done, None, "reading the ids of")

    reader = IdReader(inputs, copies, columns_of(options), input_options(options), progress)
    try:
        ids = reader.plan()
        reader.refuse_repeated(ids, matters)
    finally:
        screen.checked()
    return ids
