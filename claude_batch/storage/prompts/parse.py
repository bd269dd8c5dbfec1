"""One line of a prompts file, parsed once and in full: a request, or what is wrong with it.

Bodies are written from the parsed line: the order of keys and all text stay, white space goes.
Decimals of more than 17 digits become the nearest double, as in JavaScript. Whole numbers beyond
64 bits are refused, since they would change, and so is a key that is there twice: one of its
values would be lost.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import orjson

from claude_batch.core.caching.terms import terms_of
from claude_batch.core.catalog.catalog import Catalog
from claude_batch.core.model.raw_json import dumped
from claude_batch.core.model.requests import (
    API_VERSION,
    SAMPLING,
    SAMPLING_API_VERSION,
    USUAL_TERMS,
    Request,
)
from claude_batch.core.tokens.estimator import estimate_input_tokens
from claude_batch.storage.attachments import newest_change
from claude_batch.storage.prompts.attached import refuse_attachments
from claude_batch.storage.prompts.columns import ID_PREFIX
from claude_batch.storage.prompts.lines import MOST_BYTES, Lines, Wrapping
from claude_batch.storage.prompts.params import (
    DEEPEST,
    TOO_DEEP,
    BadPromptError,
    check_params,
    quoted,
    refuse_deep,
)
from claude_batch.storage.prompts.shapes import (
    NO_OVERRIDES,
    Defaults,
    Shape,
    read_error,
    read_shape,
)

CACHE_MARK = b'"cache_control"'
"""What is in a line that sets its own cache breakpoints."""

LEAST_WHOLE, BEYOND_WHOLE = -(2**63), 2**64
"""Whole numbers from the first up to the second stay what they are."""

_MOST_DIGITS = 21
BOM = b"\xef\xbb\xbf"
"""What Windows programs begin a file with."""

_UNPARSED = {None, Wrapping.LINES}
"""How lines are that no program of ours has parsed before."""

_UTF8_HINT = "save the file as UTF-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidLine:
    """A line that cannot be sent: its number from 1, what is wrong with it, and what to do."""

    line: int
    what: str
    remedy: str


def parse_line(
    raw: bytes | None,
    line: int,
    defaults: Defaults,
    *,
    estimated: bool = True,
    checked: bool = False,
) -> Request | InvalidLine | None:
    """Return the request of a raw line, which may have been `checked` before; None when blank."""
    shape = read_line(raw, line, defaults, checked=checked)
    if not isinstance(shape, Shape):
        return shape
    prefix = defaults.columns.id_prefix
    if defaults.overrides is not NO_OVERRIDES:
        shape = defaults.overrides.of(shape, shape.custom_id or generated_id(line, prefix))
    request = to_request(shape, line, prefix, defaults.catalog if estimated else None)
    if not shape.attaches:
        return request
    return replace(
        request,
        encode=defaults.attachments.encode,
        files_changed_at=newest_change(shape.params),
    )


def read_line(
    raw: bytes | None, line: int, defaults: Defaults, *, checked: bool = False
) -> Shape | InvalidLine | None:
    """Return what a raw line asks for, checked; None when it is blank.

    Of a line that was `checked` before, what parsing may lose is not looked for again.
    """
    try:
        return _read(raw, defaults, checked=checked)
    except BadPromptError as error:
        return InvalidLine(line=line, what=error.what, remedy=error.remedy)


def input_tokens(shape: Shape, catalog: Catalog) -> int:
    """Return the estimated input tokens of a checked line."""
    return estimate_input_tokens(shape.params, catalog)


def to_request(shape: Shape, line: int, prefix: str, catalog: Catalog | None) -> Request:
    """Return a checked line as it will be sent; without a catalog nothing is estimated.

    `prefix` begins the id of a line that has none.
    """
    params = shape.params
    body = dumped(params)
    sampled = any(name in params for name in SAMPLING)
    return Request(
        custom_id=generated_id(line, prefix) if shape.custom_id is None else shape.custom_id,
        line=line,
        model=params["model"],
        max_tokens=params["max_tokens"],
        body=body,
        input_tokens=0 if catalog is None else input_tokens(shape, catalog),
        api_version=SAMPLING_API_VERSION if sampled else API_VERSION,
        meta=None if shape.meta is None else dumped(shape.meta),
        terms=USUAL_TERMS
        if catalog is None
        else terms_of(params, may_mark=CACHE_MARK in body, catalog=catalog),
        schema=_schema(params["output_config"]) if "output_config" in params else None,
    )


def _schema(config: Mapping[str, Any]) -> bytes | None:
    """Return the JSON Schema that the answer has to fit, as JSON; None without one."""
    form = config.get("format")
    schema = form.get("schema") if isinstance(form, dict) else None
    return _shared(dumped(schema)) if isinstance(schema, dict) else None


@lru_cache(maxsize=64)
def _shared(schema: bytes) -> bytes:
    """Return one copy for all requests with the same schema."""
    return schema


def generated_id(line: int, prefix: str = ID_PREFIX) -> str:
    """Return what a line without a custom_id is called."""
    return f"{prefix}{line}"


def _read(raw: bytes | None, defaults: Defaults, *, checked: bool) -> Shape | None:
    if raw is None:
        raise BadPromptError(
            f"the line is longer than {MOST_BYTES // 1_000_000} MB",
            "the API takes no larger requests: shorten it, or upload what it carries as a file",
        )
    raw = raw.removeprefix(BOM)
    if not raw or raw.isspace():
        return None
    if defaults.wrapping is not None and (bad := read_error(raw)) is not None:
        raise bad
    value = _decoded(raw)
    if raw.count(b"{") + raw.count(b"[") > DEEPEST:
        refuse_deep(value)
    if not checked and type(value) is dict and defaults.wrapping in _UNPARSED:
        refuse_lossy(raw)
    shape = read_shape(value, defaults)
    check_params(shape.params)
    if shape.attaches and not checked:
        refuse_attachments(shape.params, len(raw))
    return shape


def _decoded(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _undecodable(raw, error) from None


def parsed_lines(lines: Lines) -> list[Any]:
    """Return the values of lines, None for what is no JSON: in one call when all are."""
    try:
        return list(map(orjson.loads, lines))  # type: ignore[arg-type]  # None raises, as it should
    except ValueError:
        return [_value(raw) for raw in lines]


def _value(raw: bytes | None) -> Any:
    try:
        return orjson.loads((raw or b"").removeprefix(BOM))
    except ValueError:
        return None


def refuse_lossy(raw: bytes) -> None:
    """Refuse JSON of which parsing loses something: repeated keys, whole numbers too large."""
    _LOSSLESS.decode(raw.decode())


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > len(dict(pairs)):
        key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise BadPromptError(f"the key {quoted(key)} is there twice", "remove one of the two")


def _whole(digits: str) -> None:
    """Refuse a whole number that would be changed."""
    if len(digits) <= _MOST_DIGITS and LEAST_WHOLE <= int(digits) < BEYOND_WHOLE:
        return
    raise BadPromptError(
        f"the whole number {digits[:_MOST_DIGITS]}{'...' * (len(digits) > _MOST_DIGITS)} does not "
        "fit into 64 bits: it would be changed",
        "write it as a text, in quotes",
    )


_LOSSLESS = json.JSONDecoder(object_pairs_hook=_distinct, parse_int=_whole)


def _undecodable(raw: bytes, error: orjson.JSONDecodeError) -> BadPromptError:
    """Return what is wrong with a line that is no JSON; columns count characters from 1."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as bad:
        return BadPromptError(f"invalid UTF-8 at byte {bad.start + 1} of the line", _UTF8_HINT)
    nul = text.find("\0")
    if nul >= 0:
        return BadPromptError(
            f"NUL byte in column {nul + 1}", f"the file is damaged, or UTF-16: {_UTF8_HINT}"
        )
    if error.msg == "depth limit exceeded":
        return BadPromptError(*TOO_DEEP)
    return BadPromptError(
        f"not JSON: {error.msg} (column {error.colno})", _json_hint(error.msg, text[error.pos :])
    )


def _json_hint(msg: str, rest: str) -> str:
    """Return what to do about an error of orjson's, with the rest of the line from there on."""
    if rest.startswith(("NaN", "Infinity", "-Infinity")):
        return "JSON has no NaN or Infinity: use null, or leave it out"
    if "surrogate" in msg:
        return "half a character (\\ud800 to \\udfff alone): write the character itself"
    if "infinity" in msg:
        return "the number is too large: write it as a text"
    if rest.startswith("'"):
        return "JSON needs double quotes"
    if msg == "trailing comma is not allowed":
        return "take the last comma out"
    if msg == "unexpected end of data":
        return "one whole JSON value per line: is it cut off, or spread over several lines?"
    return "one JSON value per line; for plain lines of text add --input-format txt"
