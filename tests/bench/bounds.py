"""How much of the limits a run uses, over real sockets, without being told what they are.

The ideal is the server's buckets, as full as they start, drained without a pause, plus one
latency: for each limit (what the run cost - what the bucket held) / its refill, the longest of
the three. The run's own time counts from its first moment after the check to its last result on
disk; starting Python and loading the SDK are told apart.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.measuring import PROGRAM, Row
from tests.support.program import environment, served

AT_ONCE = 3
LATENCY_S = 1.0
SECONDS = 95.0
"""How long the ideal run should take about; the figures are held to runs of 90 s and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run: the server's limits per minute (0: none), and what is sent."""

    name: str
    requests: int
    rpm: int = 0
    itpm: int = 0
    otpm: int = 0
    words: int = 20
    output_tokens: int = 40
    max_tokens: int = 1_024
    models: Sequence[str] = ("claude-haiku-5-5",)
    more: str = ""
    flags: Sequence[str] = ()
    competitor_from_s: float | None = None
    at_least: float = 0.97
    most_429s: float = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a case: the run's last figures, the server's, and the whole command's time."""

    figures: Mapping[str, Any]
    seconds: Sequence[Mapping[str, Any]]
    stats: Mapping[str, Any]
    wall_s: float
    stderr: str = field(repr=False)


def _for(limit: float, cost: float) -> int:
    """Return how many requests of `cost` use up a limit for SECONDS, beginning with a full one."""
    return int(limit * (1 + SECONDS / 60) / cost)


CASES: tuple[Case, ...] = (
    Case(name="RPM-bound", rpm=1_200, requests=_for(1_200, 1)),
    Case(
        name="RPM-bound, enforced by the second",
        rpm=1_200,
        requests=int(1_200 * SECONDS / 60),
        more="rpm_burst_s = 1",
    ),
    Case(name="ITPM-bound", itpm=300_000, words=150, requests=_for(300_000, 200)),
    Case(name="OTPM-bound", otpm=60_000, output_tokens=60, requests=_for(60_000, 60)),
    Case(
        name="mixed: all three near their bound",
        rpm=1_500,
        itpm=300_000,
        otpm=90_000,
        words=100,
        output_tokens=60,
        requests=_for(1_300, 1),
    ),
    Case(
        name="RPM-bound, --tier half the truth",
        rpm=2_000,
        itpm=4_000_000,
        otpm=800_000,
        requests=_for(2_000, 1),
        flags=("--tier", "start"),
        at_least=0.94,
        most_429s=0.01,
    ),
    Case(
        name="RPM-bound, --tier double the truth",
        rpm=500,
        itpm=1_000_000,
        otpm=200_000,
        requests=_for(500, 1),
        flags=("--tier", "start"),
        at_least=0.94,
        most_429s=0.01,
    ),
)


RIVALLED_FROM_S = 20.0
OUTAGE_FROM_S, OUTAGE_S = 40.0, 60.0
_RIVALLED_MINUTES = 1 + RIVALLED_FROM_S / 60 + (SECONDS - RIVALLED_FROM_S) / 120

CASES = (
    *CASES,
    Case(
        name="RPM-bound, another program takes half from 20 s on",
        rpm=1_200,
        requests=int(1_200 * _RIVALLED_MINUTES),
        competitor_from_s=RIVALLED_FROM_S,
        at_least=0.95,
        most_429s=0.01,
    ),
    Case(
        name="ITPM-bound, another program takes half from 20 s on",
        itpm=300_000,
        words=150,
        requests=int(1_500 * _RIVALLED_MINUTES),
        competitor_from_s=RIVALLED_FROM_S,
        at_least=0.95,
        most_429s=0.01,
    ),
)


def ceilings(folder: Path) -> Iterator[Row]:
    """Count what arrives in any minute under a ceiling of the user's own."""
    case = Case(name="--rpm 600", requests=1_200, flags=("--rpm", "600"))
    arrivals = {int(at): number for at, number in _run(case, folder / "c").stats["arrivals"]}
    most = max(
        sum(arrivals.get(second + each, 0) for each in range(60))
        for second in range(max(arrivals) + 1)
    )
    yield Row(
        what="--rpm 600 at a server without limits: the most in any 60 s",
        measured=f"{most} requests",
        held_to="<= 600",
        kept=most <= 600,
    )


