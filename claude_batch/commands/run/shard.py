"""A run that is one shard of several: its claim, and what this process has learned before."""

from __future__ import annotations

from dataclasses import dataclass

from claude_batch.core.scheduling.scheduler import Learned
from claude_batch.storage.folder.claims import HeldClaim


@dataclass(slots=True, kw_only=True)
class ShardStage:
    """What a run has from the shards around it. `learned` is replaced by what the run learns."""

    claim: HeldClaim
    learned: Learned | None = None
