"""What kind of file an input is: by option, by extension, then by its first bytes.

A file of a kind that cannot be read is refused with what to do about it.
"""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from claude_batch.errors import UsageError
from claude_batch.storage.files import read_blocks

JSONL, JSON, CSV, TSV, TXT, PARQUET, XLSX = "jsonl", "json", "csv", "tsv", "txt", "parquet", "xlsx"
FORMATS = (JSONL, JSON, CSV, TSV, TXT, PARQUET, XLSX)

GZIP, ZSTD = "gzip", "zstd"

UTF8 = "utf-8-sig"
"""UTF-8, with or without a byte order mark."""

_BY_EXTENSION = {
    ".jsonl": JSONL,
    ".ndjson": JSONL,
    ".json": JSON,
    ".csv": CSV,
    ".tsv": TSV,
    ".tab": TSV,
    ".txt": TXT,
    ".parquet": PARQUET,
    ".pq": PARQUET,
    ".xlsx": XLSX,
    ".xlsm": XLSX,
    ".xls": XLSX,
}
_PACKED_EXTENSIONS = {".gz": GZIP, ".zst": ZSTD}
_PACKED_STARTS = {b"\x1f\x8b": GZIP, b"\x28\xb5\x2f\xfd": ZSTD}

_WORKBOOK_PARTS = (
    b"[Content_Types].xml",
    b"xl/",
    b"_rels/.rels",
    b"docProps/",
    b"opendocument.spreadsheet",
)
"""One of these is named at the beginning of a workbook, which is a zip archive."""

_REFUSED_STARTS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself", "git lfs pull"),
    (b"%PDF-", "is a PDF", "put its path into a table, or extract its text first"),
    (
        b"SQLite format 3",
        "is an SQLite database",
        "sqlite3 -csv -header {path} 'SELECT ...' > rows.csv",
    ),
    (b"\x93NUMPY", "is a NumPy array", "save it as CSV or Parquet"),
    (b"\x89PNG", "is an image", "put its path into a table"),
    (b"\xff\xd8\xff", "is an image", "put its path into a table"),
)
_UTF16_STARTS = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"

START = 4_096
"""Bytes from the beginning of a file by which its kind is known."""

_FEW_NULS = 8
_SEPARATORS = (b",", b";", b"\t")
_TWO = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOptions:
    """How an input is to be read, as far as the user says so.

    `field` is the key that holds the rows of a JSON object; `headers`: the first row names columns.
    """

    format: str | None = None
    field: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    headers: bool = True
    sheet: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Bytes of a file from `start` up to, not including, `end`; they begin with `first_line`."""

    start: int
    end: int
    first_line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a file is: one of FORMATS, and how it is packed (gzip, zstd, or not at all)."""

    format: str
    packed: str | None = None


def packed_as(start: bytes) -> str | None:
    """Return how a file is compressed; None where it is not."""
    for magic, how in _PACKED_STARTS.items():
        if start.startswith(magic):
            return how
    return None


def stem_of(name: str) -> str:
    """Return the name of a file without the extensions that say what it is."""
    path = PurePath(name)
    if path.suffix.lower() in _PACKED_EXTENSIONS:
        path = path.with_suffix("")
    return path.stem if path.suffix.lower() in _BY_EXTENSION else path.name


def has_known_extension(name: str) -> bool:
    """Return whether a name ends like that of an input."""
    return _extension(name) is not None


def read_start(path: Path) -> bytes:
    """Return the first bytes of a file; none of what cannot be read."""
    try:
        return next(read_blocks(path, 0, START), b"")
    except OSError:
        return b""  # reading it in full will show what is wrong


def format_of(name: str, start: bytes, options: InputOptions) -> str:
    """Return the format of a file called `name` that begins, unpacked, with `start`.

    Raises UsageError for what cannot be read.
    """
    _refuse_other(name, start)
    found = _by_start(name, start)
    if found is not None:
        return found
    if options.format in {PARQUET, XLSX}:
        raise UsageError(
            f"{name}: is no {options.format} file",
            hint="leave --input-format out, or check how the file was saved",
        )
    if options.format is not None:
        return options.format
    if options.encoding is None:
        _refuse_utf16(name, start)
    else:
        with suppress(LookupError, ValueError):  # reading it in full will show what is wrong
            start = start.decode(options.encoding, "ignore").encode()
    text = start.removeprefix(_BOM).lstrip()
    return _text_format(name, text, has_field=options.field is not None)


