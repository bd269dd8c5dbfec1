"""What outlives a process in tests of batch runs; time goes on between the processes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import orjson

from claude_batch.core.batch.events import BatchEvent, BatchOutcome, ResultsCollected
from claude_batch.core.batch.machine import BatchSettings
from claude_batch.core.batch.reserve import AnswerLengths, BatchPrice
from claude_batch.core.model.attempts import AttemptRecord
from claude_batch.core.model.requests import Request, ResultType, Usage
from claude_batch.core.model.snapshot import Snapshot
from claude_batch.core.scheduling.guards import InputBound
from claude_batch.core.scheduling.progress import Progress, RunFacts
from claude_batch.engine.batch.canary import LiveCanary
from claude_batch.engine.batch.parts import BatchParts
from claude_batch.engine.batch.run import BatchRun
from claude_batch.engine.clock import LoopClock
from claude_batch.engine.shutdown import Interruption
from claude_batch.storage.caches.responses import CachedResponses
from tests.support.fake_batches import (
    EPOCH,
    CrashError,
    DyingCache,
    DyingStore,
    Fate,
    ListedPrompts,
    MemoryBodies,
    MemoryJournal,
    MemoryParts,
    PretendBatches,
    ScriptedLive,
)
from tests.support.fake_cache import responses_in
from tests.support.fakes import MemoryLog, ScriptedAdjustments, a_reply, a_request, steady_draw
from tests.support.virtual_time import run_virtually

End = BatchOutcome | None


def price(_model: str, usage: Usage) -> float:
    """Return the made-up price of an answer: half in a batch."""
    return 1.0 if usage.service_tier == "batch" else 2.0


@dataclass
class World:
    """What outlives a process: prompts, disk, server. Each `run` is a process of its own."""

    requests: list[Request]
    server: PretendBatches = field(default_factory=PretendBatches)
    settings: BatchSettings = field(default_factory=lambda: BatchSettings(rng=steady_draw))
    max_requests: int = 100
    live: ScriptedLive | None = None
    cache: DyingCache | None = None
    dedupe: bool = False
    params: Callable[[Request], bytes] = lambda request: request.body
    batch_price_of: Callable[[Request, float], BatchPrice] = lambda _request, _tokens: BatchPrice(
        0.9, 0.01
    )
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    log: MemoryLog = field(default_factory=MemoryLog)
    store: DyingStore = field(default_factory=DyingStore)
    events: list[BatchEvent] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    records: list[AttemptRecord] = field(default_factory=list)
    adjustments: ScriptedAdjustments = field(default_factory=ScriptedAdjustments)
    took_s: float = 0.0

    def run(self, *asides: tuple[float, int]) -> End:
        """Run once, to its end; each aside asks for a stop by a signal at a time."""
        return run_virtually(self.process(asides))

    async def process(self, asides: Sequence[tuple[float, int]] = ()) -> End:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.took_s - loop.time())  # time goes on between processes
        interruption = Interruption()
        for at, signal_number in asides:
            loop.call_at(at, interruption.ask, signal_number)
        clock = LoopClock(wall=EPOCH + loop.time())
        done = frozenset(result.line for result in self.store.results)
        parts = BatchParts(
            run="abc123",
            settings=self.settings,
            history=self.journal.history(),
            api=self.server,
            prompts=ListedPrompts(self.requests, done),
            bodies=MemoryBodies(),
            downloads=MemoryParts(),
            journal=self.journal,
            log=self.log,
            results=self.store,
            canary=self._canary(clock),
            clock=clock,
            progress=Progress(started_at=clock.now()),
            facts=RunFacts(
                run_id="abc123",
                prompts="p",
                results="r",
                sandbox=False,
                host="h",
                total=len(self.requests),
            ),
            interruption=interruption,
            publish=self.snapshots.append,
            observe=self.records.append,
            adjustments=self.adjustments,
            report=self.events.append,
            price=price,
            most_usd=lambda _request, _tokens: 3.8,
            batch_price_of=self.batch_price_of,
            inputs=InputBound(),
            lengths=AnswerLengths(),
            max_requests=self.max_requests,
            params=self.params,
            cache=self._responses(),
            is_done=done.__contains__,
        )
        try:
            return await BatchRun(parts).run()
        finally:
            self.took_s = loop.time()

    def _canary(self, clock: LoopClock) -> LiveCanary | None:
        if self.live is None:
            return None
        return LiveCanary(
            transport=self.live,
            count=None,
            clock=clock,
            rng=steady_draw,
            observe=self.records.append,
            price=price,
        )

    def _responses(self) -> CachedResponses | None:
        """Return the response cache of a process; without a store it ends with the process."""
        if self.cache is None and not self.dedupe:
            return None
        store = self.cache or DyingCache()
        return responses_in(store, dedupe=self.dedupe, lasting=self.cache is not None)

    def share(self, fate: Fate) -> None:
        """Let everything that outlives a process count the same steps."""
        self.server.fate = self.journal.fate = self.store.fate = fate
        if self.cache is not None:
            self.cache.fate = fate

    @property
    def lines(self) -> list[int]:
        return sorted(result.line for result in self.store.results)

    def collected(self) -> list[ResultsCollected]:
        """Return what was reported of batches that were collected."""
        return [each for each in self.events if isinstance(each, ResultsCollected)]

    @property
    def outcomes(self) -> Counter[ResultType]:
        return Counter(result.type for result in self.store.results)


def some(count: int) -> list[Request]:
    return [a_request(line) for line in range(1, count + 1)]


def some_alike(count: int, different: int) -> list[Request]:
    """Return requests of which every so many differ; later ones are like earlier ones."""
    return [
        replace(each, body=orjson.dumps({"model": each.model, "n": each.line % different}))
        for each in some(count)
    ]


def every(count: int) -> list[int]:
    return list(range(1, count + 1))


def settings(**changes: object) -> BatchSettings:
    return replace(BatchSettings(rng=steady_draw), **changes)  # type: ignore[arg-type]


def a_live() -> ScriptedLive:
    """Return a Messages API that answers everything."""
    return ScriptedLive(lambda _request: a_reply())


async def until_done(world: World) -> int:
    """Start a process again and again until one comes to its end; return how many died."""
    died = 0
    while True:
        try:
            assert await world.process() is None
        except CrashError:
            died += 1
        else:
            return died


def trouble(line: int, time: int) -> str:
    """Return how a line ends when it is in a batch for the first, second ... `time`."""
    if time > 1:
        return "succeeded"
    return {3: "expired", 7: "api_error"}.get(line % 10, "succeeded")
