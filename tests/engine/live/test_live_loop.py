"""A live run on a real loop with real files, and against the model of the server."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from claude_batch.core.model.account import NO_LIMITS, Limits
from claude_batch.core.model.requests import Failure, FailureKind, Reply, Request
from claude_batch.core.scheduling.progress import Progress, RunFacts
from claude_batch.core.scheduling.scheduler import Scheduler
from claude_batch.engine.clock import LoopClock
from claude_batch.engine.live.run import LiveRun, Parts
from claude_batch.engine.shutdown import Interruption
from claude_batch.ports import ResultStore, Source, Transport
from claude_batch.storage.prompts.reading import FileSource
from claude_batch.storage.run.results import ResultsFile
from tests.support.closed_loop import Load, Outcome, requests_of
from tests.support.fakes import (
    ListedSource,
    MemoryLog,
    MemoryStore,
    ScriptedTransport,
    a_failure,
    a_reply,
    a_request,
    scheduler_settings,
)
from tests.support.server_model import (
    ITPM,
    OTPM,
    RPM,
    Answer,
    ServerModel,
    ServerSpec,
    Truth,
)
from tests.support.virtual_time import run_virtually

FACTS = RunFacts(run_id="r", prompts="p", results="r", sandbox=False, host="h", total=0)


def a_scheduler(*, ceilings: Limits | None = None) -> Scheduler:
    settings = scheduler_settings(concurrency=2_000, ceilings=ceilings or Limits())
    return Scheduler(settings, now=asyncio.get_running_loop().time())


def parts_of(
    scheduler: Scheduler, transport: Transport, source: Source, results: ResultStore
) -> Parts:
    """Return the parts of a run that is shown to nobody."""
    return Parts(
        scheduler=scheduler,
        transports={"default": transport},
        source=source,
        results=results,
        log=MemoryLog(),
        clock=LoopClock(wall=1e9),
        progress=Progress(started_at=asyncio.get_running_loop().time()),
        facts=FACTS,
        interruption=Interruption(),
        publish=lambda _snapshot: None,
        observe=None,
        adjustments=None,
        price=lambda _endpoint, _model, _usage: None,
        cache=None,
        is_done=lambda _line: False,
    )


async def run_guarded(path: Path, count: int) -> None:
    """Work `count` requests off into a results file; every tenth fails at first.

    Whatever blocks the loop meanwhile raises.
    """
    transport = ScriptedTransport(
        lambda request, tries: (
            a_failure(FailureKind.RATE_LIMITED, retry_after_s=0.01)
            if request.line % 10 == 0 and tries == 1
            else a_reply()
        ),
        latency_s=0.001,
    )
    source = FileSource(a_request(line) for line in range(1, count + 1))
    results = ResultsFile(path)
    run = LiveRun(parts_of(a_scheduler(), transport, source, results))
    with blockbuster_ctx():
        await run.run()
    results.close()


def test_a_live_run_never_blocks_its_loop(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    asyncio.run(run_guarded(path, 200))
    assert len(path.read_bytes().splitlines()) == 200


class ServedTransport:
    """The model of the server, behind a transport in virtual time."""

    name = "model"

    def __init__(self, server: ServerModel, truths: dict[int, Truth]) -> None:
        self.server = server
        self.truths = truths

    async def send(self, request: Request, *, timeout_s: float) -> Reply | Failure:
        del timeout_s
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.01)
        truth = self.truths[request.line]
        answer: Answer = self.server.arrive(request, truth, loop.time())
        await asyncio.sleep(answer.leaves_at - loop.time())
        outcome = self.server.leave(request, answer, loop.time())
        await asyncio.sleep(0.01)
        return outcome


async def run_served(spec: ServerSpec, load: Load, ceilings: Limits) -> Outcome:
    """Work the load off against a server; return what it came to."""
    loop, server = asyncio.get_running_loop(), ServerModel(spec, seed=1)
    pairs = list(requests_of(load, seed=1))
    transport = ServedTransport(server, {request.line: truth for request, truth in pairs})
    source, results = ListedSource([request for request, _ in pairs]), MemoryStore()
    await LiveRun(parts_of(a_scheduler(ceilings=ceilings), transport, source, results)).run()
    out = Outcome(server, spec, took_s=loop.time(), attempts=len(server.arrived_at))
    out.launched_at, out.refused_at = server.arrived_at, server.refused_at
    out.spent[RPM] = len(results.results)
    out.spent[ITPM] = sum(result.usage.limited_input_tokens for result in results.results)
    out.spent[OTPM] = sum(result.usage.output_tokens for result in results.results)
    return out


def served(spec: ServerSpec, load: Load, ceilings: Limits = NO_LIMITS) -> Outcome:
    """Return what a load comes to against a server, in virtual time."""
    return run_virtually(run_served(spec, load, ceilings))


@pytest.mark.parametrize(
    ("spec", "load"),
    [
        (ServerSpec(rpm=1_000), Load(count=2_600)),
        (ServerSpec(itpm=200_000), Load(count=1_000, input_tokens=460, bias=0.7)),
        (ServerSpec(otpm=100_000), Load(count=1_250, output_tokens=200)),
    ],
    ids=["rpm", "itpm", "otpm"],
)
def test_a_live_run_uses_the_limits(spec: ServerSpec, load: Load) -> None:
    out = served(spec, load)
    assert (out.used >= 0.97, out.share_refused() <= 0.005) == (True, True)


def test_a_live_run_launches_evenly_under_a_ceiling() -> None:
    out = served(ServerSpec(rpm=4_000), Load(count=600), Limits(requests=600))
    seconds = Counter(int(at) for at in out.launched_at)
    assert max(seconds.values()) <= 11
