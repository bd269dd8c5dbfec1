"""Bad input: an exit code, where it is, what to do, and never a traceback."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.program import Program

pytestmark = pytest.mark.whole

GOOD = '{"prompt": "hi"}'
BAD_LINES = {
    "not JSON": (b'{"prompt": ', b"not JSON"),
    "a wrong type": (b'{"prompt": 7}', b"prompt must be a text"),
    "an unknown key": (b'{"promt": "hi"}', b"prompt"),
    "missing messages": (b'{"model": "claude-haiku-5-5"}', b"messages"),
    "a bad role": (b'{"messages": [{"role": "robot", "content": "hi"}]}', b"robot"),
    "max_tokens 0": (b'{"prompt": "hi", "max_tokens": 0}', b"max_tokens"),
    "negative max_tokens": (b'{"prompt": "hi", "max_tokens": -5}', b"negative"),
    "max_tokens as text": (b'{"prompt": "hi", "max_tokens": "5"}', b"whole number"),
    "an empty id": (b'{"prompt": "hi", "custom_id": ""}', b"empty"),
    "an over-long id": (b'{"prompt": "hi", "custom_id": "' + b"x" * 257 + b'"}', b"256"),
    "invalid UTF-8": (b'{"prompt": "\xff"}', b"UTF-8"),
    "NUL bytes": (b"\0\0\0", b"NUL"),
    "a line of 40 MB": (b'{"prompt": "LONG"}', b"32 MB"),
    "stream": (b'{"prompt": "hi", "stream": true}', b"stream"),
}


@pytest.mark.parametrize("bad", BAD_LINES)
def test_a_bad_line_is_named_and_nothing_is_sent(tmp_path: Path, bad: str) -> None:
    raw, said = BAD_LINES[bad]
    raw = raw.replace(b"LONG", b"x" * 40_000_000)
    (tmp_path / "p.jsonl").write_bytes(GOOD.encode() + b"\n" + raw + b"\n")
    refused = Program(folder=tmp_path).run("run", "p.jsonl", "--sandbox", "--no-stdout")
    assert refused.returncode == 2, refused.stderr.decode()
    assert b"p.jsonl:2: " in refused.stderr
    assert said in refused.stderr
    assert b"Traceback" not in refused.stderr
    assert not list(tmp_path.glob("*.results.jsonl"))


def test_a_duplicate_id_names_both_lines(tmp_path: Path) -> None:
    line = '{"prompt": "hi", "custom_id": "a"}\n'
    (tmp_path / "p.jsonl").write_text(line + f"{GOOD}\n" + line)
    refused = Program(folder=tmp_path).run("check", "p.jsonl")
    assert refused.returncode == 2
    assert b"p.jsonl:3: " in refused.stderr
    assert b"line 1" in refused.stderr


def test_skip_invalid_sends_the_rest_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(f"{GOOD}\nnonsense\n{GOOD}\n")
    done = Program(folder=tmp_path).run("run", "p.jsonl", "--sandbox", "--skip-invalid")
    assert done.returncode == 3, done.stderr.decode()
    assert len(done.stdout.splitlines()) == 2
    left_out = (tmp_path / "p.sandbox.results.jsonl.invalid.jsonl").read_text().splitlines()
    assert [json.loads(line)["line"] for line in left_out] == [2]


NO_UTF_8 = os.fsdecode(b"\xe9")

COMMANDS = {
    "a missing file": (["run", "none.jsonl"], b"no such file"),
    "a folder": (["run", "folder"], b"folder"),
    "a port out of range": (["run", "p.jsonl", "--metrics-port", "99999"], b"--metrics-port 9464"),
    "an empty file": (["run", "empty.jsonl", "--sandbox"], b"no prompts"),
    "a bad flag value": (["run", "p.jsonl", "--rpm", "many"], b"--rpm"),
    "a flag out of range": (["run", "p.jsonl", "--share", "2"], b"--share"),
    "an unknown flag": (["run", "p.jsonl", "--modle", "x"], b"--model"),
    "an unknown command": (["rnu", "p.jsonl"], b"run"),
    "a bad TOML key": (["run", "p.jsonl", "--config", "bad.toml"], b"max_tokens"),
    "no TOML": (["run", "p.jsonl", "--config", "no.toml"], b"no.toml"),
    "a missing settings file": (["run", "p.jsonl", "--config", "gone.toml"], b"gone.toml"),
    "a bad scenario": (["run", "p.jsonl", "--scenario", "bad.toml"], b"bad.toml"),
    "stdin without --out": (["run", "-"], b"--out"),
    "prompts as results": (["run", "p.jsonl", "-o", "p.jsonl"], b"both prompts and results"),
    "a name that is not UTF-8": (["run", os.fsdecode(b"\xe9.jsonl")], b"xe9.jsonl: the name is"),
    "a text that is not UTF-8": (["run", "p.jsonl", "--system", NO_UTF_8], b"must be UTF-8"),
    "results not in UTF-8": (["run", "p.jsonl", "-o", NO_UTF_8], b"the name is not"),
    "resume with another system prompt": (
        ["resume", "--system", "x"],
        b"cannot change after a run was started",
    ),
    "resume from the start": (["resume", "--fresh"], b"run PROMPTS --fresh"),
    "no results file": (["results", "none.jsonl"], b"no such results file"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_bad_command_says_what_to_change(tmp_path: Path, case: str) -> None:
    arguments, said = COMMANDS[case]
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "p.jsonl").write_text(GOOD + "\n")
    (tmp_path / "bad.toml").write_text("[defaults]\nmax_token = 5\n")
    (tmp_path / "no.toml").write_text("[defaults\n")
    refused = Program(folder=tmp_path).run(*arguments)
    assert refused.returncode == 2, refused.stderr.decode()
    assert said in refused.stderr
    assert b"Traceback" not in refused.stderr


def test_what_is_refused_at_once_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(GOOD + "\n")
    Program(folder=tmp_path).run("run", "p.jsonl", "-o", "p.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["p.jsonl"]


def test_resume_of_what_was_moved_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "p.jsonl").write_text('"Say one."\n"Say two."\n')
    command = ("run", "p.jsonl", "--sandbox", "--no-stdout", "--limit", "1")
    Program(folder=tmp_path / "old").run(*command)
    (tmp_path / "old").rename(tmp_path / "new")
    refused = Program(folder=tmp_path / "new").run("resume", "p.sandbox.results.jsonl")
    assert refused.returncode == 2
    assert b"run PROMPTS --out" in refused.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_prompts_without_permission_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(GOOD + "\n")
    path.chmod(0)
    refused = Program(folder=tmp_path).run("run", "p.jsonl")
    assert refused.returncode == 2
    assert b"permission" in refused.stderr


CHANGES = {
    "changed prompts": (["run", "p.jsonl", "--sandbox"], "changed"),
    "another model": (["run", "p.jsonl", "--sandbox", "--model", "claude-opus-5"], "--model"),
    "the real API": (["run", "p.jsonl", "-o", "p.sandbox.results.jsonl"], "sandbox"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_run_that_does_not_fit_its_results_is_refused(tmp_path: Path, case: str) -> None:
    arguments, said = CHANGES[case]
    program = Program(folder=tmp_path)
    (tmp_path / "p.jsonl").write_text(GOOD + "\n")
    assert program.run("run", "p.jsonl", "--sandbox").returncode == 0
    if case == "changed prompts":
        (tmp_path / "p.jsonl").write_text(GOOD + "\n" + GOOD + "\n")
        said = "other prompts"
    refused = program.run(*arguments)
    assert refused.returncode == 5, refused.stderr.decode()
    assert said.encode() in refused.stderr
    assert b"--fresh" in refused.stderr


def test_fresh_sets_the_old_run_aside(tmp_path: Path) -> None:
    program = Program(folder=tmp_path)
    (tmp_path / "p.jsonl").write_text(GOOD + "\n")
    program.run("run", "p.jsonl", "--sandbox")
    (tmp_path / "p.jsonl").write_text(GOOD + "\n" + GOOD + "\n")
    fresh = program.run("run", "p.jsonl", "--sandbox", "--fresh")
    assert fresh.returncode == 0, fresh.stderr.decode()
    assert len(fresh.stdout.splitlines()) == 2
    assert len(list(tmp_path.glob("p.sandbox.results.jsonl.2*"))) == 1
