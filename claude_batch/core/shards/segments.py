"""A shard's files in object storage, which has no append: results go there in segments.

`3-1.jsonl`, `3-2.jsonl` ... are the results of epoch 3, in the order in which they were written;
`3.journal` is its journal, replaced as a whole, and `3.retrying` and the like are the other files.
An epoch counts from the moment it has a journal, which comes after its first results.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SHIP_EVERY_S = 5.0
"""Seconds after which results are shipped: what a lost host loses at most while they come fast."""

MOST_SECONDS = 60.0
"""Seconds after which results are shipped, however slowly they come."""

MOST_BYTES = 8 << 20
"""Bytes of a segment, but for the rest of its last line; with so many, it is shipped at once."""

LEAST_BYTES = 256 << 10
"""Segments become no smaller than this, however slow the way to storage is."""

_SMALL_BYTES = 1 << 20
"""While segments are smaller, the time between them grows: many small objects are slow to read."""
_GROWTH = 1.5

JOURNAL = ".journal"
_SEGMENT = re.compile(r"(\d+)-(\d+)\.jsonl")
_FILE = re.compile(r"(\d+)(\.(?:journal|retrying|retried|damaged|invalid\.jsonl))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One object of results, numbered from 1."""

    number: int
    size: int


@dataclass(slots=True, kw_only=True)
class EpochThere:
    """What there is of an epoch. `files` are the others by their suffixes, with their sizes."""

    epoch: int
    segments: list[Segment] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of its results."""
        return sum(each.size for each in self.segments)


def segment_name(epoch: int, number: int) -> str:
    """Return what the object of a segment is called."""
    return f"{epoch}-{number}.jsonl"


def file_name(epoch: int, suffix: str) -> str:
    """Return what the object of another file of a run is called: its suffix is .journal, say."""
    return f"{epoch}{suffix}"


def epoch_of(name: str) -> int | None:
    """Return the epoch whose journal an object is; None for any other object."""
    found = _FILE.fullmatch(name)
    return int(found[1]) if found and found[2] == JOURNAL else None


def epochs_there(sizes: Mapping[str, int]) -> dict[int, EpochThere]:
    """Return what there is of each epoch, counting or not; objects are given by name and size."""
    there: dict[int, EpochThere] = {}

    def of(epoch: str) -> EpochThere:
        return there.setdefault(int(epoch), EpochThere(epoch=int(epoch)))

    for name, size in sizes.items():
        if found := _SEGMENT.fullmatch(name):
            of(found[1]).segments.append(Segment(number=int(found[2]), size=size))
        elif found := _FILE.fullmatch(name):
            of(found[1]).files[found[2]] = size
    for each in there.values():
        each.segments.sort(key=lambda segment: segment.number)
    return there


def missing(segments: Sequence[Segment], have: int) -> tuple[int, Sequence[Segment]]:
    """Return how many of the first `have` bytes are whole segments, and the segments after those.

    A copy that was cut off within a segment goes on where that begins.
    """
    whole = 0
    for index, segment in enumerate(segments):
        if whole + segment.size > have:
            return whole, segments[index:]
        whole += segment.size
    return whole, ()


def names_of(epoch: EpochThere) -> list[str]:
    """Return the names of the objects of an epoch."""
    return [
        *(segment_name(epoch.epoch, each.number) for each in epoch.segments),
        *(file_name(epoch.epoch, suffix) for suffix in epoch.files),
    ]


def next_interval_s(interval_s: float, shipped: int) -> float:
    """Return how long to wait after a segment of `shipped` bytes was due after `interval_s`."""
    if shipped >= _SMALL_BYTES:
        return max(SHIP_EVERY_S, interval_s / _GROWTH)
    return min(MOST_SECONDS, interval_s * _GROWTH)
