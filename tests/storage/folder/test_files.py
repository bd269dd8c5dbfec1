"""Files that several processes want to create: one of them does, whole."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from claude_batch.core.shards.claims import SILENT_S, Take, decide
from claude_batch.storage.folder.claims import claims_on, take_claim
from claude_batch.storage.folder.files import LocalFiles
from claude_batch.storage.run.paths import MANIFEST


def test_of_many_one_creates_a_file(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)

    def create(number: int) -> bool:
        return files.create("a/b.json", b"%d" % number)

    with ThreadPoolExecutor(8) as pool:
        created = [*pool.map(create, range(40))]
    assert sum(created) == 1
    assert files.read("a/b.json") == b"%d" % created.index(True)
    assert files.names("a") == ["b.json"]


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    assert [files.create("b", b"1"), files.create("b", b"2")] == [True, False]
    assert files.read("b") == b"1"


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    assert (files.read("a/b"), files.names("a"), files.ages("a")) == (None, [], {})


def test_a_folder_is_empty_but_for_what_is_hidden(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "lost+found").mkdir()
    empty = files.any_name()
    (tmp_path / "a.txt").touch()
    assert (empty, files.any_name()) == (None, "a.txt")


def test_a_held_shard_is_free_when_its_holder_lets_go(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    claim = take_claim(files, 3, 1, None)
    assert claim is not None
    held = claims_on(files, 3)
    claim.close()
    assert held[0].is_held
    assert decide(claims_on(files, 3)) == Take(2)


def test_an_epoch_is_claimed_once(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    first, second = take_claim(files, 3, 1, None), take_claim(files, 3, 1, None)
    assert first is not None
    assert second is None
    first.close()


def test_a_silent_holder_notices_that_it_was_superseded(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.create(MANIFEST, b"{}")
    first = take_claim(files, 3, 1, 0.5)
    assert first is not None
    assert first.look(time.monotonic())
    long_ago = time.time() - SILENT_S - 1
    os.utime(tmp_path / "claims" / "0003-1", (long_ago, long_ago))
    assert decide(claims_on(files, 3)) == Take(2)
    second = take_claim(files, 3, 2, None)
    assert second is not None
    assert [first.look(time.monotonic()), second.look(time.monotonic())] == [False, True]
    first.close()
    second.close()


def test_a_holder_is_not_superseded_on_other_shards(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.create(MANIFEST, b"{}")
    claims = [take_claim(files, shard, epoch, None) for shard, epoch in [(1, 1), (11, 2)]]
    assert all(each is not None and each.look(time.monotonic()) for each in claims)
    for each in claims:
        assert each is not None
        each.close()


def test_a_bound_is_in_the_claim(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    claim = take_claim(files, 3, 1, 0.5)
    assert claim is not None
    assert claims_on(files, 3)[0].max_cost_usd == 0.5
    claim.close()
