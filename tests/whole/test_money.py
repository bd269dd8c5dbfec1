"""--max-cost is never exceeded: not with uneven answers, and not by processes that are killed."""

from __future__ import annotations

import json
import random
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet

from tests.support.killing import write_prompts
from tests.support.program import ENOUGH_S, Program, Served, served, wait_for

pytestmark = pytest.mark.whole

UNEVEN = """
[limits]
rpm = 0
itpm = 0
otpm = 0
[latency]
base_s = 0.3
per_output_token_s = 0.0005
[output]
mean_tokens = 40
spread = 1.6
thinking_tokens = 0
"""

INPUT_USD, OUTPUT_USD = 1e-7, 5e-7
"""Prices of Haiku 5.5 per token."""

MOST_USD = 1.2 * (1024 * OUTPUT_USD + 200 * INPUT_USD)
"""What one request of these can cost at most, with what its estimate allows for."""

NOTHING = 1e-9
"""Rounding of sums."""

KILLS, BATCH_KILLS = 3, 2
_STOPPED, _STOPPED_BEFORE = 6, 2


def charged_usd(sandbox: Served) -> float:
    """Return what the sandbox has charged, also for answers that nobody received."""
    stats = sandbox.stats()
    return float(stats["input_tokens"] * INPUT_USD + stats["output_tokens"] * OUTPUT_USD)


def kill_on_the_way(program: Program, sandbox: Served, chance: random.Random, bound: str) -> None:
    """Start or resume the run, and kill it with requests in flight."""
    before = sandbox.stats()["sent"]
    process = program.start(
        "run", "p.jsonl", "--max-cost", bound, "--no-stdout", "--progress", "none"
    )
    wait_for(lambda: sandbox.stats()["sent"] > before or process.poll() is not None)
    time.sleep(chance.random() * 0.9)
    process.kill()
    process.communicate()


def bounds(*every_commit: str, long: tuple[str, ...]) -> list[ParameterSet | str]:
    return [*every_commit, *(pytest.param(bound, marks=pytest.mark.long) for bound in long)]


@pytest.mark.parametrize("bound", bounds("0.003", "0.012", long=("0.0012", "0.006", "0.05")))
def test_a_bound_is_kept_by_a_run_that_is_killed_on_the_way(tmp_path: Path, bound: str) -> None:
    write_prompts(tmp_path / "p.jsonl", 700)
    chance, most = random.Random(bound), float(bound)
    with served(tmp_path, UNEVEN) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        for _ in range(KILLS):
            kill_on_the_way(program, sandbox, chance, bound)
            assert charged_usd(sandbox) <= most
        ended = program.run("resume", "--no-stdout", "--progress", "none")
        charged = charged_usd(sandbox)
        status = json.loads(program.run("status", "p.results.jsonl", "--json").stdout)
    assert ended.returncode in {0, _STOPPED, _STOPPED_BEFORE}, ended.stderr.decode()
    assert charged <= most
    if status["cost_usd"] is None:
        return  # the first answer was lost three times: all of the bound may be spent
    assert charged <= status["cost_usd"] + NOTHING
    assert status["cost_usd"] == pytest.approx(charged, rel=0.05)
    lost = b"may have been lost" in ended.stderr  # then that answer, too, might have cost the most
    if ended.returncode:
        assert most - status["cost_usd"] < MOST_USD * (1 + KILLS * lost)


def test_a_bound_below_one_request_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 5)
    with served(tmp_path, UNEVEN) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        refused = program.run("run", "p.jsonl", "--max-cost", "0.0002", "--no-stdout")
        sent = sandbox.stats()["sent"]
        [enough] = re.findall(rb"next: --max-cost (\S+)", refused.stderr)
        again = program.run("run", "p.jsonl", "--max-cost", enough.decode(), "--no-stdout")
        status = json.loads(program.run("status", "p.results.jsonl", "--json").stdout)
    assert status["max_cost_usd"] == float(enough)
    assert (refused.returncode, sent) == (_STOPPED_BEFORE, 0), refused.stderr.decode()
    assert b"line 1 alone can cost 0.00052 USD" in refused.stderr
    assert again.returncode == 0, again.stderr.decode()


