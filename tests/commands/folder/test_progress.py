"""A run folder is followed at little cost, and shows what its shards are doing."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from pathlib import Path

from claude_batch.commands.folder.progress import FolderReader, FolderWatch
from claude_batch.core.model.shards import ShardState
from claude_batch.storage.folder.claims import HeldClaim, take_claim
from claude_batch.storage.folder.files import LocalFiles
from claude_batch.storage.folder.shards import ShardFolder
from claude_batch.storage.run.control import LiveState, publish
from tests.storage.folder.test_manifest import SHARDS, a_manifest
from tests.storage.folder.test_shards import a_done
from tests.support.past_run import PastRun
from tests.ui import pictures


class Counting(LocalFiles):
    """A folder that counts what is read of it."""

    reads = 0

    def read(self, name: str) -> bytes | None:
        self.reads += 1
        return super().read(name)

    def names(self, folder: str) -> list[str]:
        self.reads += 1
        return super().names(folder)


def reader(path: Path, shards: int) -> FolderReader:
    manifest = a_manifest(
        shards=tuple(replace(SHARDS[0], shard=number) for number in range(1, shards + 1))
    )
    return FolderReader(path=path, files=Counting(path), manifest=manifest)


def claimed(path: Path, shard: int, epoch: int = 1) -> HeldClaim:
    claim = take_claim(LocalFiles(path), shard, epoch, None)
    assert claim is not None
    return claim


def finish(path: Path, shard: int, epoch: int = 1, succeeded: int = 2) -> None:
    """Leave a shard as a process that has finished it does."""
    claim = claimed(path, shard, epoch)
    done = replace(a_done(epoch), shard=shard, succeeded=succeeded, errored=2 - succeeded)
    ShardFolder(path, shard).finish(LocalFiles(path), done)
    claim.close()


def begin(path: Path, shard: int) -> Path:
    """Put a run that was begun where the results of a shard are; return them."""
    results = ShardFolder(path, shard).begin(1)
    run = PastRun(folder=results.parent, total=500, finished=False)
    run.write()
    for each in results.parent.glob("tickets.results.jsonl*"):
        each.rename(results.parent / each.name.replace("tickets.results", "1.results"))
    return results


def test_a_finished_shard_is_read_once_and_one_that_nobody_claimed_never_again(
    tmp_path: Path,
) -> None:
    follow, files = reader(tmp_path, 2_000), Counting(tmp_path)
    follow.files = files
    for shard in range(1, 21):
        finish(tmp_path, shard)
    follow.read()
    files.reads = 0
    states = [each.state for each in follow.read()]
    assert (states.count(ShardState.FINISHED), states.count(ShardState.WAITING)) == (20, 1_980)
    assert files.reads == 1


def test_a_shard_that_is_finished_meanwhile_is_seen(tmp_path: Path) -> None:
    follow = reader(tmp_path, 3)
    before = follow.fold(max_cost_usd=None)
    finish(tmp_path, 2)
    after = follow.fold(max_cost_usd=None)
    assert (before.finished, after.finished, after.succeeded) == (0, 1, 2)


def test_a_retry_of_a_finished_shard_is_seen(tmp_path: Path) -> None:
    follow = reader(tmp_path, 1)
    finish(tmp_path, 1, succeeded=1)
    assert follow.fold(max_cost_usd=None).errored == 1
    finish(tmp_path, 1, epoch=2)
    assert follow.fold(max_cost_usd=None).errored == 0


def test_a_shard_at_work_is_as_its_process_says(tmp_path: Path) -> None:
    follow, claim, results = reader(tmp_path, 2), claimed(tmp_path, 1), begin(tmp_path, 1)
    publish(
        results,
        LiveState(
            run_id="r",
            token="t",
            process=1,
            host=socket.gethostname(),
            at=time.time(),
            snapshot=replace(pictures.CALM, failures=pictures.FAILURES),
        ),
    )
    (shard, _) = follow.read()
    claim.close()
    assert (shard.state, shard.done) == (ShardState.RUNNING, pictures.CALM.done)
    assert shard.requests_per_minute == pictures.CALM.requests_per_minute
    assert len(follow.failures) == len(pictures.FAILURES)


def test_a_shard_that_says_nothing_is_read_from_its_files(tmp_path: Path) -> None:
    follow, claim = reader(tmp_path, 2), claimed(tmp_path, 1)
    begin(tmp_path, 1)
    shard = follow.read()[0]
    assert (shard.state, shard.done) == (ShardState.RUNNING, 500)
    assert (shard.errors, shard.stop_reasons) == ({"api_error": 3}, {"max_tokens": 7})
    claim.close()
    assert follow.read()[0].state is ShardState.INTERRUPTED


def test_the_shard_of_this_process_can_be_left_out(tmp_path: Path) -> None:
    assert [each.shard for each in reader(tmp_path, 3).read(besides=2)] == [1, 3]


def test_all_of_a_folder_is_one_snapshot(tmp_path: Path) -> None:
    finish(tmp_path, 1)
    seen = FolderWatch(reader=reader(tmp_path, 2), max_cost_usd=5.0).look()
    assert (seen.total, seen.done, seen.results) == (50_002, 2, f"{tmp_path}/")
    assert seen.folder is not None
    assert (seen.folder.finished, seen.folder.max_cost_usd, seen.folder.shard) == (1, 5.0, None)
