"""What is where in object storage, and when more is shipped."""

from __future__ import annotations

from claude_batch.core.shards.segments import (
    JOURNAL,
    MOST_SECONDS,
    SHIP_EVERY_S,
    Segment,
    epoch_of,
    epochs_there,
    missing,
    names_of,
    next_interval_s,
)

SEGMENTS = [Segment(number=1, size=10), Segment(number=2, size=5), Segment(number=3, size=1)]


def test_objects_are_sorted_by_epoch_and_number() -> None:
    sizes = {"3-10.jsonl": 1, "3-2.jsonl": 2, "3.journal": 3, "12.retrying": 4, "done.json": 5}
    there = epochs_there(sizes)
    assert sorted(there) == [3, 12]
    assert [each.number for each in there[3].segments] == [2, 10]
    assert (there[3].size, there[3].files, there[12].files) == (3, {JOURNAL: 3}, {".retrying": 4})


def test_the_names_of_an_epoch_are_those_it_was_found_by() -> None:
    names = ["3-1.jsonl", "3-2.jsonl", "3.journal", "3.invalid.jsonl"]
    assert names_of(epochs_there(dict.fromkeys(names, 1))[3]) == names


def test_only_a_journal_makes_an_epoch_count() -> None:
    names = ["3.journal", "3-1.jsonl", "done.json", "3.retried"]
    assert [epoch_of(name) for name in names] == [3, None, None, None]


def test_a_copy_goes_on_where_a_segment_begins() -> None:
    assert missing(SEGMENTS, 0) == (0, SEGMENTS)
    assert missing(SEGMENTS, 14) == (10, SEGMENTS[1:])
    assert missing(SEGMENTS, 15) == (15, SEGMENTS[2:])
    assert missing(SEGMENTS, 99) == (16, ())


def test_small_segments_become_rare_and_large_ones_frequent_again() -> None:
    interval_s = SHIP_EVERY_S
    for _ in range(20):
        interval_s = next_interval_s(interval_s, 1000)
    assert interval_s == MOST_SECONDS
    for _ in range(20):
        interval_s = next_interval_s(interval_s, 2 << 20)
    assert interval_s == SHIP_EVERY_S
