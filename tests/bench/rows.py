"""A million rows in and out: spreadsheets and JSON rows checked and rendered, tables written."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import orjson

from claude_batch import __version__
from claude_batch.config.options import Options
from claude_batch.config.settings import RunSettings
from claude_batch.storage.files import beside
from claude_batch.storage.prompts.input import rereadable
from claude_batch.storage.prompts.lines import fingerprint
from claude_batch.storage.run.journal import RunIdentity, create_journal
from claude_batch.storage.run.paths import copied_prompts
from tests.bench.measuring import PROGRAM, Row, Taken, measure, must

ROWS = int(os.environ.get("BENCH_ROWS", "1_000_000"))
"""Fewer are to try out a change; the bounds are for a million."""

LEAST_PER_S = 50_000
MOST_MB_IN, MOST_MB_OUT = 200, 300

_HEADER = ("ticket-id", "Customer Name", "plan", "text")
_TEXT = (
    "I was charged twice for my October invoice, and the app says {n} items are missing; please "
    "look into it today."
)
_TEMPLATE = "Which department handles this ticket of {{Customer Name}}?\n\n{{text}}"


def rows_in(folder: Path) -> Iterator[Row]:
    """Check and render a million rows, in the forms people have; start-up is taken off."""
    small, table = folder / "one.csv", folder / "big.csv"
    _write_csv(small, 1)
    start = must(
        measure([*PROGRAM, "check", str(small), "--prompt", "{{text}}"], folder=folder), folder
    )
    _write_csv(table, ROWS)
    yield _checked(folder, table, "CSV rows, a template", ("--prompt", _TEMPLATE), start)
    table.unlink()
    for name, options, row in _JSON_ROWS:
        path = folder / "big.jsonl"
        with path.open("wb") as file:  # at once it would count as the program's memory, too
            file.writelines(orjson.dumps(row(n)) + b"\n" for n in range(ROWS))
        yield _checked(folder, path, f"JSONL rows {name}", options, start)
        path.unlink()


_JSON_ROWS = (
    (
        '{"question", "answer"}, --prompt-column',
        ("--prompt-column", "question"),
        lambda n: {"question": _TEXT.replace("{n}", str(n)), "answer": f"Billing #### {n}"},
    ),
    (
        '{"prompt", "answer", "level"}, their own keys kept as data',
        (),
        lambda n: {"prompt": _TEXT.replace("{n}", str(n)), "answer": f"Billing {n}", "level": n},
    ),
    (
        '{"id", "prompt", "category"}',
        (),
        lambda n: {"id": n, "prompt": _TEXT.replace("{n}", str(n)), "category": "billing"},
    ),
)


def _checked(folder: Path, path: Path, what: str, options: tuple[str, ...], start: Taken) -> Row:
    size = path.stat().st_size / ROWS
    taken = must(measure([*PROGRAM, "check", str(path), *options], folder=folder), folder)
    return _row(f"check {ROWS:,} {what}, {size:.0f} bytes each", taken, start, MOST_MB_IN)


def tables_out(folder: Path) -> Iterator[Row]:
    """Write the answers of a million rows of CSV beside them, as CSV and as Parquet."""
    results = folder / "run.results.jsonl"
    _write_run(folder / "big.csv", results)
    command = [*PROGRAM, "results", str(results)]
    start = must(measure([*PROGRAM, "results", "--help"], folder=folder), folder)
    for form in ("csv", "parquet"):
        out = folder / f"table.{form}"
        taken = must(measure([*command, "-o", str(out)], folder=folder), folder)
        out.unlink()
        yield _row(f"write {ROWS:,} rows with answers as {form}", taken, start, MOST_MB_OUT)


def _row(what: str, taken: Taken, start: Taken, most_mb: int) -> Row:
    wall, cpu = (ROWS / s for s in (taken.wall_s - start.wall_s, taken.cpu_s - start.cpu_s))
    return Row(
        what=what,
        measured=f"{wall:,.0f} rows/s ({taken.wall_s:.1f} s, CPU {taken.cpu_s:.1f} s: "
        f"{cpu:,.0f} rows/s), {taken.rss_mb:.0f} MB",
        held_to=f">= {LEAST_PER_S:,} rows/s, <= {most_mb} MB",
        kept=wall >= LEAST_PER_S and taken.rss_mb <= most_mb,
    )


def _write_csv(path: Path, rows: int) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_HEADER)
        writer.writerows(
            (f"T-{n}", f"Amélie Durand {n % 1000}", "pro", _TEXT.replace("{n}", str(n)))
            for n in range(rows)
        )


def _write_run(table: Path, results: Path) -> None:
    """Write a finished run of a million rows, as `run` leaves one."""
    _write_csv(table, ROWS)
    with rereadable(str(table), copied_prompts(results)) as converted:
        converted.rename(beside(results, ".part"))
    copied = beside(results, ".part").replace(copied_prompts(results))
    size, sha256 = fingerprint(copied)
    source_size, source_sha256 = fingerprint(table)
    create_journal(
        results,
        RunIdentity(
            run_id="bench",
            version=__version__,
            started_at="2026-11-24T00:00:00.000Z",
            mode="live",
            prompts=str(table),
            prompts_path=str(copied),
            results=str(results),
            size=size,
            sha256=sha256,
            total=ROWS,
            invalid=0,
            options=Options(prompt=_TEMPLATE),
            source_size=source_size,
            source_sha256=source_sha256,
        ),
        RunSettings(),
    )
    with results.open("wb") as file:
        file.writelines(map(_result, range(2, ROWS + 2)))


def _result(line: int) -> bytes:
    message = {
        "id": f"msg_{line}",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": [{"type": "text", "text": f"Billing: the {line} items belong to an invoice."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 41, "output_tokens": 12},
    }
    meta = {
        "line": line,
        "attempts": 1,
        "endpoint": "default",
        "started_at": "2026-11-24T00:00:00.000Z",
        "latency_s": 1.0,
        "cost_usd": 0.0000101,
        "cached": False,
        "user": {"ticket-id": f"T-{line}", "Customer Name": "Amélie Durand", "plan": "pro",
                 "text": _TEXT.replace("{n}", str(line - 2))},
    }  # fmt: skip
    result = {"type": "succeeded", "message": message}
    return orjson.dumps({"custom_id": f"line-{line}", "result": result, "meta": meta}) + b"\n"
