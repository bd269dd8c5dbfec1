"""A run that is one shard of several: its claim, and what this process has learned before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from claude_batch.commands.api import Api
from claude_batch.commands.folder.steering import Steering
from claude_batch.commands.run.watching import Watchers
from claude_batch.core.scheduling.scheduler import Learned
from claude_batch.storage.folder.claims import HeldClaim
from claude_batch.storage.folder.shards import Shipping
from claude_batch.storage.run.opening import RunRequest
from claude_batch.ui.screen.screen import RunSummary, Screen

Watching = Callable[[RunRequest, Api, Screen], AbstractContextManager[Watchers]]
"""Opens whom a run reports to."""


@dataclass(slots=True, kw_only=True)
class ShardStage:
    """What a run has from the shards around it. `learned` is replaced by what the run learns.

    `is_first` of those that this process works on: what is said of each run is said of that one.
    `share` is how large a part it is of all that the process will do, by bytes: whether that may
    cost so much is asked once. `on_begin` is called when nothing can refuse the run any more, but
    before anything is sent. `watching` opens what watches the shard for others, where that is kept
    from one to the next. `ending` rewrites the summary of a process that works on this shard alone.
    `interrupted` is the exit code of a process that was asked to stop as the last answers arrived:
    the shard is finished, and no other one is to begin.
    """

    claim: HeldClaim
    shipping: Shipping = field(default_factory=Shipping)
    is_first: bool = True
    share: float = 1.0
    learned: Learned | None = None
    steering: Steering
    on_begin: Callable[[], object]
    watching: Watching | None = None
    ending: Callable[[RunSummary], RunSummary] | None = None
    interrupted: int | None = None
