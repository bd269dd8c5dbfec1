"""[[route]] in a whole run: lines go where the rules say, and resume says so, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.program import Program, served

pytestmark = pytest.mark.whole

HAIKU, OPUS = "claude-haiku-5-5", "claude-opus-5-5"
RULES = f"""
[[route]]
name = "short ones"
when = {{ max_input_tokens = 60 }}
model = "{HAIKU}"

[[route]]
name = "law"
when = {{ meta.kind = "law" }}
model = "{OPUS}"
max_tokens = 50
"""
OTHER_RULES = RULES.replace("60", "61")
LONG = "Say what this is about. " * 40
PROMPTS: list[Any] = [
    {"custom_id": "short", "prompt": "Hello?"},
    {"custom_id": "long", "prompt": LONG, "model": "claude-sonnet-5"},
    {"custom_id": "law", "prompt": LONG, "meta": {"kind": "law"}},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with prompts and rules."""
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(each) + "\n" for each in PROMPTS))
    (tmp_path / "claude-batch.toml").write_text(RULES)
    return tmp_path


def models(folder: Path) -> dict[str, str]:
    """Return the model that answered each line."""
    lines = map(json.loads, (folder / "p.results.jsonl").read_text().splitlines())
    return {line["custom_id"]: line["result"]["message"]["model"] for line in lines}


WENT = {"short": HAIKU, "long": "claude-sonnet-5", "law": OPUS}


def test_each_line_goes_where_the_rules_say(folder: Path) -> None:
    with served(folder) as sandbox:
        program = Program(folder=folder, variables=sandbox.variables)
        done = program.run("run", "p.jsonl", "--no-stdout")
    assert done.returncode == 0, done.stderr.decode()
    assert models(folder) == WENT


def test_the_screen_tells_what_went_where(folder: Path) -> None:
    with served(folder) as sandbox:
        program = Program(folder=folder, variables=sandbox.variables)
        done = program.run("run", "p.jsonl", "--no-stdout")
    text = " ".join(done.stderr.decode().split())
    assert f"1 to {HAIKU} (short ones)" in text
    assert f"1 to {OPUS} (law)" in text
    assert "1 kept" in text


def test_other_rules_are_another_run(folder: Path) -> None:
    with served(folder) as sandbox:
        program = Program(folder=folder, variables=sandbox.variables)
        program.run("run", "p.jsonl", "--no-stdout")
        (folder / "claude-batch.toml").write_text(OTHER_RULES)
        again = program.run("run", "p.jsonl", "--no-stdout")
    assert again.returncode == 5
    assert b"other [[route]] rules" in again.stderr


def test_resume_follows_the_rules_that_the_run_began_with(folder: Path) -> None:
    results = folder / "p.results.jsonl"
    with served(folder) as sandbox:
        program = Program(folder=folder, variables=sandbox.variables)
        program.run("run", "p.jsonl", "--no-stdout")
        results.write_bytes(b"")  # as if all of it had to be done again
        (folder / "claude-batch.toml").write_text(OTHER_RULES.replace(OPUS, HAIKU))
        again = program.run("resume", "p.results.jsonl", "--no-stdout")
    assert again.returncode == 0, again.stderr.decode()
    assert models(folder) == WENT


def test_a_rule_that_cannot_be_followed_is_named(folder: Path) -> None:
    (folder / "claude-batch.toml").write_text(RULES.replace("max_tokens", "max_token"))
    done = Program(folder=folder).run("check", "p.jsonl")
    assert done.returncode == 2
    assert b"route 2: there is no setting 'max_token'" in done.stderr
