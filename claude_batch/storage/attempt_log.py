"""The log of attempts (--log FILE): one JSON line each, without what was asked and answered.

    time            when it ended, ISO 8601 in UTC, in milliseconds
    custom_id, line the request
    endpoint, model where it went
    attempt         1 for the first of its request
    status          HTTP status; null where there was none, and in a batch
    error_type      null: it was answered
    latency_s       in a batch: how long the whole batch took
    input_tokens    of the whole prompt, cached or not; null: not reported
    output_tokens
    cost_usd        null: not known
    request_id      what Anthropic's support asks for; null in a batch
    limits          what the answer's headers said, by kind: limit (per minute) and remaining
    batch_id        null: the attempt was live

A thread writes them, a few times a second. A log that cannot be written never harms a run.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from claude_batch.core.model.attempts import AttemptRecord
from claude_batch.core.model.requests import LimitReading
from claude_batch.errors import UsageError
from claude_batch.storage.daemon import HANGING_S
from claude_batch.storage.files import BLOCK, open_to_read, refuse_dash

WRITE_EVERY_S = 0.25
"""How often lines are written, in seconds."""

MOST_WAITING = 50_000
"""Records that wait for a disk that hangs; further ones are dropped."""

_OURS = frozenset({"time", "custom_id", "attempt", "error_type"})
"""Keys by which a line of such a log is known."""

_PRIVATE = 0o600


class AttemptLog:
    """The writing end. Calling it takes one record in; `close` writes what is left."""

    def __init__(
        self, path: Path, *, not_into: Iterable[Path], warn: Callable[[str, str], None]
    ) -> None:
        """Open it to append, creating it for its owner alone. `not_into` are files of the run.

        `warn` is called once, with message and hint, when lines are lost. Raises UsageError for
        what is no such log.
        """
        self._path = path
        self._warn = warn
        self._fd = _open(path, not_into)
        self._waiting: deque[AttemptRecord] = deque()
        self._is_torn = False
        self._has_warned = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def __call__(self, record: AttemptRecord, /) -> None:
        """Take in an attempt that has ended."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(record)
        elif not self._has_warned:
            self._lost("the disk does not answer")

    def close(self) -> None:
        """Write the rest; a disk that hangs is not waited for long."""
        self._closing.set()
        self._thread.join(HANGING_S)
        if not self._thread.is_alive():
            os.close(self._fd)

    def _write_all(self) -> None:
        while not self._closing.wait(WRITE_EVERY_S):
            self._write_waiting()
        self._write_waiting()

    def _write_waiting(self) -> None:
        data = b"".join([_line(self._waiting.popleft()) for _ in range(len(self._waiting))])
        if not data:
            return
        if self._is_torn:
            data = b"\n" + data
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            self._lost(error.strerror or str(error))
            return
        if written < len(data):
            self._is_torn = not data[:written].endswith(b"\n")
            self._lost("no space left")
        elif self._is_torn:
            self._is_torn = False

    def _lost(self, why: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._warn(
                f"{self._path}: cannot write the log: {why}; attempts are missing from it",
                "the run goes on, and its results are not affected",
            )


def _line(record: AttemptRecord) -> bytes:
    usage = record.usage
    is_reported = usage.is_reported
    at = datetime.fromtimestamp(record.at, UTC)
    line = {
        "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "custom_id": record.custom_id,
        "line": record.line,
        "endpoint": record.endpoint,
        "model": record.model,
        "attempt": record.attempt,
        "status": record.status,
        "error_type": record.error_type,
        "latency_s": round(record.latency_s, 4),
        "input_tokens": usage.prompt_tokens if is_reported else None,
        "output_tokens": usage.output_tokens if is_reported else None,
        "cost_usd": record.cost_usd,
        "request_id": record.headers.request_id,
        "limits": {each.kind.value: _limit(each) for each in record.headers.limits},
        "batch_id": record.batch_id,
    }
    try:
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # half of a surrogate pair, from a server that sends anything
        return orjson.dumps(_encodable(line), option=orjson.OPT_APPEND_NEWLINE)


def _limit(reading: LimitReading) -> dict[str, int | None]:
    return {"limit": reading.limit_per_minute, "remaining": reading.remaining}


def _encodable(line: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in line.items()
    }


def _open(path: Path, not_into: Iterable[Path]) -> int:
    """Return the descriptor of the log, open to append. Raises UsageError."""
    refuse_dash(path, "name a file for the log, such as --log attempts.jsonl")
    for each in not_into:
        if _is_same(path, each):
            raise UsageError(
                f"--log {path} is a file of the run itself",
                hint="name another file for the log, such as attempts.jsonl",
            )
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, _PRIVATE)
    except OSError as error:
        if path.is_symlink():
            raise UsageError(
                f"--log {path} is a link: nothing is written through it, since it may lead "
                "anywhere",
                hint="name the file itself",
            ) from error
        raise UsageError(
            f"--log {path}: {error.strerror}", hint="name a file that can be written"
        ) from error
    try:
        _refuse_other(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _is_same(path: Path, other: Path) -> bool:
    """Return whether two paths name one file, or would once it is there."""
    with suppress(OSError):
        return path.samefile(other)
    return path.parent.resolve() / path.name == other.parent.resolve() / other.name


def _refuse_other(fd: int, path: Path) -> None:
    """Refuse to append to what is no log of attempts."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise UsageError(f"--log {path} is no regular file", hint="name a file for the log")
    with open_to_read(path) as file:
        first = file.readline(BLOCK)
    if not first:
        return
    try:
        found = orjson.loads(first)
    except orjson.JSONDecodeError:
        found = None
    if not (isinstance(found, dict) and found.keys() >= _OURS):
        raise UsageError(
            f"--log {path} exists and is no log of attempts: nothing is appended to it",
            hint="name another file",
        )
    size = os.fstat(fd).st_size
    if os.pread(fd, 1, size - 1) != b"\n":  # a crash tore the last line
        os.write(fd, b"\n")
