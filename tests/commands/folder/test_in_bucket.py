"""How often object storage is asked about a run folder of many shards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from claude_batch.commands.folder.progress import FolderReader
from claude_batch.commands.folder.status import finished_shards, shard_statuses
from claude_batch.core.model.shards import ShardState
from claude_batch.storage.folder.claims import take_claim
from claude_batch.storage.folder.manifest import Manifest
from claude_batch.storage.folder.object_files import ObjectFiles
from claude_batch.storage.folder.object_shards import ObjectShardFolder
from tests.storage.folder.test_manifest import SHARDS, a_manifest
from tests.storage.folder.test_shards import a_done
from tests.support.memory_objects import MemoryObjects

FINISHED, ALL = 150, 200


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def files(objects: MemoryObjects, tmp_path: Path) -> ObjectFiles:
    """Give a folder of which most shards are finished, each in several segments."""
    files = ObjectFiles(objects.store, "run/", tmp_path)
    for number in range(1, FINISHED + 1):
        claim = take_claim(files, number, 1, None)
        assert claim is not None
        for segment in range(1, 5):
            objects.put(f"run/shards/{number:04}/1-{segment}.jsonl", b"{}\n")
        objects.put(f"run/shards/{number:04}/1.journal", b"{}\n")
        done = replace(a_done(1), shard=number, segments=(1, 4))
        assert ObjectShardFolder(files, number).finish(files, done)
        claim.close()
    objects.calls.clear()
    return files


@pytest.fixture
def manifest() -> Manifest:
    return a_manifest(
        shards=tuple(replace(SHARDS[0], shard=number) for number in range(1, ALL + 1))
    )


def test_a_status_takes_two_listings_and_what_finished_shards_came_to(
    files: ObjectFiles, objects: MemoryObjects, manifest: Manifest
) -> None:
    statuses = shard_statuses(files.path, files, manifest)
    assert sum(each.done is not None for each in statuses) == FINISHED
    assert objects.calls == {"list": 2, "read": FINISHED}


def test_a_command_that_goes_on_reads_finished_shards_together(
    files: ObjectFiles, objects: MemoryObjects, manifest: Manifest
) -> None:
    assert len(finished_shards(files, manifest)) == FINISHED
    assert objects.calls == {"list": 1, "read": FINISHED}


def test_each_further_look_takes_one_listing(
    files: ObjectFiles, objects: MemoryObjects, manifest: Manifest
) -> None:
    reader = FolderReader(path=files.path, files=files, manifest=manifest)
    reader.read()
    objects.calls.clear()
    views = reader.read()
    assert sum(each.state is ShardState.FINISHED for each in views) == FINISHED
    assert objects.calls == {"list": 1}
