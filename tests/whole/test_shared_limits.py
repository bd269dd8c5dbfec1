"""`--shared-limits` from the user's side: real programs, a real Redis, one sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.support.killing import lines_of, write_prompts
from tests.support.program import Program, Served, served, wait_for
from tests.support.redis_server import free_port, redis_server

pytestmark = pytest.mark.whole

TEN_A_SECOND = """
[limits]
rpm = 600
itpm = 0
otpm = 0
rpm_burst_s = 5
[latency]
base_s = 0.2
per_output_token_s = 0.0
"""
SILENT = TEN_A_SECOND.replace("rpm = 600", "rpm = 0") + "[headers]\nrate_limits = false\n"
FLAGS = ("--model", "claude-haiku-5-5", "--no-stdout", "--progress", "json")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with redis_server(folder) as url:
        yield url


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, TEN_A_SECOND) as server:
        yield server


def told(stderr: bytes) -> list[dict[str, Any]]:
    """Return what a program with --progress json has said."""
    return [json.loads(line) for line in stderr.splitlines() if line.startswith(b"{")]


@pytest.mark.services
def test_two_programs_share_and_limits_names_both(
    tmp_path: Path, sandbox: Served, redis: str
) -> None:
    write_prompts(tmp_path / "p.jsonl", 150)
    program = Program(
        folder=tmp_path, variables=sandbox.variables | {"CLAUDE_BATCH_SHARED_LIMITS": redis}
    )
    runs = [program.start("run", "p.jsonl", "-o", f"{name}.jsonl", *FLAGS) for name in "ab"]
    wait_for(lambda: all(len(lines_of(tmp_path / f"{name}.jsonl")) > 20 for name in "ab"))
    (lane,) = json.loads(program.run("limits", "--json").stdout)["sharing"]
    said = [told(run.communicate()[1]) for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert {each["name"].partition(" on ")[0] for each in lane["programs"]} == {
        "a.jsonl",
        "b.jsonl",
    }
    assert "429" not in sandbox.stats()["by_status"]
    shares = [line["lanes"][0]["sharing"] for line in said[0] if line.get("lanes")]
    assert any(each["share"] == pytest.approx(0.5) and each["others"] for each in shares)


@pytest.mark.services
def test_a_redis_that_dies_costs_one_warning(tmp_path: Path, sandbox: Served) -> None:
    write_prompts(tmp_path / "p.jsonl", 150)
    program = Program(folder=tmp_path, variables=sandbox.variables)
    with redis_server(tmp_path) as url:
        run = program.start("run", "p.jsonl", *FLAGS, "--shared-limits", url)
        wait_for(lambda: len(lines_of(tmp_path / "p.results.jsonl")) > 20)
    said = told(run.communicate()[1])
    warnings = [each for each in said if "does not answer" in each.get("message", "")]
    assert (run.returncode, len(warnings)) == (0, 1)


@pytest.mark.services
def test_where_replies_report_no_limits_the_run_says_so(tmp_path: Path, redis: str) -> None:
    write_prompts(tmp_path / "p.jsonl", 50)
    with served(tmp_path, SILENT) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        done = program.run("run", "p.jsonl", *FLAGS, "--shared-limits", redis)
    assert b"report no limits, so they are not shared" in done.stderr
    assert done.returncode == 0


def test_a_redis_that_cannot_be_reached_ends_the_command_before_anything_is_sent(
    tmp_path: Path, sandbox: Served
) -> None:
    write_prompts(tmp_path / "p.jsonl", 2)
    program = Program(folder=tmp_path, variables=sandbox.variables)
    url = f"redis://user:hush@127.0.0.1:{free_port()}/0"
    done = program.run("run", "p.jsonl", *FLAGS, "--shared-limits", url)
    assert done.returncode == 2
    assert (b"cannot be used" in done.stderr, b"hush" in done.stderr) == (True, False)
    assert (sandbox.stats()["sent"], (tmp_path / "p.results.jsonl").exists()) == (0, False)


@pytest.mark.services
def test_a_redis_that_dies_does_not_end_a_run_folder_and_is_used_again_when_it_is_back(
    tmp_path: Path, sandbox: Served
) -> None:
    write_prompts(tmp_path / "p.jsonl", 150)
    program = Program(folder=tmp_path, variables=sandbox.variables)
    port = free_port()
    folder = ("--out", "o/", "--shard-size", "50", "--rpm", "480")
    with redis_server(tmp_path, port) as url:
        run = program.start("run", "p.jsonl", *folder, *FLAGS, "--shared-limits", url)
        first = tmp_path / "o/shards/0001/1.results.jsonl"
        wait_for(lambda: first.exists() and len(lines_of(first)) > 10)
    second = tmp_path / "o/shards/0002/1.results.jsonl"
    wait_for(lambda: second.exists() and len(lines_of(second)) > 2)
    with redis_server(tmp_path, port):
        said = told(run.communicate()[1])
    warnings = [each for each in said if "does not answer" in each.get("message", "")]
    assert (run.returncode, len(warnings)) == (0, 1)
    lanes = [line["lanes"][0]["sharing"] for line in said if line.get("lanes")]
    states = [lost for lost, _ in groupby(each["lost"] for each in lanes)]
    assert states == [False, True, False]


def test_a_program_that_begins_a_shard_while_redis_is_away_is_to_be_started_again(
    tmp_path: Path, sandbox: Served
) -> None:
    write_prompts(tmp_path / "p.jsonl", 4)
    program = Program(folder=tmp_path, variables=sandbox.variables)
    made = program.run("run", "p.jsonl", "--out", "o/", "--shard-size", "2", "--shard", "1")
    away = ("--shared-limits", f"redis://127.0.0.1:{free_port()}/0")
    shard = program.run("run", "o/", "--shard", "2", *away)
    whole = program.run("resume", "o/", *away)
    assert [made.returncode, shard.returncode, whole.returncode] == [0, 5, 5]
    assert b"cannot be used" in shard.stderr
    assert program.run("resume", "o/").returncode == 0  # what was refused is not kept
    new = program.run("run", "p.jsonl", "--out", "other/", *away)  # it may be named wrongly
    assert (new.returncode, (tmp_path / "other").exists()) == (2, False)


@pytest.mark.parametrize("by_flag", [True, False])
def test_the_sandbox_of_one_program_is_not_shared(tmp_path: Path, *, by_flag: bool) -> None:
    write_prompts(tmp_path / "p.jsonl", 2)
    url = f"redis://user:hush@127.0.0.1:{free_port()}/0"
    given = ("--shared-limits", url) if by_flag else ()
    variables = {} if by_flag else {"CLAUDE_BATCH_SHARED_LIMITS": url}
    program = Program(folder=tmp_path, variables=variables)
    done = program.run("run", "p.jsonl", "--sandbox", *FLAGS, *given)
    assert (done.returncode, b"no effect with --sandbox" in done.stderr) == (0, True)
    assert b"hush" not in done.stderr


@pytest.mark.services
def test_a_password_is_asked_for_again_on_resume(
    tmp_path: Path, sandbox: Served, redis: str
) -> None:
    write_prompts(tmp_path / "p.jsonl", 20)
    program = Program(folder=tmp_path, variables=sandbox.variables)
    secret = redis.replace("redis://", "redis://default:hush@")  # a server without one takes any
    program.run("run", "p.jsonl", *FLAGS, "--limit", "2", "--shared-limits", secret)
    done = program.run("resume", "p.results.jsonl", "--no-stdout")
    assert (done.returncode, b"password is not in the journal" in done.stderr) == (2, True)
    assert b"hush" not in (tmp_path / "p.results.jsonl.journal").read_bytes()
