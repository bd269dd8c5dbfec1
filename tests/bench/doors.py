"""The response cache: a second run over prompts that have been answered."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measuring import PROGRAM, Row, Taken, measure, must
from tests.bench.offline import SWIFT
from tests.support.doors import read_results
from tests.support.killing import write_prompts
from tests.support.program import Served, environment, served
from tests.support.redis_server import PROGRAM as REDIS
from tests.support.redis_server import redis_server

COUNT = 10_000


def cache(folder: Path) -> Iterator[Row]:
    """Answer 10,000 prompts twice out of each store, the second time without the API."""
    yield from _twice(folder, "SQLite", f"sqlite://{folder}/answers.sqlite")
    if shutil.which(REDIS):
        with redis_server(folder) as url:
            yield from _twice(folder, "Redis", url)


def _twice(folder: Path, store: str, url: str) -> Iterator[Row]:
    """Run three times: to fill the cache, out of it, and with one prompt to know the start."""
    write_prompts(folder / "p.jsonl", COUNT)
    write_prompts(folder / "one.jsonl", 1)
    with served(folder, SWIFT) as sandbox:
        first = _run(folder, sandbox, url, "p.jsonl", "first.jsonl")
        sent = sandbox.stats()["sent"]
        start = _run(folder, sandbox, url, "one.jsonl", "one.results.jsonl")
        second = _run(folder, sandbox, url, "p.jsonl", "second.jsonl")
        more = sandbox.stats()["sent"] - sent
    kept, again = (
        {line.custom_id: line.message for line in read_results(folder / name)}
        for name in ("first.jsonl", "second.jsonl")
    )
    rate = COUNT / (second.wall_s - start.wall_s)
    alike = kept == again and len(kept) == COUNT
    yield Row(
        what=f"a second run of {COUNT:,} prompts out of {store}",
        measured=f"{rate:,.0f} results/s ({second.wall_s:.1f} s with start-up; the first run "
        f"{first.wall_s:.1f} s), {more} sent, messages {'alike' if alike else 'DIFFER'}, "
        f"{second.rss_mb:.0f} MB",
        held_to=">= 5,000 results/s, 0 sent, the same bytes",
        kept=rate >= 5_000 and more == 0 and alike,
    )


def _run(folder: Path, sandbox: Served, url: str, prompts: str, out: str) -> Taken:
    flags = ("--no-stdout", "--progress", "none", "--cache-url", url, "--fresh")
    variables = environment(folder, **sandbox.variables)
    command = [*PROGRAM, "run", prompts, "-o", out, *flags]
    return must(measure(command, folder=folder, environment=variables), folder)
