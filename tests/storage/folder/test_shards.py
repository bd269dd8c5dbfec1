"""A shard's next holder begins with all that the last one had."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import orjson
import pytest

from claude_batch.config.settings import RunSettings
from claude_batch.storage.files import beside
from claude_batch.storage.folder.files import LocalFiles
from claude_batch.storage.folder.shards import Done, ShardFolder, parse_done
from claude_batch.storage.run.journal import Retry, create_journal, journal_path, note
from claude_batch.storage.run.recovery import RETRYING
from claude_batch.storage.run.results import encode_result
from tests.storage.run.test_journal import IDENTITY
from tests.storage.run.test_results import a_result

NEW = ("degraded", "endpoints", "unreported")
"""What earlier versions did not write."""


def a_done(epoch: int = 2) -> Done:
    return Done(
        shard=3,
        epoch=epoch,
        results=f"{epoch}.results.jsonl",
        total=2,
        succeeded=2,
        errored=0,
        canceled=0,
        expired=0,
        left_out=0,
        output_errors=0,
        input_tokens=1,
        output_tokens=1,
        cost_usd=0.1,
        most_usd=0.1,
        finished_at=1.0,
    )


def begun(folder: Path, epoch: int) -> ShardFolder:
    """Return a shard in which a run has begun."""
    shard = ShardFolder(folder, 3)
    results = shard.begin(epoch)
    results.write_bytes(b"result\n")
    results.with_name(results.name + ".journal").write_bytes(b"journal\n")
    results.with_name(results.name + ".prompts").write_bytes(b"prompts\n")
    return shard


def retry(results: Path) -> None:
    """Note in the journal of an epoch that results are retried."""
    create_journal(results, IDENTITY, RunSettings())
    note(results, Retry(errored=True))


def test_a_new_epoch_has_what_the_last_one_had(tmp_path: Path) -> None:
    shard = begun(tmp_path, 1)
    results = shard.begin(2)
    assert results.read_bytes() == b"result\n"
    assert results.with_name("2.results.jsonl.prompts").read_bytes() == b"prompts\n"
    assert shard.epochs() == [1, 2]
    assert shard.current(None) == results


def test_what_an_earlier_holder_still_writes_counts_no_more(tmp_path: Path) -> None:
    shard = begun(tmp_path, 1)
    results = shard.begin(2)
    with shard.results(1).open("ab") as file:
        file.write(b"late\n")
    assert results.read_bytes() == b"result\n"


def test_a_copy_that_was_cut_off_is_no_epoch(tmp_path: Path) -> None:
    shard = begun(tmp_path, 1)
    shard.results(2).write_bytes(b"res")
    assert shard.epochs() == [1]
    assert shard.begin(3).read_bytes() == b"result\n"


def test_only_the_last_two_epochs_take_room(tmp_path: Path) -> None:
    shard = begun(tmp_path, 1)
    shard.begin(2)
    shard.begin(3)
    assert shard.epochs() == [2, 3]


def test_a_shard_is_finished_once(tmp_path: Path) -> None:
    files, shard = LocalFiles(tmp_path), begun(tmp_path, 2)
    assert shard.done(files) is None
    assert shard.finish(files, a_done())
    assert shard.done(files) == a_done()
    assert shard.current(a_done()) == shard.results(2)


def test_after_a_retry_its_end_counts(tmp_path: Path) -> None:
    files, shard = LocalFiles(tmp_path), begun(tmp_path, 2)
    assert [shard.finish(files, a_done(epoch)) for epoch in (2, 11, 11, 3)] == [
        True,
        True,
        False,
        True,
    ]
    assert shard.done(files) == a_done(11)


def test_while_a_finished_shard_is_retried_its_results_stay(tmp_path: Path) -> None:
    shard = begun(tmp_path, 1)
    for epoch in (2, 3):
        retry(shard.begin(epoch, a_done(1)))
    shard.begin(4, a_done(1))
    assert shard.epochs() == [1, 3, 4]


def test_a_later_epoch_counts_once_it_retries_something(tmp_path: Path) -> None:
    shard = begun(tmp_path, 1)
    later = shard.begin(2, a_done(1))
    assert not shard.is_unfinished(a_done(1))
    retry(later)
    assert shard.current(a_done(1)) == later
    assert shard.is_unfinished(a_done(1), ["2.results.jsonl.journal"])
    assert not shard.is_unfinished(a_done(2))
    journal_path(later).write_bytes(b"damaged\n")
    assert not shard.is_unfinished(a_done(1))


def test_an_epoch_that_has_retried_nothing_is_no_beginning(tmp_path: Path) -> None:
    shard = begun(tmp_path, 1)
    shard.begin(2, a_done(1)).write_bytes(b"less\n")
    assert shard.begin(3, a_done(1)).read_bytes() == b"result\n"


def test_readers_of_an_unfinished_retry_get_the_better_of_old_and_new(tmp_path: Path) -> None:
    shard = begun(tmp_path, 1)
    old, new = (encode_result(a_result(line)) for line in (1, 2))
    shard.results(1).write_bytes(new)
    beside(shard.results(1), RETRYING).write_bytes(old)
    with shard.reading(None) as results:
        assert results is not None
        assert sorted(results.read_bytes().splitlines(keepends=True)) == sorted((old, new))
        assert journal_path(results).read_bytes() == journal_path(shard.results(1)).read_bytes()
    assert shard.results(1).read_bytes() == new


def test_a_finished_shard_keeps_only_what_counts(tmp_path: Path) -> None:
    shard = begun(tmp_path, 1)
    shard.begin(2)
    shard.tidy(a_done())
    names = sorted(each.name for each in shard.path.iterdir())
    assert names == [f"2.results.jsonl{each}" for each in ("", ".journal", ".prompts")]


@pytest.mark.parametrize(
    ("changes", "failed"), [({}, False), ({"succeeded": 1}, True), ({"left_out": 1}, True)]
)
def test_a_shard_has_failures_when_an_answer_is_missing(
    changes: dict[str, int], *, failed: bool
) -> None:
    assert replace(a_done(), **changes).has_failures is failed  # type: ignore[arg-type]


def test_what_an_earlier_version_wrote_of_a_finished_shard_is_read() -> None:
    new = asdict(replace(a_done(), degraded=1, endpoints={"local": 2}, unreported=3))
    old = {name: value for name, value in new.items() if name not in NEW}
    read = [parse_done(orjson.dumps(each), "done.json") for each in (new, old)]
    assert [(each.degraded, each.endpoints, each.unreported) for each in read] == [
        (1, {"local": 2}, 3),
        (None, {}, 0),
    ]
