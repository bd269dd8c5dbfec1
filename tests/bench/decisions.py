"""What a decision of the scheduler costs: 100,000 requests waiting, no network, no clock."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from pathlib import Path

from claude_batch.core.model.account import Limits
from claude_batch.core.model.adjustment import Bounds
from claude_batch.core.model.requests import Request
from claude_batch.core.scheduling.decisions import Send, Sleep
from claude_batch.core.scheduling.dispatch import Strategy
from claude_batch.core.scheduling.pool import EndpointSpec
from claude_batch.core.scheduling.scheduler import Scheduler, SchedulerSettings
from tests.bench.measuring import Row
from tests.support.fakes import a_reply, steady_draw

COUNT = 100_000
MOST_US = 30.0
ALONE = (EndpointSpec(name="default"),)
KEYS = tuple(EndpointSpec(name=name, host="one") for name in "abcd")
HOSTS = tuple(EndpointSpec(name=name, host=name) for name in "abcd")


def decisions(_folder: Path) -> Iterator[Row]:
    """Admit and settle everything through one endpoint, and through pools of four."""
    yield _row("one endpoint", ALONE)
    yield _row("four keys of one limit group", KEYS)
    for strategy in Strategy:
        yield _row(f"four limit groups, {strategy}", HOSTS, strategy=strategy)


def _row(name: str, specs: tuple[EndpointSpec, ...], strategy: Strategy = Strategy.HEADROOM) -> Row:
    each_us = decided_us(specs, strategy)
    return Row(
        what=f"the scheduler alone, 100,000 waiting, {name}: admit and settle",
        measured=f"{1e6 / each_us:,.0f} requests/s, {each_us:.0f} us each",
        held_to=f"<= {MOST_US:.0f} us",
        kept=each_us <= MOST_US,
    )


def decided_us(specs: tuple[EndpointSpec, ...], strategy: Strategy = Strategy.HEADROOM) -> float:
    """Return the microseconds that admitting and settling one request takes."""
    scheduler = Scheduler(
        SchedulerSettings(
            model_class_of=lambda model: model,
            rng=steady_draw,
            bounds=Bounds(concurrency=1_000),
            endpoints=specs,
            most_usd=lambda _request, _input_tokens: 0.0,
            initial_limits=lambda _: Limits(requests=1e9, input_tokens=1e12, output_tokens=1e12),
            strategy=strategy,
        ),
        now=0.0,
    )
    for n in range(COUNT):
        scheduler.add(
            Request(
                custom_id=f"i{n}", line=n, model="m", max_tokens=100, body=b"{}", input_tokens=20
            )
        )
    scheduler.end_input()
    reply, now, made = a_reply(), 0.0, 0
    gc.collect()
    began = time.perf_counter()
    while made < COUNT:
        match scheduler.next(now):
            case Send(attempt):
                now += 1e-4
                scheduler.record_outcome(attempt, reply, now, cost_usd=0.001)  # as the engine does
                made += 1
            case Sleep(until):
                now = until
            case other:
                raise RuntimeError(f"nothing to do: {other}")
    return (time.perf_counter() - began) / COUNT * 1e6