def _text_format(name: str, text: bytes, *, has_field: bool) -> str:
    """Return the format of a text file, by its extension, then by how it begins."""
    extension = _extension(name)
    if extension in {PARQUET, XLSX}:
        raise UsageError(
            f"{name}: is no {extension} file, whatever its name says",
            hint="if it is another kind of file, name it with --input-format",
        )
    if extension in {CSV, TSV} or (extension == TXT and not _is_json_line(text)):
        return extension
    if text.startswith(b"[") or has_field or (text.startswith(b"{") and not _is_line(text)):
        return JSON
    _refuse_csv(name, text)
    return JSONL


def _extension(name: str) -> str | None:
    path = PurePath(name)
    if path.suffix.lower() in _PACKED_EXTENSIONS:
        path = path.with_suffix("")
    return _BY_EXTENSION.get(path.suffix.lower())


def _by_start(name: str, start: bytes) -> str | None:
    """Return the format of a file that is not text; refuse other archives."""
    if start.startswith(b"PAR1"):
        return PARQUET
    if start.startswith(b"\xd0\xcf\x11\xe0"):  # the workbooks of Excel before 2007
        return XLSX
    if not start.startswith(b"PK\x03\x04"):
        return None
    if any(part in start for part in _WORKBOOK_PARTS) or _extension(name) == XLSX:
        return XLSX
    quoted = shlex.quote(name)
    raise UsageError(
        f"{name}: is a zip archive",
        hint=f"unpack it, and name the file in it: unzip {quoted}; or unzip -p {quoted} | "
        "claude-batch ... - --input-format csv",
    )


def _refuse_other(name: str, start: bytes) -> None:
    for magic, what, advice in _REFUSED_STARTS:
        if start.startswith(magic):
            hint = advice.replace("{path}", shlex.quote(name))
            raise UsageError(f"{name}: {what}", hint=hint)


def _refuse_utf16(name: str, start: bytes) -> None:
    """Refuse UTF-16 that nobody has named: with a mark, or with many NULs in even places."""
    nuls = max(start[0::2].count(0), start[1::2].count(0))
    if start.startswith(_UTF16_STARTS) or nuls > max(_FEW_NULS, len(start) // 4):
        raise UsageError(f"{name}: is UTF-16", hint="add --encoding utf-16")


def _is_line(text: bytes) -> bool:
    """Return whether a text that begins with a brace is JSONL: its first line is closed."""
    first, newline, _ = text.partition(b"\n")
    if not newline and len(text) >= START - len(_BOM):
        return True  # a first line longer than what was read: no pretty-printed object
    return bool(re.search(rb"[}\]\"]\s*$", first)) and len(first.strip()) > 1 and _closes(first)


def _closes(line: bytes) -> bool:
    return line.count(b"{") <= line.count(b"}")


def _is_json_line(text: bytes) -> bool:
    """Return whether the first line of a text file is a JSON object of a prompt."""
    return text.startswith((b'{"', b'{ "')) and _is_line(text)


def _refuse_csv(name: str, text: bytes) -> None:
    """Refuse a table that is named as JSONL, or not at all."""
    lines = text.split(b"\n", _TWO)
    if lines[0].strip() == b'"prompt"':
        raise UsageError(f"{name}: looks like CSV, not JSONL", hint="add --input-format csv")
    if len(lines) < _TWO or text.startswith((b"{", b'"', b"[")):
        return
    for separator in _SEPARATORS:
        cells = lines[0].count(separator)
        if cells and lines[1].count(separator) >= cells and not lines[1].lstrip().startswith(b"{"):
            kind = TSV if separator == b"\t" else CSV
            raise UsageError(
                f"{name}: looks like {kind.upper()}, not JSONL", hint=f"add --input-format {kind}"
            )
