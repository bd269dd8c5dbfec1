"""The response cache from the user's side: what was bought once is not bought again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.doors import Line, read_results
from tests.support.killing import lines_of, write_prompts
from tests.support.program import Program, Served, served, wait_for
from tests.support.redis_server import free_port, redis_server

pytestmark = pytest.mark.whole

SWIFT = """
[limits]
rpm = 0
itpm = 0
otpm = 0
[latency]
base_s = 0.05
per_output_token_s = 0.0
"""
SAMPLES = 300
STEADY = ("--rpm", "1800")
"""Thirty a second: what is done to a run early is done well before it ends."""


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, SWIFT) as server:
        yield server


@pytest.fixture
def program(tmp_path: Path, sandbox: Served) -> Program:
    return Program(folder=tmp_path, variables=sandbox.variables)


def work(program: Program, out: str, *flags: str) -> tuple[list[Line], str]:
    """Work p.jsonl off to its end; return the results and what was said on stderr."""
    done = program.run("run", "p.jsonl", "-o", out, "--no-stdout", "--progress", "plain", *flags)
    assert done.returncode == 0, done.stderr.decode()
    return read_results(program.folder / out), done.stderr.decode()


def messages(lines: list[Line]) -> dict[str, bytes]:
    """Return the message of each line, byte for byte."""
    return {line.custom_id: line.message for line in lines}


def write_equal_prompts(folder: Path, count: int) -> None:
    """Write one prompt `count` times."""
    (folder / "p.jsonl").write_text('"Say a number."\n' * count)


def test_a_second_run_sends_nothing_and_has_the_same_messages(
    program: Program, sandbox: Served
) -> None:
    write_prompts(program.folder / "p.jsonl", 600)
    first, _ = work(program, "first.jsonl", "--cache")
    second, said = work(program, "second.jsonl", "--cache")
    assert messages(second) == messages(first)
    assert len(messages(first)) == sandbox.stats()["sent"] == 600
    assert {(line.cached, line.endpoint) for line in second} == {(True, "cache")}
    assert "0.00 USD" in said


def test_a_run_that_is_not_told_to_does_not_use_the_cache(
    program: Program, sandbox: Served
) -> None:
    write_prompts(program.folder / "p.jsonl", 20)
    work(program, "first.jsonl", "--cache")
    lines, _ = work(program, "second.jsonl")
    assert sandbox.stats()["sent"] == 40
    assert not any(line.cached for line in lines)


@pytest.mark.services
def test_two_processes_at_once_share_a_redis_and_send_nothing_more_than_twice(
    program: Program, sandbox: Served, tmp_path: Path
) -> None:
    (tmp_path / "redis").mkdir()
    write_prompts(tmp_path / "p.jsonl", 1_000)
    with redis_server(tmp_path / "redis") as url:
        pair = [
            program.start("run", "p.jsonl", "-o", out, "--no-stdout", "--cache-url", url)
            for out in ("one.jsonl", "two.jsonl")
        ]
        said = [process.communicate()[1].decode() for process in pair]
        sent = sandbox.stats()["sent"]
        third, _ = work(program, "three.jsonl", "--cache-url", url)
    assert [process.returncode for process in pair] == [0, 0], said
    assert not any("response cache" in each for each in said)
    assert max(arrived for arrived, _ in sandbox.requests().values()) <= 2
    assert all(len(lines_of(tmp_path / out)) == 1_000 for out in ("one.jsonl", "two.jsonl"))
    assert sandbox.stats()["sent"] == sent
    assert all(line.cached for line in third)


def test_without_its_redis_a_run_warns_and_goes_on(program: Program, sandbox: Served) -> None:
    write_prompts(program.folder / "p.jsonl", 50)
    lines, said = work(program, "r.jsonl", "--cache-url", f"redis://127.0.0.1:{free_port()}/0")
    assert len(lines) == sandbox.stats()["sent"] == 50
    assert said.count("response cache: ") == 1
    assert "continuing without it" in said


@pytest.mark.services
def test_a_redis_that_goes_away_in_the_middle_costs_a_warning(
    program: Program, sandbox: Served, tmp_path: Path
) -> None:
    (tmp_path / "redis").mkdir()
    write_prompts(tmp_path / "p.jsonl", SAMPLES)
    with redis_server(tmp_path / "redis") as url:
        flags = ("--no-stdout", "--cache-url", url, *STEADY)
        process = program.start("run", "p.jsonl", "-o", "r.jsonl", *flags)
        wait_for(lambda: len(lines_of(tmp_path / "r.jsonl")) > 30)
    said = process.communicate()[1].decode()
    assert process.returncode == 0, said
    assert len(lines_of(tmp_path / "r.jsonl")) == sandbox.stats()["sent"] == SAMPLES
    assert said.count("continuing without it") == 1


def test_a_damaged_cache_is_set_aside_and_the_run_goes_on(
    program: Program, sandbox: Served, tmp_path: Path
) -> None:
    write_prompts(tmp_path / "p.jsonl", 50)
    cache = tmp_path / "cache.sqlite"
    cache.write_bytes(b"SQLite format 3\0" + b"junk" * 5_000)
    lines, said = work(program, "one.jsonl", "--cache-url", f"sqlite://{cache}")
    assert len(lines) == sandbox.stats()["sent"] == 50
    assert "response cache" in said


@pytest.mark.parametrize(("flags", "sent"), [((), 30), (("--dedupe",), 1)])
def test_equal_lines_are_samples_of_their_own_unless_they_are_to_share_one(
    program: Program, sandbox: Served, flags: tuple[str, ...], sent: int
) -> None:
    write_equal_prompts(program.folder, 30)
    lines, _ = work(program, "r.jsonl", "--cache", *flags)
    assert sandbox.stats()["sent"] == sent
    assert len({line.message for line in lines}) == sent
    assert sum(line.cached for line in lines) == 30 - sent
    assert len({line.custom_id for line in lines}) == len(lines) == 30


def test_dedupe_needs_no_cache(program: Program, sandbox: Served) -> None:
    write_equal_prompts(program.folder, 30)
    lines, _ = work(program, "r.jsonl", "--dedupe")
    assert (sandbox.stats()["sent"], len(lines)) == (1, 30)


def test_what_failed_or_was_cut_short_is_asked_for_again(program: Program, sandbox: Served) -> None:
    prompts = [
        {"prompt": "Tell a long story.", "max_tokens": 2},
        {"prompt": "Hello.", "model": "claude-none-9"},
        {"prompt": "Hello."},
    ]
    text = "".join(json.dumps(prompt) + "\n" for prompt in prompts)
    (program.folder / "p.jsonl").write_text(text)
    for out in ("one.jsonl", "two.jsonl"):
        order = ("run", "p.jsonl", "-o", out, "--no-stdout", "--cache")
        done = program.run(*order, "--allow-unknown-model")
        assert done.returncode == 3, done.stderr.decode()
    again = {line.custom_id: line.cached for line in read_results(program.folder / "two.jsonl")}
    assert again == {"line-1": False, "line-2": False, "line-3": True}
    assert sandbox.stats()["sent"] == 5


def test_a_kept_answer_is_good_for_as_long_as_was_said(program: Program, sandbox: Served) -> None:
    write_prompts(program.folder / "p.jsonl", 20)
    work(program, "one.jsonl", "--cache")
    time.sleep(1.3)  # the clock of another process
    old, _ = work(program, "two.jsonl", "--cache", "--cache-ttl", "1s")
    young, _ = work(program, "three.jsonl", "--cache", "--cache-ttl", "1h")
    assert not any(line.cached for line in old)
    assert all(line.cached for line in young)
    assert sandbox.stats()["sent"] == 40


def test_a_run_that_was_killed_goes_on_without_handing_out_a_sample_twice(
    program: Program,
) -> None:
    write_equal_prompts(program.folder, SAMPLES)
    results = program.folder / "p.results.jsonl"
    process = program.start("run", "p.jsonl", "--no-stdout", "--cache", *STEADY)
    wait_for(lambda: len(lines_of(results)) > SAMPLES / 6)
    process.kill()
    process.communicate()
    killed_at = len(lines_of(results))
    resumed = program.run("resume", "p.results.jsonl", "--no-stdout", "--cache", "--rpm", "none")
    first = read_results(results)
    again, _ = work(program, "again.jsonl", "--cache")
    assert resumed.returncode == 0, resumed.stderr.decode()
    assert 0 < killed_at < SAMPLES
    assert len({line.message for line in first}) == len(first) == SAMPLES
    assert len({line.message for line in again}) == len(again) == SAMPLES


def test_what_is_kept_can_be_looked_at_and_cleared(program: Program, sandbox: Served) -> None:
    write_prompts(program.folder / "p.jsonl", 20)
    work(program, "one.jsonl", "--cache")
    kept = json.loads(program.run("cache", "stats", "--json").stdout)["entries"]
    url = f"sqlite://{program.folder}/.cache/claude-batch/answers-1.sqlite"
    doctor = json.loads(program.run("doctor", "--json", CLAUDE_BATCH_CACHE_URL=url).stdout)
    program.run("cache", "clear", "--yes")
    work(program, "two.jsonl", "--cache")
    assert kept == 20
    assert sandbox.stats()["sent"] == 41  # doctor asks once
    (found,) = [each for each in doctor["findings"] if each["topic"] == "cache"]
    assert "20 answers (on)" in found["what"]
