"""The batch stage of a run: its parts, and what its outcome means for the run."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from claude_batch.commands.api import Api
from claude_batch.commands.money import batch_price, most_usd
from claude_batch.commands.run.live import RunContext
from claude_batch.commands.run.mode import ExecutionPlan, refuse_detached_live
from claude_batch.commands.run.requests import prefix_plan, requests_left
from claude_batch.commands.run.response_cache import response_cache
from claude_batch.config.options import Options
from claude_batch.core.batch.events import (
    BatchEvent,
    BatchOutcome,
    BatchStop,
    CanaryRefused,
)
from claude_batch.core.batch.machine import BatchSettings
from claude_batch.core.batch.packing import MAX_REQUESTS
from claude_batch.core.batch.reserve import AnswerLengths
from claude_batch.core.caching.prefix import Lifetime, PrefixPlan
from claude_batch.core.catalog.catalog import Catalog
from claude_batch.core.catalog.data import TIERS
from claude_batch.core.catalog.serving import Serves
from claude_batch.core.model.batches import Detached, LeftForLive
from claude_batch.core.model.requests import Request
from claude_batch.core.scheduling.decisions import Stop, StopKind
from claude_batch.core.scheduling.guards import InputBound
from claude_batch.engine.batch.canary import LiveCanary
from claude_batch.engine.batch.parts import BatchParts
from claude_batch.engine.batch.run import BatchRun
from claude_batch.storage.batch.bodies import BodyFiles
from claude_batch.storage.batch.results import PartFiles
from claude_batch.storage.caches.responses import CachedResponses
from claude_batch.storage.daemon import in_daemon
from claude_batch.storage.prompts.reading import FileSource, marked
from claude_batch.storage.run.batch_journal import BatchJournalFile, note_mode, read_batches
from claude_batch.storage.run.checkpoint import output_lengths
from claude_batch.storage.run.opening import OpenRun, RunRequest
from claude_batch.ui.batch_words import detached_text, event_texts, live_text, stop_text
from claude_batch.ui.screen.screen import Screen

if TYPE_CHECKING:
    from claude_batch.transport.messages import MessagesTransport

AUTO_PATIENCE_S = 60.0
"""How long --mode auto waits for an endpoint that fails to list its batches."""

SANDBOX_LAG_S = 10.0
SANDBOX_POLL_S = 0.5
"""The built-in sandbox lists within seconds, and its batches take seconds."""

LIFETIME: Lifetime = "1h"
"""How long a cached prefix has to last in a batch: when its requests run is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStage:
    """One opened run and everything needed to send it through the Message Batches API."""

    request: RunRequest
    opened: OpenRun
    api: Api
    options: Options
    catalog: Catalog
    screen: Screen
    plan: ExecutionPlan
    serving: Mapping[str, Serves]
    _elsewhere: set[str] = field(default_factory=set)

    async def __call__(self, context: RunContext) -> Stop | LeftForLive | None:
        """Do what batches will do. Raises CheckpointError when a person has to look at them."""
        end = await self._run_batches(context)
        match end:
            case None if self._elsewhere:
                models = ", ".join(sorted(self._elsewhere))
                self.screen.notice(f"{models} is served by other endpoints: live")
                return LeftForLive()
            case None | Stop():
                return end
            case LeftForLive(nothing_sent=True) if self.plan.others:
                return await self._at_next_endpoint(context, end)
            case LeftForLive():
                if end.nothing_sent:
                    refuse_detached_live(detach=self.plan.detach)
                why = live_text(end, endpoint=self._endpoint)
                self.screen.notice(f"{why}: the rest goes through the Messages API")
                return end
            case Detached():
                return Stop(kind=StopKind.DETACHED, message=detached_text(end))
            case _:
                message = stop_text(end, endpoint=self._endpoint)
                return Stop(kind=end.kind, message=message, cause=_cause(end))

    @property
    def _endpoint(self) -> str:
        return self.plan.endpoint or ""

    async def _at_next_endpoint(
        self, context: RunContext, left: LeftForLive
    ) -> Stop | LeftForLive | None:
        """Continue at another endpoint that may have batches."""
        name, *others = self.plan.others
        self.screen.notice(f"{live_text(left, endpoint=self._endpoint)}; trying endpoint {name}")
        await in_daemon(partial(_note_endpoint, self.request.results, name))
        plan = replace(self.plan, endpoint=name, others=tuple(others))
        return await replace(self, plan=plan)(context)

    async def _run_batches(self, context: RunContext) -> BatchOutcome | None:
        """Do what the batches of this endpoint will do."""
        prefixes, cache = await self._prefix_plan(), self._cache()
        try:
            with closing(BodyFiles(self.request.results)) as bodies:
                return await BatchRun(self._parts(context, bodies, prefixes, cache)).run()
        finally:
            if cache is not None:
                await cache.close()

    def _report(self, event: BatchEvent) -> None:
        for text in event_texts(event, endpoint=self._endpoint):
            self.screen.notice(text)

    def _cache(self) -> CachedResponses | None:
        """Return the cache with this endpoint's own answers."""
        endpoints = [each for each in self.api.endpoints if each.name == self._endpoint]
        return response_cache(self.options, self.api, endpoints, warn=self.screen.notice)

    def _parts(
        self,
        context: RunContext,
        bodies: BodyFiles,
        prefixes: PrefixPlan | None,
        cache: CachedResponses | None,
    ) -> BatchParts:
        from claude_batch.transport.batches import BatchesTransport  # noqa: PLC0415  # aiohttp: 0.2 s

        results, transport = self.request.results, self._transport()
        client = transport.client
        return BatchParts(
            run=self.opened.identity.run_id,
            settings=self._settings(context.clock.now()),
            history=self.opened.batches,
            api=BatchesTransport(client),
            prompts=lambda among, *, done_too=False: FileSource(
                self._requests(among, prefixes, done_too=done_too)
            ),
            bodies=bodies,
            downloads=PartFiles(results, clean=client.scrub.json),
            journal=BatchJournalFile(results, context.journal),
            log=context.journal,
            results=context.results,
            canary=self._canary(context, transport) if self.options.canary else None,
            clock=context.clock,
            progress=context.progress,
            facts=context.facts,
            interruption=context.interruption,
            publish=context.publish,
            observe=context.observe,
            adjustments=context.adjustments,
            report=self._report,
            price=partial(context.price, self._endpoint),
            most_usd=partial(most_usd, catalog=self.catalog),
            batch_price_of=partial(batch_price, catalog=self.catalog),
            inputs=InputBound(),
            lengths=self._lengths(),
            params=lambda request: client.renamed(request.body, request.model),
            cache=cache,
            is_done=self.opened.checkpoint.done.__contains__,
            max_requests=self.options.batch_size or MAX_REQUESTS,
        )

    def _transport(self) -> MessagesTransport:
        """Return the Messages API of the endpoint: its batches share the client."""
        from claude_batch.transport.messages import MessagesTransport  # noqa: PLC0415  # aiohttp: 0.2 s

        transport = self.api.transports[self._endpoint]
        if not isinstance(transport, MessagesTransport):
            raise TypeError("only endpoints of the Messages API have batches")
        return transport

    def _settings(self, now: float) -> BatchSettings:
        options, sandbox = self.options, self.options.sandbox
        after_s = self.plan.live_after_s
        queues = {tier.name: tier.batch_queue for tier in TIERS}
        queue = queues[options.tier] if options.tier else max(queues.values())
        return BatchSettings(
            rng=random.random,
            max_attempts=options.max_attempts,
            max_queued=queue,
            list_lag_s=min(options.list_lag_s, SANDBOX_LAG_S) if sandbox else options.list_lag_s,
            first_poll_s=min(options.first_poll_s, SANDBOX_POLL_S)
            if sandbox
            else options.first_poll_s,
            patience_s=options.patience_s,
            probe_patience_s=AUTO_PATIENCE_S if self.plan.is_auto else math.inf,
            detach=self.plan.detach,
            # the built-in sandbox forgets its batches when it ends
            give_up_missing=options.retry_errored or sandbox,
            live_at=None if after_s is None else now + after_s,
            max_cost_usd=options.max_cost,
        )

    async def _prefix_plan(self) -> PrefixPlan | None:
        """Return which prefixes to have cached, found in a pass of its own; None: none."""
        if self.options.cache_prefix != "auto":
            return None
        return await in_daemon(
            lambda: prefix_plan(self.opened, self.request, LIFETIME, self.catalog, self.screen)
        )

    def _requests(
        self, among: Callable[[int], bool], prefixes: PrefixPlan | None, *, done_too: bool
    ) -> Iterator[Request]:
        """Yield what is left of the lines `among`, or all of these.

        Tokens are estimated only where a bound on the cost asks for it.
        """
        requests = requests_left(
            self.opened,
            self.request,
            among=among,
            estimated=self.options.max_cost is not None,
            done_too=done_too,
        )
        requests = filter(self._is_here, requests)
        return requests if prefixes is None else marked(requests, prefixes)

    def _is_here(self, request: Request) -> bool:
        """Return whether a request can go to the endpoint of the batches; note if not."""
        serves = self.serving.get(self._endpoint)
        if serves is None or serves(request.model):
            return True
        self._elsewhere.add(request.model)
        return False

    def _canary(self, context: RunContext, transport: MessagesTransport) -> LiveCanary:
        from claude_batch.transport.counting import CountingTransport  # noqa: PLC0415  # aiohttp: 0.2 s

        counting = CountingTransport(transport.client)
        return LiveCanary(
            transport=transport,
            count=counting.count_tokens if transport.abilities.count_tokens else None,
            clock=context.clock,
            rng=random.random,
            observe=context.observe,
            price=partial(context.price, self._endpoint),
            max_attempts=self.options.max_attempts,
            patience_s=self.options.patience_s,
        )

    def _lengths(self) -> AnswerLengths:
        """Return how long the answers of the run were so far, where a bound on the cost asks."""
        lengths = AnswerLengths()
        if self.options.max_cost is not None:
            for tokens in output_lengths(self.request.results):
                lengths.add(tokens)
        return lengths


def _cause(stop: BatchStop) -> str:
    """Return the failure that will come again with the same request; "" where there is none."""
    match stop:
        case CanaryRefused():
            return f"{stop.failure.error_type}: {stop.failure.message}"
        case _:
            return ""


def _note_endpoint(results: Path, name: str) -> None:
    """Note where the batches of a run are from now on: the next process looks for them there."""
    mode = read_batches(results).mode
    if mode is not None:
        note_mode(results, replace(mode, endpoint=name))
