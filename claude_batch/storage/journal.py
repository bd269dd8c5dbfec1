"""The journal: the few facts that results cannot tell. RESULTS.journal, JSONL, small.

Its first line is the run's identity, synced before the results file exists. Then: when it was
opened and closed, and what happened in between.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import orjson

from claude_batch.core.events import Event
from claude_batch.errors import CheckpointError, CheckpointWriteError
from claude_batch.storage.files import PRIVATE, append_file, beside, sync_directory

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIdentity:
    """Whose results these are: the input's fingerprint and the options that shape results.

    Paths are absolute; `prompts_path` is what is read, `prompts` what the user named ("-").
    `routes` are the [[route]] rules (core.routing.routes_text). `cache_prefix` shapes no result: it
    is here so that `resume` goes on in the same way. What older journals lack has a default.
    """

    run_id: str
    version: str
    started_at: str
    mode: str
    prompts: str
    prompts_path: str
    results: str
    size: int
    sha256: str
    total: int
    invalid: int
    sandbox: bool
    scenario: str | None
    endpoint: str
    model: str | None
    max_tokens: int | None
    system: str | None
    skip_invalid: bool
    routes: str | None = None
    dedupe: bool = False
    cache_prefix: str = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A process began to work on the run."""

    at: str
    process: int
    done: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A process left the run. `state` is finished, interrupted or stopped."""

    at: str
    state: str
    exit_code: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """A journal read back: who the run is, its last process, and how that left it, if it did."""

    identity: RunIdentity
    opened: Opened | None
    closed: Closed | None


def journal_path(results: Path) -> Path:
    """Return where the journal of `results` is."""
    return beside(results, ".journal")


def create_journal(results: Path, identity: RunIdentity) -> None:
    """Begin a journal; once this returns, the run's identity outlives the process."""
    path = journal_path(results)
    try:
        append_file(path, [_line("run", identity)])
    except OSError as error:
        raise CheckpointWriteError(
            f"{path}: cannot write the journal: {error.strerror}",
            hint="make room, or choose another place with --out FILE",
        ) from error


def read_journal(results: Path) -> Journal | None:
    """Return what the journal says, or None without one (or with a first line torn by a crash)."""
    identity: RunIdentity | None = None
    opened: Opened | None = None
    closed: Closed | None = None
    for record in _records(journal_path(results)):
        match record.get("type"):
            case "run":
                identity = _parse(RunIdentity, record)
            case "opened":
                opened, closed = _parse(Opened, record), None
            case "closed":
                closed = _parse(Closed, record)
            case _:  # what happened in between is for the report
                pass
    if identity is None:
        return None
    return Journal(identity=identity, opened=opened, closed=closed)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records; a line that a crash tore is passed over."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for raw in file:
            try:
                record = orjson.loads(raw.lstrip(b"\0"))
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record


def read_records(results: Path) -> Iterator[dict[str, Any]]:
    """Yield every record of a journal, whatever it is about; torn ones are passed over."""
    yield from _records(journal_path(results))


def _parse(kind: type[T], record: dict[str, Any]) -> T:
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # dataclasses only
    try:
        return kind(**{name: value for name, value in record.items() if name in names})
    except TypeError as error:
        raise CheckpointError(
            f"the journal lacks a field: {error}",
            hint="it was written by another version of claude-batch; use that, or --fresh",
        ) from error


class JournalFile:
    """The writing end of a journal that exists."""

    def __init__(self, results: Path) -> None:
        self._path = journal_path(results)
        self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND, PRIVATE)
        self._mend()

    def _mend(self) -> None:
        """Begin on a new line if a crash tore the last one."""
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            self._append([b"\n"])

    def opened(self, record: Opened) -> None:
        """Note that this process works on the run."""
        self._append([_line("opened", record)])

    def closed(self, record: Closed) -> None:
        """Note how this process leaves the run, durably."""
        self._append([_line("closed", record)])
        os.fsync(self._fd)

    def durable(self, kind: str, record: Any) -> None:
        """Append `record`, a dataclass; once this returns, it outlives the process."""
        self._append([_line(kind, record)])
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._error(error.strerror or "error") from error

    async def note(self, events: Sequence[Event]) -> None:
        """Append `events`; they are in the file when this returns."""
        lines = [_line(type(event).__name__.lower(), event) for event in events]
        await asyncio.to_thread(self._append, lines)

    def _append(self, lines: list[bytes]) -> None:
        data = b"".join(lines)
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            raise self._error(error.strerror or "error") from error
        if written < len(data):
            raise self._error("no space left")

    def _error(self, what: str) -> CheckpointWriteError:
        return CheckpointWriteError(
            f"{self._path}: cannot write the journal: {what}",
            hint="make room, then run the same command again: all results so far are kept",
        )

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)
        sync_directory(self._path.parent)


def _line(kind: str, record: Any) -> bytes:
    return orjson.dumps(
        {"type": kind, **asdict(record)},
        option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS,
    )
