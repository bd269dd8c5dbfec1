"""What a run waits for, in one sentence. Loads no Rich."""

from __future__ import annotations

import math
import shlex

from claude_batch.core.model.batches import ChunkState
from claude_batch.core.model.requests import FailureKind, LimitKind
from claude_batch.core.model.snapshot import LimitSource, Phase, Snapshot, WaitKind, WaitReason
from claude_batch.core.model.units import duration
from claude_batch.ui.batch_words import age_s, chunks_text, number_of
from claude_batch.ui.figures import count, moment, short
from claude_batch.ui.folder_words import states_text
from claude_batch.ui.messages import printable

TROUBLES = frozenset(
    {WaitKind.RATE_LIMITED, WaitKind.OUTAGE, WaitKind.SILENCE, WaitKind.DISK, WaitKind.PAUSED}
)
"""Reasons worth a colour: something is wrong, or slower than it should be."""

_COUNTED = {
    LimitKind.REQUESTS: "requests",
    LimitKind.INPUT_TOKENS: "input tokens",
    LimitKind.OUTPUT_TOKENS: "output tokens",
}
_OPTIONS = {
    LimitKind.REQUESTS: "--rpm",
    LimitKind.INPUT_TOKENS: "--itpm",
    LimitKind.OUTPUT_TOKENS: "--otpm",
}
_OUTAGES = {
    FailureKind.OVERLOADED: "API overloaded",
    FailureKind.UNREACHABLE: "API not reachable",
    FailureKind.TIMED_OUT: "API does not answer in time",
}

_FIXED = {
    WaitKind.FIRST_REPLY: "waiting for the first reply",
    WaitKind.FINDING_PACE: "limits not known yet; finding the pace",
    WaitKind.PREFIX: "waiting for the first reply with a shared prefix (it fills the prompt cache)",
    WaitKind.INPUT: "reading prompts",
    WaitKind.DISK: "waiting for the disk",
    WaitKind.PAUSED: "paused by adjust --pause",
    WaitKind.SHARE: "waiting for a share of the limits: other programs hold all of them",
}


def own_mark(source: LimitSource, kind: LimitKind) -> str:
    """Return whose limit it is, where it is not what the API reports: your --rpm."""
    match source:
        case LimitSource.API:
            return ""
        case LimitSource.ASSUMED:
            return "assumed"
        case LimitSource.CEILING:
            return f"your {_OPTIONS[kind]}"
        case LimitSource.SHARE:
            return "your --share"


def activity_text(snapshot: Snapshot) -> str:
    """Return what a run does or waits for at this moment; empty once it has ended."""
    match snapshot.phase:
        case Phase.STARTING:
            return "starting"
        case Phase.STOPPING:
            return _stopping_text(snapshot)
        case Phase.RUNNING if snapshot.paused_at is not None:
            return _paused_text(snapshot, snapshot.paused_at)
        case Phase.RUNNING if snapshot.folder is not None and snapshot.folder.shard is None:
            return states_text(snapshot.folder)
        case Phase.RUNNING if snapshot.chunks and not snapshot.lanes:
            return _batches_text(snapshot)
        case Phase.RUNNING:
            return "sending" if snapshot.wait is None else wait_text(snapshot.wait)
        case Phase.FINISHED | Phase.INTERRUPTED | Phase.STOPPED:
            return ""


def _paused_text(snapshot: Snapshot, since: float) -> str:
    """Return since when a run is paused, what still goes on, and the command that continues it."""
    going = ""
    if snapshot.in_flight:
        what = "requests at the API" if snapshot.chunks and not snapshot.lanes else "in flight"
        going = f", {count(snapshot.in_flight)} {what}"
    path = snapshot.results if snapshot.folder is None else snapshot.folder.path
    command = f"claude-batch adjust {shlex.quote(printable(path))} --continue"
    return f"paused at {moment(since, snapshot.at or since)}{going}; to continue: {command}"


def adjusted_texts(snapshot: Snapshot) -> list[str]:
    """Return what the user has changed: rpm 200, adjusted 19:04."""
    return [
        f"{each.name.replace('_', '-')} {'none' if each.value is None else f'{each.value:,.10g}'}, "
        f"adjusted {moment(each.at, snapshot.at or each.at)}"
        for each in snapshot.adjusted
    ]


