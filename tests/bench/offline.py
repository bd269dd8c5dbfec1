"""What needs no network: start-up, the checking pass, going on with a large run."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson

from claude_batch import __version__
from claude_batch.config.options import Options
from claude_batch.config.settings import RunSettings
from claude_batch.storage.prompts.lines import fingerprint
from claude_batch.storage.run.journal import RunIdentity, create_journal
from tests.bench.measuring import PROGRAM, PYTHON, ROOT, Row, measure, must
from tests.support.program import Served, environment, served

MILLION = 1_000_000
LATEST_S = 60.0
SWIFT = (
    "[limits]\nrpm = 0\nitpm = 0\notpm = 0\n[latency]\nbase_s = 0.05\nper_output_token_s = 0.0\n"
)


def help_text(folder: Path) -> Iterator[Row]:
    """`--help` against importing what it is made of, in turn."""
    bare = [PYTHON, "-c", "import typer, rich"]
    pairs = [
        (
            measure([*PROGRAM, "--help"], folder=folder).wall_s,
            measure(bare, folder=folder).wall_s,
        )
        for _ in range(15)
    ]
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    yield Row(
        what="`claude-batch --help` against `import typer, rich`",
        measured=f"{ours * 1e3:.0f} ms / {theirs * 1e3:.0f} ms = {ours / theirs:.2f}x",
        held_to="<= 1.5x",
        kept=ours / theirs <= 1.5,
    )


def checking(folder: Path) -> Iterator[Row]:
    """Check a million short lines, in the shapes people write."""
    empty = folder / "one.jsonl"
    empty.write_text('"hi"\n')
    start = must(measure([*PROGRAM, "check", str(empty)], folder=folder), folder)
    for shape in ("text", "prompt", "batch"):
        path = folder / f"{shape}.jsonl"
        command = [PYTHON, str(ROOT / "samples/large.py"), str(MILLION), "--shape", shape]
        must(measure([*command, "-o", str(path)], folder=folder), folder)
        taken = must(measure([*PROGRAM, "check", str(path)], folder=folder), folder)
        rate = MILLION / (taken.wall_s - start.wall_s)
        size = path.stat().st_size / MILLION
        path.unlink()
        yield Row(
            what=f"check 1,000,000 lines, shape {shape}, {size:.0f} bytes each",
            measured=f"{rate:,.0f} lines/s, {taken.rss_mb:.0f} MB",
            held_to=">= 150,000 lines/s, <= 150 MB",
            kept=rate >= 150_000 and taken.rss_mb <= 150,
        )


def resuming(folder: Path) -> Iterator[Row]:
    """Go on with a million results of 1 kB, and one request left to send; then look at them."""
    prompts, results = folder / "big.jsonl", folder / "big.results.jsonl"
    with prompts.open("w") as file:
        file.writelines(
            f'{{"custom_id":"id-{n}","prompt":"Say {n}."}}\n' for n in range(1, MILLION + 2)
        )
    _write_run(prompts, results)
    size = results.stat().st_size / 1e9
    with served(folder, SWIFT) as sandbox:
        variables = environment(folder, **sandbox.variables)
        command = [*PROGRAM, "run", str(prompts), "--no-stdout", "--progress", "none"]
        with ThreadPoolExecutor(1) as watcher:
            arrived = watcher.submit(_until_arrival, sandbox, time.perf_counter())
            taken = measure(command, folder=folder, environment=variables)
            first_s = arrived.result()
        must(taken, folder)
        sent = sandbox.stats()["sent"]
    yield Row(
        what=f"resume with 1,000,000 results ({size:.2f} GB), to the arrival of the request left",
        measured=f"{first_s:.1f} s (to its end {taken.wall_s:.1f} s), {taken.rss_mb:.0f} MB, "
        f"{sent} sent",
        held_to="<= 10 s to the next request, <= 300 MB",
        kept=first_s <= 10 and taken.rss_mb <= 300 and sent == 1,
    )
    for name, more in (("status", ()), ("results", ("--ordered",)), ("results", ())):
        command = [*PROGRAM, name, str(results), *more]
        taken = must(measure(command, folder=folder, environment=variables), folder)
        yield Row(
            what=f"`claude-batch {' '.join((name, *more))}` of 1,000,001 results",
            measured=f"{taken.wall_s:.1f} s, {taken.rss_mb:.0f} MB",
            held_to="<= 300 MB",
            kept=taken.rss_mb <= 300,
        )


def _until_arrival(sandbox: Served, began: float) -> float:
    """Return the seconds from `began` until the sandbox has seen a request; inf: it has not."""
    while time.perf_counter() < began + LATEST_S:
        if sandbox.stats()["sent"]:
            return time.perf_counter() - began
        time.sleep(0.05)
    return math.inf


def _write_run(prompts: Path, results: Path) -> None:
    size, sha256 = fingerprint(prompts)
    create_journal(
        results,
        RunIdentity(
            run_id="bench",
            version=__version__,
            started_at="2026-11-24T00:00:00.000Z",
            mode="live",
            prompts=str(prompts),
            prompts_path=str(prompts),
            results=str(results),
            size=size,
            sha256=sha256,
            total=MILLION + 1,
            invalid=0,
            options=Options(),
        ),
        RunSettings(),
    )
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": [{"type": "text", "text": "word " * 120}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 12, "output_tokens": 120},
    }
    raw = orjson.dumps(message).decode()
    with results.open("w") as file:
        file.writelines(
            f'{{"custom_id":"id-{n}","result":{{"type":"succeeded","message":{raw}}},'
            f'"meta":{{"line":{n},"attempts":1,"endpoint":"default","started_at":'
            f'"2026-11-24T00:00:00.000Z","latency_s":1.0,"cost_usd":null,"cached":false}}}}\n'
            for n in range(1, MILLION + 1)
        )
