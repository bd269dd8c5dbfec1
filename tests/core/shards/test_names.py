"""Inputs are called by their paths below what they have in common."""

from __future__ import annotations

import pytest

from claude_batch.core.shards.names import names_below, shard_name


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/in/a.jsonl"], ["a.jsonl"]),
        (["/in/a.jsonl", "/in/b.jsonl"], ["a.jsonl", "b.jsonl"]),
        (["/in/x/a.jsonl", "/in/y/a.jsonl"], ["x/a.jsonl", "y/a.jsonl"]),
        (["/in/a.jsonl", "/in/a/b.jsonl"], ["a.jsonl", "a/b.jsonl"]),
        (["/a.jsonl", "/in/b.jsonl"], ["a.jsonl", "in/b.jsonl"]),
    ],
)
def test_names_are_paths_below_the_shared_folder(paths: list[str], names: list[str]) -> None:
    assert names_below(paths) == names


def test_shards_are_numbered_with_four_digits_or_more() -> None:
    assert [shard_name(number) for number in (17, 12_345)] == ["0017", "12345"]
