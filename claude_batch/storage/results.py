"""The results file: one line per finished request. It is the checkpoint.

Append-only while a run goes on, one writer, one meaning: an id with a line is done. The API's
JSON is spliced in as it was received.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson

from claude_batch.core.model import Result, ResultType
from claude_batch.errors import CheckpointWriteError
from claude_batch.storage.files import PRIVATE, sync_directory


def encode_result(result: Result) -> bytes:
    """Return the result as its line, newline included (DESIGN 4, Results)."""
    match result.type:
        case ResultType.SUCCEEDED:
            outcome = b'"succeeded","message":' + result.payload
        case ResultType.ERRORED:
            outcome = b'"errored","error":' + result.payload
        case ResultType.CANCELED | ResultType.EXPIRED:
            outcome = b'"' + result.type.value.encode() + b'"'
    meta = orjson.dumps(
        {
            "line": result.line,
            "attempts": result.attempts,
            "endpoint": result.endpoint,
            "started_at": utc(result.started_at),
            "latency_s": round(result.latency_s, 3),
            "cost_usd": result.cost_usd,
            "cached": result.cached,
        }
    )
    if result.meta is not None:
        meta = meta[:-1] + b',"user":' + result.meta + b"}"
    return b"".join(
        (
            b'{"custom_id":',
            orjson.dumps(result.custom_id),
            b',"result":{"type":',
            outcome,
            b'},"meta":',
            meta,
            b"}\n",
        )
    )


def utc(wall: float) -> str:
    """Return wall time (seconds since 1970) as RFC 3339 in UTC."""
    return (
        datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


class ResultsFile:
    """The writing end of a results file. Open it under `locked`, after recovery."""

    def __init__(self, path: Path, *, durable: Callable[[int], None] = lambda _: None) -> None:
        """Open `path` to append; `durable` is told the size that is safely on disk."""
        self._path = path
        created = not path.exists()
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT, PRIVATE)
            if created:
                sync_directory(path.parent)
        except OSError as error:
            raise _write_error(path, error) from error
        self._size = os.lseek(self._fd, 0, os.SEEK_END)
        self._durable = durable
        durable(self._size)

    async def commit(self, results: Sequence[Result]) -> None:
        """Append `results`; once this returns, they outlive the process.

        Raises CheckpointWriteError; the file then ends with the last good line.
        """
        await asyncio.to_thread(self._append, results)
        self._durable(self._size)

    def _append(self, results: Sequence[Result]) -> None:
        data = memoryview(b"".join(map(encode_result, results)))
        good = self._size
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._fd, data[written:], good + written)
            os.fdatasync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, good)
            raise _write_error(self._path, error) from error
        self._size = good + len(data)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def _write_error(path: Path, error: OSError) -> CheckpointWriteError:
    return CheckpointWriteError(
        f"{path}: cannot write results: {error.strerror}",
        hint="make room (or choose another place with --out), then run the same command again: "
        "what is in the file is kept",
    )
