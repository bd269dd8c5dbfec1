"""What a new user gets wrong, and what they are told: each once found by trying."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.program import Program

pytestmark = pytest.mark.whole

PROMPT = '{"custom_id": "a", "prompt": "hi"}\n'
RESULT = (
    '{"custom_id":"a","result":{"type":"succeeded","message":{"content":[]}},"meta":{"line":1}}\n'
)
KEY = "sk-ant-not-a-name"


@pytest.fixture
def program(tmp_path: Path) -> Program:
    (tmp_path / "p.jsonl").write_text(PROMPT)
    (tmp_path / "p.results.jsonl").write_text(RESULT)
    (tmp_path / "tables").mkdir()
    (tmp_path / "key.toml").write_text(f'[[endpoint]]\napi_key_env = "{KEY}"\n')
    (tmp_path / "table.toml").write_text('[endpoint]\nname = "a"\n')
    return Program(folder=tmp_path)


WRONG = {
    "a flag mistyped": (["run", "p.jsonl", "--modle", "x"], "did you mean --model or --mode?"),
    "no prompts named": (["run"], "missing argument"),
    "a number that is none": (["run", "p.jsonl", "--rpm", "abc"], "must be a number"),
    "a time without its unit": (["run", "p.jsonl", "--patience", "5"], "90s, 5m, 2h or 1d"),
    "a format that there is not": (
        ["results", "p.results.jsonl", "--format", "csv"],
        "one of 'full', 'text'",
    ),
    "a key for a name": (["check", "p.jsonl", "--config", "key.toml"], "NAME of an environment"),
    "single brackets": (["check", "p.jsonl", "--config", "table.toml"], "double brackets"),
    "prompts for results": (["results", "p.jsonl"], "did you mean p.results.jsonl?"),
    "a results file mistyped": (["results", "p.result.jsonl"], "did you mean p.results.jsonl?"),
    "stdin by its path": (["run", "/dev/stdin", "--sandbox"], "--out"),
    "a folder that is not there": (["run", "p.jsonl", "-o", "no/r.jsonl"], "there is no folder"),
    "a table's folder that is not there": (
        ["results", "p.results.jsonl", "-o", "tabels/t.csv"],
        "/tables?",
    ),
    "a folder of result lines": (["results", "p.results.jsonl", "-o", "no/r.jsonl"], "mkdir -p no"),
    "a report's folder": (["report", "p.results.jsonl", "-o", "no/r.html"], "mkdir -p no"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_mistyped_is_named_with_its_remedy(program: Program, case: str) -> None:
    arguments, said = WRONG[case]
    refused = program.run(*arguments)
    told = refused.stderr.decode()
    assert refused.returncode == 2, told
    assert told.startswith("error: ")
    assert "\n  next: " in told
    assert said in told
    assert KEY not in told


VARIABLES = {
    "CLAUDE_BATCH_RPM": ("abc", "must be a number"),
    "CLAUDE_BATCH_MAXCOST": ("5", "CLAUDE_BATCH_MAX_COST"),
    "ANTHROPIC_BASE_URL": ("localhost:1", "http://"),
}


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_that_cannot_be_followed_is_named(program: Program, name: str) -> None:
    value, said = VARIABLES[name]
    variables = {"ANTHROPIC_API_KEY": "key", name: value}
    refused = Program(folder=program.folder, variables=variables).run(
        "run", "p.jsonl", "-o", "r.jsonl"
    )
    assert refused.returncode == 2
    assert name in refused.stderr.decode()
    assert said in refused.stderr.decode()


def test_a_model_that_is_likely_mistyped_is_warned_of(program: Program) -> None:
    done = program.run("check", "p.jsonl", "--model", "claude-haiku-5.5")
    assert "did you mean claude-haiku-5-5?" in done.stdout.decode()


@pytest.mark.parametrize("command", ["check", "estimate"])
def test_prompts_may_come_through_a_pipe(program: Program, command: str) -> None:
    done = program.run(command, "-", "--json", stdin=PROMPT.encode())
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["requests"] == 1


def test_results_are_never_printed_into_themselves(program: Program) -> None:
    refused = program.shell("claude-batch results p.results.jsonl >> p.results.jsonl")
    assert refused.returncode == 2
    assert (program.folder / "p.results.jsonl").read_text() == RESULT


@pytest.mark.parametrize("command", ["models", "results p.results.jsonl", "check p.jsonl"])
def test_a_full_disk_behind_stdout_is_no_bug_of_ours(program: Program, command: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    refused = program.shell(f"claude-batch {command} > /dev/full")
    assert refused.returncode == 5, refused.stderr.decode()
    assert b"No space left" in refused.stderr


def test_a_closed_stdout_takes_no_results_into_a_file_of_the_run(program: Program) -> None:
    done = program.shell("claude-batch run p.jsonl --sandbox >&-", fresh=True)
    assert done.returncode == 0, done.stderr.decode()
    results = program.folder / "p.sandbox.results.jsonl"
    assert len(results.read_text().splitlines()) == 1
    assert (program.folder / "p.sandbox.results.jsonl.lock").stat().st_size < 20


def test_resume_passes_over_a_run_that_was_cut_off_after_its_last_result(program: Program) -> None:
    program.run("run", "p.jsonl", "--sandbox")
    journal = program.folder / "p.sandbox.results.jsonl.journal"
    kept = [line for line in journal.read_text().splitlines(keepends=True) if "closed" not in line]
    journal.write_text("".join(kept))
    refused = program.run("resume")
    assert refused.returncode == 2
    assert b"no unfinished run" in refused.stderr


def test_what_did_not_succeed_can_be_looked_at_with_the_command_that_is_told(
    program: Program,
) -> None:
    order = ["run", "p.jsonl", "--sandbox", "--model", "no-such-model", "-o", "r s.jsonl"]
    told = program.run(*order, "--allow-unknown-model").stderr.decode()
    look = next(line for line in told.splitlines() if line.startswith("inspect"))
    shown = program.shell(look.removeprefix("inspect").strip())
    assert json.loads(shown.stdout)["result"]["type"] == "errored"
