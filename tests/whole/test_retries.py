"""--retry-errored: whatever becomes of it, no result that was there is missing afterwards."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.support.killing import QUICK, lines_of
from tests.support.odd_relay import Relay, odd_relay
from tests.support.program import Program, served, wait_for

SLOW = QUICK.replace("base_s = 0.2", "base_s = 20")

RETRY = ("resume", "p.results.jsonl", "--retry-errored", "--no-stdout", "--concurrency", "none")

pytestmark = pytest.mark.whole


def write_prompts(path: Path, *, good: int, refused: int) -> None:
    said = ["hi"] * good + ["refuse"] * refused
    lines = [
        json.dumps({"custom_id": f"p{n}", "prompt": f"{say} {n}"}) for n, say in enumerate(said)
    ]
    path.write_text("\n".join(lines) + "\n")


def variables_for(relay: Relay) -> dict[str, str]:
    return {"ANTHROPIC_BASE_URL": f"http://{relay.host}", "ANTHROPIC_API_KEY": "key"}


def kinds(results: Path) -> Counter[str]:
    return Counter(json.loads(line)["result"]["type"] for line in results.read_text().splitlines())


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Return a program whose run has ended with 6 results succeeded and 30 refused."""
    write_prompts(tmp_path / "p.jsonl", good=6, refused=30)
    with odd_relay() as relay:
        program = Program(folder=tmp_path, variables=variables_for(relay))
        done = program.run("run", "p.jsonl", "--no-stdout", "--concurrency", "1")
        assert done.returncode == 3, done.stderr.decode()
    assert kinds(tmp_path / "p.results.jsonl") == {"succeeded": 6, "errored": 30}
    return program


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_retry_that_is_stopped_loses_no_line(program: Program, number: signal.Signals) -> None:
    results = program.folder / "p.results.jsonl"
    with served(program.folder, SLOW) as sandbox:
        retrying = Program(folder=program.folder, variables=sandbox.variables)
        process = retrying.start(*RETRY)
        wait_for(lambda: sandbox.stats()["in_flight"] > 5)
        process.send_signal(number)
        process.send_signal(number)
        _, stderr = process.communicate()
    assert kinds(results) == {"succeeded": 6, "errored": 30}
    assert b"30 earlier results put back" in stderr
    assert b"claude-batch resume p.results.jsonl --retry-errored" in stderr
    again = program.run("resume", str(results), "--no-stdout")
    assert again.returncode == 3, again.stderr.decode()
    assert kinds(results) == {"succeeded": 6, "errored": 30}
    assert len(set(lines_of(results))) == 36


def test_a_retry_of_lasting_refusals_ends_as_the_run_did(program: Program) -> None:
    results = program.folder / "p.results.jsonl"
    with odd_relay() as relay:
        again = Program(folder=program.folder, variables=variables_for(relay)).run(*RETRY)
    assert again.returncode == 3, again.stderr.decode()
    assert kinds(results) == {"succeeded": 6, "errored": 30}


def test_a_retry_of_results_without_a_success_is_stopped_early_and_they_are_back(
    tmp_path: Path,
) -> None:
    write_prompts(tmp_path / "p.jsonl", good=0, refused=30)
    results = tmp_path / "p.results.jsonl"
    with odd_relay() as relay:
        program = Program(folder=tmp_path, variables=variables_for(relay))
        program.run("run", "p.jsonl", "--no-stdout")
        errored = [
            {"custom_id": f"p{n}", "result": {"type": "errored"}, "meta": {"line": n + 1}}
            for n in range(30)
        ]
        results.write_text("".join(json.dumps(each) + "\n" for each in errored))
        again = program.run(*RETRY)
    assert again.returncode == 4, again.stderr.decode()
    assert kinds(results) == {"errored": 30}
    assert b"retry again with what the API does not refuse" in again.stderr
    assert b"claude-batch resume" not in again.stderr  # it would end so again


def test_a_retry_by_batches_that_is_left_loses_no_line_and_is_collected(program: Program) -> None:
    results = program.folder / "p.results.jsonl"
    (program.folder / "claude-batch.toml").write_text(
        '[defaults]\nlist_lag = "1s"\nfirst_poll = "1s"\n'
    )
    order = ("run", "p.jsonl", "--no-stdout", "--concurrency", "none", "--mode", "batch")
    with served(program.folder, QUICK + "[batches]\nduration_s = 0.5\n") as sandbox:
        retrying = Program(folder=program.folder, variables=sandbox.variables)
        left = retrying.run(*order, "--retry-errored", "--detach")
        meanwhile = kinds(results)
        collected = retrying.run("resume", "p.results.jsonl", "--no-stdout")
        stats = sandbox.stats()
    assert left.returncode == 6, left.stderr.decode()
    assert meanwhile.total() == 36  # the canary may have succeeded
    assert meanwhile["errored"] > 25
    assert collected.returncode == 0, collected.stderr.decode()
    assert kinds(results) == {"succeeded": 36}
    assert len(set(lines_of(results))) == 36
    assert stats["succeeded_twice"] == 0
