"""JSON that is kept as it was written: read, taken apart and put together without re-encoding it.

`read_message` is the reader of every answer: of a live reply, plain or streamed, and of a line of a
batch's results.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from claude_batch.core.model.requests import Usage, read_usage

_READABLE = 1_024
"""Levels of nesting that orjson reads. It writes 254; Python's own reader ends before 1,000."""

MOST_LEVELS = 500
"""An answer that is nested more deeply is taken for none: few programs could read its line."""

_MOST_ERROR_LEVELS = 50
"""An error that is nested more deeply is put into our own words."""

_STEP = 1_000_000
_LARGE = 4_000_000
_MOST_VALUES = 4_000_000
"""The most values in JSON of more than `_LARGE` bytes: each takes about 100 bytes of memory."""

LONGEST_MESSAGE = 2_000
"""Characters of an error's message that are kept."""

_MOST_ERROR_BYTES = 16_000
"""An error in the API's shape is kept as it came up to this size."""

_BOM = b"\xef\xbb\xbf"

_SURROGATES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?P<low>\\u[dD][c-fC-F][0-9a-fA-F]{2})?"
    rb"|\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
"""Escapes of surrogates in JSON: a pair, or one without the other."""

_ONE = 6
"""Characters of one such escape."""

STRING_BODY = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'
"""What stands between the quotation marks of a JSON string."""

_STRING = re.compile(b'"' + STRING_BODY + b'"', re.DOTALL)
_KEY = re.compile(rb'\s*"(' + STRING_BODY + rb')"\s*:\s*', re.DOTALL)
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"' + STRING_BODY + rb'")*+[\[\]{}]', re.DOTALL)
_SCALAR = re.compile(rb"[^\s,\]}]*+")
_COMMA = re.compile(rb"\s*,")
_OPENS = frozenset(b"[{")
_QUOTE, _BACKSLASH = b'"\\'