def _batches_text(snapshot: Snapshot) -> str:
    waiting = [chunk for chunk in snapshot.chunks if chunk.state is ChunkState.WAITING]
    if not waiting:
        return chunks_text(snapshot.chunks, snapshot.at)
    ages = [age for chunk in waiting if (age := age_s(chunk, snapshot.at)) is not None]
    so_far = f", {duration(max(ages))} so far" if ages else ""
    return f"waiting for {number_of(len(waiting))} at the API{so_far}"


def _stopping_text(snapshot: Snapshot) -> str:
    if snapshot.chunks and not snapshot.lanes:
        return "stopping; Ctrl-C again to stop now"
    at_most = "" if snapshot.grace_s is None else f" ({_seconds(snapshot.grace_s)} at most)"
    requests = _number_of(snapshot.in_flight, "request")
    return f"finishing {requests}{at_most}; Ctrl-C again to stop now"


def wait_text(reason: WaitReason) -> str:
    """Return why nothing more is sent, as a sentence without a full stop."""
    text = _reason_text(reason)
    if reason.lane:
        text = f"{printable(reason.lane)}: {text}"
    if reason.fallback_in_s is not None:
        text += f"; a fallback takes over in {_seconds(reason.fallback_in_s)}"
    return text


def _reason_text(reason: WaitReason) -> str:
    in_flight, seconds = reason.in_flight, reason.seconds or 0.0
    match reason.kind:
        case WaitKind.LIMIT:
            return _limit_text("waiting for {}", reason)
        case WaitKind.PACE:
            return _limit_text("spreading {} evenly", reason)
        case WaitKind.CONCURRENCY:
            return f"waiting for replies: {count(in_flight)} in flight, the most for now"
        case WaitKind.RATE_LIMITED:
            return _rate_limited_text(reason)
        case WaitKind.OUTAGE:
            return _outage_text(reason)
        case WaitKind.SILENCE:
            again = ", trying again" if reason.probing else ""
            return f"nothing heard for {duration(seconds)}{again} ({count(in_flight)} in flight)"
        case WaitKind.RETRY:
            return f"waiting to retry; next try in {_seconds(seconds)}"
        case WaitKind.BUDGET:
            return f"waiting for {count(in_flight)} replies: they may use up --max-cost"
        case WaitKind.LAST_REPLIES:
            return f"waiting for the last {_number_of(in_flight, 'reply', 'replies')}"
        case kind:
            return _FIXED[kind]


def _limit_text(words: str, reason: WaitReason) -> str:
    """Return `words` about what a limit counts, with the limit: ... (limit 40k/min)."""
    if reason.limit is None or reason.limit_per_minute is None:
        return words.format("a limit")
    mark = own_mark(reason.source, reason.limit)
    whose = {"": "limit", "assumed": "assumed limit"}.get(mark, mark)
    counted = words.format(_COUNTED[reason.limit])
    return f"{counted} ({whose} {short(reason.limit_per_minute)}/min)"


def _rate_limited_text(reason: WaitReason) -> str:
    left = _seconds(reason.seconds or 0.0)
    if reason.asked_s is None:
        return f"rate limited; next try in {left}"
    asked = _seconds(reason.asked_s)
    return f"rate limited; the API asked for {asked}" + ("" if asked == left else f", {left} left")


def _outage_text(reason: WaitReason) -> str:
    what = "API failing" if reason.cause is None else _OUTAGES.get(reason.cause, "API failing")
    if reason.seconds is None:
        return f"{what}; waiting for the {_number_of(reason.in_flight, 'request')} in flight"
    return f"{what}; next try in {_seconds(reason.seconds)}"


def _seconds(seconds: float) -> str:
    """Return a time to wait, rounded up: the wait is over when it says 0."""
    return duration(math.ceil(max(0.0, seconds)))


def _number_of(number: int, noun: str, plural: str = "") -> str:
    return f"{count(number)} {noun if number == 1 else plural or noun + 's'}"
