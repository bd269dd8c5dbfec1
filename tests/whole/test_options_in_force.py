"""Killed and resumed, a run keeps to the bounds that it was given."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.killing import QUICK, lines_of, write_prompts
from tests.support.program import Program, served, wait_for

pytestmark = pytest.mark.whole


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_has_no_more_in_flight_than_it_was_given(
    tmp_path: Path, number: signal.Signals
) -> None:
    write_prompts(tmp_path / "p.jsonl", 60)
    results = tmp_path / "p.results.jsonl"
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        process = program.start("run", "p.jsonl", "--concurrency", "2", "--no-stdout")
        wait_for(lambda: len(lines_of(results)) > 3)
        process.send_signal(number)
        process.communicate()
        resumed = program.run("resume", "--no-stdout")
        most = sandbox.stats()["max_in_flight"]
    assert resumed.returncode == 0, resumed.stderr.decode()
    assert b"Using --concurrency 2 from this run's journal" in resumed.stderr
    # what was in flight when the run was killed may still be at the server
    assert most <= (4 if number == signal.SIGKILL else 2)
    assert len(set(lines_of(results))) == 60
