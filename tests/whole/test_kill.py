"""kill -9 at random moments: nothing lost, nothing doubled, little sent twice."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.support.killing import (
    QUICK,
    arrivals,
    killed_again_and_again,
    lines_of,
    write_prompts,
)
from tests.support.program import Program, served, wait_for

pytestmark = pytest.mark.whole


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.long)])
def test_kills_lose_nothing_and_double_nothing(tmp_path: Path, kills: int) -> None:
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        toll = killed_again_and_again(
            program, sandbox, prompts=50 * kills, kills=kills, flags=("--rpm", "2400")
        )
    assert (toll.exit_code, toll.lost, toll.doubled) == (0, 0, 0)
    assert toll.resent <= toll.allowed


@pytest.mark.parametrize(
    ("tail", "sent"),
    [(b'{"custom_id":"p5","resu', 90), (b"\0" * 4096, 90), (b"\0" * 512 + b"LAST", 89)],
    ids=["torn", "NULs", "NULs before an intact line"],
)
def test_a_damaged_tail_costs_nothing_but_itself(tmp_path: Path, tail: bytes, sent: int) -> None:
    write_prompts(tmp_path / "p.jsonl", 60)
    results = tmp_path / "p.results.jsonl"
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        assert program.run("run", "p.jsonl", "--progress", "none").returncode == 0
        lines = results.read_bytes().splitlines(keepends=True)
        results.write_bytes(b"".join(lines[:30]) + tail.replace(b"LAST", lines[-1]))
        again = program.run("run", "p.jsonl", "--progress", "plain", "--new-only")
        counts = arrivals(sandbox)
    assert again.returncode == 0, again.stderr.decode()
    assert sorted(lines_of(results)) == sorted(f"p{number}" for number in range(60))
    assert counts == (sent, 60)
    assert len(again.stdout.splitlines()) == sent - 60
    assert b"repaired" in again.stderr


def test_a_kill_while_prompts_are_copied_or_checked_leaves_nothing_begun(tmp_path: Path) -> None:
    results = tmp_path / "r.jsonl"
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        slow = program.shell(
            "(echo '\"one\"'; exec sleep 30) | claude-batch run - -o r.jsonl --progress none &"
            "for i in $(seq 200); do sleep 0.05; [ -e r.jsonl.prompts.part ] && break; done;"
            "kill -9 $! $(jobs -p); wait; true",
            fresh=True,
        )
        assert slow.returncode == 0, slow.stderr.decode()
        assert not results.exists()
        again = program.run("run", "-", "-o", "r.jsonl", "--progress", "none", stdin=b'"one"\n')
        counts = arrivals(sandbox)
    assert again.returncode == 0, again.stderr.decode()
    assert lines_of(results) == ["line-1"]
    assert counts == (1, 1)


def test_a_run_that_was_frozen_for_a_while_goes_on(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 200)
    results = tmp_path / "p.results.jsonl"
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        process = program.start("run", "p.jsonl", "--rpm", "6000", "--progress", "none")
        wait_for(lambda: len(lines_of(results)) > 20)
        process.send_signal(signal.SIGSTOP)
        time.sleep(2.0)
        process.send_signal(signal.SIGCONT)
        stdout, stderr = process.communicate()
        sent, different = arrivals(sandbox)
    assert process.returncode == 0, stderr.decode()
    assert sorted(lines_of(results)) == sorted(f"p{number}" for number in range(200))
    assert stdout == results.read_bytes()
    assert (sent, different) == (200, 200)
