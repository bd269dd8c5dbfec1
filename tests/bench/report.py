"""The report of runs of three sizes: time, memory, size of the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.bench.measuring import PROGRAM, Row, measure, must
from tests.support.past_run import PastRun

SIZES = (1_000, 100_000, 1_000_000)
MOST_S, MOST_MB, MOST_PAGE_MB = 60.0, 300.0, 8.0


def reports(folder: Path) -> Iterator[Row]:
    """Write the page of each run, prompts included."""
    page = folder / "report.html"
    for size in SIZES:
        results = PastRun(folder=folder, total=size).write()
        command = [*PROGRAM, "report", str(results), "-o", str(page)]
        taken = must(measure(command, folder=folder), folder)
        page_mb = page.stat().st_size / 1e6
        for path in folder.glob("tickets*"):
            path.unlink()
        yield Row(
            what=f"`claude-batch report` of {size:,} results",
            measured=f"{taken.wall_s:.1f} s, {taken.rss_mb:.0f} MB, page of {page_mb:.1f} MB",
            held_to="<= 60 s, <= 300 MB, page <= 8 MB",
            kept=taken.wall_s <= MOST_S and taken.rss_mb <= MOST_MB and page_mb <= MOST_PAGE_MB,
        )
