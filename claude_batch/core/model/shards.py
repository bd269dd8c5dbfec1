"""Shards and run folders at one moment, for a screen; part of a `Snapshot`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class ShardState(StrEnum):
    """How far a shard is."""

    WAITING = "waiting"  # nobody has begun with it
    RUNNING = "running"  # a process works on it
    INTERRUPTED = "interrupted"  # begun; its process was stopped, killed, or is silent
    FAILED = "failed"  # begun; its process stopped by itself: the API, a bound, an error
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardView:
    """One shard, called `name`. Counts of requests unless a unit is named.

    total            requests; lines, or less than that, before anybody has looked at them
    errors           results that are no answers, by the type of their error
    stop_reasons     answers that stopped before their end, by stop reason
    left_out         lines that cannot be sent
    degraded         results that a fallback endpoint gave
    unreported       attempts that may have been charged, with usage unknown: the cost is at least
                     that
    holder           who works on it; `silent_s`: since when nothing was heard of it
    requests_per_minute, in_flight, attempts, rate_limited
                     as its process has said last; None, 0: it says nothing that can be read here
    is_paused        by `adjust`
    """

    shard: int
    name: str
    state: ShardState
    total: int
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0
    output_errors: int = 0
    left_out: int = 0
    degraded: int = 0
    unreported: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    errors: Mapping[str, int] = field(default_factory=dict)
    stop_reasons: Mapping[str, int] = field(default_factory=dict)
    holder: str = ""
    silent_s: float | None = None
    requests_per_minute: float | None = None
    in_flight: int = 0
    attempts: int = 0
    rate_limited: int = 0
    is_paused: bool = False

    @property
    def done(self) -> int:
        """Requests with a result."""
        return self.succeeded + self.errored + self.canceled + self.expired

    @property
    def failed(self) -> int:
        """Results that are no answers."""
        return self.done - self.succeeded


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderView:
    """All shards of a run folder together; counts as in `ShardView`.

    shards           how many there are; finished, running, failed, interrupted and waiting add up
                     to that
    max_cost_usd     what all of it may cost; None: no bound
    elapsed_s        since this process began to work on it (0: it only looks on)
    eta_s            None while unknown
    at_work          shards that processes work on, but `shard`
    shard            the one that the snapshot is about, called `shard_name`; None: the snapshot is
                     about all of the folder
    """

    path: str
    shards: int
    finished: int
    running: int
    failed: int
    interrupted: int
    waiting: int
    total: int
    succeeded: int
    errored: int
    canceled: int
    expired: int
    output_errors: int
    left_out: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    degraded: int = 0
    unreported: int = 0
    max_cost_usd: float | None = None
    errors: Mapping[str, int] = field(default_factory=dict)
    stop_reasons: Mapping[str, int] = field(default_factory=dict)
    elapsed_s: float = 0.0
    requests_per_minute: float | None = None
    eta_s: float | None = None
    shard: int | None = None
    shard_name: str = ""
    at_work: tuple[ShardView, ...] = ()

    @property
    def done(self) -> int:
        """Requests with a result."""
        return self.succeeded + self.errored + self.canceled + self.expired
