"""A local model for the simple prompts and Claude for the rest: nothing goes astray."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.chat_server import ChatServer, chat_server
from tests.support.killing import write_prompts
from tests.support.program import Program, Served, served

pytestmark = pytest.mark.whole

HAIKU = "claude-haiku-5-5"
LONG = "Say what this is about, in a sentence or two, and why it matters to us. " * 8
ROUTE = '[[route]]\nwhen = { max_input_tokens = 30 }\nmodel = "qwen3"\n'
COUNT = 40
QUICK = """
[latency]
base_s = 0.05
per_output_token_s = 0.0
[batches]
duration_s = 0.5
"""


@pytest.fixture
def claude(tmp_path: Path) -> Iterator[Served]:
    prompts = [
        {"custom_id": f"{kind}-{number}", "prompt": f"{number}: {text}"}
        for number in range(COUNT)
        for kind, text in (("short", "Is this spam?"), ("long", LONG))
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(each) + "\n" for each in prompts))
    with served(tmp_path, QUICK) as sandbox:
        yield sandbox


@pytest.fixture
def local() -> Iterator[ChatServer]:
    with chat_server() as server:
        yield server


def run(folder: Path, claude: Served, local: ChatServer, said: str, *more: str) -> Any:
    """Run the prompts with both endpoints, of which `said` says more about the local one."""
    settings = f"""
[[endpoint]]
name = "claude"
base_url = "{claude.url}"
api_key_env = "ANTHROPIC_API_KEY"
[[endpoint]]
name = "local"
provider = "openai"
base_url = "{local.url}"
{said}
"""
    (folder / "claude-batch.toml").write_text(settings)
    program = Program(folder=folder, variables={"ANTHROPIC_API_KEY": "sandbox-key"})
    return program.run("run", "p.jsonl", "--no-stdout", *(more or ("--progress", "plain")))


def results(folder: Path) -> dict[str, dict[str, Any]]:
    lines = map(json.loads, (folder / "p.results.jsonl").read_text().splitlines())
    return {line["custom_id"]: line for line in lines}


def where(folder: Path) -> Counter[tuple[str, str, str]]:
    """Count results by kind of prompt, endpoint and model."""
    return Counter(
        (name.partition("-")[0], line["meta"]["endpoint"], line["result"]["message"]["model"])
        for name, line in results(folder).items()
    )


RIGHT = {("short", "local", "qwen3"): COUNT, ("long", "claude", HAIKU): COUNT}


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_each_prompt_goes_to_its_model_and_nothing_astray(
    tmp_path: Path, claude: Served, local: ChatServer, mode: str
) -> None:
    done = run(tmp_path, claude, local, f'models = ["qwen3"]\n{ROUTE}', "--mode", mode)
    assert done.returncode == 0, done.stderr.decode()
    assert where(tmp_path) == RIGHT
    assert local.asked == {"qwen3": COUNT}
    assert claude.stats()["by_status"].get("404", 0) == 0


def test_the_list_of_a_server_says_what_it_serves(tmp_path: Path, claude: Served) -> None:
    with chat_server(["qwen3", HAIKU]) as local:
        done = run(tmp_path, claude, local, ROUTE)
        asked = local.asked
    assert done.returncode == 0, done.stderr.decode()
    assert where(tmp_path) == RIGHT
    assert asked == {"qwen3": COUNT}


def test_the_price_of_a_local_answer_is_not_that_of_claude(
    tmp_path: Path, claude: Served, local: ChatServer
) -> None:
    run(tmp_path, claude, local, f'models = ["qwen3"]\n{ROUTE}')
    costs = {name: line["meta"]["cost_usd"] for name, line in results(tmp_path).items()}
    assert costs["short-0"] is None
    assert costs["long-0"] > 0


def test_a_model_that_nobody_serves_is_named_before_anything_is_sent(
    tmp_path: Path, claude: Served
) -> None:
    with chat_server(None) as local:
        done = run(tmp_path, claude, local, ROUTE)
        asked = local.asked
    said = " ".join(done.stderr.decode().split())
    assert done.returncode == 2
    assert "no endpoint serves the model qwen3" in said
    assert "endpoint local has no list: status 404" in said
    assert 'models = ["qwen3"], or serves_any = true' in said
    assert asked == {}
    assert claude.stats()["by_status"] == {}


def test_a_fallback_that_could_never_serve_is_named_at_the_start(
    tmp_path: Path, claude: Served, local: ChatServer
) -> None:
    done = run(tmp_path, claude, local, 'models = ["qwen3"]\nrole = "fallback"\n')
    said = " ".join(done.stderr.decode().split())
    assert done.returncode == 0
    assert "the fallback local will never be used: it serves qwen3" in said
    assert f'models = {{ "{HAIKU}" = "..." }}' in said


DOWN_AT_FIRST = """
[latency]
base_s = 0.05
per_output_token_s = 0.0
[[outage]]
status = 529
until_s = 2.5
"""


def test_a_fallback_is_announced_when_it_takes_over_and_when_it_is_not_needed_any_more(
    tmp_path: Path,
) -> None:
    write_prompts(tmp_path / "p.jsonl", 800)  # about 350 of them during the outage, at most
    stand_in = f'role = "fallback"\nmodels = {{ "{HAIKU}" = "qwen3" }}\n'
    pool = '[pool]\nfallback_after = "1s"\n'
    with served(tmp_path, DOWN_AT_FIRST) as claude, chat_server(takes_s=0.1) as local:
        flags = ("--progress", "json", "--concurrency", "10")
        done = run(tmp_path, claude, local, stand_in + pool, *flags)
        asked = local.asked
    said = done.stderr.decode()
    assert done.returncode == 0, said
    assert set(asked) == {"qwen3"}
    assert "the fallback local takes over (overloaded_error: Overloaded)" in said
    assert "answer again: the fallback local is not needed now" in said
    by_endpoint = {line["meta"]["endpoint"]: line["meta"] for line in results(tmp_path).values()}
    assert by_endpoint["local"]["cost_usd"] is None
    assert by_endpoint["claude"]["cost_usd"] > 0


def test_a_fallback_is_asked_though_it_waits_as_long_as_the_patience(
    tmp_path: Path, local: ChatServer
) -> None:
    write_prompts(tmp_path / "p.jsonl", 20)
    stand_in = f'role = "fallback"\nmodels = {{ "{HAIKU}" = "qwen3" }}\n'
    pool = '[pool]\nfallback_after = "4s"\n'
    with served(tmp_path, "[[outage]]\nstatus = 529\n") as claude:
        done = run(tmp_path, claude, local, stand_in + pool, "--patience", "4s")
    assert done.returncode == 0, done.stderr.decode()
    assert local.asked["qwen3"] == 20


def test_one_that_serves_anything_is_asked_for_anything(
    tmp_path: Path, claude: Served, local: ChatServer
) -> None:
    done = run(tmp_path, claude, local, "serves_any = true\n")
    assert done.returncode == 0, done.stderr.decode()
    assert local.asked[HAIKU] > 0
