"""1,000,000 small lines as a run folder of 20 shards, killed once; and the same as one run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.bench.measuring import PROGRAM, PYTHON, ROOT, Row, Taken, must, waited
from tests.bench.throughput import CONCURRENCY, serving
from tests.support.program import environment

LINES, SHARDS = 1_000_000, 20
KILLED_AT = 0.4
"""The folder's run is killed when it has so much of its results."""

FLAGS = ("--no-stdout", "--progress", "none", "--concurrency", str(CONCURRENCY))
MOST_MB = 200.0
MOST_CPU = 1.1
"""CPU of a run folder against that of one run, at most: the kill and what it repeats included."""

LOOK_S = 0.5


def folders(folder: Path) -> Iterator[Row]:
    """Work both off against the same server, one after the other."""
    prompts = folder / "p.jsonl"
    write = [PYTHON, str(ROOT / "samples/large.py"), str(LINES), "--shape", "text"]
    subprocess.run([*write, "-o", str(prompts)], check=True)
    with serving(folder) as url:
        variables = environment(folder, ANTHROPIC_BASE_URL=url, ANTHROPIC_API_KEY="bench-key")
        run = folder / "run"
        size = ("--shard-size", str(LINES // SHARDS))
        command = [*PROGRAM, "run", str(prompts), "--out", f"{run}/", *size, *FLAGS]
        killed = _killed(command, run, folder, variables)
        rest = must(_measured(command, folder, variables), folder)
        again = _received(url) - LINES
        files = [path for path in run.rglob("*") if path.is_file()]
        ids = _ids(run, folder, variables)
        yield Row(
            what=f"{LINES:,} lines in {SHARDS} shards, kill -9 at {KILLED_AT:.0%}, resumed",
            measured=f"{killed.wall_s + rest.wall_s:.0f} s, "
            f"{(killed.cpu_s + rest.cpu_s) / LINES * 1e3:.2f} ms CPU per request, "
            f"{max(killed.rss_mb, rest.rss_mb):.0f} MB; {len(files)} files, "
            f"{sum(path.stat().st_size for path in files) / 1e6:,.0f} MB; "
            f"{len(ids):,} lines, {len(set(ids)):,} ids, {again} sent twice",
            held_to=f"each id once, sent twice <= {CONCURRENCY} in flight, <= {MOST_MB:.0f} MB",
            kept=len(ids) == len(set(ids)) == LINES
            and again <= CONCURRENCY
            and max(killed.rss_mb, rest.rss_mb) <= MOST_MB,
        )
        results = folder / "p.results.jsonl"
        command = [*PROGRAM, "run", str(prompts), "-o", str(results), *FLAGS]
        alone = must(_measured(command, folder, variables), folder)
    yield Row(
        what=f"the same {LINES:,} lines as one run, without a kill",
        measured=f"{alone.wall_s:.0f} s, {alone.cpu_s / LINES * 1e3:.2f} ms CPU per request, "
        f"{alone.rss_mb:.0f} MB; {results.stat().st_size / 1e6:,.0f} MB",
    )
    ratio = (killed.cpu_s + rest.cpu_s) / alone.cpu_s
    yield Row(
        what="CPU of the run folder against one run",
        measured=f"{ratio:.2f}x",
        held_to=f"<= {MOST_CPU}x",
        kept=ratio <= MOST_CPU,
    )


def _start(
    command: Sequence[str], folder: Path, variables: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "stderr.txt").open("wb"),
    )


def _measured(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> Taken:
    began = time.perf_counter()
    return waited(_start(command, folder, variables), began)


def _killed(command: Sequence[str], run: Path, folder: Path, variables: Mapping[str, str]) -> Taken:
    """Run it until it has enough results; return what it took until then."""
    began = time.perf_counter()
    process = _start(command, folder, variables)
    shard = int(SHARDS * KILLED_AT) + 1
    begun = run / "shards" / f"{shard:04}" / "1.results.jsonl"
    while process.poll() is None and not (begun.exists() and begun.stat().st_size > 1_000_000):
        time.sleep(LOOK_S)
    process.send_signal(signal.SIGKILL)
    return waited(process, began)


def _received(url: str) -> int:
    """Return how many prompts the server has received."""
    with urllib.request.urlopen(f"{url}/received", timeout=10) as answer:  # noqa: S310  # loopback
        received: int = json.load(answer)
    return received


def _ids(run: Path, folder: Path, variables: Mapping[str, str]) -> list[str]:
    """Return the ids of all results."""
    command = [*PROGRAM, "results", f"{run}/", "-o", str(folder / "all.jsonl")]
    subprocess.run(command, cwd=folder, env={**os.environ, **variables}, check=True)
    with (folder / "all.jsonl").open("rb") as lines:
        return [json.loads(line)["custom_id"] for line in lines]
