"""A run killed again and again at random moments, and what that cost."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.program import Program, Served, wait_for

QUICK = """
[limits]
rpm = 0
itpm = 0
otpm = 0
[latency]
base_s = 0.2
per_output_token_s = 0.0
"""


def write_prompts(path: Path, count: int) -> None:
    """Write `count` prompts p0, p1 ... of one line each."""
    with path.open("w") as file:
        for number in range(count):
            line = {"custom_id": f"p{number}", "prompt": f"Say the number {number}."}
            file.write(json.dumps(line) + "\n")


def lines_of(results: Path) -> list[str]:
    """Return the ids of whole lines, leaving a torn one out."""
    if not results.exists():
        return []
    raw = results.read_bytes().split(b"\n")
    return [json.loads(line)["custom_id"] for line in raw[:-1] if line.startswith(b"{")]


def arrivals(sandbox: Served) -> tuple[int, int]:
    """Return how many requests have arrived, and how many different ones."""
    counts = [arrived for arrived, _ in sandbox.requests().values()]
    return sum(counts), len(counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toll:
    """What kills have cost: lines lost and doubled, requests sent again.

    `allowed` is how many had been admitted and were in no line yet, summed over the kills.
    """

    exit_code: int
    lost: int
    doubled: int
    resent: int
    allowed: int


def killed_again_and_again(
    program: Program,
    sandbox: Served,
    *,
    prompts: int,
    kills: int,
    flags: Sequence[str] = (),
    out: str = "p.results.jsonl",
) -> Toll:
    """Work `prompts` off with kill -9 at random moments (seeded); let the last process finish.

    `out` is what -o names: a results file, or a table beside which the results file is. One
    kill in four hits the start: import, check, recovery. The others hit the run itself.
    """
    write_prompts(program.folder / "p.jsonl", prompts)
    results = program.folder / (out if out.endswith(".jsonl") else f"{out}.results.jsonl")
    chance = random.Random(7)
    allowed = 0
    command = ("run", "p.jsonl", "-o", out, "--progress", "none", "--no-stdout", *flags)
    for number in range(kills):
        before = sandbox.stats()["sent"]
        process = program.start(*command, fresh=number % 4 == 0)
        if number % 4:
            wait_for(
                lambda before=before, process=process: (
                    sandbox.stats()["sent"] > before or process.poll() is not None
                )
            )
            time.sleep(chance.uniform(0.0, 0.8))
        else:
            time.sleep(chance.uniform(0.1, 1.5))
        process.kill()
        process.communicate()
        allowed += arrivals(sandbox)[1] - len(lines_of(results))
    done = program.run(*command[: -len(flags) or None])
    sent, different = arrivals(sandbox)
    ids = Counter(lines_of(results))
    return Toll(
        exit_code=done.returncode,
        lost=prompts - len(ids),
        doubled=ids.total() - len(ids),
        resent=sent - different,
        allowed=allowed,
    )
