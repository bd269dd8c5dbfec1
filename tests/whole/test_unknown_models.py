"""A wrong model costs nothing: it is asked about before anything is sent."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.support.odd_relay import Relay, odd_relay
from tests.support.program import ENOUGH_S, Program, environment

pytestmark = pytest.mark.whole

RUN = ("run", "p.jsonl", "--no-stdout", "--progress", "none")
LOCAL = """
[[endpoint]]
name = "local"
provider = "openai"
base_url = "http://{host}/v1"
{models}
"""


def write_prompts(folder: Path, *models: str | None) -> None:
    lines = [{"prompt": "hi", **({"model": each} if each else {})} for each in models]
    (folder / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def at(relay: Relay, folder: Path) -> Program:
    variables = {"ANTHROPIC_BASE_URL": f"http://{relay.host}", "ANTHROPIC_API_KEY": "key"}
    return Program(folder=folder, variables=variables)


@pytest.mark.parametrize("options", [("--model", "haiku"), ("--model", "haiku", "--yes"), ()])
def test_nothing_is_sent_to_a_model_that_nobody_knows(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    in_a_line = None if options else "haiku"
    write_prompts(tmp_path, None, None, in_a_line)
    with odd_relay(models=["claude-haiku-5-5"]) as relay:
        refused = at(relay, tmp_path).run(*RUN, *options)
    said = refused.stderr.decode()
    assert refused.returncode == 2
    assert relay.heard == []
    assert "the model haiku is not known: it is not in the catalog, and the endpoint" in said
    assert f"did you mean {'--model ' if options else ''}claude-haiku-5-5?" in said
    assert "--allow-unknown-model" in said
    assert not list(tmp_path.glob("*.journal"))


def test_a_model_is_used_where_it_is_allowed_and_not_asked_about_again(tmp_path: Path) -> None:
    write_prompts(tmp_path, *(["haiku"] * 4))
    with odd_relay() as relay:
        program = at(relay, tmp_path)
        refused = program.run(*RUN)
        first = program.run(*RUN, "--allow-unknown-model", "--limit", "2")
        rest = program.run("resume", "p.results.jsonl", "--no-stdout", "--progress", "none")
    assert b"endpoint default has no list: status 404" in refused.stderr
    assert (refused.returncode, first.returncode) == (2, 6), first.stderr.decode()
    assert rest.returncode == 0, rest.stderr.decode()
    assert len(relay.heard) == 4


@pytest.mark.parametrize("known", ["listed", "mapped"])
def test_models_that_an_endpoint_lists_or_is_said_to_have_are_not_asked_about(
    tmp_path: Path, known: str
) -> None:
    write_prompts(tmp_path, "qwen3", "qwen3")
    with odd_relay(models=["qwen3:latest"] if known == "listed" else ()) as relay:
        models = 'models = { "qwen3" = "qwen3:8b" }' if known == "mapped" else ""
        (tmp_path / "claude-batch.toml").write_text(LOCAL.format(host=relay.host, models=models))
        done = Program(folder=tmp_path).run(*RUN)
    assert done.returncode == 0, done.stderr.decode()
    assert len(relay.heard) == 2


def test_without_an_answer_of_the_endpoint_a_model_is_not_known(tmp_path: Path) -> None:
    write_prompts(tmp_path, "haiku")
    with odd_relay() as relay:
        pass
    refused = at(relay, tmp_path).run(*RUN)
    assert refused.returncode == 2
    assert b"has no list: connection refused by 127.0.0.1" in refused.stderr


@pytest.mark.parametrize(("answer", "code", "sent"), [("n", 2, 0), ("y", 0, 1)])
def test_on_a_terminal_the_user_is_asked(tmp_path: Path, answer: str, code: int, sent: int) -> None:
    write_prompts(tmp_path, "haiku")
    ours, theirs = pty.openpty()
    with odd_relay() as relay:
        program = at(relay, tmp_path)
        asking = subprocess.Popen(
            program.command(RUN),
            cwd=tmp_path,
            env=environment(tmp_path, **program.variables),
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
        )
        os.close(theirs)
        said = ""
        while "[y/N]" not in said:
            said += os.read(ours, 10_000).decode()
        os.write(ours, f"{answer}\n".encode())
        try:
            while more := os.read(ours, 10_000):  # else it would wait for a full terminal
                said += more.decode()
        except OSError:  # the other end is closed
            pass
        asking.wait(ENOUGH_S)
    os.close(ours)
    assert asking.returncode == code, said
    words = " ".join(said.split())
    assert "Did you mean claude-haiku-5-5? Use haiku all the same? [y/N]" in words
    assert len(relay.heard) == sent
