"""The response cache in batch mode as people use it: what is answered already costs nothing."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from claude_batch.storage.run.journal import read_records
from tests.support.doors import Line, read_results
from tests.support.killing import lines_of, write_prompts
from tests.support.program import Program, served, wait_for
from tests.whole.test_batch import QUICK, SLOW, TROUBLE, a_program

pytestmark = pytest.mark.whole

BATCH = ("--mode", "batch", "--no-stdout", "--progress", "plain")
COUNT = 200
EQUAL = 10
"""How often each prompt is in a file of equal lines."""


def work(program: Program, out: str, *flags: str) -> tuple[list[Line], str]:
    """Work p.jsonl off to its end; return the results and what was said on stderr."""
    done = program.run("run", "p.jsonl", "-o", out, *flags)
    assert done.returncode == 0, done.stderr.decode()
    return read_results(program.folder / out), done.stderr.decode()


def messages(lines: list[Line]) -> dict[str, bytes]:
    """Return the message of each line, byte for byte."""
    return {line.custom_id: line.message for line in lines}


def write_equal_prompts(folder: Path, count: int) -> None:
    """Write `count` lines of which each prompt is equal to some others."""
    lines = [{"custom_id": f"p{n}", "prompt": f"Say {n % (count // EQUAL)}."} for n in range(count)]
    (folder / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_second_run_submits_nothing_and_has_the_same_messages(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", COUNT)
    with served(tmp_path, QUICK) as sandbox:
        program = a_program(tmp_path, sandbox)
        first, _ = work(program, "first.jsonl", *BATCH, "--cache")
        once = sandbox.stats()
        second, said = work(program, "second.jsonl", *BATCH, "--cache")
        twice = sandbox.stats()
    assert messages(second) == messages(first)
    assert len(messages(first)) == COUNT
    assert {(line.cached, line.endpoint) for line in second} == {(True, "cache")}
    assert f"{COUNT} lines have a cached answer and are not sent" in said
    assert (twice["batches"], twice["sent"]) == (once["batches"], once["sent"])


@pytest.mark.parametrize(("first", "second"), [("live", "batch"), ("batch", "live")])
def test_either_mode_finds_what_the_other_has_kept(tmp_path: Path, first: str, second: str) -> None:
    write_prompts(tmp_path / "p.jsonl", COUNT)
    flags = ("--no-stdout", "--progress", "none", "--cache", "--mode")
    with served(tmp_path, QUICK) as sandbox:
        program = a_program(tmp_path, sandbox)
        bought, _ = work(program, "first.jsonl", *flags, first)
        found, _ = work(program, "second.jsonl", *flags, second)
    assert messages(found) == messages(bought)
    assert all(line.cached for line in found)


def test_auto_mode_uses_the_cache_as_well(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", COUNT)
    flags = ("--no-stdout", "--progress", "none", "--cache", "--mode", "auto")
    with served(tmp_path, QUICK) as sandbox:
        program = a_program(tmp_path, sandbox)
        work(program, "first.jsonl", *flags)
        found, _ = work(program, "second.jsonl", *flags)
        batches = sandbox.stats()["batches"]
    assert all(line.cached for line in found)
    assert batches == 1


def test_with_dedupe_each_prompt_is_bought_once(tmp_path: Path) -> None:
    write_equal_prompts(tmp_path, COUNT)
    with served(tmp_path, QUICK) as sandbox:
        program = a_program(tmp_path, sandbox)
        lines, _ = work(program, "r.jsonl", *BATCH, "--dedupe")
        stats = sandbox.stats()
    bought = stats["batch_bodies_succeeded"] + stats["succeeded_bodies"]
    assert Counter(line.custom_id for line in lines) == Counter(f"p{n}" for n in range(COUNT))
    assert bought == len({line.message for line in lines}) == COUNT // EQUAL
    assert sum(line.cached for line in lines) == COUNT - bought


def test_with_dedupe_what_was_left_running_ends_all_lines_that_wait(tmp_path: Path) -> None:
    write_equal_prompts(tmp_path, COUNT)
    with served(tmp_path, QUICK) as sandbox:
        program = a_program(tmp_path, sandbox)
        left = program.run("run", "p.jsonl", *BATCH, "--dedupe", "--detach")
        resumed = program.run("resume", "--no-stdout")
        stats = sandbox.stats()
    assert left.returncode == 6, left.stderr.decode()
    assert resumed.returncode == 0, resumed.stderr.decode()
    assert sorted(lines_of(tmp_path / "p.results.jsonl")) == sorted(f"p{n}" for n in range(COUNT))
    assert stats["batch_bodies_succeeded"] + stats["succeeded_bodies"] == COUNT // EQUAL


@pytest.mark.parametrize(
    ("kills", "flags"),
    [
        (2, ("--cache", "--dedupe")),
        pytest.param(5, ("--cache",), marks=pytest.mark.long),
        pytest.param(5, ("--dedupe",), marks=pytest.mark.long),
        pytest.param(5, ("--cache", "--dedupe"), marks=pytest.mark.long),
    ],
)
def test_kills_lose_nothing_and_pay_for_nothing_twice(
    tmp_path: Path, kills: int, flags: tuple[str, ...]
) -> None:
    write_equal_prompts(tmp_path, 1_200)
    results = tmp_path / "p.results.jsonl"
    how = ("--mode", "batch", "--batch-size", "100", "--no-stdout", "--progress", "none")
    command = ("run", "p.jsonl", *how, *flags)
    chance = random.Random(3)
    with served(tmp_path, TROUBLE) as sandbox:
        program = a_program(tmp_path, sandbox)
        for kill in range(1, kills + 1):
            process = program.start(*command)
            wait_for(lambda kill=kill: _opened(results) == kill)
            time.sleep(chance.uniform(0.0, 0.8))
            process.kill()
            process.communicate()
            assert process.returncode == -signal.SIGKILL
        done = program.run(*command)
        stats = sandbox.stats()
    assert done.returncode == 0, done.stderr.decode()
    assert Counter(lines_of(results)) == Counter(f"p{number}" for number in range(1_200))
    if "--dedupe" in flags:
        assert stats["batch_bodies_succeeded_twice"] == 0


def _opened(results: Path) -> int:
    return sum(record["type"] == "opened" for record in read_records(results))


def test_what_a_deadline_leaves_goes_live_through_the_same_cache(tmp_path: Path) -> None:
    write_equal_prompts(tmp_path, COUNT)
    flags = ("--cache", "--dedupe", "--no-stdout")
    with served(tmp_path, SLOW) as sandbox:
        program = a_program(tmp_path, sandbox)
        program.run("run", "p.jsonl", "--mode", "batch", "--detach", *flags)
        live = program.run("resume", "--mode", "live", "--cache", "--no-stdout")
        stats = sandbox.stats()
    lines = read_results(tmp_path / "p.results.jsonl")
    assert live.returncode == 0, live.stderr.decode()
    assert len({line.custom_id for line in lines}) == len(lines) == COUNT
    assert stats["batch_bodies_succeeded"] + stats["succeeded_bodies"] == COUNT // EQUAL
