"""--max-cost over all shards: what a process that claims a shard may spend on it.

What is certain is subtracted first: what is spent, and all that others at work may still spend.
What is left is divided by rows among the shards that nobody works on, so that processes which claim
shards at the same moment, each without seeing the other's claim, together stay within the bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardMoney:
    """What counts of one shard.

    It has cost `spent_usd`, at most. `rows_left` have no result. Another process may spend up to
    `held_usd` on it in all, what is spent included; None: nobody works on it.
    """

    shard: int
    spent_usd: float
    rows_left: int
    held_usd: float | None = None


def most_usd(shards: Iterable[ShardMoney]) -> float:
    """Return what shards may come to: what is spent, and what others may still spend."""
    return sum(
        each.spent_usd if each.held_usd is None else max(each.spent_usd, each.held_usd)
        for each in shards
    )


def slice_usd(bound_usd: float, shard: int, shards: Iterable[ShardMoney], *, whole: bool) -> float:
    """Return up to what a shard may cost in all, earlier costs included.

    With `whole` all that is free is for this shard: the caller works on one after another.
    """
    shards = list(shards)
    free = bound_usd - most_usd(shards)
    rows, own = 0, ShardMoney(shard=shard, spent_usd=0.0, rows_left=0)
    for each in shards:
        if each.shard == shard:
            own = each
        if each.held_usd is None:
            rows += each.rows_left
    share = 1.0 if whole or not rows else own.rows_left / rows
    return own.spent_usd + max(0.0, free) * share


def adjusted_slice_usd(
    bound_usd: float, shard: int, shards: Iterable[ShardMoney], *, whole: bool
) -> float:
    """Return up to what a shard at work may cost in all, now that the bound is another one.

    Others at work may get the same bound at the same moment: what is not spent is divided by rows
    among all that are unfinished. With `whole`, and nobody else at work, all of it is for this one.
    """
    free, rows, own = bound_usd, 0, ShardMoney(shard=shard, spent_usd=0.0, rows_left=0)
    is_alone = whole
    for each in shards:
        free -= each.spent_usd
        rows += each.rows_left
        if each.shard == shard:
            own = each
        elif each.held_usd is not None:
            is_alone = False
    share = 1.0 if is_alone or not rows else own.rows_left / rows
    return own.spent_usd + max(0.0, free) * share