def read_json(raw: bytes, *, levels: int = MOST_LEVELS) -> tuple[bytes, Any]:
    """Return JSON as bytes that any reader takes, and its value. Raises ValueError.

    What garbles a character does not cost the answer, which has been paid for: bytes that are no
    UTF-8, and one surrogate without the other, become the replacement character. What is nested
    more than `levels` deep is no JSON here.
    """
    if len(raw) > _LARGE and sum(map(raw.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise ValueError(f"JSON of more than {_MOST_VALUES:,} values")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        whole = _with_whole_characters(raw)
        if whole == raw:
            raise
        raw, value = whole, orjson.loads(whole)
    if not _is_within(raw, levels):
        raise ValueError(f"JSON nested more than {levels} levels deep")
    return raw, value


def _is_within(raw: bytes, levels: int) -> bool:
    """Whether JSON is nested `levels` deep at most."""
    if raw.count(b"[") + raw.count(b"{") <= levels:
        return True
    around = _READABLE - levels
    try:
        orjson.loads(b"[" * around + raw + b"]" * around)
    except ValueError:
        return False
    return True


def is_plain_error(raw: bytes, message: str) -> bool:
    """Whether an error can be kept as it came: it is short, and nested as errors are."""
    is_short = len(raw) <= _MOST_ERROR_BYTES and len(message) <= LONGEST_MESSAGE
    return is_short and _is_within(raw, _MOST_ERROR_LEVELS)


def _with_whole_characters(raw: bytes) -> bytes:
    raw = raw.removeprefix(_BOM)
    if not raw.isascii():  # in steps: a text takes up to four times the memory of its bytes
        decode = getincrementaldecoder("utf-8")("replace").decode
        pieces = [decode(raw[at : at + _STEP]).encode() for at in range(0, len(raw), _STEP)]
        raw = b"".join([*pieces, decode(b"", final=True).encode()])
    return _SURROGATES.sub(_whole, raw) if _SURROGATES.search(raw) else raw


def _whole(found: re.Match[bytes]) -> bytes:
    start = at = found.start()
    while at and found.string[at - 1] == _BACKSLASH:
        at -= 1
    if (start - at) % 2:  # this backslash is escaped by the one before it
        return found[0][:_ONE] + (rb"\ufffd" if found["low"] else b"")
    return found[0] if found["low"] else rb"\ufffd"


def members(raw: bytes) -> dict[str, bytes]:
    """Return the members of a JSON object by name, each value as it is written.

    `raw` is known to be JSON. Raises ValueError when it is no object.
    """
    start = raw.find(b"{")
    if start < 0 or raw[:start].strip():
        raise ValueError("no JSON object")
    found: dict[str, bytes] = {}
    key = _KEY.match(raw, start + 1)
    while key is not None:
        end = _end(raw, key.end())
        found[_text(key[1])] = raw[key.end() : end]
        comma = _COMMA.match(raw, end)
        key = _KEY.match(raw, comma.end()) if comma else None
    return found


def _text(body: bytes) -> str:
    if b"\\" in body:
        text: str = orjson.loads(b'"' + body + b'"')
        return text
    return body.decode("utf-8", "replace")


def _end(raw: bytes, start: int) -> int:
    """Return where the value that begins at `start` ends."""
    first = raw[start]
    if first not in _OPENS:
        pattern = _STRING if first == _QUOTE else _SCALAR
        found = pattern.match(raw, start)
        if found is None:
            raise ValueError("a string does not end")
        return found.end()
    depth = 0
    for stretch in _TO_BRACKET.finditer(raw, start):
        if raw[stretch.end() - 1] in _OPENS:
            depth += 1
        else:
            depth -= 1
            if not depth:
                return stretch.end()
    raise ValueError("an array or object does not end")


def dumped(value: object) -> bytes:
    """Return a value as JSON that is kept for a while: what orjson returns takes 4 kB at least."""
    return b"%b" % orjson.dumps(value)


def object_of(fields: Mapping[str, bytes]) -> bytes:
    """Return the JSON object of these members."""
    pairs = (orjson.dumps(name) + b":" + value for name, value in fields.items())
    return b"{" + b",".join(pairs) + b"}"


def array_of(values: Iterable[bytes]) -> bytes:
    """Return the JSON array of these values."""
    return b"[" + b",".join(values) + b"]"


def on_one_line(raw: bytes) -> bytes:
    """Return JSON on one line: a line end in it is white space, since strings escape theirs."""
    if b"\n" in raw or b"\r" in raw:
        raw = raw.replace(b"\n", b" ").replace(b"\r", b" ")
    return raw.strip()


def error_object(error_type: str, message: str, request_id: str | None = None) -> bytes:
    """Return an error in the API's shape, as a result carries it."""
    error = {"type": error_type, "message": message}
    return orjson.dumps({"type": "error", "error": error, "request_id": request_id})


def cut(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """Return a text that may be somebody else's, cut where it is too long."""
    return text if len(text) <= longest else text[:longest] + "..."


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An answer: its JSON on one line as it was written, and what is read of it.

    `is_complete`: it has the shape of a message, which not every JSON object has.
    """

    body: bytes
    usage: Usage
    stop_reason: str | None
    is_complete: bool


def read_message(raw: bytes) -> Message:
    """Return the JSON object in `raw` as a message. Raises ValueError."""
    body, value = read_json(raw)
    return message_of(body, value)


def message_of(raw: bytes, value: Any) -> Message:
    """Return a JSON object that has been read, `value`, as a message. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError("no JSON object")  # noqa: TRY004  # like any other wrong content
    reason = value.get("stop_reason")
    return Message(
        body=on_one_line(raw),
        usage=read_usage(value.get("usage")),
        stop_reason=reason if isinstance(reason, str) else None,
        is_complete=value.get("type") == "message" and isinstance(value.get("content"), list),
    )
