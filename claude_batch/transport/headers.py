"""Response headers: `anthropic-*`, retry-after, date, request id.

Source: docs/claude-api.md, "Response headers". Nothing here raises, whatever a relay puts into a
header: what cannot be read is absent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from claude_batch.core.model.requests import LimitKind, LimitReading, ResponseHeaders
from claude_batch.transport.network import Answer

LONGEST_WAIT_S = 90 * 86_400.0
"""Seconds. A longer retry-after is cut to this."""

_FAMILIES = (
    (LimitKind.REQUESTS, b"anthropic-ratelimit-requests-"),
    (LimitKind.INPUT_TOKENS, b"anthropic-ratelimit-input-tokens-"),
    (LimitKind.OUTPUT_TOKENS, b"anthropic-ratelimit-output-tokens-"),
)
_NAMES = tuple(
    (kind, stem + b"limit", stem + b"remaining", stem + b"reset") for kind, stem in _FAMILIES
)
_COMBINED = b"anthropic-ratelimit-tokens-"
"""Input and output tokens together: all that some relays pass on."""

Values = Mapping[bytes, bytes]


def read_headers(raw: Iterable[tuple[bytes, bytes]], *, wall: float) -> ResponseHeaders:
    """Return what the headers say; `wall` (seconds since 1970) stands in for a missing Date."""
    values = {name.lower(): value for name, value in raw}
    server_time = _http_date(values.get(b"date"))
    return ResponseHeaders(
        limits=tuple(_limits(values)),
        retry_after_s=_retry_after_s(values, wall if server_time is None else server_time),
        organization_id=_text(values.get(b"anthropic-organization-id")),
        request_id=_text(values.get(b"request-id")),
        server_time=server_time,
    )


def headers_of(answer: Answer) -> ResponseHeaders:
    """Return what the headers of an answer that has just come say."""
    return read_headers(answer.raw_headers, wall=time.time())


def _limits(values: Values) -> Iterable[LimitReading]:
    for kind, limit, remaining, reset in _NAMES:
        if limit in values or remaining in values:
            yield LimitReading(
                kind=kind,
                limit_per_minute=_count(values.get(limit)),
                remaining=_count(values.get(remaining)),
                full_at=_timestamp(values.get(reset)),
            )
    if _COMBINED + b"limit" in values and not any(limit in values for _, limit, _, _ in _NAMES[1:]):
        yield LimitReading(
            kind=LimitKind.INPUT_TOKENS,
            limit_per_minute=_count(values[_COMBINED + b"limit"]),
            remaining=_count(values.get(_COMBINED + b"remaining")),
            full_at=_timestamp(values.get(_COMBINED + b"reset")),
            combined=True,
        )


def _retry_after_s(values: Values, server_time: float) -> float | None:
    """Return the wait in seconds: retry-after-ms, else retry-after as seconds or as a date."""
    milliseconds = _number(values.get(b"retry-after-ms"))
    if milliseconds is not None:
        return _bounded(milliseconds / 1000)
    seconds = _number(values.get(b"retry-after"))
    if seconds is not None:
        return _bounded(seconds)
    date = _http_date(values.get(b"retry-after"))
    return None if date is None else _bounded(date - server_time)


def _bounded(seconds: float) -> float | None:
    """Return the wait: 0 means now. A negative one is none: the caller's own backoff applies."""
    return min(seconds, LONGEST_WAIT_S) if seconds >= 0 else None


def _text(value: bytes | None) -> str | None:
    return value.decode("latin-1") if value else None


def _number(value: bytes | None) -> float | None:
    try:
        number = float(value or b"")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _count(value: bytes | None) -> int | None:
    number = _number(value)
    return None if number is None or number < 0 else int(number)


def _timestamp(value: bytes | None) -> float | None:
    """Return an RFC 3339 time in seconds since 1970."""
    if not value:
        return None
    try:
        moment = datetime.fromisoformat(value.decode("latin-1"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=64)  # the replies of one second share one date
def _http_date(value: bytes | None) -> float | None:
    """Return an HTTP date (RFC 9110) in seconds since 1970."""
    if not value:
        return None
    try:
        date = parsedate_to_datetime(value.decode("latin-1"))
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