BATCHES = UNEVEN + "[batches]\nspread = 0.0\nduration_s = 0.3\n"
SOON = {"CLAUDE_BATCH_LIST_LAG": "1s", "CLAUDE_BATCH_FIRST_POLL": "0.1s"}
STATED = re.compile(rb"max_tokens, it costs (\S+) USD more")


def test_batches_stay_within_a_bound_that_does_not_cover_the_longest_answers(
    tmp_path: Path,
) -> None:
    write_prompts(tmp_path / "p.jsonl", 400)
    with served(tmp_path, BATCHES) as sandbox:
        program = Program(folder=tmp_path, variables={**sandbox.variables, **SOON})
        command = ("run", "p.jsonl", "--mode", "batch", "--max-cost", "0.06", "--no-stdout")
        ended = program.run(*command)
        batches = sandbox.stats()["batches"]
    status = json.loads(program.run("status", "p.results.jsonl", "--json").stdout)
    assert ended.returncode == 0, ended.stderr.decode()
    assert batches > 1  # 400 times the highest price of a request would be 0.10
    assert b"of --max-cost: 99 of 100 answers so far" in ended.stderr
    assert status["cost_usd"] <= 0.06


def charged_for_batches_usd(sandbox: Served) -> float:
    """Return what the sandbox has charged for batches that have ended, collected or not."""
    usd, after = 0.0, ""
    while True:
        page = parsed(sandbox, f"/v1/messages/batches?limit=100{after}")
        for batch in page["data"]:
            results = result_lines(sandbox, batch["id"]) if batch["results_url"] else []
            replies = [each["result"] for each in results if each["result"]["type"] == "succeeded"]
            for usage in (reply["message"]["usage"] for reply in replies):
                tokens = usage["input_tokens"] * INPUT_USD + usage["output_tokens"] * OUTPUT_USD
                usd += tokens / 2
        if not page["has_more"]:
            return usd
        after = f"&after_id={page['last_id']}"


def parsed(sandbox: Served, path: str) -> Any:
    return json.loads(read(sandbox, path))


def result_lines(sandbox: Served, batch: str) -> list[Any]:
    lines = read(sandbox, f"/v1/messages/batches/{batch}/results").splitlines()
    return [json.loads(line) for line in lines]


def read(sandbox: Served, path: str) -> bytes:
    headers = {"x-api-key": "sandbox-key", "anthropic-version": "2023-06-01"}
    request = urllib.request.Request(f"{sandbox.url}{path}", headers=headers)  # noqa: S310  # loopback
    with urllib.request.urlopen(request, timeout=ENOUGH_S) as answer:  # noqa: S310  # loopback
        content: bytes = answer.read()
    return content


def kill_soon(program: Program, chance: random.Random, *command: str) -> bytes:
    """Start a run, kill it within two seconds, and return what it has printed."""
    process, journal = program.start(*command), program.folder / "p.results.jsonl.journal"
    wait_for(lambda: journal.exists() or process.poll() is not None)
    time.sleep(chance.random() * 2)
    process.kill()
    return process.communicate()[1]


@pytest.mark.parametrize("bound", bounds("0.02", long=("0.004", "0.01", "0.03", "0.06")))
def test_killed_batch_runs_exceed_a_bound_by_no_more_than_they_have_stated(
    tmp_path: Path, bound: str
) -> None:
    write_prompts(tmp_path / "p.jsonl", 600)
    chance, most = random.Random(bound), float(bound)
    with served(tmp_path, BATCHES) as sandbox:
        program = Program(folder=tmp_path, variables={**sandbox.variables, **SOON})
        command = ("run", "p.jsonl", "--mode", "batch", "--max-cost", bound, "--no-stdout")
        said = b""
        for _ in range(BATCH_KILLS):
            said += kill_soon(program, chance, *command)
        ended = program.run(*command)
        said += ended.stderr
        charged = charged_usd(sandbox) + charged_for_batches_usd(sandbox)
    status = json.loads(program.run("status", "p.results.jsonl", "--json").stdout)
    stated = sum(float(usd) for usd in STATED.findall(said))
    assert ended.returncode in {0, _STOPPED, _STOPPED_BEFORE}, ended.stderr.decode()
    assert charged <= most + stated
    assert charged <= status["cost_usd"] + BATCH_KILLS * MOST_USD  # canaries that were lost
    assert ended.returncode == 0 or status["cost_usd"] > most - (1 + BATCH_KILLS) * MOST_USD
