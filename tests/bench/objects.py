"""A run folder in object storage against one on disk: pace, memory, objects, requests to S3.

The storage is moto, in Python, which takes its part of the machine, as the API does that answers
after 50 ms.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measuring import PROGRAM, PYTHON, ROOT, Row, Taken, measure, must
from tests.bench.throughput import CONCURRENCY, serving
from tests.support.program import environment
from tests.support.s3_server import S3Server, s3_server

LINES = 1_000_000
COMPARED = 100_000
SHARD_SIZE = 50_000
MOST_MB = 300
BUCKET = "bucket"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where everything is: the API, S3, and the prompts."""

    folder: Path
    url: str
    s3: S3Server

    def run(self, lines: int, out: str, *more: str) -> Taken:
        """Have a run folder of so many lines worked off."""
        prompts = self.folder / f"p{lines}.jsonl"
        if not prompts.exists():
            command = [PYTHON, str(ROOT / "samples/large.py"), str(lines), "-o", str(prompts)]
            must(measure(command, folder=self.folder), self.folder)
        command = [*PROGRAM, "run", str(prompts), "--out", out, "--shard-size", str(SHARD_SIZE)]
        command += ["--no-stdout", "--progress", "none", "--concurrency", str(CONCURRENCY), *more]
        return self._measured(command)

    def results(self, out: str) -> tuple[Taken, int]:
        """Write all results into one file; return what that took, and how many there are."""
        path = self.folder / "all.jsonl"
        path.unlink(missing_ok=True)
        taken = self._measured([*PROGRAM, "results", out, "-o", str(path)])
        with path.open("rb") as file:
            ids = {json.loads(line)["custom_id"] for line in file}
        return taken, len(ids)

    def status(self, out: str) -> Taken:
        """Look how far a run folder is."""
        return self._measured([*PROGRAM, "status", out])

    def _measured(self, command: list[str]) -> Taken:
        variables = environment(
            self.folder,
            ANTHROPIC_BASE_URL=self.url,
            ANTHROPIC_API_KEY="bench-key",
            **self.s3.environment,
        )
        return must(measure(command, folder=self.folder, environment=variables), self.folder)


def objects(folder: Path) -> Iterator[Row]:
    """Compare a folder on disk and one in storage; then work off a million lines there."""
    with serving(folder) as url, s3_server() as s3:
        s3.make_bucket(BUCKET)
        world = World(folder=folder, url=url, s3=s3)
        yield from _compared(world)
        yield from _large(world)


def _compared(world: World) -> Iterator[Row]:
    disk = world.run(COMPARED, f"{world.folder}/disk/")
    shutil.rmtree(world.folder / "disk")
    stored = world.run(COMPARED, f"s3://{BUCKET}/compared/")
    for name, taken in (("on disk", disk), ("in object storage", stored)):
        yield Row(
            what=f"{COMPARED:,} requests in 2 shards, {name}",
            measured=f"{COMPARED / taken.wall_s:,.0f} requests/s, "
            f"{taken.cpu_s / COMPARED * 1e3:.2f} ms CPU, {taken.rss_mb:.0f} MB",
        )


def _large(world: World) -> Iterator[Row]:
    out = f"s3://{BUCKET}/large/"
    world.s3.requests.clear()
    taken = world.run(LINES, out)
    requests = dict(world.s3.requests)
    stored = world.s3.keys(BUCKET, "large/")
    shards = LINES // SHARD_SIZE
    yield Row(
        what=f"{LINES:,} lines in {shards} shards, results in object storage",
        measured=f"{taken.wall_s / 60:.1f} min, {LINES / taken.wall_s:,.0f} requests/s, "
        f"{taken.cpu_s / LINES * 1e3:.2f} ms CPU each, {taken.rss_mb:.0f} MB",
        held_to=f"<= {MOST_MB} MB",
        kept=taken.rss_mb <= MOST_MB,
    )
    words = ", ".join(f"{count:,} {method}" for method, count in sorted(requests.items()))
    yield Row(
        what="objects left, and requests to S3 for that",
        measured=f"{len(stored):,} objects; {words}",
    )
    world.s3.requests.clear()
    looked = world.status(out)
    words = ", ".join(f"{count:,} {method}" for method, count in sorted(world.s3.requests.items()))
    yield Row(what="status of it", measured=f"{looked.wall_s:.1f} s, {words}")
    read, ids = world.results(out)
    yield Row(
        what="all of its results into one file",
        measured=f"{read.wall_s:.0f} s, {read.rss_mb:.0f} MB, {ids:,} ids",
        held_to="every id once",
        kept=ids == LINES,
    )
