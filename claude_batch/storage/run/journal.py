"""The journal: the few facts that results cannot tell. RESULTS.journal, JSONL, small.

Its first line is the run's identity, synced before the results file exists. Then: when it was
opened and closed, and what happened in between.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import orjson

from claude_batch.config.declaration import Owner, parse_value
from claude_batch.config.options import OPTIONS, Options, owned_by
from claude_batch.config.settings import RunSettings
from claude_batch.core.catalog.routing import routes_of_text
from claude_batch.core.model.events import NO_EXPENSE, Canaries, Event, Expense
from claude_batch.core.model.typos import quoted
from claude_batch.errors import CheckpointError, CheckpointWriteError, SettingsError
from claude_batch.storage.daemon import HANGING_S, DaemonThread, ends_within
from claude_batch.storage.files import (
    beside,
    open_own,
    open_to_read,
    replace_file,
    sync_directory,
)
from claude_batch.storage.prompts.columns import CUSTOM_ID, ID_PREFIX

T = TypeVar("T")

CLOSING_S = 10.0
"""How long the disk may take to hold how a process left."""

_RECORD_START = b'{"type":'
_OF_BATCHES = ("batch_", "mode_")
_SETTINGS = "settings"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIdentity:
    """Whose results these are: the input's fingerprint and the options that shape results.

    Paths are absolute; `prompts_path` is what is read, `prompts` what the user named ("-").
    Of the `options` the journal keeps those that shape results, flat beside the rest. `routes` are
    the [[route]] rules (core.catalog.routing.routes_text). `ids` are the keys of a line that hold
    its id, the first that has one; `id_prefix` begins the other ids; `models` are those that lines
    go to, unless they are too many (then none is kept). `source_size` and `source_sha256` are those
    of a file that was converted. What older journals lack has a default.
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
    options: Options
    routes: str | None = None
    ids: tuple[str, ...] = (CUSTOM_ID,)
    id_prefix: str = ID_PREFIX
    source_size: int = 0
    source_sha256: str = ""
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended:
    """Rows were added to the prompts: what the run's identity says of them from here on."""

    size: int
    sha256: str
    source_size: int
    source_sha256: str
    total: int
    invalid: int
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Results are tried again: those that failed, a fallback's, those with one of `stops`.

    `model`, `max_tokens` and `drop` are what their requests are sent with, whatever lines say.
    """

    errored: bool = False
    degraded: bool = False
    stops: tuple[str, ...] = ()
    model: str | None = None
    max_tokens: int | None = None
    drop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModels:
    """Models that an endpoint lists, or that the user has allowed."""

    models: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A process began to work on the run."""

    at: str
    process: int
    done: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjusted:
    """The user has changed options while the run went (None: unset), or paused or continued it.

    `at` is wall time.
    """

    at: float
    changes: Mapping[str, Any]
    pause: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A process left the run. `state` is finished, interrupted or stopped.

    `cut_off` requests were in flight, and may have been answered.
    `kind` is the StopKind of a run that stopped early, `max_cost_usd` the bound that stopped it,
    `enough_usd` a bound that will do for the rest; `again` are the options that continue a retry.
    `retry_goes_on`: the next process continues it without them.
    """

    at: str
    state: str
    exit_code: int
    why: str
    kind: str = ""
    max_cost_usd: float | None = None
    enough_usd: float | None = None
    again: str = ""
    cut_off: int = 0
    retry_goes_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """A journal read back: who the run is, its last process, and how that left it, if it did.

    `settings` are the options in force for the run when it was worked on last. `expenses` are what
    attempts cost that no result shows. `lost_marks` are the last lines that each process launched
    which ended with requests in flight, `retry_marks` those of them since the last `retry` began;
    `retry_left_open`: its last process did not note how it left, or that the next one continues it;
    `retry_has_begun`: results were taken out, and requests may have been sent.
    `known_models` were found or allowed before anything was sent to them; None in older journals.
    `seen` is a number of results that there have been for certain; `batches` are its records about
    batches, for storage.batch_journal.
    """

    identity: RunIdentity
    settings: RunSettings
    opened: Opened | None
    closed: Closed | None
    seen: int = 0
    batches: tuple[Mapping[str, Any], ...] = ()
    expenses: Expense = NO_EXPENSE
    lost_marks: tuple[int, ...] = ()
    retry: Retry | None = None
    retry_left_open: bool = False
    retry_has_begun: bool = False
    retry_marks: tuple[int, ...] = ()
    known_models: frozenset[str] | None = None


def journal_path(results: Path) -> Path:
    """Return where the journal of `results` is."""
    return beside(results, ".journal")


def create_journal(results: Path, identity: RunIdentity, settings: RunSettings) -> None:
    """Begin a journal, whole or not at all; when this returns, it outlives the process.

    Raises CheckpointWriteError.
    """
    path = journal_path(results)
    try:
        replace_file(path, [_identity_line(identity), _line(_SETTINGS, settings)])
    except OSError as error:
        raise _write_error(path, error.strerror) from error


def read_journal(results: Path) -> Journal | None:
    """Return what the journal says, or None without one.

    Raises CheckpointError when there is one that does not say which run the results belong to.
    """
    identity: RunIdentity | None = None
    opened: Opened | None = None
    seen = 0
    batches: list[Mapping[str, Any]] = []
    latest: dict[str, Any] = {}
    models: frozenset[str] | None = None
    money = _Money()
    for record in read_records(results):
        money.add(record)
        match record.get("type"):
            case "run":
                identity = _parse_identity(record)
                latest["settings"] = _older_settings(record)
            case "extended" if identity is not None:
                identity = replace(identity, **asdict(parse_record(Extended, record)))
            case "settings" | "retry" | "closed" as kind:
                latest[kind] = parse_record(_LATEST[kind], record)
            case "opened":
                opened = parse_record(Opened, record)
                latest.pop("closed", None)
                seen = opened.done
            case "known_models":
                models = (models or frozenset()) | {*parse_record(KnownModels, record).models}
            case "minute":
                seen += _number(record, "succeeded") + _number(record, "failed")
            case str(kind) if kind.startswith(_OF_BATCHES):
                batches.append(record)
            case _:  # what happened in between is for the report
                pass
    if identity is None:
        _refuse_damaged(journal_path(results))
        return None
    return Journal(
        identity=identity,
        settings=latest["settings"],
        opened=opened,
        closed=latest.get("closed"),
        seen=seen,
        batches=tuple(batches),
        expenses=money.expenses,
        lost_marks=money.lost_marks,
        retry=latest.get("retry"),
        retry_left_open=money.retry_is_open,
        retry_has_begun=money.retry_has_begun,
        retry_marks=money.lost_marks[money.before_retry :],
        known_models=models,
    )


_LATEST: Mapping[str, Any] = {"settings": RunSettings, "retry": Retry, "closed": Closed}
"""Records of which only the last one counts."""


@dataclass(slots=True)
class _Money:
    """What records say about attempts without a result: known expenses, and requests in flight.

    `before_retry` are the marks from before the last retry; `retry_is_open`: nothing says that it
    is over; `retry_has_begun`: a process has worked on it.
    """

    known: Expense = NO_EXPENSE
    lost_marks: tuple[int, ...] = ()
    before_retry: int = 0
    retry_is_open: bool = False
    retry_has_begun: bool = False
    _mark: int = 0
    _canaries: Expense = NO_EXPENSE

    @property
    def expenses(self) -> Expense:
        """All of them, as far as known; canaries in flight may cost all that they can."""
        return self.known.plus(self._canaries)

    def add(self, record: Mapping[str, Any]) -> None:
        """Take in the next record; a process that was killed leaves no `closed`."""
        match record.get("type"):
            case "launched":
                before = self.lost_marks[:-1] if self._mark else self.lost_marks
                self._mark = max(self._mark, _number(record, "line"))
                self.lost_marks = (*before, self._mark)
            case "closed":
                self.retry_is_open = self.retry_is_open and bool(record.get("retry_goes_on"))
                if self._mark and not record.get("cut_off"):
                    self.lost_marks, self._mark = self.lost_marks[:-1], 0
            case "opened":
                self._mark, self.known, self._canaries = 0, self.expenses, NO_EXPENSE
                self.retry_has_begun = True
            case "retry":
                self.before_retry = len(self.lost_marks)
                self.retry_is_open, self.retry_has_begun = True, False
            case "spent":
                self.known = self.known.plus(_expense(record))
            case "canaries":
                sent = parse_record(Canaries, record)
                self._canaries = Expense(unreported=sent.requests, at_most_usd=sent.at_most_usd)
            case _:
                pass


def _expense(record: Mapping[str, Any]) -> Expense:
    """Return the expense in a record. Raises CheckpointError."""
    try:
        return parse_record(Expense, record["expense"])
    except (CheckpointError, KeyError, TypeError, AttributeError) as error:
        raise refused_record(record, "its expense is none") from error


def _identity_line(identity: RunIdentity) -> bytes:
    record = {each.name: getattr(identity, each.name) for each in fields(identity)}
    options = record.pop("options")
    shaping = {name: getattr(options, name) for name in owned_by(Owner.RESULTS)}
    return orjson.dumps({"type": "run", **record, **shaping}, option=orjson.OPT_APPEND_NEWLINE)


def _parse_identity(record: Mapping[str, Any]) -> RunIdentity:
    try:
        options = Options(
            **{
                name: parse_value(OPTIONS[name], record[name], name)
                for name in owned_by(Owner.RESULTS)
                if record.get(name) is not None
            }
        )
        identity = parse_record(RunIdentity, record, options=options)
        routes_of_text(identity.routes)
    except (SettingsError, ValueError) as error:
        raise refused_record(record, str(error)) from error
    return identity


def _older_settings(record: Mapping[str, Any]) -> RunSettings:
    """Return the options that older journals kept with the identity."""
    kept = {"scenario": record.get("scenario"), "cache_prefix": record.get("cache_prefix")}
    return RunSettings(flags={name: value for name, value in kept.items() if value})


Note = RunSettings | Extended | Retry | KnownModels | Closed
_NOTES: Mapping[type, str] = {
    RunSettings: _SETTINGS,
    Extended: "extended",
    Retry: "retry",
    KnownModels: "known_models",
    Closed: "closed",
}


def note(results: Path, record: Note) -> None:
    """Note a record durably. Raises CheckpointWriteError."""
    journal = JournalFile(results)
    try:
        journal.durable(_NOTES[type(record)], record)
    finally:
        journal.close()


def _number(record: Mapping[str, Any], name: str) -> int:
    value = record.get(name)
    return value if isinstance(value, int) else 0


def _refuse_damaged(path: Path) -> None:
    """Raise CheckpointError if there is a journal, but no run in it.

    A journal without a complete line was cut off as it was created: nothing had been sent.
    """
    if path.exists() and b"\n" in path.read_bytes():
        raise CheckpointError(
            f"{path}: the journal is damaged: it does not say which run the results belong to",
            hint="restore it from a copy; or start over with --fresh, which renames it "
            "(its batches keep running: claude-batch batches lists them)",
        )


class JournalRecord(dict[str, Any]):
    """A record as it was read; `place` is its file and line."""

    place = "the journal"


def read_records(results: Path) -> Iterator[JournalRecord]:
    """Yield every record of a journal, whatever it is about; a torn one is passed over.

    Raises CheckpointError when the journal cannot be read.
    """
    path = journal_path(results)
    try:
        with open_to_read(path) as file:
            for number, raw in enumerate(file, start=1):
                record = _record(raw)
                if record is not None:
                    record.place = f"{path}:{number}"
                    yield record
    except FileNotFoundError:
        return
    except OSError as error:
        raise CheckpointError(
            f"{path}: the journal cannot be read: {error.strerror}",
            hint="give read permission (chmod u+r), then run the same command again",
        ) from error


def _record(raw: bytes) -> JournalRecord | None:
    """Return the record of a line; of one that was glued to a torn one, the whole part."""
    for start in (0, raw.rfind(_RECORD_START)):
        try:
            record = orjson.loads(raw[max(0, start) :].strip(b"\0"))
        except ValueError:
            continue
        if isinstance(record, dict):
            return JournalRecord(record)
    return None


def parse_record(kind: type[T], record: Mapping[str, Any], **more: Any) -> T:
    """Return a record as the dataclass `kind`; fields that it does not know are passed over.

    `more` are fields with values of their own. Raises CheckpointError where one is missing or of a
    wrong type.
    """
    values: dict[str, Any] = {}
    for name, fits in _types_of(kind).items():  # type: ignore[arg-type]  # hashable
        if name in record and name not in more:
            value = record[name]
            values[name] = tuple(value) if isinstance(value, list) else value
            if not fits(values[name]):
                raise refused_record(record, f"{name} is {quoted(repr(value))}")
    try:
        return kind(**values, **more)
    except TypeError as error:
        raise refused_record(record, f"lacks a field: {error}") from error


def refused_record(record: Mapping[str, Any], why: str) -> CheckpointError:
    """Return the error that a record cannot be read."""
    place = getattr(record, "place", JournalRecord.place)
    return CheckpointError(
        f"{place}: the {record.get('type')} record cannot be read: {why}",
        hint="put the journal back from a copy, or use the version of claude-batch that wrote it; "
        "--fresh starts over (and sets it aside)",
    )


_MOST = 1 << 63
_FITS: Mapping[str, Callable[[Any], bool]] = {
    "str": lambda value: type(value) is str,
    "int": lambda value: type(value) is int and 0 <= value < _MOST,
    "bool": lambda value: type(value) is bool,
    "float": lambda value: type(value) in {int, float} and abs(value) < _MOST_FLOAT,
    "None": lambda value: value is None,
    "Mapping[str, Any]": lambda value: isinstance(value, dict),
    "tuple[str, ...]": lambda value: (
        type(value) is tuple and all(type(each) is str for each in value)
    ),
}
"""What a value must be for a field of that type."""

_MOST_FLOAT = 1e11
"""Dollars and seconds since 1970: until the year 5138."""


@cache
def _types_of(kind: type) -> Mapping[str, Callable[[Any], bool]]:
    """Return by field name a function that checks whether a value is of the field's type."""

    def any_of(names: str) -> Callable[[Any], bool]:
        tests = [_FITS[name] for name in names.split(" | ") if name in _FITS]
        return lambda value: any(test(value) for test in tests)

    return {each.name: any_of(str(each.type)) for each in fields(kind)}


