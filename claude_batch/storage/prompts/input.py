"""Prompts as the user names them, made a file of lines that can be read again and again.

JSONL is read where it is. Stdin, a pipe, a device or an object is copied first. Everything else is
converted, here and nowhere else: each record becomes a line `{"line": N, "row": ...}`, as read, not
rendered.
"""

from __future__ import annotations

import base64
import io
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import orjson

from claude_batch.errors import CheckpointWriteError, NoRowsError, UsageError
from claude_batch.storage.files import (
    beside,
    name_nearest,
    open_new,
    open_to_read,
    sync_open,
    temporary_folder,
)
from claude_batch.storage.objects.locations import ANY, Fetch, is_url
from claude_batch.storage.prompts.lines import (
    MOST_BYTES,
    LineBlocks,
    Wrapping,
    wrapped,
    wrapped_error,
)
from claude_batch.storage.tables.kinds import JSONL, InputOptions, Kind, Part
from claude_batch.storage.tables.reading import Bad, kind_of, open_part, open_records, unpacked

STDIN = "-"

T = TypeVar("T")

_NOTHING_SAID = InputOptions()


@contextmanager
def rereadable(
    prompts: str,
    copy: Path | None = None,
    options: InputOptions = _NOTHING_SAID,
    part: Part | None = None,
    fetch: Fetch = ANY,
) -> Iterator[Path]:
    """Give a path from which the prompts can be read line by line, again and again.

    A file of JSONL stays where it is; a `part` of one is copied. Whatever is no regular file is
    copied, and whatever is no plain JSONL is converted: to `copy`, or to a temporary file. The copy
    is removed at the end, unless it has been moved. Raises UsageError when there is nothing to
    read, or nothing that can be read, CheckpointWriteError when there is no room for a copy, and
    CheckpointMismatchError for an object that is not the one that `fetch` wants.
    """
    refuse_unreadable(prompts)
    if prompts == STDIN and sys.stdin.isatty():
        raise UsageError(
            "prompts were to be read from stdin, but stdin is a terminal",
            hint="pipe them in (cat prompts.jsonl | claude-batch ... -), or name a file",
        )
    with ExitStack() as stack:
        if copy is None:
            copy = stack.enter_context(temporary_folder()) / "prompts"
        stack.callback(copy.unlink, missing_ok=True)
        if is_regular(prompts):
            source = Path(prompts).resolve()
        else:
            source = copy
            part = _write(source, lambda file: _copy(prompts, file, part, fetch))
        kind = kind_of(source, prompts, options)
        encoding = None if kind.format == JSONL and options.encoding in _AS_IS else options.encoding
        is_plain = kind.format == JSONL and kind.packed is None and encoding is None
        if part is None and is_plain:
            yield source
            return
        if source == copy:
            source = copy.replace(beside(copy, ".source"))
            stack.callback(source.unlink, missing_ok=True)
        if part is not None:
            _write(copy, lambda file: _take_part(source, prompts, kind, options, part, file))
        elif kind.format == JSONL:
            _write(copy, lambda file: _unpack(source, prompts, kind.packed, encoding, file))
        else:
            _write(copy, lambda file: _convert(source, prompts, kind, options, file))
        yield copy


_AS_IS = {None, "utf-8", "utf8", "UTF-8", "utf-8-sig", "ascii"}
"""Encodings whose lines need not be converted."""

_AT_ONCE = 1 << 20
_MOST_NAMED = 8


@contextmanager
def first_rows(source: Path, name: str, options: InputOptions = _NOTHING_SAID) -> Iterator[Path]:
    """Give a path with the first few lines or records of a file, as `rereadable` gives all of them.

    The user calls it `name`. Raises UsageError when they cannot be read.
    """
    kind = kind_of(source, name, options)
    with temporary_folder() as folder:
        few = folder / "prompts"
        if kind.format == JSONL:
            with unpacked(source, name, kind.packed) as file, few.open("wb") as target:
                lines = (line for line in file if not line.isspace())
                target.writelines(islice(lines, _FIRST_ROWS))
        else:
            _write(few, lambda file: _convert(source, name, kind, options, file, _FIRST_ROWS))
        yield few


_FIRST_ROWS = 20


def _write(path: Path, write: Callable[[BinaryIO], T]) -> T:
    """Create `path` and have it written; return what `write` does. Raises CheckpointWriteError."""
    with _writing(path):
        file = open_new(path)
    with _writing(path), file:
        written = write(file)
        sync_open(file)
    return written


def _unpack(
    source: Path, name: str, packed: str | None, encoding: str | None, target: BinaryIO
) -> None:
    """Write the lines of a compressed file, or of one in another encoding."""
    with unpacked(source, name, packed) as file:
        if encoding is None:
            shutil.copyfileobj(file, target, _AT_ONCE)
            return
        try:
            text = io.TextIOWrapper(file, encoding=encoding, newline="")
            while block := text.read(_AT_ONCE):
                target.write(block.encode())
        except UnicodeError as error:
            raise UsageError(
                f"{name}: is not {encoding}: {error}", hint="name its encoding with --encoding"
            ) from error
        except LookupError as error:
            raise UsageError(
                f"--encoding {encoding}: there is no such encoding",
                hint="name one as Python does, such as utf-16 or cp1252",
            ) from error


