"""Who may work on a shard: claims with epochs. The latest epoch counts, the others stop.

A claim is a file that is created exclusively, so that each epoch has one holder. The holder touches
it while it works. Sharing of a mutable lock between hosts is not needed for that: whoever was
superseded finds out when it looks, and what it wrote until then is in files of its own epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LOOK_EVERY_S = 10.0
"""How often a holder looks for a later epoch, and touches its claim."""

SILENT_S = 3 * LOOK_EVERY_S
"""A holder that has not touched its claim for this long is taken for dead."""


_TICK_S = 2.0
"""Storage may know times to the second only, and answers late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim on a shard, as another process sees it.

    `silent_s` seconds ago its holder touched it last. `is_over`: it has let go, or is known to be
    dead. `max_cost_usd` is the part of the bound on the cost that it may spend; None: no bound.
    """

    shard: int
    epoch: int
    holder: str
    silent_s: float
    is_over: bool = False
    max_cost_usd: float | None = None

    @property
    def is_held(self) -> bool:
        """Whether its holder is probably at work."""
        return not self.is_over and self.silent_s < SILENT_S


@dataclass(frozen=True, slots=True)
class Take:
    """The shard is free: claim this epoch."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Held:
    """Another works on the shard; it is free `free_in_s` seconds from now if that is dead."""

    by: str
    free_in_s: float


def latest(claims: Iterable[Claim]) -> Claim | None:
    """Return the claim that counts; None without any."""
    return max(claims, key=lambda each: each.epoch, default=None)


def decide(claims: Iterable[Claim]) -> Take | Held:
    """Return whether a shard with these claims can be claimed, and as which epoch."""
    found = latest(claims)
    if found is None:
        return Take(1)
    if found.is_held:
        return Held(found.holder, SILENT_S - found.silent_s)
    return Take(found.epoch + 1)


def has_moved(before: Claim, now: Claim, elapsed_s: float) -> bool:
    """Return whether a holder has shown that it lives in the time between two looks at its shard.

    A later holder has.
    """
    return now.epoch != before.epoch or now.silent_s < before.silent_s + elapsed_s - _TICK_S


def is_superseded(epoch: int, claims: Iterable[Claim]) -> bool:
    """Return whether a holder has to stop: there is a later epoch, or its own claim is gone."""
    found = latest(claims)
    return found is None or found.epoch != epoch
