"""stdout: result lines and nothing else, in full after an interruption, quiet when nobody reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.killing import QUICK, write_prompts
from tests.support.program import Program, served

pytestmark = pytest.mark.whole


def test_a_reader_that_leaves_ends_the_run_quietly(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 3_000)
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        piped = program.shell(
            "claude-batch run p.jsonl --rpm 3000 --format text --quiet"
            " | jq --unbuffered -r .text | head -3; echo ${PIPESTATUS[0]} >code"
        )
    assert len(piped.stdout.splitlines()) == 3
    assert piped.stderr == b""
    assert (tmp_path / "code").read_text().strip() == "141"


def test_a_pipeline_repeated_yields_the_whole_run(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 30)
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        program.shell("claude-batch run p.jsonl | head -1")
        again = program.run("run", "p.jsonl")
        finished = program.run("run", "p.jsonl")
    for each in (again, finished):
        assert each.returncode == 0, each.stderr.decode()
        ids = [json.loads(line)["custom_id"] for line in each.stdout.splitlines()]
        assert sorted(ids) == sorted(f"p{number}" for number in range(30))


def test_new_only_yields_just_the_rest(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 20)
    results = tmp_path / "p.results.jsonl"
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        program.run("run", "p.jsonl")
        results.write_bytes(b"".join(results.read_bytes().splitlines(keepends=True)[:15]))
        rest = program.run("run", "p.jsonl", "--new-only")
    assert len(rest.stdout.splitlines()) == 5


def test_prompts_from_stdin_can_be_resumed(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 20)
    results = tmp_path / "r.jsonl"
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        first = program.run("run", "-", "-o", "r.jsonl", stdin=(tmp_path / "p.jsonl").read_bytes())
        results.write_bytes(b"".join(results.read_bytes().splitlines(keepends=True)[:15]))
        second = program.run("resume", "r.jsonl")
    assert first.returncode == 0, first.stderr.decode()
    assert second.returncode == 0, second.stderr.decode()
    assert len(second.stdout.splitlines()) == 20


@pytest.mark.parametrize("target", ["p.jsonl", "p.results.jsonl"])
def test_stdout_into_a_file_of_the_run_is_refused(tmp_path: Path, target: str) -> None:
    write_prompts(tmp_path / "p.jsonl", 2)
    before = (tmp_path / "p.jsonl").read_bytes()
    refused = Program(folder=tmp_path).shell(
        f"claude-batch run p.jsonl --sandbox -o p.results.jsonl >>{target}"
    )
    assert refused.returncode == 2, refused.stderr.decode()
    assert b"stdout is" in refused.stderr
    assert (tmp_path / "p.jsonl").read_bytes() == before


def test_a_full_stdout_is_told(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 3)
    full = Program(folder=tmp_path).shell("claude-batch run p.jsonl --sandbox >/dev/full")
    assert full.returncode == 5, full.stderr.decode()
    assert b"stdout: No space left" in full.stderr