def _convert(
    source: Path,
    name: str,
    kind: Kind,
    options: InputOptions,
    target: BinaryIO,
    most: int | None = None,
) -> None:
    """Write the records of a file, or the first `most` of them, as lines."""
    with open_records(source, name, kind, options) as found:
        wrapping = Wrapping.JSON if found.columns is None else Wrapping.ROWS
        records = islice(found.records, most)
        target.writelines(_line(line, value, wrapping) for line, value in records)
        if found.columns and not target.tell():
            named = ", ".join(found.columns[:_MOST_NAMED])
            raise NoRowsError(
                f"{name}: there are no rows below the header ({named})",
                hint="is it the right file, or sheet? If the first row is data, add --no-headers",
            )


def _take_part(
    source: Path, name: str, kind: Kind, options: InputOptions, part: Part, target: BinaryIO
) -> None:
    """Write the lines, or records, of a part of a file, with the numbers that they have in it."""
    if kind.format != JSONL:
        with open_part(source, name, kind, options, part) as found:
            target.writelines(_line(line, each, Wrapping.ROWS) for line, each in found.records)
        return
    number = part.first_line
    for lines in LineBlocks(source, part.start, part.end):
        for at, raw in enumerate(lines, number):
            if raw is None:
                target.write(wrapped_error(at, *_TOO_LONG, Wrapping.LINES))
            elif raw and not raw.isspace():
                target.write(wrapped(at, raw, Wrapping.LINES))
        number += len(lines)


_TOO_LONG = (
    f"the line is longer than {MOST_BYTES // 1_000_000} MB",
    "the API takes no larger requests: shorten it, or upload what it carries as a file",
)


def _line(line: int, value: Any, wrapping: Wrapping) -> bytes:
    if isinstance(value, Bad):
        return wrapped_error(line, value.what, value.remedy, wrapping)
    try:
        raw = orjson.dumps(value, default=as_json, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError, RecursionError) as error:
        what, remedy = _unwritable(error)
        return wrapped_error(line, what, remedy, wrapping)
    if len(raw) > MOST_BYTES:
        return wrapped_error(
            line, f"the row is longer than {MOST_BYTES // 1_000_000} MB", "shorten it", wrapping
        )
    return wrapped(line, raw, wrapping)


def as_json(value: Any) -> Any:
    """Return what JSON has no type for: a number where it is one, else a text."""
    if isinstance(value, Bad):
        raise TypeError(*value)  # somewhere within the record
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return str(value)


def _unwritable(error: Exception) -> tuple[str, str]:
    cause = error.__cause__
    if isinstance(cause, TypeError) and len(cause.args) == len(Bad._fields):
        return str(cause.args[0]), str(cause.args[1])
    if "surrogate" in str(error):
        return "half a character", "\\ud800 to \\udfff alone is none: write the character itself"
    return f"cannot be kept as JSON: {error}", "write it as a text"


def _copy(prompts: str, file: BinaryIO, part: Part | None, fetch: Fetch) -> Part | None:
    """Copy what can be read once; return where the part is in the copy."""
    if is_url(prompts):
        from claude_batch.storage.objects.fetching import copy_object  # noqa: PLC0415  # rarely

        if part is None:
            copy_object(prompts, file, fetch)
            return None
        before = copy_object(prompts, file, fetch, part.start, part.end)
        return replace(part, start=before, end=before + part.end - part.start)
    if prompts == STDIN:
        shutil.copyfileobj(sys.stdin.buffer, file)
    else:
        with open_to_read(Path(prompts)) as source:
            shutil.copyfileobj(source, file)
    return part


@contextmanager
def _writing(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointWriteError(
            f"{part}: cannot copy the prompts: {error.strerror}",
            hint="make room, or write the prompts to a file yourself",
        ) from error


def is_regular(prompts: str) -> bool:
    """Return whether prompts are a file of their own: not stdin, a pipe, a device or an object."""
    if prompts == STDIN or is_url(prompts):
        return False
    try:
        mode = Path(prompts).stat().st_mode
    except OSError:
        return True  # opening it will show what is wrong
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def can_be_read_again(prompts: str) -> bool:
    """Return whether another command can read the same prompts: a file, or an object."""
    return is_url(prompts) or is_regular(prompts)


def refuse_unreadable(
    prompts: str, *, hint: str = "give a table or a file of prompts, or - for stdin"
) -> None:
    """Refuse prompts that are not there, are a folder, or may not be read.

    Of an object that shows when it is copied.
    """
    if prompts == STDIN or is_url(prompts):
        return
    path = Path(prompts)
    refuse_odd_name(path.absolute())
    if not path.exists():
        raise UsageError(f"{prompts}: no such file{name_nearest(path)}", hint=hint)
    if path.is_dir():
        raise UsageError(f"{prompts}: is a folder", hint=hint)
    if not os.access(path, os.R_OK):
        raise UsageError(f"{prompts}: no permission to read it", hint="chmod u+r, or another file")


def refuse_odd_name(path: Path) -> None:
    """Refuse a name that is not UTF-8: the journal, which is JSON, cannot hold it."""
    name = str(path)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        printable = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise UsageError(
            f"{printable}: the name is not UTF-8",
            hint="rename it (or the folder it is in): mv, or convmv for many",
        ) from error
