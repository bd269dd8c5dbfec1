"""Batch mode as people use it: killed, left alone, gone on with, canceled; nothing paid twice."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from anthropic.types.messages import MessageBatchIndividualResponse
from anthropic.types.messages.batch_create_params import Request
from pydantic import TypeAdapter

from claude_batch.core.batch.packing import Packer
from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.storage.prompts.reading import read_requests
from claude_batch.storage.prompts.shapes import Defaults
from claude_batch.storage.run.journal import read_records
from tests.support.fake_batches import data_of
from tests.support.fakes import UNBOUNDED
from tests.support.killing import lines_of, write_prompts
from tests.support.program import Program, Served, served, wait_for
from tests.whole.test_recipes import ROOT

pytestmark = pytest.mark.whole

SOON = "[latency]\nbase_s = 0.05\nper_output_token_s = 0.0\n[batches]\nspread = 0.0\n"
QUICK = SOON + "duration_s = 0.3\n"
SLOW = SOON + "duration_s = 600\ncancel_s = 0.5\n"
TROUBLE = """
[latency]
base_s = 0.05
per_output_token_s = 0.0
[batches]
duration_s = 1.5
expired = 0.05
errored = 0.05
lost_creates = 0.4
cut_results = 1
list_lag_s = 0.3
not_found_s = 0.2
"""
SMALL_QUEUE = "[limits]\nbatch_queue = 10\n"
HALF_OF_IT = ("--mode", "batch", "--batch-size", "10", "--no-canary")
ALONE = ("--no-canary", "--no-stdout")
IN_CHUNKS = ("--mode", "batch", "--batch-size", "1000")


def a_program(folder: Path, sandbox: Served) -> Program:
    """Return a program for which batches are listed, and done, within seconds."""
    quick = {"CLAUDE_BATCH_LIST_LAG": "3s", "CLAUDE_BATCH_FIRST_POLL": "0.1s"}
    return Program(folder=folder, variables={**sandbox.variables, **quick})


def records(results: Path, kind: str) -> list[dict[str, Any]]:
    """Return the journal's records of a kind."""
    return [record for record in read_records(results) if record["type"] == kind]


def types_of(results: Path) -> Counter[str]:
    """Return how the requests ended."""
    lines = map(json.loads, results.read_text().splitlines())
    return Counter(line["result"]["type"] for line in lines)


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.long)])
def test_kills_lose_nothing_and_pay_for_nothing_twice(tmp_path: Path, kills: int) -> None:
    write_prompts(tmp_path / "p.jsonl", 2_500)
    results = tmp_path / "p.results.jsonl"
    command = ("run", "p.jsonl", *IN_CHUNKS, "--no-stdout", "--progress", "none")
    chance = random.Random(11)
    with served(tmp_path, TROUBLE) as sandbox:
        program = a_program(tmp_path, sandbox)
        for kill in range(1, kills + 1):
            process = program.start(*command)
            wait_for(lambda kill=kill: len(records(results, "opened")) == kill)
            time.sleep(chance.uniform(0.0, 0.8))
            process.kill()
            _, stderr = process.communicate()
            assert process.returncode == -signal.SIGKILL, stderr.decode()
        done = program.run(*command)
        stats = sandbox.stats()
    assert done.returncode == 0, done.stderr.decode()
    assert Counter(lines_of(results)) == Counter(f"p{number}" for number in range(2_500))
    assert stats["batch_bodies_succeeded_twice"] == 0
    assert stats["troubles"]["lost_create"] > 0
    assert stats["troubles"]["cut_results"] > 0
    assert {path.name for path in tmp_path.glob("*.batch-*")} == set()


def test_detach_leaves_batches_running_and_resume_collects_them(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 30)
    with served(tmp_path, QUICK) as sandbox:
        program = a_program(tmp_path, sandbox)
        left = program.run("run", "p.jsonl", "--mode", "batch", "--detach", "--no-stdout")
        status = json.loads(program.run("status", "p.results.jsonl", "--json").stdout)
        resumed = program.run("resume", "--new-only")
    assert left.returncode == 6, left.stderr.decode()
    assert b"1 batch is left running" in left.stderr
    assert b"claude-batch resume p.results.jsonl" in left.stderr
    assert (status["state"], [each["requests"] for each in status["batches"]]) == ("waiting", [29])
    assert resumed.returncode == 0, resumed.stderr.decode()
    assert len(resumed.stdout.splitlines()) == 29


