"""Result lines on stdout: copied from what is durably on disk, in order, by a thread of its own.

A slow reader never slows the run; when the reader goes away, the run is told.
"""

from __future__ import annotations

import os
import select
import threading
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson

from claude_batch.storage.entries import Entry, read_lines

_CHUNK = 1 << 20

Form = Callable[[bytes], bytes]
"""What becomes of a result line on its way to stdout."""


def as_is(raw: bytes) -> bytes:
    """Return the line as it stands in the results file."""
    return raw


def as_text(raw: bytes) -> bytes:
    """Return {"custom_id", "type", "text", "stop_reason"}; "error" and "meta" where there are any.

    `text` joins all text blocks of the answer; it is null for what did not succeed, and `error`
    says why. `meta` is the user's own.
    """
    value = orjson.loads(raw)
    result = value["result"]
    message: dict[str, Any] = result.get("message") or {}
    text = None
    if result["type"] == "succeeded":
        blocks = message.get("content") or []
        text = "".join(block.get("text") or "" for block in blocks if block.get("type") == "text")
    short = {
        "custom_id": value["custom_id"],
        "type": result["type"],
        "text": text,
        "stop_reason": message.get("stop_reason"),
    }
    if "error" in result:
        short["error"] = (result["error"].get("error") or {}).get("message")
    user = (value.get("meta") or {}).get("user")
    if user is not None:
        short["meta"] = user
    return orjson.dumps(short) + b"\n"


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, waiting for a reader that is slow. Raises OSError when it is gone."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            select.select([], [fd], [])


class Printer:
    """Copies the results file to `fd`, as far as it is durable, from byte `start` on.

    `failed` is called, from the printing thread, once: with the error that ended the printing.
    """

    def __init__(
        self, results: Path, fd: int, *, form: Form, start: int, failed: Callable[[OSError], None]
    ) -> None:
        self._results = results
        self._fd = fd
        self._form = form
        self._at = start
        self._durable = start
        self._closing = False
        self._failed = failed
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._print, name="stdout", daemon=True)
        self._thread.start()

    def durable(self, size: int) -> None:
        """Note that the file is durable up to `size`, which is the end of a line."""
        with self._changed:
            self._durable = max(self._durable, size)
            self._changed.notify()

    def finish(self) -> None:
        """Return when everything durable has been written, or the reader is gone."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _print(self) -> None:
        try:
            while (size := self._next_size()) is not None:
                self._copy_to(size)
        except OSError as error:
            self._failed(error)

    def _next_size(self) -> int | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._durable > self._at)
            return self._durable if self._durable > self._at else None

    def _copy_to(self, size: int) -> None:
        with self._results.open("rb") as file:
            file.seek(self._at)
            while self._at < size:
                # readlines goes on until it has *more* than its hint; `size` is the end of a line
                lines = file.readlines(min(_CHUNK, size - self._at) - 1)
                self._at += sum(map(len, lines))
                write_all(self._fd, b"".join(map(self._form, lines)))


def print_results(
    results: Path, fd: int, *, form: Form, wanted: Callable[[Entry], bool], ordered: bool
) -> None:
    """Write the results that are `wanted` to `fd`: as they stand, or in the order of the prompts.

    Takes no lock and changes nothing; what is no result line is left out. Raises OSError.
    """
    if not ordered:
        write_lines(fd, form, (raw for raw, e in read_lines(results) if e and wanted(e)))
        return
    offsets, rest = _offsets(results, wanted)
    with results.open("rb") as file:
        for offset in offsets:
            if offset:
                file.seek(offset - 1)
                write_lines(fd, form, [file.readline()])
    write_lines(fd, form, rest)


def _offsets(results: Path, wanted: Callable[[Entry], bool]) -> tuple[array[int], list[bytes]]:
    """Return where each prompt line's result begins, plus one, and results that name no line."""
    offsets: array[int] = array("Q")
    rest: list[bytes] = []
    at = 0
    for raw, entry in read_lines(results):
        if entry is not None and wanted(entry):
            if entry.line is None:
                rest.append(raw)
            else:
                if entry.line >= len(offsets):
                    offsets.extend([0] * (max(entry.line + 1, 2 * len(offsets)) - len(offsets)))
                offsets[entry.line] = at + 1
        at += len(raw)
    return offsets, rest


def write_lines(fd: int, form: Form, lines: Iterable[bytes]) -> None:
    """Write `lines` in `form`, a chunk at a time."""
    chunk: list[bytes] = []
    size = 0
    for raw in lines:
        line = form(raw if raw.endswith(b"\n") else raw + b"\n")
        chunk.append(line)
        size += len(line)
        if size >= _CHUNK:
            write_all(fd, b"".join(chunk))
            chunk, size = [], 0
    write_all(fd, b"".join(chunk))
