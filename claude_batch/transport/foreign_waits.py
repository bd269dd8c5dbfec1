"""How long a 429 without retry-after asks to wait: servers of other makers say it elsewhere.

In `x-ratelimit-reset-*` headers (OpenAI and what imitates it: "1m30s", "350ms", seconds, or a time
in seconds since 1970), or in the message: "try again in 20s", "resets at 2026-11-30 12:00:00 UTC".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

_FAMILIES = (b"requests", b"tokens")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|h|m|s))+")
_AGAIN = r"(?:try again|retry)(?: after| in)? "
_AGAIN_IN = re.compile(
    _AGAIN + r"(\d+(?:\.\d+)?) ?(milliseconds|ms|seconds?|s|minutes?|m)\b", re.IGNORECASE
)
_AGAIN_IN_PARTS = re.compile(_AGAIN + r"((?:\d+(?:\.\d+)?[hms]+)+)\b", re.IGNORECASE)
_RESETS_AT = re.compile(
    r"resets? at:? (\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?)(?: ?UTC|Z)?", re.IGNORECASE
)

_A_TIME = 1e9
"""A number of seconds from here on is a time, not a duration."""


def foreign_wait_s(headers: Mapping[bytes, bytes], text: str, now: float) -> float | None:
    """Return the seconds to wait; None where nothing is said. `now`: seconds since 1970."""
    waits = [wait for wait in (_header_wait_s(headers, now), _text_wait_s(text, now)) if wait]
    return max(0.0, waits[0]) if waits else None


def _header_wait_s(headers: Mapping[bytes, bytes], now: float) -> float | None:
    """Return when what is used up is there again, by the headers."""
    waits = [
        wait
        for family in _FAMILIES
        if headers.get(b"x-ratelimit-remaining-" + family, b"").strip() == b"0"
        if (wait := _parsed(headers.get(b"x-ratelimit-reset-" + family, b""), now)) is not None
    ]
    return max(waits, default=None)


def _parsed(value: bytes, now: float) -> float | None:
    text = value.decode("latin-1").strip().lower()
    if _DURATION.fullmatch(text):
        return _seconds(text)
    try:
        number = float(text)
    except ValueError:
        return None
    if not 0 <= number < 1e11:  # noqa: PLR2004 - no time of this age
        return None
    return number - now if number >= _A_TIME else number


def _seconds(text: str) -> float:
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text.lower()))


def _text_wait_s(text: str, now: float) -> float | None:
    found = _AGAIN_IN_PARTS.search(text)
    if found and _DURATION.fullmatch(found[1].lower()):
        return _seconds(found[1])
    found = _AGAIN_IN.search(text)
    if found:
        unit = found[2].lower()
        return float(found[1]) * _UNITS["ms" if unit.startswith(("ms", "milli")) else unit[0]]
    found = _RESETS_AT.search(text)
    if found is None:
        return None
    try:
        moment = datetime.fromisoformat(found[1].replace(" ", "T")).replace(tzinfo=UTC)
    except ValueError:
        return None
    return moment.timestamp() - now
