"""What changed of a run folder since it was made: adjusted/0003.json is the third change.

A change is noted once a process has taken it (`adjust`), or once a command that was given options
has begun its first shard. Processes look for new ones before each shard. Their numbers are their
order: what is in force is what the manifest says, and each of them after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import orjson

from claude_batch.config.declaration import Time, seconds
from claude_batch.config.settings import RunSettings
from claude_batch.core.shards.names import shard_name
from claude_batch.storage.folder.files import FolderFiles
from claude_batch.storage.folder.manifest import Manifest

ADJUSTED = "adjusted"

_NAME = re.compile(r"(\d+)\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderChange:
    """One change, the `number`-th, at wall time `at`: options by name (None: unset).

    `changes` were adjusted. `given` are those that a command was given: flags, mode, deadline and
    skip_invalid among them, and variables; with another settings file also the names of its
    endpoints.
    """

    at: float
    changes: Mapping[str, Any] = field(default_factory=dict)
    given: RunSettings | None = None
    number: int = 0

    @property
    def flags(self) -> Mapping[str, Any]:
        """What a command was given by flag."""
        return {} if self.given is None else self.given.flags


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderOptions:
    """What is in force for all of a run folder, after `changes` of them.

    `mode` None: that of the manifest is live, and nobody has said anything else. `deadline_at` is
    wall time. `skip_invalid` is for shards that have not begun.
    """

    run: RunSettings
    mode: str | None
    deadline_at: float | None
    skip_invalid: bool = False
    changes: int = 0

    @classmethod
    def since(cls, manifest: Manifest, changes: Iterable[FolderChange]) -> FolderOptions:
        """Return what the manifest says, and changes after it."""
        found = cls(
            run=manifest.settings,
            mode=None if manifest.mode == "live" else manifest.mode,
            deadline_at=_moment(manifest.deadline, manifest.created_at),
            skip_invalid=manifest.options.skip_invalid,
        )
        for change in changes:
            found = found.after(change)
        return found

    def after(self, change: FolderChange) -> FolderOptions:
        """Return what is in force after a change."""
        run, given, flags = self.run, change.given, dict(change.flags)
        mode, deadline_at = flags.pop("mode", self.mode), self.deadline_at
        skip_invalid = flags.pop("skip_invalid", self.skip_invalid)
        if "deadline" in flags:
            deadline_at = _moment(flags.pop("deadline"), change.at)
        adjusted = {name: value for name, value in run.adjusted.items() if name not in flags}
        if given is not None:
            run = replace(
                run, flags={**run.flags, **flags}, variables={**run.variables, **given.variables}
            )
            if given.endpoints:
                run = replace(run, config=given.config, endpoints=given.endpoints)
        return FolderOptions(
            run=replace(run, adjusted={**adjusted, **change.changes}),
            mode=mode,
            deadline_at=deadline_at,
            skip_invalid=skip_invalid,
            changes=change.number,
        )


def options_of(manifest: Manifest, files: FolderFiles) -> FolderOptions:
    """Return what is in force for all of a run folder."""
    return FolderOptions.since(manifest, read_changes_of(files))


def note_change(files: FolderFiles, change: FolderChange) -> int:
    """Note a change, after those that there are; return its number. Raises CheckpointWriteError."""
    names = _names(files)
    number = _number(names[-1]) + 1 if names else 1
    record: dict[str, Any] = {"at": change.at}
    if change.given is None:
        record["changes"] = change.changes
    else:
        record["given"] = asdict(change.given)
        del record["given"]["adjusted"]  # which no command is given
    while not files.create(f"{ADJUSTED}/{shard_name(number)}.json", orjson.dumps(record) + b"\n"):
        number += 1  # another command was quicker
    return number


def read_changes_of(files: FolderFiles) -> list[FolderChange]:
    """Return the changes, the first one first; what cannot be read is passed over."""
    found: list[FolderChange] = []
    for name in _names(files):
        try:
            record = orjson.loads(files.read(f"{ADJUSTED}/{name}") or b"")
            found.append(_parse(record, _number(name)))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return found


def _parse(record: dict[str, Any], number: int) -> FolderChange:
    at = float(record["at"])
    if "given" not in record:
        return FolderChange(at=at, changes=dict(record["changes"]), number=number)
    given = record["given"]
    flags, endpoints = dict(given["flags"]), tuple(given["endpoints"])
    if flags.get("deadline") is not None:
        Time().parse(flags["deadline"])
    run = RunSettings(
        flags=flags,
        variables=dict(given["variables"]),
        config=given["config"],
        endpoints=endpoints,
    )
    return FolderChange(at=at, given=run, number=number)


def _moment(deadline: str | None, begun_at: float) -> float | None:
    """Return when a time that begins then is over."""
    return None if deadline is None else begun_at + seconds(deadline)


def _names(files: FolderFiles) -> list[str]:
    return sorted(filter(_NAME.fullmatch, files.names(ADJUSTED)), key=_number)


def _number(name: str) -> int:
    return int(name.partition(".")[0])
