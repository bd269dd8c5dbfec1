"""The manifest of a run folder: what the run is about, in shards. Created once, never changed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import orjson

from claude_batch.config.declaration import Owner, parse_value
from claude_batch.config.options import OPTIONS, Options, owned_by
from claude_batch.config.settings import RunSettings
from claude_batch.config.spelling import difference, differences_text
from claude_batch.core.catalog.routing import are_alike, routes_of_text
from claude_batch.errors import CheckpointError, CheckpointMismatchError, SettingsError
from claude_batch.storage.folder.files import FolderFiles
from claude_batch.storage.objects.locations import Pinned, is_url
from claude_batch.storage.prompts.columns import CUSTOM_ID
from claude_batch.storage.run.paths import MANIFEST
from claude_batch.storage.tables.kinds import Part

FORMAT = 1
"""The version of the format. A reader refuses a later one."""

_MOST_NAMED = 3
"""Inputs that a message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One shard, numbered from 1: `source`, called `name` in ids, from `start` up to `end`.

    `end` None: all of the file. Of what was not cut `lines` may be unknown. `size` (bytes) and
    `sha256` are those of the shard's bytes; of an object there is the `etag` of the whole instead.
    """

    shard: int
    source: str
    name: str
    start: int
    end: int | None
    first_line: int
    lines: int | None
    size: int
    sha256: str
    etag: str | None = None

    @property
    def pinned(self) -> Pinned | None:
        """What the object has to be that it is read from; None for a file."""
        if not is_url(self.source):
            return None
        return Pinned(size=self.size if self.end is None else None, etag=self.etag)

    @property
    def part(self) -> Part | None:
        """The part of the file that it is; None: all of it."""
        if self.end is None:
            return None
        return Part(start=self.start, end=self.end, first_line=self.first_line)

    @property
    def words(self) -> str:
        """What it is about: its file, and lines."""
        if self.end is None or self.lines is None:
            return self.source
        return f"{self.source}, lines {self.first_line:,} to {self.first_line + self.lines - 1:,}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A run over many files. `options` shape results; `settings` is what a journal would keep.

    `mode` and `deadline` are as they were given; `created_at` is wall time. `inputs` are the
    arguments of the command that made it, from the root on. `ids` are the columns that ids of all
    rows are taken from.
    """

    run_id: str
    version: str
    created_at: float
    inputs: tuple[str, ...]
    shard_size: int
    options: Options
    settings: RunSettings
    routes: str | None
    mode: str
    deadline: str | None
    shards: tuple[Shard, ...]
    ids: tuple[str, ...] = (CUSTOM_ID,)


def create_manifest(files: FolderFiles, manifest: Manifest) -> bool:
    """Create the manifest; return False if another process was quicker."""
    options = {name: getattr(manifest.options, name) for name in owned_by(Owner.RESULTS)}
    record = {each.name: getattr(manifest, each.name) for each in fields(manifest)}
    shards = record.pop("shards")
    record |= {"options": options, "settings": asdict(manifest.settings)}
    head = orjson.dumps({"format": FORMAT, **record})
    lines = b",\n".join(orjson.dumps(asdict(shard)) for shard in shards)
    return files.create(MANIFEST, head[:-1] + b',"shards":[\n' + lines + b"\n]}\n")


def read_manifest(files: FolderFiles, folder: str) -> Manifest | None:
    """Return the manifest of a run folder; None without one. Raises CheckpointError."""
    try:
        content = files.read(MANIFEST)
    except OSError as error:
        raise _unreadable(folder, str(error.strerror)) from error
    if content is None:
        return None
    try:
        record = orjson.loads(content)
        if record.pop("format") > FORMAT:
            raise _unreadable(folder, "a later version of claude-batch has written it")
        return _parse(record)
    except (ValueError, TypeError, KeyError, AttributeError, SettingsError) as error:
        raise _unreadable(folder, repr(error)) from error


def _parse(record: dict[str, Any]) -> Manifest:
    given: Mapping[str, Any] = record.pop("options")
    options = {
        name: parse_value(OPTIONS[name], given[name], name)
        for name in owned_by(Owner.RESULTS)
        if given.get(name) is not None
    }
    settings = record.pop("settings")
    settings["endpoints"] = tuple(settings["endpoints"])
    shards = tuple(Shard(**each) for each in record.pop("shards"))
    routes_of_text(record["routes"])
    return Manifest(
        **{**record, "inputs": tuple(record["inputs"]), "ids": tuple(record["ids"])},
        options=Options(**options),
        settings=RunSettings(**settings),
        shards=shards,
    )


def _unreadable(folder: str, why: str) -> CheckpointError:
    return CheckpointError(
        f"{folder}/{MANIFEST} cannot be read: {why}",
        hint="put it back from a copy; its shards are whole",
    )


def refuse_other(folder: str, old: Manifest, new: Manifest) -> None:
    """Refuse to continue a run folder with another input, or with options that change results.

    Raises CheckpointMismatchError.
    """
    differences = []
    for name in owned_by(Owner.RESULTS):
        was, now = getattr(old.options, name), getattr(new.options, name)
        if was != now:
            differences.append(difference(name, was, now))
    if not are_alike(old.routes, new.routes):
        differences.append("with other [[route]] rules in its settings")
    if old.shard_size != new.shard_size:
        differences.append(difference("shard_size", old.shard_size, new.shard_size))
    if old.inputs != new.inputs:
        differences.append(f"with other inputs: {_few(old.inputs)}, not {_few(new.inputs)}")
    if differences:
        resume = f"claude-batch resume {shlex.quote(folder)}/"
        raise CheckpointMismatchError(
            differences_text(f"{folder}/", differences),
            hint=f"to continue it as it was started: {resume}; for another run, name another "
            "folder: --out DIR/",
        )


def _few(inputs: Sequence[str]) -> str:
    more = len(inputs) - _MOST_NAMED
    return ", ".join(inputs[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
