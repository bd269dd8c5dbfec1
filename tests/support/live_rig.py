"""A live run made of fakes, in virtual time, and what can be seen of it afterwards."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from claude_batch.core.model.account import Limits
from claude_batch.core.model.attempts import AttemptRecord
from claude_batch.core.model.requests import Request, ResultType, Usage
from claude_batch.core.model.snapshot import Snapshot
from claude_batch.core.scheduling.decisions import Stop
from claude_batch.core.scheduling.pool import EndpointSpec
from claude_batch.core.scheduling.progress import Progress, RunFacts
from claude_batch.core.scheduling.scheduler import Scheduler
from claude_batch.engine.clock import LoopClock
from claude_batch.engine.live.run import LiveRun, Parts
from claude_batch.engine.live.sharing import SharingNotices
from claude_batch.engine.shutdown import Interruption
from claude_batch.ports import LimitLease, ResponseCache
from tests.support.fakes import (
    ListedSource,
    MemoryLog,
    MemoryStore,
    ScriptedAdjustments,
    ScriptedTransport,
    a_request,
    scheduler_settings,
)
from tests.support.virtual_time import run_virtually


@dataclass
class Rig:
    """A run made of fakes; `others` are the transports of endpoints beside the default one."""

    requests: list[Request]
    transport: ScriptedTransport = field(default_factory=ScriptedTransport)
    others: dict[str, ScriptedTransport] = field(default_factory=dict)
    endpoints: tuple[EndpointSpec, ...] = (EndpointSpec(name="default"),)
    fallback_after_s: float = 30.0
    cache: ResponseCache | None = None
    is_done: Callable[[int], bool] = lambda _line: False
    source: Callable[[list[Request]], ListedSource] = ListedSource
    store: MemoryStore = field(default_factory=MemoryStore)
    log: MemoryLog = field(default_factory=MemoryLog)
    interruption: Interruption = field(default_factory=Interruption)
    ceilings: Limits = field(default_factory=Limits)
    price: Callable[[str, Usage], float | None] = lambda _model, _usage: None
    max_cost_usd: float | None = None
    max_attempts: int = 6
    patience_s: float = 3600.0
    concurrency: int = 1000
    lease: LimitLease | None = None
    notices: list[str] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    records: list[AttemptRecord] = field(default_factory=list)
    adjustments: ScriptedAdjustments = field(default_factory=ScriptedAdjustments)
    took_s: float = 0.0

    def run(self, *asides: tuple[float, int]) -> Stop | None:
        """Run to the end; each aside asks for a stop by a signal at a time."""
        return run_virtually(self._run(asides))

    async def _run(self, asides: Sequence[tuple[float, int]]) -> Stop | None:
        loop = asyncio.get_running_loop()
        for at, signal_number in asides:
            loop.call_at(at, self.interruption.ask, signal_number)
        settings = scheduler_settings(
            concurrency=self.concurrency,
            endpoints=self.endpoints,
            fallback_after_s=self.fallback_after_s,
            ceilings=self.ceilings,
            max_attempts=self.max_attempts,
            patience_s=self.patience_s,
            max_cost_usd=self.max_cost_usd,
            shares_limits=self.lease is not None,
            most_usd=lambda _request, _input_tokens: 0.01,
        )
        parts = Parts(
            scheduler=Scheduler(settings, now=loop.time()),
            transports={"default": self.transport, **self.others},
            source=self.source(list(self.requests)),
            results=self.store,
            log=self.log,
            clock=LoopClock(wall=1_000_000.0),
            progress=Progress(started_at=loop.time()),
            facts=RunFacts(
                run_id="r",
                prompts="p",
                results="r",
                sandbox=False,
                host="h",
                total=len(self.requests),
            ),
            interruption=self.interruption,
            publish=self.snapshots.append,
            observe=self.records.append,
            adjustments=self.adjustments,
            price=lambda _endpoint, model, usage: self.price(model, usage),
            cache=self.cache,
            is_done=self.is_done,
            lease=self.lease,
            sharing_notices=SharingNotices(
                lost=lambda: self.notices.append("lost"), silent=self.notices.append
            ),
        )
        stop = await LiveRun(parts).run()
        self.took_s = loop.time()
        return stop

    @property
    def outcomes(self) -> Counter[ResultType]:
        """How many ended how."""
        return Counter(result.type for result in self.store.results)

    @property
    def ids(self) -> list[str]:
        """The ids of all results, sorted."""
        return sorted(result.custom_id for result in self.store.results)


def some(count: int) -> list[Request]:
    """Return requests that say nothing special."""
    return [a_request(line) for line in range(1, count + 1)]
