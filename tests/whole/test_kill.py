"""kill -9 at random moments: nothing lost, nothing doubled, little sent twice."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.program import Program, Served, served

pytestmark = [pytest.mark.whole, pytest.mark.timeout(400)]

PROMPTS = 2_000
KILLS = 20
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


def test_twenty_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", PROMPTS)
    results = tmp_path / "p.results.jsonl"
    chance = random.Random(7)
    allowed = 0
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        for _ in range(KILLS):
            process = program.start("run", "p.jsonl", "--rpm", "2400", "--progress", "none")
            time.sleep(chance.uniform(1.0, 5.0))
            process.kill()
            process.communicate()
            allowed += arrivals(sandbox)[1] - len(lines_of(results))
        done = program.run("run", "p.jsonl", "--progress", "none")
        sent, different = arrivals(sandbox)

    assert done.returncode == 0, done.stderr.decode()
    ids = Counter(lines_of(results))
    assert set(ids) == {f"p{number}" for number in range(PROMPTS)}
    assert set(ids.values()) == {1}
    assert different == PROMPTS
    assert sent - different <= allowed


@pytest.mark.parametrize("tail", [b'{"custom_id":"p5","resu', b"\0" * 4096], ids=["torn", "NULs"])
def test_a_damaged_tail_costs_nothing_but_itself(tmp_path: Path, tail: bytes) -> None:
    write_prompts(tmp_path / "p.jsonl", 60)
    results = tmp_path / "p.results.jsonl"
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        assert program.run("run", "p.jsonl", "--progress", "none").returncode == 0
        half = results.read_bytes().splitlines(keepends=True)[:30]
        results.write_bytes(b"".join(half) + tail)
        again = program.run("run", "p.jsonl", "--progress", "none")
        sent, different = arrivals(sandbox)
    assert again.returncode == 0, again.stderr.decode()
    assert sorted(lines_of(results)) == sorted(f"p{number}" for number in range(60))
    assert (sent, different) == (90, 60)


def test_nul_bytes_before_an_intact_tail_cost_no_line(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 20)
    results = tmp_path / "p.results.jsonl"
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        program.run("run", "p.jsonl", "--progress", "none")
        lines = results.read_bytes().splitlines(keepends=True)
        results.write_bytes(b"".join(lines[:10]) + b"\0" * 512 + b"".join(lines[11:]))
        again = program.run("run", "p.jsonl", "--progress", "plain")
        sent, _ = arrivals(sandbox)
    assert again.returncode == 0, again.stderr.decode()
    assert sorted(lines_of(results)) == sorted(f"p{number}" for number in range(20))
    assert sent == 21
    assert b"damaged" in again.stderr
