"""--max-cost of a run folder: what a process may spend on the shard that it works on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from claude_batch.commands.folder.ending import (
    MARGIN,
    ROUNDING,
    enough_usd,
    met_bound,
    money_text,
    resume_folder_command,
    rounded_usd,
)
from claude_batch.commands.folder.manifest import RunFolder
from claude_batch.commands.folder.status import ShardStatus
from claude_batch.core.shards.money import ShardMoney, adjusted_slice_usd, most_usd, slice_usd
from claude_batch.errors import BoundMetError, BoundTooLowError
from claude_batch.storage.folder.claims import HeldClaim
from claude_batch.storage.folder.manifest import Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderMoney:
    """Divides a bound on the cost, in USD; None: there is none.

    With `whole` this process works on one shard after another, and may spend all that is free.
    `statuses` returns the shards as they are now.
    """

    folder: RunFolder
    whole: bool
    statuses: Callable[[], Sequence[ShardStatus]]

    def part(self, shard: Shard) -> float:
        """Return how large a part of itself and the shards after it a shard is."""
        rest = [each for each in self.folder.manifest.shards if each.shard >= shard.shard]
        return shard.size / sum(each.size for each in rest)

    def slice(self, bound: float | None, shard: Shard) -> float | None:
        """Return up to what a shard may cost; None without a bound. Raises BoundTooLowError."""
        if bound is None:
            return None
        statuses = self.statuses()
        money = [each.money for each in statuses]
        usd = slice_usd(bound, shard.shard, money, whole=self.whole)
        own = statuses[shard.shard - 1]
        if usd <= max(own.money.spent_usd, met_bound(own) * (1 + ROUNDING)):
            raise self.too_little(bound, shard, own.money.spent_usd)
        return usd

    def adjusted(self, bound: float, shard: Shard) -> float:
        """Return up to what the shard at work may cost when the bound becomes another one."""
        money = self._money(shard.shard, None)
        return adjusted_slice_usd(bound, shard.shard, money, whole=self.whole)

    def is_within(self, bound: float | None, claim: HeldClaim) -> bool:
        """Return whether all that is spent, and all that holders may spend, is within the bound.

        Each holder looks after it has claimed: of two that did not see each other before, one does.
        The shard's journal may still have what an earlier process was asked to keep to: its part is
        that of the claim.
        """
        if bound is None:
            return True
        return most_usd(self._money(claim.shard, claim.max_cost_usd)) <= bound * (1 + ROUNDING)

    def _money(self, shard: int, held_usd: float | None) -> list[ShardMoney]:
        """Return the money of all shards; of one with what may be spent on it."""
        money = [each.money for each in self.statuses()]
        return [replace(each, held_usd=held_usd) if each.shard == shard else each for each in money]

    def too_little(self, bound: float, shard: Shard, least_usd: float) -> BoundTooLowError:
        """Return the error that a shard, for which `least_usd` would be enough, cannot go on."""
        statuses = self.statuses()
        others = [each for each in statuses if each.shard != shard]
        enough = max(
            enough_usd(bound, statuses), rounded_usd(MARGIN * least_usd / self.part(shard))
        )
        is_used = any(each.money.spent_usd for each in statuses) or any(
            each.money.held_usd is not None for each in others
        )
        return (BoundMetError if is_used else BoundTooLowError)(
            f"too little of --max-cost {bound:.10g} is left for shard {shard.shard}: "
            f"{money_text(statuses, others)}",
            hint=f"{resume_folder_command(self.folder.path)} --max-cost {enough:.10g}",
        )