def test_ctrl_c_leaves_batches_running_and_the_same_command_goes_on(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 30)
    results = tmp_path / "p.results.jsonl"
    with served(tmp_path, QUICK.replace("0.3", "4")) as sandbox:
        program = a_program(tmp_path, sandbox)
        process = program.start("run", "p.jsonl", "--mode", "batch", "--no-stdout")
        wait_for(lambda: records(results, "batch_created"))
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
        again = program.run("run", "p.jsonl")
        batches = sandbox.stats()["batches"]
    assert process.returncode == 130, stderr.decode()
    assert b"1 batch continues at the API" in stderr
    assert again.returncode == 0, again.stderr.decode()
    assert b"resuming in batch mode" in again.stderr
    assert (len(again.stdout.splitlines()), batches) == (30, 1)


def test_ctrl_c_in_the_sandbox_says_that_its_batches_are_gone(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 5)
    (tmp_path / "slow.toml").write_text("[batches]\nduration_s = 600\n")
    program = Program(folder=tmp_path, variables={})
    process = program.start("run", "p.jsonl", "--mode", "batch", "--scenario", "slow.toml")
    wait_for(lambda: records(tmp_path / "p.sandbox.results.jsonl", "batch_created"))
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert b"1 batch is gone with the sandbox" in stderr
    assert b"at the API" not in stderr


def test_what_the_user_cancels_is_final_and_not_bought_again(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 20)
    with served(tmp_path, SLOW) as sandbox:
        program = a_program(tmp_path, sandbox)
        program.run("run", "p.jsonl", "--mode", "batch", "--detach", "--no-stdout")
        canceled = program.run("batches", "cancel", "--run", "p.results.jsonl", "--yes")
        resumed = program.run("resume", "--no-stdout")
        batches = sandbox.stats()["batches"]
    assert canceled.returncode == 0, canceled.stderr.decode()
    assert resumed.returncode == 3, resumed.stderr.decode()
    assert types_of(tmp_path / "p.results.jsonl")["canceled"] > 0
    assert batches == 1


def cancel_half_of_it(program: Program) -> None:
    """Leave a run whose queue took one of two chunks, with that one canceled."""
    left = program.run("run", "p.jsonl", *HALF_OF_IT, "--detach", "--no-stdout")
    assert b"some are not submitted" in left.stderr, left.stderr.decode()
    canceled = program.run("batches", "cancel", "--run", "p.results.jsonl", "--yes")
    assert canceled.returncode == 0, canceled.stderr.decode()
    wait_for(lambda: b'"canceling"' not in program.run("batches", "list", "--json").stdout)


def test_resume_says_that_it_submits_what_had_never_been_when_the_rest_was_canceled(
    tmp_path: Path,
) -> None:
    write_prompts(tmp_path / "p.jsonl", 20)
    with served(tmp_path, SLOW + SMALL_QUEUE) as sandbox:
        program = a_program(tmp_path, sandbox)
        cancel_half_of_it(program)
        resumed = program.run("resume", "--detach", "--no-stdout")
        batches = sandbox.stats()["batches"]
    assert resumed.returncode == 6, resumed.stderr.decode()
    assert b"1 of them canceled by you" in resumed.stderr
    assert b"10 of the requests were never submitted: they go into new batches" in resumed.stderr
    assert batches == 2


def test_with_a_bound_on_the_cost_resume_collects_what_was_canceled_and_submits_nothing(
    tmp_path: Path,
) -> None:
    write_prompts(tmp_path / "p.jsonl", 20)
    with served(tmp_path, SLOW + SMALL_QUEUE) as sandbox:
        program = a_program(tmp_path, sandbox)
        cancel_half_of_it(program)
        resumed = program.run("resume", "--max-cost", "0.000001", *ALONE)
        batches = sandbox.stats()["batches"]
    assert resumed.returncode == 6, resumed.stderr.decode()
    assert (batches, len(lines_of(tmp_path / "p.results.jsonl"))) == (1, 10)


