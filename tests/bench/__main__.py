"""`make bench`: measure what docs/benchmarks.md holds, and print it as a table.

python -m tests.bench                 all of it (about half an hour on two quiet cores)
python -m tests.bench help checking   just these
python -m tests.bench --write         and write docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import (
    batches,
    bounds,
    decisions,
    doors,
    estimator,
    folder,
    forecast,
    kills,
    objects,
    offline,
    plan,
    prefix,
    ray,
    report,
    rows,
    sharing,
    throughput,
    watching,
)
from tests.bench.measuring import ROOT, Row

BENCHES: dict[str, Callable[[Path], Iterator[Row]]] = {
    "help": offline.help_text,
    "checking": offline.checking,
    "rows": rows.rows_in,
    "tables": rows.tables_out,
    "report": report.reports,
    "resuming": offline.resuming,
    "kills": kills.kills,
    "faults": kills.faults,
    "decisions": decisions.decisions,
    "throughput": throughput.throughput,
    "objects": objects.objects,
    "watching": watching.watching,
    "bounds": bounds.all_bounds,
    "ceilings": bounds.ceilings,
    "outage": bounds.outage,
    "sharing": sharing.sharing,
    "plan": plan.plan,
    "folder": folder.folders,
    "ray": ray.ray,
    "batches": batches.batches,
    "cache": doors.cache,
    "estimator": estimator.estimator,
    "forecast": forecast.forecast,
    "prefix": prefix.prefix,
}

PAGE = ROOT / "docs/benchmarks.md"
HEADING = "\n## "


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], help="default: all")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    order = parser.parse_args()
    sections = {name: list(_measured(name)) for name in order.names or BENCHES}
    if order.write:
        PAGE.write_text(_page(sections))


def _measured(name: str) -> Iterator[Row]:
    print(f"\n{name}", flush=True)
    with tempfile.TemporaryDirectory(prefix="claude-batch-bench-") as folder:
        for row in BENCHES[name](Path(folder)):
            print(f"  {_verdict(row):6} {row.what}: {row.measured}  [{row.held_to}]", flush=True)
            yield row


def _verdict(row: Row) -> str:
    return {True: "kept", False: "MISSED", None: ""}[row.kept]


def _page(sections: dict[str, list[Row]]) -> str:
    """Return docs/benchmarks.md: what was measured now, and what was measured before."""
    old = PAGE.read_text() if PAGE.exists() else ""
    parts = {part.partition(":")[0]: part for part in old.split(HEADING)[1:]}
    for name, measured in sections.items():
        parts[name] = _section(name, measured)
    head = (ROOT / "docs/benchmarks.head.md").read_text().rstrip() + "\n"
    return head + "".join(HEADING + parts[name] for name in BENCHES if name in parts)


def _section(name: str, rows: list[Row]) -> str:
    today = time.strftime("%Y-%m-%d")
    lines = [f"{name}: `python -m tests.bench {name}`, {today}\n\n"]
    lines.append("| what | measured | held to | |\n|---|---|---|---|\n")
    lines += [f"| {r.what} | {r.measured} | {r.held_to} | {_verdict(r)} |\n" for r in rows]
    return "".join(lines)


if __name__ == "__main__":
    main()
