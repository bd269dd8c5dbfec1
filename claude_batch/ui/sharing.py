"""With whom a lane shares its limits, in a line. Loads no Rich."""

from __future__ import annotations

from collections.abc import Sequence

from claude_batch.core.model.sharing import Sharer, SharingView
from claude_batch.ui.figures import count
from claude_batch.ui.messages import printable


def sharing_text(sharing: SharingView) -> str:
    """Return our share and the other programs': 25 % of the limits; a.jsonl on host: 25 %."""
    if sharing.silent:
        return "not shared: replies report no limits"
    own = f"{_part(sharing.share)} of the limits"
    if sharing.lost:
        return f"{own}, the last share: the Redis server does not answer"
    if not sharing.others:
        return f"{own}; no other program uses them now"
    number = len(sharing.others)
    programs = "1 other program" if number == 1 else f"{count(number)} other programs"
    return f"{own}, with {programs}: {sharers_text(sharing.others)}"


def shared_text(sharers: Sequence[Sharer]) -> str:
    """Return who shares a lane, as `limits` says it."""
    if not sharers:
        return "no program shares its limits now"
    number = len(sharers)
    programs = "1 program" if number == 1 else f"{count(number)} programs"
    return f"shared by {programs}: {sharers_text(sharers)}"


def sharers_text(sharers: Sequence[Sharer]) -> str:
    """Return names and shares: a.jsonl on host 25 %, b.jsonl on host 75 %."""
    return ", ".join(f"{printable(each.name)} {_part(each.share)}" for each in sharers)


def _part(share: float) -> str:
    return f"{100 * share:.0f} %"
