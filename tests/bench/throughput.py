"""Requests per second and processor time per request, against others, at the same server.

Each client is a process of its own; the server, another, answers after 50 ms without limits. It
is a bare aiohttp handler, so that the client is what is measured, and pinned to one core where
the machine has two.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measuring import PROGRAM, PYTHON, ROOT, Row, Taken, measure, must
from tests.support.program import environment

COUNTS = (1_000, 10_000, 100_000)
CONCURRENCY = 200
STARTS = 5
LONG = 10_000
START_S = 1.2
"""Seconds that a run of one prompt may take in all."""
FLEXLLM_PYTHON = os.environ.get("FLEXLLM_PYTHON")
"""A Python that has flexllm (it is no dependency of ours): pip install flexllm, elsewhere."""

RIVALS = {
    "plain AsyncAnthropic + semaphore": "sdk-default",
    "bare SDK call over aiohttp": "sdk-aiohttp",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a client managed, its start-up taken off; and as a whole command, start-up included."""

    start_s: float
    whole_s: float
    per_second: float
    cpu_ms: float
    rss_mb: float


def throughput(folder: Path) -> Iterator[Row]:
    """Ours and the rivals, at growing numbers of requests."""
    with serving(folder) as url:
        paces: dict[tuple[str, int], Pace] = {}
        for count in COUNTS:
            paces["ours", count] = _ours(folder, url, count)
        for name, kind in RIVALS.items():
            command = [PYTHON, "-m", "tests.bench.rivals", kind]
            for count in COUNTS[:2]:
                paces[name, count] = _rival(folder, url, command, count)
        if FLEXLLM_PYTHON is not None:
            command = [FLEXLLM_PYTHON, str(ROOT / "tests/bench/flexllm_client.py")]
            for count in COUNTS:
                paces["flexllm", count] = _rival(folder, url, command, count)
    for (name, count), pace in paces.items():
        yield Row(
            what=f"{name}, {count:,} requests",
            measured=(
                f"{pace.per_second:,.0f} requests/s, {pace.cpu_ms:.2f} ms CPU, "
                f"{pace.rss_mb:.0f} MB; {pace.whole_s:.2f} s as a whole command"
            ),
        )
    yield from _verdicts(paces)


def _verdicts(paces: dict[tuple[str, int], Pace]) -> Iterator[Row]:
    plain, bare = RIVALS
    start_s = paces["ours", 1_000].start_s
    yield Row(
        what="one prompt with a plain key, as a whole command",
        measured=f"{start_s:.2f} s",
        held_to="<= 1.2 s",
        kept=start_s <= START_S,
    )
    if ("flexllm", 1_000) in paces:
        whole_s, theirs_s = paces["ours", 1_000].whole_s, paces["flexllm", 1_000].whole_s
        yield Row(
            what="1,000 requests as a whole command, against flexllm",
            measured=f"{whole_s:.2f} s, flexllm {theirs_s:.2f} s",
            held_to="ahead",
            kept=whole_s < theirs_s,
        )
    ours = paces["ours", 10_000]
    faster = ours.per_second / paces[plain, 10_000].per_second
    yield Row(
        what="throughput against plain AsyncAnthropic + semaphore, 10,000 requests",
        measured=f"{faster:.2f}x",
        held_to=">= 2x",
        kept=faster >= 2,
    )
    cost = ours.cpu_ms / paces[bare, 10_000].cpu_ms
    yield Row(
        what="CPU per request against the bare SDK call over aiohttp, 10,000 requests",
        measured=f"{cost:.2f}x",
        held_to="<= 1.25x",
        kept=cost <= 1.25,
    )
    costs = [paces["ours", count].cpu_ms for count in COUNTS]
    spread = max(costs) / min(costs)
    yield Row(
        what="CPU per request, the dearest of 1,000, 10,000 and 100,000 against the cheapest",
        measured=f"{spread:.2f}x",
        held_to="flat within 10 %",
        kept=spread <= 1.10,
    )


def _ours(folder: Path, url: str, count: int) -> Pace:
    prompts = folder / "p.jsonl"
    command = [PYTHON, str(ROOT / "samples/large.py")]
    results = folder / "p.results.jsonl"

    def run(number: int) -> Taken:
        must(measure([*command, str(number), "-o", str(prompts)], folder=folder), folder)
        for path in folder.glob("p.results.jsonl*"):
            path.unlink()
        variables = environment(folder, ANTHROPIC_BASE_URL=url, ANTHROPIC_API_KEY="bench-key")
        ours = [*PROGRAM, "run", str(prompts), "-o", str(results), "--no-stdout"]
        ours += ["--progress", "none", "--concurrency", str(CONCURRENCY)]
        return must(measure(ours, folder=folder, environment=variables), folder)

    return _pace(run, count)


def _rival(folder: Path, url: str, client: Sequence[str], count: int) -> Pace:
    variables = environment(folder, ANTHROPIC_BASE_URL=url, ANTHROPIC_API_KEY="bench-key")

    def run(number: int) -> Taken:
        command = [*client, str(number), str(CONCURRENCY)]
        variables["PYTHONPATH"] = str(ROOT)
        return must(measure(command, folder=folder, environment=variables), folder)

    return _pace(run, count)


def _pace(run: Callable[[int], Taken], count: int) -> Pace:
    """Return the pace of `run(count)`; start-up varies by more than a short run takes."""
    starts = [run(1) for _ in range(STARTS)]
    wholes = [run(count) for _ in range(STARTS if count < LONG else 1)]
    return Pace(
        start_s=_wall(starts),
        whole_s=_wall(wholes),
        per_second=count / (_wall(wholes) - _wall(starts)),
        cpu_ms=(_cpu(wholes) - _cpu(starts)) / count * 1e3,
        rss_mb=max(each.rss_mb for each in wholes),
    )


def _wall(taken: Sequence[Taken]) -> float:
    return statistics.median(each.wall_s for each in taken)


def _cpu(taken: Sequence[Taken]) -> float:
    return statistics.median(each.cpu_s for each in taken)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    command: Sequence[str] = [PYTHON, "-m", "tests.bench.quick_server"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()
