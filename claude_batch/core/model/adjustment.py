"""What a user may change of a run while it goes."""

from __future__ import annotations

from dataclasses import dataclass

from claude_batch.core.model.account import NO_LIMITS, Limits

ADJUSTABLE = ("rpm", "itpm", "otpm", "share", "concurrency", "max_cost")
"""The options that can be changed while a run goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The user's own bounds on a run. None: no bound on the cost."""

    concurrency: int
    ceilings: Limits = NO_LIMITS
    share: float = 1.0
    max_cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """All bounds of a run as they are from now on, and whether it is paused."""

    bounds: Bounds
    is_paused: bool = False
