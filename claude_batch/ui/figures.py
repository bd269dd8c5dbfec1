"""Numbers, times and sizes as people read them."""

from __future__ import annotations

import time
from collections.abc import Mapping

from claude_batch.core.model.snapshot import Snapshot
from claude_batch.core.model.units import dollars, duration

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
_WEEK_S = 6 * _DAY_S
_SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_PLAIN_BELOW = 10_000


def count(number: float) -> str:
    """Return a whole number with its thousands apart: 12,345."""
    return f"{number:,.0f}"


def short(number: float | None) -> str:
    """Return a number in at most six characters: 9,999, 12.3k, 1.20M; a debt has a minus.

    It is `-` when it is not known.
    """
    if number is None:
        return "-"
    size = abs(round(number))
    sign = "-" if number < 0 and size else ""
    if size < _PLAIN_BELOW:
        return f"{sign}{size:,}"
    scale, suffix = next(step for step in _SUFFIXES if size >= step[0] * 0.9995)
    scaled = size / scale
    digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0  # noqa: PLR2004  # three digits
    return f"{sign}{scaled:.{digits}f}{suffix}"


def cost_text(snapshot: Snapshot) -> str:
    """Return what a run has cost: at least so much, where attempts did not report their usage.

    Of all of a run folder also how much that may be.
    """
    folder = snapshot.folder
    bound = None if folder is None or folder.shard is not None else folder.max_cost_usd
    at_least = "at least " if snapshot.unreported else ""
    return at_least + bound_text(snapshot.cost_usd, bound)


def bound_text(cost_usd: float | None, max_cost_usd: float | None) -> str:
    """Return what something has cost, and of how much it may cost, where that is bounded."""
    if max_cost_usd is None:
        return dollars(cost_usd)
    bound = dollars(max_cost_usd) if max_cost_usd >= 1 else f"{max_cost_usd:.10g} USD"  # as typed
    return f"{dollars(cost_usd).removesuffix(' USD')} of {bound}"


_STOPS = {
    "refusal": "refused",
    "max_tokens": "cut off by max_tokens",
    "pause_turn": "paused (pause_turn)",
    "model_context_window_exceeded": "cut off by the context window",
}


_BREAK_SCHEMA = "break the schema"


def flaws(snapshot: Snapshot) -> list[tuple[str, int]]:
    """Return how many successes are not what was asked for, in few words each; none that is 0."""
    stops = snapshot.stop_reasons
    counts = {
        "refused": stops.get("refusal", 0),
        "cut off": stops.get("max_tokens", 0) + stops.get("model_context_window_exceeded", 0),
        "paused": stops.get("pause_turn", 0),
        _BREAK_SCHEMA: snapshot.output_errors,
    }
    return [(name, number) for name, number in counts.items() if number]


def stops_text(stop_reasons: Mapping[str, int], output_errors: int = 0) -> str:
    """Return how answers ended that are not what was asked for: 1 refused, 2 cut off by max_tokens.

    Empty where there are none.
    """
    known = [(stop_reasons[name], _STOPS[name]) for name in _STOPS if stop_reasons.get(name)]
    if output_errors:
        known.append((output_errors, _BREAK_SCHEMA))
    return ", ".join(f"{count(number)} {what}" for number, what in known)


def clock(seconds: float | None) -> str:
    """Return a span of time: 0:07, 12:34, 1:02:03, 3 d 4 h; `-:--` when it is not known."""
    if seconds is None:
        return "-:--"
    whole = max(0, round(seconds))
    if whole >= _DAY_S:
        return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"
    minutes, rest = divmod(whole, _MINUTE_S)
    if whole < _HOUR_S:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def time_left(seconds: float, at: float | None) -> str:
    """Return a time that is left, and when it will be over: about 18 min left (19:22)."""
    if at is None:
        return f"about {duration(seconds)} left"
    form = "%H:%M" if seconds < _DAY_S else "%a %H:%M"
    return f"about {duration(seconds)} left ({time.strftime(form, time.localtime(at + seconds))})"


def moment(at: float, now: float) -> str:
    """Return when something was: 03:04 today, Tue 03:04 this week, 2026-11-20 03:04 before."""
    then, today = time.localtime(at), time.localtime(now)
    if then[:3] == today[:3]:
        return time.strftime("%H:%M", then)
    recent = 0 <= now - at < _WEEK_S
    return time.strftime("%a %H:%M" if recent else "%Y-%m-%d %H:%M", then)


def ago(seconds: float) -> str:
    """Return how long ago something was: just now, 5 min ago, 3 h ago, 2 d ago."""
    if seconds < _MINUTE_S:
        return "just now"
    if seconds < _HOUR_S:
        return f"{int(seconds // _MINUTE_S)} min ago"
    if seconds < _DAY_S:
        return f"{int(seconds // _HOUR_S)} h ago"
    return f"{int(seconds // _DAY_S)} d ago"


def percent(done: float, total: float) -> str:
    """Return done of total in percent, rounded down: 100 % means all, not nearly all."""
    return f"{int(100 * done / total) if total else 100} %"


def size(number_of_bytes: float) -> str:
    """Return a size in bytes: 12.3 MB."""
    scaled = float(number_of_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if scaled < 1_000:  # noqa: PLR2004  # the next unit
            return f"{scaled:.0f} B" if unit == "B" else f"{scaled:.1f} {unit}"
        scaled /= 1_000
    return f"{scaled:.1f} TB"
