"""A batch run with every real part, against the sandbox over loopback; its clock is a fast one."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from claude_batch.core.batch.events import BatchOutcome
from claude_batch.core.batch.machine import BatchSettings
from claude_batch.core.batch.reserve import AnswerLengths
from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.core.model.batches import LeftForLive
from claude_batch.core.scheduling.guards import InputBound
from claude_batch.core.scheduling.progress import Progress, RunFacts
from claude_batch.engine.batch.canary import LiveCanary
from claude_batch.engine.batch.parts import BatchParts
from claude_batch.engine.batch.run import BatchRun
from claude_batch.engine.clock import LoopClock
from claude_batch.engine.shutdown import Interruption
from claude_batch.sandbox.in_process import running
from claude_batch.sandbox.scenario import parse_scenario
from claude_batch.storage.batch.bodies import BodyFiles
from claude_batch.storage.batch.results import PartFiles
from claude_batch.storage.prompts.reading import FileSource, read_requests
from claude_batch.storage.prompts.shapes import Defaults
from claude_batch.storage.run.batch_journal import BatchJournalFile, read_batches
from claude_batch.storage.run.journal import JournalFile, journal_path
from claude_batch.storage.run.recovery import recover
from claude_batch.storage.run.results import ResultsFile
from claude_batch.transport.batches import BatchesTransport
from claude_batch.transport.clients import EndpointSettings
from claude_batch.transport.counting import CountingTransport
from claude_batch.transport.messages import MessagesTransport
from claude_batch.transport.opening import open_client
from tests.support.fakes import free

TROUBLE = """
[batches]
duration_s = 0.3
expired = 0.05
errored = 0.05
lost_creates = 0.4
cut_results = 1
list_lag_s = 0.2
not_found_s = 0.1
"""


@dataclass
class Run:
    """One run on disk, its prompts, and where the sandbox is."""

    folder: Path
    url: str
    max_requests: int

    @property
    def results(self) -> Path:
        return self.folder / "results.jsonl"

    def write_prompts(self, count: int, *, length: int = 0) -> None:
        """Write prompts, and the journal without which there is no run."""
        with (self.folder / "prompts.jsonl").open("w") as file:
            for line in range(1, count + 1):
                prompt = {"prompt": f"number {line} {'x' * length}", "custom_id": f"id-{line}"}
                file.write(json.dumps(prompt) + "\n")
        journal_path(self.results).touch()

    def work(self, **settings: Any) -> BatchOutcome | None:
        """Work it off in this process."""
        return asyncio.run(self._work(settings))

    async def _work(self, settings: dict[str, Any]) -> BatchOutcome | None:
        done = recover(self.results).done
        client = open_client(
            EndpointSettings(name="sandbox", base_url=self.url, api_key="sandbox-key"),
        )
        messages = MessagesTransport(client)
        clock = LoopClock(wall=time.time())
        with (
            closing(JournalFile(self.results)) as journal,
            closing(ResultsFile(self.results)) as results,
            closing(BodyFiles(self.results)) as bodies,
        ):
            parts = BatchParts(
                run="abc123",
                settings=BatchSettings(
                    rng=random.random, first_poll_s=0.1, list_lag_s=2.0, **settings
                ),
                history=read_batches(self.results),
                api=BatchesTransport(client),
                prompts=lambda wanted, *, done_too=False: FileSource(
                    read_requests(
                        self.folder / "prompts.jsonl",
                        Defaults(catalog=BUNDLED),
                        skip=lambda line: not wanted(line) or (line in done and not done_too),
                    )
                ),
                bodies=bodies,
                downloads=PartFiles(self.results, clean=bytes),
                journal=BatchJournalFile(self.results, journal),
                log=journal,
                results=results,
                canary=LiveCanary(
                    transport=messages,
                    count=CountingTransport(client).count_tokens,
                    clock=clock,
                    rng=random.random,
                    observe=None,
                    price=lambda _model, _usage: None,
                ),
                clock=clock,
                progress=Progress(started_at=clock.now()),
                facts=RunFacts(
                    run_id="abc123", prompts="p", results="r", sandbox=True, host="h", total=0
                ),
                interruption=Interruption(),
                publish=lambda _snapshot: None,
                observe=None,
                adjustments=None,
                report=lambda _event: None,
                price=lambda _model, _usage: None,
                most_usd=lambda _request, _tokens: 0.0,
                batch_price_of=free,
                inputs=InputBound(),
                lengths=AnswerLengths(),
                params=lambda request: request.body,
                cache=None,
                is_done=done.__contains__,
                max_requests=self.max_requests,
            )
            try:
                return await BatchRun(parts).run()
            finally:
                await messages.close()

    def lines(self) -> list[dict[str, Any]]:
        """Return the results, parsed."""
        return [orjson.loads(raw) for raw in self.results.read_bytes().splitlines()]

    def stats(self) -> dict[str, Any]:
        """Return what the sandbox has seen."""
        return asyncio.run(self._stats())

    async def _stats(self) -> dict[str, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/sandbox/stats") as answer,
        ):
            stats: dict[str, Any] = await answer.json()
        return stats


@contextmanager
def a_run(folder: Path, scenario: str, *, max_requests: int) -> Iterator[Run]:
    with running(parse_scenario(scenario)) as url:
        yield Run(folder, url, max_requests)


def test_a_file_is_worked_off_through_all_kinds_of_trouble(tmp_path: Path) -> None:
    with a_run(tmp_path, TROUBLE, max_requests=100) as run:
        run.write_prompts(350)
        assert run.work() is None
        ended = Counter(line["custom_id"] for line in run.lines())
        assert ended == Counter(f"id-{line}" for line in range(1, 351))
        assert {line["result"]["type"] for line in run.lines()} == {"succeeded"}
        assert run.stats()["batch_bodies_succeeded_twice"] == 0


def test_nothing_but_results_and_journal_is_left_behind(tmp_path: Path) -> None:
    with a_run(tmp_path, "[batches]\nduration_s = 0.2\n", max_requests=100) as run:
        run.write_prompts(20)
        run.work()
    assert {path.name for path in tmp_path.iterdir()} == {
        "prompts.jsonl",
        "results.jsonl",
        "results.jsonl.journal",
    }


def test_a_relay_without_batches_leaves_the_run_to_live_mode(tmp_path: Path) -> None:
    with a_run(tmp_path, "[batches]\nsupported = false\n", max_requests=100) as run:
        run.write_prompts(5)
        assert isinstance(run.work(), LeftForLive)
