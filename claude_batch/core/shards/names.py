"""What the inputs of a run folder are called in ids: their paths below the folder they share."""

from __future__ import annotations

from collections.abc import Sequence


def names_below(paths: Sequence[str]) -> list[str]:
    """Return each of some different absolute paths without the folders that all have in common.

    One path alone is called by the name of its file.
    """
    parts = [path.split("/") for path in paths]
    folders = [each[:-1] for each in parts]
    shared = 0
    for level in zip(*folders, strict=False):
        if len({*level}) > 1:
            break
        shared += 1
    return ["/".join(each[shared:]) for each in parts]


def id_prefix(name: str) -> str:
    """Return what the ids of an input's lines begin with: `a/b.jsonl:17` is its line 17."""
    return f"{name}:"


def shard_name(number: int) -> str:
    """Return what a shard is called in the folder: 0017."""
    return f"{number:04}"
