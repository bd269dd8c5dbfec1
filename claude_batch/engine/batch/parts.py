"""What a batch run is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from claude_batch.core.batch.events import BatchEvent
from claude_batch.core.batch.history import BatchHistory
from claude_batch.core.batch.machine import BatchSettings
from claude_batch.core.batch.reserve import AnswerLengths, BatchPrice
from claude_batch.core.model.events import Recorded
from claude_batch.core.model.requests import Request, Result, Usage
from claude_batch.core.scheduling.guards import InputBound, MostUsd
from claude_batch.core.scheduling.progress import Progress, RunFacts
from claude_batch.engine.shutdown import Interruption
from claude_batch.ports import (
    Adjustments,
    BatchApi,
    BatchJournal,
    Bodies,
    Canary,
    Clock,
    Downloads,
    Observe,
    Prompts,
    Publish,
    ResponseCache,
    ResultStore,
    RunLog,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchParts:
    """Everything a batch run is made of.

    `run` begins our ids in batches; `history` is what the journal says; `log` gets the figures of
    each minute and what canaries cost; without a `canary` none is sent; `report` gets what the user
    should know, `observe` what became of every request in a batch (None: nobody watches);
    `adjustments` change the run while it goes (None: nothing can). `price` returns what a reply
    cost (its usage says whether it came from a batch); for `max_cost_usd`, `most_usd` returns the
    most that a request costs live, `batch_price_of` what it costs in a batch, both for a prompt of
    that many tokens; `inputs` and `lengths` are what replies have shown of prompts and answers.
    `params` returns what a request is in a batch. With a `cache`, passes may include lines that had
    a result when the run began: those that are `is_done`.
    """

    run: str
    settings: BatchSettings
    history: BatchHistory
    api: BatchApi
    prompts: Prompts
    bodies: Bodies
    downloads: Downloads
    journal: BatchJournal
    log: RunLog
    results: ResultStore
    canary: Canary | None
    clock: Clock
    progress: Progress
    facts: RunFacts
    interruption: Interruption
    publish: Publish
    observe: Observe | None
    adjustments: Adjustments | None
    report: Callable[[BatchEvent], None]
    price: Callable[[str, Usage], float | None]
    most_usd: MostUsd
    batch_price_of: Callable[[Request, float], BatchPrice]
    inputs: InputBound
    lengths: AnswerLengths
    params: Callable[[Request], bytes]
    cache: ResponseCache | None
    is_done: Callable[[int], bool]
    max_requests: int

    async def commit(self, results: Sequence[Result]) -> None:
        """Make `results` durable, and only then count them."""
        if not results:
            return
        await self.results.commit(results)
        now = self.clock.now()
        for result in results:
            self.progress.apply(Recorded.of(result, at=now))
            if result.usage.is_reported:
                self.lengths.add(result.usage.output_tokens)

    @property
    def bounds_cost(self) -> bool:
        """Whether there is a limit on the cost."""
        return self.settings.max_cost_usd is not None

    def batch_price(self, model: str, usage: Usage) -> float | None:
        """Return what a reply from a batch cost."""
        return self.price(model, replace(usage, service_tier="batch"))
