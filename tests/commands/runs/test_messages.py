"""What a run calls its files."""

from __future__ import annotations

from pathlib import Path

from claude_batch.commands.run.messages import results_name
from claude_batch.storage.folder.files import LocalFiles
from claude_batch.storage.folder.manifest import create_manifest
from claude_batch.storage.folder.shards import ShardFolder
from claude_batch.storage.run.paths import COPIES, URL
from tests.storage.folder.test_manifest import a_manifest


def test_results_of_a_copy_are_where_they_are_shipped(tmp_path: Path) -> None:
    copies = tmp_path / COPIES / "name" / "run"
    copies.mkdir(parents=True)
    create_manifest(LocalFiles(copies), a_manifest())
    results = ShardFolder(copies, 1).results(1)
    assert results_name(results) == str(results)  # a run folder of this host

    (copies / URL).write_text("s3://bucket/run")
    assert results_name(results) == "s3://bucket/run/"
