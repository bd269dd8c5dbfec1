"""How a run ends before its time: signals, refusals; each time it can go on."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.support.killing import QUICK, lines_of, write_prompts
from tests.support.program import Program, served, takes_signals, wait_for

SLOW = QUICK.replace("base_s = 0.2", "base_s = 9")
"""Answers come before the 10 s are over that a run waits for them when it is asked once."""

pytestmark = pytest.mark.whole

NOBODYS = ("--model", "claude-none-9", "--allow-unknown-model")


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ([signal.SIGINT], 130),
        ([signal.SIGTERM], 143),
        ([signal.SIGHUP, signal.SIGHUP], 129),  # as a terminal that is closed may send
    ],
)
def test_a_signal_lets_requests_in_flight_finish(
    tmp_path: Path, numbers: list[int], code: int
) -> None:
    write_prompts(tmp_path / "p.jsonl", 2_000)
    results = tmp_path / "p.results.jsonl"
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        process = program.start("run", "p.jsonl", "--rpm", "3000", "--no-stdout")
        wait_for(lambda: len(lines_of(results)) > 20)
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.03)
        _, stderr = process.communicate()
        counts = sandbox.requests()
    assert process.returncode == code, stderr.decode()
    assert b"claude-batch resume p.results.jsonl" in stderr
    assert len(lines_of(results)) == len(counts)
    assert all(arrived == answered == 1 for arrived, answered in counts.values())


def test_asked_twice_a_run_is_cut_off_at_once_and_keeps_what_it_has(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 60)
    results = tmp_path / "p.results.jsonl"
    with served(tmp_path, SLOW) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        process = program.start("run", "p.jsonl", "--no-stdout")
        wait_for(lambda: sandbox.stats()["in_flight"] > 5)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        _, stderr = process.communicate()
    assert process.returncode == 130, stderr.decode()
    assert lines_of(results) == []  # asked once, it would have had their answers
    assert b"claude-batch resume p.results.jsonl" in stderr


def test_a_run_that_gets_its_last_answers_after_ctrl_c_is_finished(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 3)
    with served(tmp_path, QUICK.replace("base_s = 0.2", "base_s = 2")) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        process = program.start("run", "p.jsonl", "--no-stdout")
        wait_for(lambda: sandbox.stats()["in_flight"] == 3)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
    assert (process.returncode, b"finished: every request" in stderr) == (0, True), stderr


def test_a_shard_that_gets_its_last_answers_after_ctrl_c_is_finished_and_no_other_begins(
    tmp_path: Path,
) -> None:
    write_prompts(tmp_path / "p.jsonl", 4)
    with served(tmp_path, QUICK.replace("base_s = 0.2", "base_s = 2")) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        process = program.start("run", "p.jsonl", "--out", "o/", "--shard-size", "2")
        wait_for(lambda: sandbox.stats()["in_flight"] == 2)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
        sent = sandbox.stats()["sent"]
        rest = program.run("resume", "o/")
    said = " ".join(stderr.decode().split())
    assert (process.returncode, sent) == (130, 2), said
    assert "interrupted; o/: 1 of 2 shards finished, 2 of 4 results" in said
    assert "continue claude-batch resume o/" in said
    assert (rest.returncode, b"--fresh" in rest.stderr) == (0, False)


def test_resume_without_a_name_finds_the_interrupted_run(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 300)
    results = tmp_path / "p.results.jsonl"
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        process = program.start("run", "p.jsonl", "--rpm", "600", "--no-stdout")
        wait_for(lambda: len(lines_of(results)) > 5)
        process.send_signal(signal.SIGINT)
        process.communicate()
        before = json.loads(program.run("status", "--json").stdout)
        resumed = program.run("resume", "--new-only", "--rpm", "none")
        after = json.loads(program.run("status", str(results), "--json").stdout)
    assert [run["state"] for run in before] == ["interrupted"]
    assert resumed.returncode == 0, resumed.stderr.decode()
    assert len(resumed.stdout.splitlines()) == before[0]["left"]
    assert (after["state"], after["done"], after["left"]) == ("finished", 300, 0)


def test_two_runs_at_once_on_one_results_file_are_refused(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 2_000)
    results = tmp_path / "p.results.jsonl"
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        first = program.start("run", "p.jsonl", "--rpm", "600", "--no-stdout")
        wait_for(lambda: len(lines_of(results)) > 0)
        second = program.run("run", "p.jsonl", "--no-stdout")
        first.send_signal(signal.SIGINT)
        first.send_signal(signal.SIGINT)
        first.communicate()
    assert second.returncode == 5
    assert f"process {first.pid}".encode() in second.stderr


def test_the_same_bad_key_everywhere_stops_the_run_without_a_line(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 100)
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        stopped = program.run("run", "p.jsonl", *NOBODYS, "--no-stdout")
    assert stopped.returncode == 4, stopped.stderr.decode()
    assert b"claude-none-9" in stopped.stderr
    assert lines_of(tmp_path / "p.results.jsonl") == []


def test_without_a_credential_nothing_is_begun(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 2)
    refused = Program(folder=tmp_path).run("run", "p.jsonl", "--no-stdout")
    assert refused.returncode == 2
    assert b"ANTHROPIC_API_KEY" in refused.stderr
    assert b"--sandbox" in refused.stderr
    assert not (tmp_path / "p.results.jsonl.journal").exists()


def test_asked_to_stop_as_it_begins_it_leaves_at_once(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 2)
    variables = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_API_KEY": "none"}
    program = Program(folder=tmp_path, variables=variables)
    endings = []
    for number in range(15):
        process = program.start("run", "p.jsonl", "--no-stdout", fresh=True)
        wait_for(lambda process=process: takes_signals(process.pid))
        time.sleep(number * 0.04)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
        endings.append((process.returncode, stderr.decode().strip().splitlines()[-1]))
    ways = {"interrupted before anything was sent", "continue  claude-batch resume p.results.jsonl"}
    assert [each for each in endings if each[0] != 130 or each[1] not in ways] == []
    assert (130, "interrupted before anything was sent") in endings


def test_a_finished_run_has_nothing_new_to_print(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 3)
    program = Program(folder=tmp_path)
    first = program.run("run", "p.jsonl", "--sandbox", "--new-only")
    again = program.run("run", "p.jsonl", "--sandbox", "--new-only")
    assert (len(first.stdout.splitlines()), again.stdout) == (3, b"")
    assert (first.returncode, again.returncode) == (0, 0)


def test_a_sandbox_in_the_environment_keeps_resume_from_the_real_api(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 100)
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        program.run("run", "p.jsonl", *NOBODYS, "--no-stdout")
        refused = program.run("resume", CLAUDE_BATCH_SANDBOX="1")
    assert (refused.returncode, b"the real API" in refused.stderr) == (5, True)
