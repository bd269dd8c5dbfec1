"""What `estimate` says a run will take, against what it then takes, over real sockets.

The limits are learned by `--learn`, the output is stated: the sandbox's own mean, which holds
without thinking. Input is counted in a sample, for nothing; beside it, what the estimate says
without, where the sandbox counts by another rule than the estimator.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.measuring import PROGRAM, Row
from tests.support.corpus import COUNTS, read
from tests.support.program import Served, environment, served

AT_ONCE = 3
SECONDS = 65.0
ENOUGH_S = 600
MOST_OFF = 0.10
SAMPLE = 100
INPUT_TOKENS = 300
"""About what a text of the corpus has."""

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One file, and the limit per minute that shall bind; the others are far away."""

    name: str
    requests: int
    rpm: int = 20_000
    itpm: int = 50_000_000
    otpm: int = 20_000_000
    output_tokens: int = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Seconds predicted, with a counted sample and without; what binds; seconds taken."""

    sampled_s: float
    plain_s: float
    binds: str
    took_s: float


def _for(limit: float, cost: float) -> int:
    """Return how many requests of `cost` use up a limit for SECONDS, beginning with a full one."""
    return int(limit * (1 + SECONDS / 60) / cost)


CASES = (
    Case(name="RPM", rpm=1_200, requests=_for(1_200, 1)),
    Case(name="ITPM", itpm=300_000, requests=_for(300_000, INPUT_TOKENS)),
    Case(name="OTPM", otpm=60_000, output_tokens=60, requests=_for(60_000, 60)),
)


def forecast(folder: Path) -> Iterator[Row]:
    """Foretell and run each case, all at once, each against a server of its own."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [(case, pool.submit(_predicted, case, folder / case.name)) for case in CASES]
        for case, job in jobs:
            yield _row(case, job.result())


def last_figures(folder: Path, sandbox: Served, *flags: str) -> Figures:
    """Run p.jsonl in `folder` to its end and return its last figures."""
    said = _said(folder, sandbox, "run", "--no-stdout", "--progress", "json", *flags).stderr
    told = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    figures: Figures = [each for each in told if "done" in each][-1]
    return figures


def _predicted(case: Case, folder: Path) -> Forecast:
    folder.mkdir()
    texts = [read(name) for name in COUNTS]
    with (folder / "p.jsonl").open("w") as file:
        for number in range(case.requests):
            prompt = f"{number}: {texts[number % len(texts)]}"
            file.write(json.dumps({"prompt": prompt, "model": "claude-haiku-5-5"}) + "\n")
    with served(folder, _scenario(case)) as sandbox:
        asked = ("estimate", "--json", "--learn", "--expect-output", str(case.output_tokens))
        plain = _live(_said(folder, sandbox, *asked))
        sampled = _live(_said(folder, sandbox, *asked, "--sample", str(SAMPLE)))
        figures = last_figures(folder, sandbox)
    return Forecast(
        sampled_s=sampled["seconds"],
        plain_s=plain["seconds"],
        binds=sampled["binds"],
        took_s=figures["elapsed_s"],
    )


def _said(
    folder: Path, sandbox: Served, command: str, *flags: str
) -> subprocess.CompletedProcess[str]:
    """Run a command on p.jsonl to its end."""
    done = subprocess.run(
        [*PROGRAM, command, "p.jsonl", *flags],
        cwd=folder,
        env=environment(folder, **sandbox.variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=ENOUGH_S,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command}: exit {done.returncode}: {done.stderr[-2_000:]}")
    return done


def _live(done: subprocess.CompletedProcess[str]) -> Figures:
    """Return what an estimate says of a live run under the limits that hold now."""
    options: list[Figures] = json.loads(done.stdout)["live"]
    return next(option for option in options if option["current"])


def _scenario(case: Case) -> str:
    return (
        f"[limits]\nrpm = {case.rpm}\nitpm = {case.itpm}\notpm = {case.otpm}\n"
        f"[output]\nmean_tokens = {case.output_tokens}\nthinking_tokens = 0\n"
        "[latency]\nbase_s = 1.0\nper_output_token_s = 0.002\njitter = 0.2\n"
    )


def _row(case: Case, found: Forecast) -> Row:
    off, plain = found.sampled_s / found.took_s - 1, found.plain_s / found.took_s - 1
    return Row(
        what=f"`estimate --learn --sample {SAMPLE}` of a {case.name}-bound file, "
        f"{case.requests:,} requests",
        measured=f"{found.sampled_s:.1f} s predicted, {found.took_s:.1f} s taken: {off:+.1%}; "
        f"{found.binds} binds (without --sample {plain:+.1%})",
        held_to=f"within {MOST_OFF:.0%}, {case.name} named",
        kept=abs(off) <= MOST_OFF and found.binds == case.name,
    )
