"""The sentences of a report: what matters first, and what each chart shows."""

from __future__ import annotations

from collections.abc import Iterator

from claude_batch.core.history.minutes import LIMIT, bounds_of
from claude_batch.core.history.tiers import TierGain
from claude_batch.core.model.minutes import Minute
from claude_batch.core.model.requests import LIMIT_NAMES, LimitKind
from claude_batch.core.model.units import dollars, duration
from claude_batch.report.data import ReportData

COUNTED = {
    LimitKind.REQUESTS.value: "Requests per minute",
    LimitKind.INPUT_TOKENS.value: "Input tokens",
    LimitKind.OUTPUT_TOKENS.value: "Output tokens",
}
"""What each limit counts, at the beginning of a sentence."""

_A_FEW_MIN, _FEW_MIN, _MANY_MIN = 2, 10, 120
"""Shorter runs are described to the second, longer ones by hours."""

_ALL = 0.985
"""More than this share is all, but for rounding."""

_WORTH = 0.01
"""Smaller savings are not worth a day of waiting."""

_OPTIONS = {"requests": "--rpm", "input_tokens": "--itpm", "output_tokens": "--otpm"}

HELD_BY = {
    "concurrency": "The number of requests in flight",
    "rate_limited": "Waiting after 429s",
    "outage": "An outage of the API",
    "silence": "Silence of the API",
    "finding_pace": "Finding the pace without known limits",
    "first_reply": "Waiting for the first reply",
    "budget": "--max-cost",
    "disk": "The disk",
    "paused": "Your own pause",
    "share": "Waiting for a share of the limits",
    "input": "Reading prompts",
    "prefix": "Filling the prompt cache",
    "retry": "Waiting to retry",
    "last_replies": "Waiting for the last replies",
    "": "Only how fast replies came",
}
"""What held a run back other than a limit; "": nothing did."""


def short_bound(reason: str, limit: str, source: str) -> str:
    """Return what held a run back, for a legend."""
    if reason != LIMIT:
        return HELD_BY.get(reason, reason).replace(
            "Only how fast replies came", "nothing: full speed"
        )
    name = LIMIT_NAMES[LimitKind(limit)] if limit in set(LimitKind) else limit
    if source == "ceiling":
        return f"your {_OPTIONS.get(limit, 'limit')}"
    return f"your --share of {name}" if source == "share" else name


def bound_title(minutes: tuple[Minute, ...]) -> str:
    """Return what held the run back the longest: Input tokens limited this run for 38 of 41 min."""
    bounds = bounds_of(minutes)
    total_s = sum(bounds.values())
    if not total_s:
        return "What limited this run is not known"
    (reason, limit, source), seconds = next(iter(bounds.items()))
    long = _of(seconds, total_s)
    if reason != LIMIT:
        what = HELD_BY.get(reason, reason)
        if not reason and seconds > _ALL * total_s:
            return "No limit held this run back: it was as fast as replies came"
        if not reason:
            return f"No limit held this run back for {long}: it was as fast as replies came"
        return f"{what} held this run back for {long}"
    if source == "ceiling":
        return f"Your own {_OPTIONS.get(limit, 'limit')} limited this run for {long}"
    if source == "share":
        return (
            f"Your own --share of the {LIMIT_NAMES[LimitKind(limit)]} limited this run for {long}"
        )
    return f"{COUNTED.get(limit, limit)} limited this run for {long}"


def took(seconds: float) -> str:
    """Return how long something took: 45 s, 2 min 35 s, 38 min, 1 h 20 min."""
    minutes, rest = divmod(round(seconds), 60)
    if 1 < minutes < _FEW_MIN:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return duration(seconds)


def _of(seconds: float, total_s: float) -> str:
    """Return a part of a time: 38 of 41 min."""
    if seconds > _ALL * total_s:
        return f"all of its {took(total_s)}"
    minutes = total_s / 60
    if not _A_FEW_MIN <= minutes <= _MANY_MIN:
        return f"{duration(seconds)} of {duration(total_s)}"
    digits = 1 if minutes < _FEW_MIN else 0
    return f"{seconds / 60:.{digits}f} of {minutes:.{digits}f} min"


def lead(data: ReportData) -> str:
    """Return the sentence that matters: done, failed, cost, time."""
    figures, total = data.figures, data.total
    answered, failed = figures.done - figures.failed, figures.failed
    time = f" in {took(data.history.active_s)}" if data.history.active_s >= 1 else ""
    cost = data.cost_usd
    paid = "" if cost is None else f" for {_at_least(data)}{dollars(cost)}"
    noun = "prompt" if total == 1 else "prompts"
    if data.state == "finished" and not failed:
        who = f"All {total:,} {noun}" if total > 1 else "The prompt"
        return f"{who} {'were' if total > 1 else 'was'} answered{time}{paid}."
    so_far = " so far" if data.state in {"running", "waiting"} else ""
    text = f"{answered:,} of {total:,} {noun} {'was' if answered == 1 else 'were'} answered{so_far}"
    left = max(0, total - figures.done)
    rest = [f"{failed:,} failed"] if failed else []
    rest += [f"{left:,} {'is' if left == 1 else 'are'} left"] if left else []
    return f"{text}{time}{paid}; {', '.join(rest)}." if rest else f"{text}{time}{paid}."


def _at_least(data: ReportData) -> str:
    return "at least " if data.expenses.unreported else ""


def advice(data: ReportData) -> Iterator[str]:
    """Yield what would have been faster, and what cheaper."""
    yield from tier_words(data.tier_gains, data.history.active_s)
    bounds = bounds_of(data.history.minutes)
    own = {
        (limit, source): seconds
        for (reason, limit, source), seconds in bounds.items()
        if reason == LIMIT and source in {"ceiling", "share"}
    }
    if own:
        limit, source = max(own, key=lambda each: own[each])
        option = "--share" if source == "share" else _OPTIONS.get(limit, "limit")
        held = duration(sum(own.values()))
        yield f"Faster: a higher {option}, which held the run back for {held}."
    saving, cost = data.batch_saving_usd, data.cost_usd
    if saving and cost and saving > _WORTH * cost:
        less, much = dollars(cost - saving), dollars(cost)
        if less != much:
            about = "" if less.startswith("under") else "about "
            yield (
                f"Cheaper: Message Batches (--mode batch), {about}{less} instead of {much}, "
                "usually done within an hour."
            )


def tier_words(gains: tuple[TierGain, ...], total_s: float) -> Iterator[str]:
    """Yield what the next tier would have brought, and those after it."""
    if not gains:
        return
    first, *others = gains
    times = [took(total_s - each.saved_s) for each in gains]
    more = ", ".join(
        f"{each.tier.title()} {time}"
        for each, time, before in zip(others, times[1:], times, strict=False)
        if time != before
    )
    yield (
        f"Faster: with the limits of the {first.tier.title()} tier about {times[0]}"
        f"{f' ({more})' if more else ''} instead of {took(total_s)}."
    )