def outage(folder: Path) -> Iterator[Row]:
    """Answer everything with 529 for a minute in the middle of a run."""
    case = Case(
        name="outage",
        requests=6_000,
        rpm=3_000,
        more=(
            f"rpm_burst_s = 1\n[[outage]]\nstatus = 529\nfrom_s = {OUTAGE_FROM_S}\n"
            f"until_s = {OUTAGE_FROM_S + OUTAGE_S}"
        ),
    )
    outcome = _run(case, folder / "o")
    ends = OUTAGE_FROM_S + OUTAGE_S
    during = [each for each in outcome.seconds if each["elapsed_s"] < ends]
    stuck = during[-1]["done"]
    back_s = next(each["elapsed_s"] for each in outcome.seconds if each["done"] > stuck) - ends
    yield Row(
        what="60 s of 529s in the middle: first success after its end, to the second",
        measured=f"{back_s:.0f} s",
        held_to="<= 5 s",
        kept=back_s <= 5,
    )
    arrivals = {int(at): number for at, number in outcome.stats["arrivals"]}
    most = max(arrivals.get(int(ends) + second, 0) for second in range(6))
    yield Row(
        what="60 s of 529s in the middle: the most arrivals in one of the seconds after it",
        measured=f"{most}, steady are {case.rpm / 60:.0f}",
        held_to="<= 2x",
        kept=most <= 2 * case.rpm / 60,
    )
    succeeded = outcome.figures["succeeded"]
    yield Row(
        what="60 s of 529s in the middle: requests that did not succeed",
        measured=f"{case.requests - succeeded:,}",
        held_to="0",
        kept=succeeded == case.requests,
    )


def all_bounds(folder: Path) -> Iterator[Row]:
    """Run every case, a few at a time, each against a server of its own."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [(case, pool.submit(_run, case, folder / str(n))) for n, case in enumerate(CASES)]
        for case, job in jobs:
            yield _row(case, job.result())


def _run(case: Case, folder: Path) -> Outcome:
    folder.mkdir()
    text = " ".join(["word"] * case.words)
    with (folder / "p.jsonl").open("w") as file:
        for number in range(case.requests):
            line = {
                "prompt": f"{number}: {text}",
                "max_tokens": case.max_tokens,
                "model": case.models[number % len(case.models)],
            }
            file.write(json.dumps(line) + "\n")
    with served(folder, _scenario(case)) as sandbox:
        command = [*PROGRAM, "run", "p.jsonl", "--no-stdout", "--progress", "json", *case.flags]
        began = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment(folder, **sandbox.variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS * 4,
        )
        wall_s = time.perf_counter() - began
        stats = sandbox.stats()
    if done.returncode != 0:
        raise RuntimeError(f"{case.name}: exit {done.returncode}: {done.stderr[-2_000:]}")
    told = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    seconds = [each for each in told if "done" in each]
    return Outcome(
        figures=seconds[-1], seconds=seconds, stats=stats, wall_s=wall_s, stderr=done.stderr
    )


def _scenario(case: Case) -> str:
    since = case.competitor_from_s
    rival = "" if since is None else f"[competitor]\nshare = 0.5\nfrom_s = {since}\n"
    return (
        f"[limits]\nrpm = {case.rpm}\nitpm = {case.itpm}\notpm = {case.otpm}\n{case.more}\n{rival}"
        f"[output]\nmean_tokens = {case.output_tokens}\n"
        f"[latency]\nbase_s = {LATENCY_S}\nper_output_token_s = 0.002\njitter = 0.2\n"
    )


def ideal_s(case: Case, stats: Mapping[str, Any]) -> float:
    """Return the time no client could beat."""
    held_s = 1.0 if "rpm_burst_s = 1" in case.more else 60.0
    costs = (
        (case.rpm, stats["answered"], held_s),
        (case.itpm, stats["input_tokens"] + stats["cache_written_tokens"], 60.0),
        (case.otpm, stats["output_tokens"], 60.0),
    )
    waits = [
        _drained_s(cost - limit * held / 60, limit / 60, case.competitor_from_s)
        for limit, cost, held in costs
        if limit > 0
    ]
    return float(max(0.0, *waits)) + LATENCY_S + 0.002 * case.output_tokens


def _drained_s(missing: float, per_s: float, rivalled_from_s: float | None) -> float:
    """Return when so much has dripped in, only half of it from a time on."""
    alone_s = missing / per_s
    if rivalled_from_s is None or alone_s <= rivalled_from_s:
        return alone_s
    return rivalled_from_s + (alone_s - rivalled_from_s) * 2


def _row(case: Case, outcome: Outcome) -> Row:
    ideal, took = ideal_s(case, outcome.stats), outcome.figures["elapsed_s"]
    refused = outcome.stats["by_status"].get("429", 0) / outcome.stats["sent"]
    used = ideal / took
    return Row(
        what=f"{case.name}, {case.requests:,} requests",
        measured=(
            f"{took:.1f} s of ideal {ideal:.1f} s: {used:.1%}; 429s {refused:.2%} "
            f"(whole command {outcome.wall_s:.1f} s)"
        ),
        held_to=f">= {case.at_least:.0%}, 429s <= {case.most_429s:.1%}",
        kept=used >= case.at_least and refused <= case.most_429s,
    )
