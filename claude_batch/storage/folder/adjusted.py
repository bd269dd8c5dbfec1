"""What was changed of a run folder while it was worked on: adjusted/0003.json is the third change.

A change is noted once a process has taken it. Processes look for new ones before each shard.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from claude_batch.core.shards.names import shard_name
from claude_batch.storage.folder.files import FolderFiles

ADJUSTED = "adjusted"

_NAME = re.compile(r"(\d+)\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderChange:
    """One change: options by name (None: unset), at wall time `at`."""

    at: float
    changes: Mapping[str, Any] = field(default_factory=dict)


def note_change(files: FolderFiles, change: FolderChange) -> None:
    """Note a change, after those that there are. Raises CheckpointWriteError."""
    number = len(_names(files)) + 1
    while not files.create(f"{ADJUSTED}/{shard_name(number)}.json", orjson.dumps(change) + b"\n"):
        number += 1  # another command was quicker


def read_changes_of(files: FolderFiles) -> list[FolderChange]:
    """Return the changes, the first one first; what cannot be read is passed over."""
    found: list[FolderChange] = []
    for name in _names(files):
        try:
            record = orjson.loads(files.read(f"{ADJUSTED}/{name}") or b"")
            found.append(FolderChange(at=float(record["at"]), changes=dict(record["changes"])))
        except (ValueError, TypeError, KeyError):
            continue
    return found


def in_force(changes: list[FolderChange]) -> dict[str, Any]:
    """Return the options that were changed, as they are since."""
    return {name: value for each in changes for name, value in each.changes.items()}


def _names(files: FolderFiles) -> list[str]:
    names = [name for name in files.names(ADJUSTED) if _NAME.fullmatch(name)]
    return sorted(names, key=lambda name: int(name.partition(".")[0]))
