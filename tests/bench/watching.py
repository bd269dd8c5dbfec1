"""What the log of attempts and metrics cost: processor time per request, with and without."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measuring import PROGRAM, PYTHON, ROOT, Row, measure, must
from tests.bench.throughput import CONCURRENCY, serving
from tests.support.program import environment

COUNT = 10_000
ROUNDS = 5
MOST = 1.10
WATCHED = ("--log", "attempts.jsonl", "--metrics-port", "0")


def watching(folder: Path) -> Iterator[Row]:
    """With both and without in turn, start-up taken off."""
    with serving(folder) as url:
        bare, watched = [], []
        for _ in range(ROUNDS):
            bare.append(_cpu_s(folder, url, COUNT) - _cpu_s(folder, url, 1))
            watched.append(_cpu_s(folder, url, COUNT, *WATCHED) - _cpu_s(folder, url, 1, *WATCHED))
    without, with_both = (statistics.median(each) for each in (bare, watched))
    yield Row(
        what=f"CPU per request with --log and --metrics-port, {COUNT:,} requests",
        measured=(
            f"{with_both / COUNT * 1e3:.3f} ms, without {without / COUNT * 1e3:.3f} ms: "
            f"{with_both / without:.2f}x"
        ),
        held_to="<= 1.10x",
        kept=with_both <= MOST * without,
    )


def _cpu_s(folder: Path, url: str, count: int, *flags: str) -> float:
    """Return the processor seconds of a whole run."""
    prompts, results = folder / "p.jsonl", folder / "p.results.jsonl"
    samples = [PYTHON, str(ROOT / "samples/large.py"), str(count), "-o", str(prompts)]
    must(measure(samples, folder=folder), folder)
    for path in (*folder.glob("p.results.jsonl*"), *folder.glob("attempts.jsonl")):
        path.unlink()
    variables = environment(folder, ANTHROPIC_BASE_URL=url, ANTHROPIC_API_KEY="bench-key")
    run = [*PROGRAM, "run", str(prompts), "-o", str(results), "--no-stdout", *flags]
    run += ["--progress", "none", "--concurrency", str(CONCURRENCY)]
    return must(measure(run, folder=folder, environment=variables), folder).cpu_s
