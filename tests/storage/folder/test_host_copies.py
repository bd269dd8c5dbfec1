"""Copies of a run folder that is elsewhere go when nobody on this host needs them."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from claude_batch.storage.folder.host_copies import hold_copies, remove_copies
from claude_batch.storage.folder.shards import ShardFolder
from claude_batch.storage.run.journal import journal_path


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """Give copies of two shards, epoch 1 of the first and 2 of the second."""
    path = tmp_path / "url" / "run"
    hold_copies(path)
    (path / "manifest.json").touch()
    for shard, epoch in ((1, 1), (2, 2)):
        results = ShardFolder(path, shard).results(epoch)
        results.parent.mkdir(parents=True)
        results.touch()
        journal_path(results).touch()
    return path


def left(copies: Path) -> list[str]:
    return sorted(each.name for each in copies.glob("shards/*"))


def test_all_goes_when_all_shards_are_finished(copies: Path) -> None:
    remove_copies(copies, {1: 1, 2: 2}, 2)
    assert not copies.parent.exists()


def test_what_is_known_of_tables_stays(copies: Path) -> None:
    (copies / "tables.journal").touch()
    remove_copies(copies, {1: 1, 2: 2}, 2)
    assert {each.name for each in copies.iterdir()} == {
        ".in-use",
        "manifest.json",
        "tables.journal",
    }


def test_of_a_run_that_is_unfinished_only_finished_shards_go(copies: Path) -> None:
    remove_copies(copies, {1: 3}, 2)
    assert left(copies) == ["0002"]
    assert (copies / "manifest.json").exists()


def test_results_of_a_retry_that_were_not_shipped_stay(copies: Path) -> None:
    remove_copies(copies, {1: 1, 2: 1}, 2)
    assert left(copies) == ["0002"]


def test_what_another_process_uses_stays(copies: Path) -> None:
    other = os.open(copies / ".in-use", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_SH)
    remove_copies(copies, {1: 1, 2: 2}, 2)
    used = left(copies)
    os.close(other)
    remove_copies(copies, {1: 1, 2: 2}, 2)
    assert (used, copies.exists()) == (["0001", "0002"], False)


def test_copies_are_made_again_after_they_were_removed(tmp_path: Path) -> None:
    first = hold_copies(tmp_path / "run")
    remove_copies(tmp_path / "run", {1: 1}, 1)
    hold_copies.cache_clear()  # as another process
    again = hold_copies(tmp_path / "run")
    assert (tmp_path / "run").is_dir()
    for descriptor in (first, again):
        os.close(descriptor)