class JournalFile:
    """The writing end of a journal that exists."""

    def __init__(self, results: Path, *, ship: Callable[[], None] = lambda: None) -> None:
        """Open it to append. `ship` brings it to where other hosts find it.

        Raises CheckpointWriteError.
        """
        self._ship = ship
        self._path = journal_path(results)
        self._writing = threading.Lock()
        self._notes = DaemonThread("journal")
        try:
            self._fd = open_own(self._path, os.O_RDWR | os.O_APPEND)
            sync_directory(self._path.parent)
            self._mend()
        except OSError as error:
            raise _write_error(self._path, error.strerror) from error

    def _mend(self) -> None:
        """Begin on a new line if a crash tore the last one."""
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            self._append([b"\n"])

    def opened(self, record: Opened) -> None:
        """Note that this process works on the run. Raises CheckpointWriteError."""
        self._append([_line("opened", record)])

    def closed(self, record: Closed) -> None:
        """Note how this process leaves the run, durably; a disk that hangs is not waited for.

        Raises CheckpointWriteError.
        """
        if not ends_within(CLOSING_S, lambda: self.durable("closed", record)):
            raise _write_error(self._path, "the disk does not answer")

    def durable(self, kind: str, record: Any) -> None:
        """Append `record`, a dataclass; once this returns, it outlives the process.

        Raises CheckpointWriteError.
        """
        with self._writing:
            self._append([_line(kind, record)])
            try:
                os.fsync(self._fd)
            except OSError as error:
                raise _write_error(self._path, error.strerror) from error

    def durable_everywhere(self, kind: str, record: Any) -> None:
        """Append `record`; once this returns, it outlives this host, if that is wanted of the run.

        Raises CheckpointWriteError.
        """
        self.durable(kind, record)
        self._ship()

    async def note(self, events: Sequence[Event]) -> None:
        """Append `events`; they are in the file when this returns. Raises CheckpointWriteError."""
        lines = [_line(type(event).__name__.lower(), event) for event in events]

        def append() -> None:
            with self._writing:  # a record that was cut off may still be at it
                self._append(lines)

        await self._notes.do(append)

    def _append(self, lines: list[bytes]) -> None:
        data = b"".join(lines)
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            raise _write_error(self._path, error.strerror) from error
        if written < len(data):
            raise _write_error(self._path, "no space left")

    def close(self) -> None:
        """Let go of the file, unless the disk hangs in a write: its number must not be reused."""
        self._notes.end()
        if self._writing.acquire(timeout=HANGING_S):
            os.close(self._fd)
            self._writing.release()


def _write_error(path: Path, why: str | None) -> CheckpointWriteError:
    return CheckpointWriteError(
        f"{path}: cannot write the journal: {why}",
        hint="make room (or choose another place with --out FILE), then run the same command "
        "again: all results so far are kept",
    )


def _line(kind: str, record: Any) -> bytes:
    content = {"type": kind, **asdict(record)}
    try:
        return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
    except TypeError:  # an integer beyond 64 bits, or half of a surrogate pair
        return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
