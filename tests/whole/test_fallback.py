"""Servers that we have not written: they stand in for the API while it is down, or are the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.doors import by_endpoint, read_results, write_settings
from tests.support.killing import write_prompts
from tests.support.llmock_server import Llmock, llmock_server
from tests.support.program import Program, served
from tests.support.redis_server import free_port

pytestmark = [pytest.mark.services, pytest.mark.whole]

KEYS = {"KEY_MAIN": "key-main", "KEY_LOCAL": "key-local"}
LOCAL_NAME = "qwen3"
MAPPED = {"claude-haiku-5-5": LOCAL_NAME}

UP = """
[latency]
base_s = 0.1
per_output_token_s = 0.0
"""
DOWN = f"{UP}[[outage]]\nstatus = 529\n"
DOWN_AT_FIRST = f"{DOWN}until_s = 5\n"


@pytest.fixture
def llmock(request: pytest.FixtureRequest) -> Iterator[Llmock]:
    flags = getattr(request, "param", ())
    with llmock_server(*flags) as server:
        yield server


def local(llmock: Llmock, *, provider: str = "anthropic", **more: object) -> dict[str, object]:
    """Return an endpoint that speaks with llmock."""
    url = llmock.openai if provider == "openai" else llmock.anthropic
    told = {"name": "local", "provider": provider, "base_url": url, "api_key_env": "KEY_LOCAL"}
    return {**told, "models": MAPPED, **more}


def main(url: str) -> dict[str, object]:
    """Return an endpoint of first choice."""
    return {"name": "main", "base_url": url, "api_key_env": "KEY_MAIN"}


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_a_fallback_answers_for_an_api_that_is_down_and_its_results_can_be_asked_for_again(
    tmp_path: Path, llmock: Llmock, provider: str
) -> None:
    write_prompts(tmp_path / "p.jsonl", 200)
    results = tmp_path / "p.results.jsonl"
    program = Program(folder=tmp_path, variables=KEYS)
    stand_in = local(llmock, provider=provider, role="fallback")
    with served(tmp_path, DOWN) as sandbox:
        write_settings(tmp_path, main(sandbox.url), stand_in, fallback_after="1s")
        first = program.run("run", "p.jsonl", "--no-stdout", "--progress", "plain")
        stood_in = read_results(results)
        status = json.loads(program.run("status", str(results), "--json").stdout)
    with served(tmp_path, UP) as sandbox:
        write_settings(tmp_path, main(sandbox.url), stand_in, fallback_after="1s")
        again = program.run("resume", "--retry-degraded", str(results), "--no-stdout")
        answered = read_results(results)
        stats = sandbox.stats()
    kept = (tmp_path / "p.results.jsonl.retried").read_bytes().splitlines()
    assert first.returncode == 0, first.stderr.decode()
    assert {(line.endpoint, line.degraded, line.type) for line in stood_in} == {
        ("local", True, "succeeded")
    }
    assert {json.loads(line.message)["model"] for line in stood_in} == {LOCAL_NAME}
    assert status["degraded"] == len(stood_in) == len(kept) == 200
    assert b"a fallback answered 200" in first.stderr
    assert b"claude-batch resume --retry-degraded p.results.jsonl" in first.stderr
    assert again.returncode == 0, again.stderr.decode()
    assert {(line.endpoint, line.degraded) for line in answered} == {("main", False)}
    assert len({line.custom_id for line in answered}) == len(answered) == 200
    assert stats["succeeded_twice"] == 0


@pytest.mark.parametrize("llmock", [("--latency-ms", "200")], indirect=True)
def test_requests_go_back_to_the_api_as_soon_as_it_answers_again(
    tmp_path: Path, llmock: Llmock
) -> None:
    write_prompts(tmp_path / "p.jsonl", 600)
    with served(tmp_path, DOWN_AT_FIRST) as sandbox:
        write_settings(
            tmp_path, main(sandbox.url), local(llmock, role="fallback"), fallback_after="1s"
        )
        program = Program(folder=tmp_path, variables=KEYS)
        done = program.run("run", "p.jsonl", "--no-stdout", "--concurrency", "10")
        stats = sandbox.stats()
    lines = read_results(tmp_path / "p.results.jsonl")
    assert done.returncode == 0, done.stderr.decode()
    assert len({line.custom_id for line in lines}) == len(lines) == 600
    assert by_endpoint(lines)["local"] > 0
    assert by_endpoint(lines[-100:]) == {"main": 100}
    assert stats["succeeded_twice"] == 0


def test_a_fallback_answers_where_nobody_listens(tmp_path: Path, llmock: Llmock) -> None:
    write_prompts(tmp_path / "p.jsonl", 50)
    nobody = f"http://127.0.0.1:{free_port()}"
    write_settings(tmp_path, main(nobody), local(llmock, role="fallback"), fallback_after="1s")
    program = Program(folder=tmp_path, variables=KEYS)
    done = program.run("run", "p.jsonl", "--no-stdout")
    lines = read_results(tmp_path / "p.results.jsonl")
    assert done.returncode == 0, done.stderr.decode()
    assert [line.degraded for line in lines] == [True] * 50


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
@pytest.mark.parametrize(
    "llmock",
    [("--error-rate", "500=0.1", "--error-rate", "503=0.1", "--error-rate", "408=0.1")],
    indirect=True,
    ids=["30 % errors"],
)
def test_a_server_that_judges_its_clients_finds_no_fault_with_us(
    tmp_path: Path, llmock: Llmock, provider: str
) -> None:
    write_prompts(tmp_path / "p.jsonl", 300)
    write_settings(tmp_path, local(llmock, provider=provider))
    program = Program(folder=tmp_path, variables=KEYS)
    done = program.run("run", "p.jsonl", "--no-stdout", "--max-attempts", "30")
    lines = read_results(tmp_path / "p.results.jsonl")
    verdict = llmock.verdict()
    assert done.returncode == 0, done.stderr.decode()
    assert {line.type for line in lines} == {"succeeded"}
    assert verdict["errors"] == 0, verdict["findings"]
    assert verdict["faults_injected"] > 50
    assert len(llmock.requests()) == 300 + verdict["faults_injected"]


@pytest.mark.parametrize(
    ("provider", "most_refused"),
    # The one names its limits. The other's are found out: 40 refusals as a rule, more where the
    # machine is slow; without a limit each request would be refused several times.
    [("anthropic", 10), ("openai", 150)],
    ids=["told", "found out"],
)
@pytest.mark.parametrize("llmock", [("--rpm", "120")], indirect=True, ids=["120 a minute"])
def test_limits_of_a_server_that_we_have_not_written_are_kept(
    tmp_path: Path, llmock: Llmock, provider: str, most_refused: int
) -> None:
    write_prompts(tmp_path / "p.jsonl", 150)
    write_settings(tmp_path, local(llmock, provider=provider))
    program = Program(folder=tmp_path, variables=KEYS)
    done = program.run("run", "p.jsonl", "--no-stdout")
    verdict = llmock.verdict()
    assert done.returncode == 0, done.stderr.decode()
    assert verdict["findings"] == []
    assert len(llmock.requests()) == 150 + verdict["faults_injected"]
    assert verdict["faults_injected"] <= most_refused


def test_an_openai_compatible_server_is_told_everything_and_its_answer_is_a_message(
    tmp_path: Path, llmock: Llmock
) -> None:
    prompt = {
        "custom_id": "one",
        "model": "claude-haiku-5-5",
        "max_tokens": 77,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Say hello."}],
    }
    (tmp_path / "p.jsonl").write_text(json.dumps(prompt) + "\n")
    write_settings(tmp_path, local(llmock, provider="openai"))
    program = Program(folder=tmp_path, variables=KEYS)
    done = program.run("run", "p.jsonl", "--stdout", "--progress", "none")
    message = json.loads(done.stdout)["result"]["message"]
    (request,) = llmock.requests()
    assert done.returncode == 0, done.stderr.decode()
    assert (message["type"], message["role"], message["stop_reason"]) == (
        *("message", "assistant", "end_turn"),
    )
    assert message["content"][0]["type"] == "text"
    assert message["content"][0]["text"]
    assert message["usage"]["output_tokens"] > 0
    assert (request["provider"], request["model"]) == ("openai", LOCAL_NAME)
