"""10,000,000 prompts, planned: what a run folder of so many takes, without sending them.

The manifest, its status and the calls that it needs are real files; the lease is a real Redis. How
long the limits take is a simulation in virtual time: the scheduler against a model of the API.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from claude_batch import __version__
from claude_batch.config.options import Options
from claude_batch.config.settings import RunSettings
from claude_batch.core.model.requests import LimitKind
from claude_batch.core.model.sharing import Claim, LaneKey, LimitFact
from claude_batch.core.shards.claims import LOOK_EVERY_S
from claude_batch.core.shards.segments import SHIP_EVERY_S, next_interval_s
from claude_batch.storage.folder.claims import claims_on, take_claim
from claude_batch.storage.folder.files import LocalFiles
from claude_batch.storage.folder.manifest import Manifest, Shard, create_manifest, read_manifest
from claude_batch.storage.folder.shards import Done, ShardFolder
from claude_batch.storage.limit_lease import RedisLease
from tests.bench.measuring import PROGRAM, Row, measure, must
from tests.support.closed_loop import Load
from tests.support.program import environment
from tests.support.redis_server import redis_server
from tests.support.server_model import ServerSpec
from tests.support.shared_loop import Program, RedisSpec, SharedLoop

PROMPTS = 10_000_000
BYTES_EACH = 500
MOST_S, MOST_MB = 1.0, 150.0
"""A look at a whole folder may take so long besides the start of the program, and so much."""

TIMES = 3


def plan(folder: Path) -> Iterator[Row]:
    """Plan the run: its files, its calls, its lease, its time."""
    yield from _manifests(folder)
    yield from _calls(folder)
    yield _object_requests()
    yield from _lease(folder)
    yield from _times()


# what there is on disk


def _manifest(shards: int) -> Manifest:
    """Return a manifest of so many shards, ten of each input."""
    lines = PROMPTS // shards
    size = lines * BYTES_EACH
    return Manifest(
        run_id="0123456789ab",
        version=__version__,
        created_at=1_795_000_000.0,
        inputs=("/data/project/in",),
        shard_size=lines,
        options=Options(),
        settings=RunSettings(),
        routes=None,
        mode="live",
        deadline=None,
        shards=tuple(
            Shard(
                shard=number + 1,
                source=f"/data/project/in/part-{number // 10:05}.jsonl",
                name=f"part-{number // 10:05}.jsonl",
                start=number % 10 * size,
                end=(number % 10 + 1) * size,
                first_line=number % 10 * lines + 1,
                lines=lines,
                size=size,
                sha256=f"{number:064x}",
            )
            for number in range(shards)
        ),
    )


def _finish(folder: Path, files: LocalFiles, shard: Shard) -> None:
    """Leave what a finished shard leaves, but for its results."""
    claim = take_claim(files, shard.shard, 1, None)
    assert claim is not None
    claim.close()
    done = Done(
        shard=shard.shard,
        epoch=1,
        results="1.results.jsonl",
        total=shard.lines or 0,
        succeeded=shard.lines or 0,
        errored=0,
        canceled=0,
        expired=0,
        left_out=0,
        output_errors=0,
        input_tokens=15_000_000,
        output_tokens=5_000_000,
        cost_usd=2.5,
        most_usd=2.5,
        finished_at=time.time(),
    )
    ShardFolder(folder, shard.shard).finish(files, done)


def _manifests(folder: Path) -> Iterator[Row]:
    """Write and read a manifest of 200 shards, of 2,000, and ask for the status of each folder."""
    for shards in (200, 2_000):
        run = folder / f"run{shards}"
        run.mkdir()
        files, manifest = LocalFiles(run), _manifest(shards)
        written_s = _cpu_s(lambda: create_manifest(files, manifest))  # noqa: B023  # called at once
        read_s = _median_s(lambda: read_manifest(files, str(run)))  # noqa: B023
        size = (run / "manifest.json").stat().st_size
        yield Row(
            what=f"manifest of {PROMPTS:,} prompts in {shards:,} shards of "
            f"{manifest.shard_size:,} lines",
            measured=f"{size / 1e6:.2f} MB; written in {written_s:.3f} s, read in {read_s:.3f} s",
            held_to="read in <= 1 s",
            kept=read_s <= MOST_S,
        )
        for state in ("none is begun", "all are finished"):
            if state == "all are finished":
                for shard in manifest.shards:
                    _finish(run, files, shard)
            yield _status_row(folder, run, f"{shards:,} shards, {state}")


def _status_row(folder: Path, run: Path, what: str) -> Row:
    """Ask for the status, as a whole command; its start is measured with a folder of one shard."""
    small = folder / "small"
    if not small.exists():
        small.mkdir()
        create_manifest(LocalFiles(small), _manifest(1))
    variables = environment(folder)
    takes = {
        path: [
            must(
                measure([*PROGRAM, "status", str(path)], folder=folder, environment=variables),
                folder,
            )
            for _ in range(TIMES)
        ]
        for path in (small, run)
    }
    began_s, took_s = (statistics.median(each.cpu_s for each in takes[path]) for path in takes)
    rss_mb = max(each.rss_mb for each in takes[run])
    return Row(
        what=f"`claude-batch status` of {what}",
        measured=f"CPU {took_s:.2f} s, {max(0.0, took_s - began_s):.2f} s more than of one shard; "
        f"{rss_mb:.0f} MB",
        held_to=f"<= {MOST_S:.0f} s more, <= {MOST_MB:.0f} MB",
        kept=took_s - began_s <= MOST_S and rss_mb <= MOST_MB,
    )


def _cpu_s(function: Callable[[], object]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began


def _median_s(function: Callable[[], object]) -> float:
    return statistics.median(_cpu_s(function) for _ in range(TIMES))


# calls


@dataclass(slots=True)
class Counting:
    """A run folder's files; counts the calls that are made of them."""

    files: LocalFiles
    calls: Counter[str]

    def __getattr__(self, name: str) -> Any:
        """Return a call that is counted."""
        call = getattr(self.files, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            self.calls[name] += 1
            return call(*arguments, **named)

        return counted


def _calls(folder: Path) -> Iterator[Row]:
    """Count what a holder asks of storage each time it looks, where 2,000 shards have claims."""
    run = folder / "run2000"
    counting: Any = Counting(LocalFiles(run), Counter())
    look_s = _median_s(lambda: claims_on(counting, 1_000))
    calls = Counter({name: count // TIMES for name, count in counting.calls.items()})
    yield Row(
        what="a look at the claims on one of 2,000 shards, every 10 s and per shard",
        measured=f"{_named(calls)}; {look_s * 1e3:.1f} ms",
        held_to="<= 20 ms",
        kept=look_s <= 0.020,
    )


def _named(calls: Counter[str]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in sorted(calls.items()))


# object storage

RESULT_BYTES = 800
PER_SHARD = 20
"""Requests at the begin and end of a shard, about: input, claim, files of an epoch, done.json."""


def _object_requests() -> Row:
    """Reckon what 8 programs ask of object storage in a run at 10,000 RPM: nothing is sent."""
    programs, rpm, shards = 8, 10_000, 200
    hours = PROMPTS / rpm / 60
    bytes_per_s = rpm / 60 / programs * RESULT_BYTES
    shard_s = PROMPTS / shards / (rpm / 60 / programs)
    puts, at, interval_s = 0, 0.0, SHIP_EVERY_S
    while at < shard_s:
        at += interval_s
        puts += 2  # a segment, and the journal
        interval_s = next_interval_s(interval_s, int(interval_s * bytes_per_s))
    looks = shard_s / LOOK_EVERY_S  # a list and a put each
    each = puts + 2 * looks + PER_SHARD
    return Row(
        what=f"requests to object storage, {programs} programs at {rpm:,} RPM, {shards} shards",
        measured=f"{each:,.0f} per shard ({puts} segments and journals, {2 * looks:.0f} for its "
        f"claim), {each * shards / hours:,.0f} per hour, {each * shards:,.0f} in all: at 5 USD per "
        f"million {each * shards * 5e-6:.2f} USD",
    )


# the lease


def _lease(folder: Path) -> Iterator[Row]:
    for programs in (8, 100):
        yield asyncio.run(_traffic(folder, programs))


async def _traffic(folder: Path, programs: int) -> Row:
    """Let programs ask for their shares, and see what the server has got, sent and used."""
    rounds = 5
    key = LaneKey(place="api.example.com", organization="an organization's id", model_class="m")
    facts = tuple(LimitFact(kind, 10_000.0, 10_000.0) for kind in LimitKind)
    with redis_server(folder) as url:
        async with AsyncExitStack() as stack:
            leases = []
            for number in range(programs):
                name = f"run/shards/{number:04}/1.results.jsonl on {socket.gethostname()}"
                leases.append(RedisLease(url, name=name))
                stack.push_async_callback(leases[-1].close)
            redis = Redis.from_url(url)
            stack.push_async_callback(redis.aclose)
            claim = Claim(
                number=0, key=key, weight=1.0, demand=None, held=1 / programs, facts=facts
            )
            for lease in leases:
                await lease.renew(claim)
            before = await redis.info()
            before |= await redis.info("commandstats")
            began = time.process_time()
            for _ in range(rounds):
                for lease in leases:
                    await lease.renew(claim)
            cpu_s = time.process_time() - began
            after = await redis.info()
            after |= await redis.info("commandstats")
    asked = rounds * programs
    sent, got = (
        (after[name] - before[name]) / asked
        for name in ("total_net_input_bytes", "total_net_output_bytes")
    )
    script = "cmdstat_evalsha"
    script_s = (after[script]["usec"] - before[script]["usec"]) / asked / 1e6
    return Row(
        what=f"the lease of {programs} programs: one call per second each",
        measured=f"{programs} calls/s of {sent:.0f} + {got:,.0f} bytes: "
        f"{programs * (sent + got) / 1e3:,.0f} kB/s; Redis {script_s * 1e6:.0f} us per call, "
        f"{script_s * programs:.1%} of a core; a program {cpu_s / asked * 1e6:.0f} us",
        held_to="<= 10 % of a core",
        kept=script_s * programs <= 0.1,
    )


# time under limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """So many programs; each works off so many shards of so many lines."""

    rpm: int
    programs: int
    shards: int
    lines: int
    answer_s: float = 1.0
    holds_s: float = 60.0


BETWEEN_S = 1.5
"""Seconds from the last result of a shard to the next one's first request: its rows are checked."""

CASES = (
    Case(rpm=10_000, programs=1, shards=4, lines=15_000),
    Case(rpm=10_000, programs=1, shards=2, lines=50_000, answer_s=20.0),
    Case(rpm=10_000, programs=8, shards=2, lines=4_000),
    Case(rpm=100_000, programs=8, shards=2, lines=10_000, holds_s=5.0),
    Case(rpm=100_000, programs=100, shards=1, lines=1_600, holds_s=5.0),
)
MOST_REFUSED, LEAST_USED = 0.005, 0.97


def _times() -> Iterator[Row]:
    for case in CASES:
        yield _time_row(case)


def _time_row(case: Case) -> Row:
    spec = ServerSpec(
        rpm=case.rpm,
        itpm=10**9,
        otpm=10**9,
        holds_s={LimitKind.REQUESTS: case.holds_s},
        base_s=case.answer_s,
        per_output_token_s=0.0,
    )
    load = Load(count=case.lines, input_tokens=300, output_tokens=100)
    program = Program(load=load, shards=case.shards, between_s=BETWEEN_S)
    loop = SharedLoop(
        spec=spec,
        programs=tuple(replace(program, starts_s=0.05 * n) for n in range(case.programs)),
        redis=RedisSpec() if case.programs > 1 else None,
    )
    out = loop.run()
    hours = PROMPTS / case.rpm / 60 / out.used
    shared = "1 program" if case.programs == 1 else f"{case.programs} programs with a lease"
    return Row(
        what=f"{case.rpm:,} RPM, {shared}, {case.shards} x {case.lines:,} lines each, "
        f"answers after {case.answer_s:.0f} s, bucket of {case.holds_s:.0f} s",
        measured=f"{out.used:.1%} used, {out.share_refused:.2%} 429s; {PROMPTS:,} prompts take "
        f"{hours:.1f} h",
        held_to=">= 97 % used, <= 0.5 % 429s",
        kept=out.used >= LEAST_USED and out.share_refused <= MOST_REFUSED,
    )
