"""Claims in object storage: created once, silent by the storage's clock, let go of."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from claude_batch.core.shards.claims import SILENT_S, Take, decide
from claude_batch.errors import FolderGoneError
from claude_batch.storage.folder.claims import claims_on, read_claims, take_claim
from claude_batch.storage.folder.object_files import ObjectFiles
from claude_batch.storage.objects.errors import StoreError
from tests.support.memory_objects import MemoryObjects


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def files(objects: MemoryObjects, tmp_path: Path) -> ObjectFiles:
    files = ObjectFiles(objects.store, "run/", tmp_path)
    files.learn_clock()
    return files


def test_of_many_one_creates_an_object(files: ObjectFiles) -> None:
    with ThreadPoolExecutor(8) as pool:
        created = [*pool.map(lambda number: files.create("a/b", b"%d" % number), range(40))]
    assert sum(created) == 1
    assert (files.read("a/b"), files.names("a")) == (b"%d" % created.index(True), ["b"])


def test_an_answer_that_was_lost_is_no_other_process(
    files: ObjectFiles, objects: MemoryObjects
) -> None:
    objects.loses_answers = True
    with pytest.raises(StoreError):
        files.create("a", b"mine")
    objects.loses_answers = False
    assert [files.create("a", b"mine"), files.create("a", b"other")] == [True, False]


def test_names_are_found_by_one_listing(files: ObjectFiles, objects: MemoryObjects) -> None:
    for name in ("shards/0001/1.journal", "shards/0001/done.json", "shards/0002/1.journal", "x"):
        files.create(name, b"1")
    objects.calls.clear()
    assert files.names_below("shards") == {
        "0001": ["1.journal", "done.json"],
        "0002": ["1.journal"],
    }
    assert objects.calls == {"list": 1}
    assert files.read_all(["x", "y"]) == {"x": b"1"}


def test_a_folder_is_empty_but_for_what_is_hidden(
    files: ObjectFiles, objects: MemoryObjects
) -> None:
    for name in ("run/", "run/.keep", "run2/a.txt"):
        objects.put(name, b"")
    empty = files.any_name()
    objects.put("run/in/a.txt", b"")
    assert (empty, files.any_name()) == (None, "in/a.txt")


def test_silence_is_measured_by_the_clock_of_the_storage(
    files: ObjectFiles, objects: MemoryObjects, tmp_path: Path
) -> None:
    objects.now_s = 1e6  # years before this host's
    first = take_claim(files, 3, 1, 0.5)
    assert first is not None
    objects.now_s += SILENT_S + 1
    other = ObjectFiles(objects.store, "run/", tmp_path / "of another host")
    other.learn_clock()
    assert decide(claims_on(other, 3)) == Take(2)
    first.held.touch()
    (found,) = claims_on(other, 3)
    assert (found.is_held, found.max_cost_usd, found.silent_s < SILENT_S) == (True, 0.5, True)
    first.close()


def test_a_clock_leaves_nothing_behind(files: ObjectFiles, objects: MemoryObjects) -> None:
    files.learn_clock()
    assert objects.objects == {}


def test_a_claim_that_was_let_go_is_free_at_once(
    files: ObjectFiles, objects: MemoryObjects, tmp_path: Path
) -> None:
    claim = take_claim(files, 3, 1, None)
    assert claim is not None
    claim.close()
    other = ObjectFiles(objects.store, "run/", tmp_path / "of another host")
    assert decide(claims_on(other, 3)) == Take(2)
    assert other.ages("claims") == {"0003-1": math.inf}


def test_a_process_of_this_host_that_is_gone_is_known_at_once(
    files: ObjectFiles, objects: MemoryObjects, tmp_path: Path
) -> None:
    claim = take_claim(files, 3, 1, None)
    assert claim is not None
    assert claims_on(files, 3)[0].is_held
    content = objects.objects["run/claims/0003-1"]
    claim.close()
    objects.put("run/claims/0003-1", content)  # as if it had been killed
    assert not claims_on(files, 3)[0].is_held
    other = ObjectFiles(objects.store, "run/", tmp_path / "elsewhere")
    other.learn_clock()
    assert claims_on(other, 3)[0].is_held


def test_a_holder_stops_when_the_run_folder_is_removed(
    files: ObjectFiles, objects: MemoryObjects
) -> None:
    objects.put("run/manifest.json", b"{}")
    claim = take_claim(files, 3, 1, None)
    assert claim is not None
    objects.delete([key for key in objects.objects if key.startswith("run/")])
    assert not claim.look(time.monotonic())
    with pytest.raises(FolderGoneError, match="s3://bucket/run/ was moved or removed"):
        claim.refuse_lost()
    claim.close()


def test_a_holder_looks_in_three_requests(files: ObjectFiles, objects: MemoryObjects) -> None:
    objects.put("run/manifest.json", b"{}")
    claims = [take_claim(files, shard, 1, None) for shard in range(1, 201)]
    objects.calls.clear()
    assert claims[7] is not None
    assert claims[7].look(time.monotonic())
    assert objects.calls == {"list": 1, "head": 1, "put": 1}
    for each in claims[:190]:
        assert each is not None
        each.close()
    objects.calls.clear()
    assert len(read_claims(files)) == 200
    assert objects.calls == {"list": 1, "read": 10}
    for each in claims[190:]:
        assert each is not None
        each.close()


def test_storage_that_does_not_answer_is_waited_for_as_long_as_others_wait(
    files: ObjectFiles, objects: MemoryObjects
) -> None:
    before = time.monotonic()
    claim = take_claim(files, 3, 1, None)
    assert claim is not None
    after, objects.is_gone = time.monotonic(), True
    assert [claim.look(before + SILENT_S - 1), claim.look(after + SILENT_S + 1)] == [True, False]
    claim.close()
