"""A shard in object storage: what one host has shipped, another goes on with."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from claude_batch.core.shards import segments
from claude_batch.errors import CheckpointError, CheckpointWriteError
from claude_batch.storage.folder import object_shipping
from claude_batch.storage.folder.claims import HeldClaim, Loss, take_claim
from claude_batch.storage.folder.object_files import ObjectFiles
from claude_batch.storage.folder.object_shards import ObjectShardFolder
from claude_batch.storage.folder.shards import Done, Shipping
from claude_batch.storage.objects.errors import StoreError
from claude_batch.storage.run.journal import journal_path
from tests.storage.folder.test_shards import a_done
from tests.support.memory_objects import MemoryObjects
from tests.support.program import wait_for

FOLDER = "run/shards/0003/"


@dataclass(slots=True)
class Host:
    """A host: its copies of a run folder, and the shard as a process there sees it."""

    objects: MemoryObjects
    path: Path
    files: ObjectFiles = field(init=False)
    shard: ObjectShardFolder = field(init=False)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.files = ObjectFiles(self.objects.store, "run/", self.path)
        self.shard = ObjectShardFolder(self.files, 3)

    @contextmanager
    def working(
        self, epoch: int, done: Done | None = None
    ) -> Iterator[tuple[Path, Shipping, HeldClaim]]:
        """Give the results of a new epoch, what ships them, and the claim."""
        claim = take_claim(self.files, 3, epoch, None)
        assert claim is not None
        try:
            results = self.shard.begin(epoch, done)
            with self.shard.shipping(results, claim, self.said.append) as shipping:
                yield results, shipping, claim
        finally:
            claim.close()

    def begin(self, *lines: str, journal: str = "journal") -> None:
        """Work on the first epoch: write lines, and end."""
        with self.working(1) as (results, shipping, _):
            write(results, *lines)
            write(journal_path(results), journal)
            shipping.open()


def write(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def here(objects: MemoryObjects, tmp_path: Path) -> Host:
    return Host(objects, tmp_path / "here")


@pytest.fixture
def there(objects: MemoryObjects, tmp_path: Path) -> Host:
    return Host(objects, tmp_path / "there")


def test_what_was_shipped_is_there_for_another_host(here: Host, there: Host) -> None:
    here.begin("a", "b")
    with there.working(2) as (results, _, _):
        assert results.read_bytes() == b"a\nb\n"
        assert journal_path(results).read_bytes() == b"journal\n"


def test_the_journal_comes_after_the_results(here: Host, objects: MemoryObjects) -> None:
    here.begin("a")
    assert [key for key in objects.objects if key.startswith(FOLDER)] == [
        f"{FOLDER}1-1.jsonl",
        f"{FOLDER}1.journal",
    ]


def test_results_without_a_journal_are_no_epoch(
    here: Host, there: Host, objects: MemoryObjects
) -> None:
    here.begin("a")
    objects.put(f"{FOLDER}2-1.jsonl", b"x\n")
    with there.working(3) as (results, _, _):
        assert results.read_bytes() == b"a\n"


def test_the_tail_that_was_not_shipped_is_used_on_the_same_host(here: Host) -> None:
    here.begin("a")
    write(here.shard.results(1), "tail")
    with here.working(2) as (results, _, _):
        assert results.read_bytes() == b"a\ntail\n"


def test_files_of_this_host_that_lost_something_are_replaced(here: Host) -> None:
    here.begin("a", "b")
    here.shard.results(1).write_bytes(b"a\n")
    with here.working(2) as (results, _, _):
        assert results.read_bytes() == b"a\nb\n"


def test_a_torn_line_is_not_shipped(here: Host, objects: MemoryObjects) -> None:
    with here.working(1) as (results, shipping, _):
        results.write_bytes(b"a\n{half")
        write(journal_path(results), "journal")
        shipping.open()
        write(results, " a line}")
    assert objects.objects[f"{FOLDER}1-1.jsonl"] == b"a\n"
    assert objects.objects[f"{FOLDER}1-2.jsonl"] == b"{half a line}\n"


def test_many_results_are_several_segments(
    here: Host, there: Host, objects: MemoryObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_shipping, "MOST_BYTES", 10)
    here.begin(*"abcdefgh", "a line that is longer than a segment", "i")
    sizes = [len(objects.objects[f"{FOLDER}1-{number}.jsonl"]) for number in (1, 2, 3)]
    assert sizes == [10, 6, 39]
    with there.working(2) as (results, _, _):
        assert results.stat().st_size == sum(sizes)


def test_results_are_shipped_while_they_come(
    here: Host, objects: MemoryObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_shipping, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(object_shipping, "SHIP_EVERY_S", 0.02)
    with here.working(1) as (results, shipping, _):
        write(journal_path(results), "journal")
        shipping.open()
        write(results, "a")
        wait_for(lambda: objects.objects.get(f"{FOLDER}1-1.jsonl") == b"a\n")


def test_a_superseded_writer_counts_no_more(here: Host, there: Host) -> None:
    with here.working(1) as (old, shipping, claim):
        write(old, "a")
        write(journal_path(old), "journal")
        shipping.open()
        with there.working(2) as (results, other, _):
            other.open()
            write(old, "late")
            shipping.ship()
            claim.lost = Loss.SUPERSEDED
        assert there.shard.current(None) == results
    third = Host(here.objects, here.path.with_name("third"))
    with third.working(3) as (results, _, _):
        assert results.read_bytes() == b"a\n"


def test_a_reader_brings_what_is_new(here: Host, there: Host, objects: MemoryObjects) -> None:
    with here.working(1) as (results, shipping, _):
        write(results, "a")
        write(journal_path(results), "journal")
        shipping.open()
        copy = there.shard.current(None)
        assert copy is not None
        assert copy.read_bytes() == b"a\n"
        write(results, "b")
        shipping.ship()
        objects.objects[f"{FOLDER}1-1.jsonl"] = b"?\n"  # is not read again
        assert there.shard.current(None) == copy
        assert copy.read_bytes() == b"a\nb\n"
        assert here.shard.current(None) == results


def test_a_reader_asks_for_nothing_before_a_run_has_begun(
    there: Host, objects: MemoryObjects
) -> None:
    assert there.shard.current(None, ["done.json", "1-1.jsonl"]) is None
    assert not objects.calls


def finished(host: Host, *lines: str) -> Done:
    with host.working(1) as (results, shipping, _):
        write(results, *lines)
        write(journal_path(results), "journal")
        shipping.open()
        done = replace(a_done(1), segments=shipping.finish())
        assert host.shard.finish(host.files, done)
        host.shard.tidy(done)
    return done


def test_a_finished_shard_leaves_nothing_on_the_host(here: Host, there: Host) -> None:
    finished(here, "a", "b")
    assert not here.shard.path.exists()
    done = there.shard.done(there.files)
    assert done is not None
    assert done.segments == (1, 1)
    with there.shard.reading(done) as results:
        assert results is not None
        assert results.read_bytes() == b"a\nb\n"
    assert [*there.path.iterdir()] == []


def test_a_finished_shard_keeps_only_what_counts(
    here: Host, there: Host, objects: MemoryObjects
) -> None:
    here.begin("a")
    with there.working(2) as (results, shipping, _):
        shipping.open()
        done = replace(a_done(2), segments=shipping.finish())
        there.shard.tidy(done)
        assert results.name == done.results
    assert sorted(key for key in objects.objects if key.startswith(FOLDER)) == [
        f"{FOLDER}2-1.jsonl",
        f"{FOLDER}2.journal",
    ]


def test_results_that_a_retry_has_written_again_are_shipped_again(here: Host, there: Host) -> None:
    done = finished(here, "bad", "b")
    with there.working(2, done) as (results, shipping, _):
        assert results.read_bytes() == b"bad\nb\n"
        shipping.open()
        write(results, "good")
        shipping.ship()
        part = results.with_name("part")
        part.write_bytes(b"b\ngood\n")
        part.replace(results)
        assert shipping.finish() == (3, 3)
    assert there.objects.objects[f"{FOLDER}2-3.jsonl"] == b"b\ngood\n"


def test_results_that_are_missing_are_said(here: Host, there: Host) -> None:
    done = finished(here, "a")
    del here.objects.objects[f"{FOLDER}1-1.jsonl"]
    with pytest.raises(CheckpointError, match="missing"), there.shard.reading(done):
        pass


def test_storage_that_is_gone_at_the_start_refuses(here: Host, objects: MemoryObjects) -> None:
    with here.working(1) as (results, shipping, _):
        write(journal_path(results), "journal")
        objects.is_gone = True
        with pytest.raises(StoreError):
            shipping.open()


def test_storage_is_tried_again_as_long_as_the_claim_counts(
    here: Host, objects: MemoryObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_shipping, "_AGAIN_S", 0.01)
    with here.working(1) as (results, shipping, claim):
        write(journal_path(results), "journal")
        shipping.open()
        write(results, "a")
        objects.is_gone = True

        def come_back() -> None:
            wait_for(lambda: here.said)
            objects.is_gone = False

        back = threading.Thread(target=come_back)
        back.start()
        shipping.ship()
        back.join()
        assert objects.objects[f"{FOLDER}1-1.jsonl"] == b"a\n"
        assert [each.partition(";")[0] for each in here.said] == [
            "no answer",
            "object storage answers again: what was kept is shipped",
        ]
        write(results, "b")
        objects.is_gone, claim.lost = True, Loss.SUPERSEDED
        with pytest.raises(CheckpointWriteError, match="on this host"):
            shipping.ship()
        objects.is_gone = False


def test_files_beside_the_results_go_along(here: Host, there: Host) -> None:
    with here.working(1) as (results, shipping, _):
        write(results, "a")
        write(results.with_name(f"{results.name}.retrying"), "old")
        write(results.with_name(f"{results.name}.invalid.jsonl"), "left out")
        write(journal_path(results), "journal")
        shipping.open()
    with there.working(2) as (results, _, _):
        assert results.with_name(f"{results.name}.invalid.jsonl").read_bytes() == b"left out\n"
        assert results.with_name(f"{results.name}.retrying").read_bytes() == b"old\n"


def test_a_retry_that_was_interrupted_can_end_on_another_host(here: Host, there: Host) -> None:
    with here.working(1) as (results, shipping, _):
        waiting, part = (results.with_name(f"{results.name}{each}") for each in (".retrying", "x"))
        write(results, "new")
        write(waiting, "old")
        write(journal_path(results), "journal")
        shipping.open()
        shipping.ship()
        part.write_bytes(b"new\nold\n")  # put back
        part.replace(results)
        waiting.unlink()
    with there.working(2) as (results, _, _):
        assert results.read_bytes() == b"new\n"
        assert results.with_name(f"{results.name}.retrying").read_bytes() == b"old\n"


def test_an_error_ships_what_is_left(here: Host, objects: MemoryObjects) -> None:
    def work() -> None:
        with here.working(1) as (results, shipping, _):
            write(journal_path(results), "journal")
            shipping.open()
            write(results, "a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert objects.objects[f"{FOLDER}1-1.jsonl"] == b"a\n"


def test_nothing_of_a_shard_is_needed_on_the_host(here: Host) -> None:
    here.begin("a")
    shutil.rmtree(here.path)
    with here.working(2) as (results, _, _):
        assert results.read_bytes() == b"a\n"


def test_the_least_that_is_shipped_is_less_than_the_most() -> None:
    assert segments.LEAST_BYTES < segments.MOST_BYTES