def test_a_run_that_takes_too_long_can_be_ended_live(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 20)
    with served(tmp_path, SLOW) as sandbox:
        program = a_program(tmp_path, sandbox)
        program.run("run", "p.jsonl", "--mode", "batch", "--detach", "--no-stdout")
        live = program.run("resume", "--mode", "live", "--no-stdout")
        stats = sandbox.stats()
    assert live.returncode == 0, live.stderr.decode()
    assert b"canceling 1 batch in progress" in live.stderr
    assert types_of(tmp_path / "p.results.jsonl") == {"succeeded": 20}
    assert stats["batch_bodies_succeeded"] + stats["succeeded_bodies"] == 20


def test_a_relay_without_batches_is_worked_off_live_and_says_so(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 20)
    with served(tmp_path, "[batches]\nsupported = false\n") as sandbox:
        program = a_program(tmp_path, sandbox)
        done = program.run("run", "p.jsonl", "--mode", "batch", "--no-stdout")
    assert done.returncode == 0, done.stderr.decode()
    assert b"no Message Batches" in done.stderr
    assert len(lines_of(tmp_path / "p.results.jsonl")) == 20


def test_a_typo_stops_the_run_before_anything_is_submitted(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 20)
    with served(tmp_path, QUICK) as sandbox:
        program = a_program(tmp_path, sandbox)
        model = ("--model", "claude-hiaku-5-5", "--allow-unknown-model")
        stopped = program.run("run", "p.jsonl", "--mode", "batch", *model, "--no-stdout")
        batches = sandbox.stats()["batches"]
    assert stopped.returncode == 4
    assert b"line 1 (p0)" in stopped.stderr
    assert b"claude-hiaku-5-5" in stopped.stderr
    assert b"--no-canary" in stopped.stderr
    assert (batches, lines_of(tmp_path / "p.results.jsonl")) == (0, [])


def test_an_endpoints_own_names_of_models_are_used_in_batches(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 5)
    with served(tmp_path, "any_model = true\n" + QUICK) as sandbox:
        (tmp_path / "claude-batch.toml").write_text(
            f'[[endpoint]]\nname = "relay"\nbase_url = "{sandbox.url}"\n'
            'api_key_env = "ANTHROPIC_API_KEY"\nmodels = { "claude-haiku-5-5" = "qwen3" }\n'
        )
        program = a_program(tmp_path, sandbox)
        done = program.run("run", "p.jsonl", "--mode", "batch")
    messages = [json.loads(line)["result"]["message"] for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr.decode()
    assert {message["model"] for message in messages} == {"qwen3"}
    assert len(messages) == 5


def test_the_built_in_sandbox_has_batches_and_forgets_those_of_before(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 5)
    (tmp_path / "slow.toml").write_text(SLOW)
    (tmp_path / "quick.toml").write_text(QUICK)
    results = tmp_path / "p.sandbox.results.jsonl"
    program = Program(folder=tmp_path, variables={"CLAUDE_BATCH_LIST_LAG": "1s"})
    process = program.start("run", "p.jsonl", "--mode", "batch", "--scenario", "slow.toml")
    wait_for(lambda: records(results, "batch_created"))
    process.kill()
    process.communicate()
    again = program.run("run", "p.jsonl", "--scenario", "quick.toml")
    assert again.returncode == 0, again.stderr.decode()
    assert len(again.stdout.splitlines()) == 5


def test_the_sdks_own_types_accept_every_request() -> None:
    packer = Packer("run1", next_chunk=1, budget=UNBOUNDED)
    items = [
        data_of(packer.add(request)).partition(b'{"custom_id"')[2]
        for request in read_requests(ROOT / "samples/prompts.jsonl", Defaults(catalog=BUNDLED))
    ]
    one = TypeAdapter(Request)
    requests = [one.validate_json(b'{"custom_id"' + item) for item in items]
    assert len({request["custom_id"] for request in requests}) == len(requests) > 50


def test_the_sdks_own_types_accept_every_result(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes((ROOT / "samples/prompts.jsonl").read_bytes())
    with served(tmp_path, QUICK + "errored = 0.2\nexpired = 0.2\n") as sandbox:
        program = a_program(tmp_path, sandbox)
        done = program.run("run", "p.jsonl", "--mode", "batch", "--max-attempts", "1")
    one = TypeAdapter(MessageBatchIndividualResponse)
    read = [one.validate_json(line) for line in done.stdout.splitlines()]
    assert done.returncode == 3, done.stderr.decode()
    assert {each.result.type for each in read} == {"succeeded", "errored", "expired"}
