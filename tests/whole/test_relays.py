"""Relays and gateways: what they lack, how they fail, which header they read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.doors import read_results, write_settings
from tests.support.killing import write_prompts
from tests.support.odd_relay import TROUBLES, Answer, odd_relay
from tests.support.program import Program, served

pytestmark = pytest.mark.whole

VARIABLES = {"RELAY_KEY": "relay-key-0123", "TEAM_TOKEN": "team-0123"}
BARE = Path(__file__).parents[2] / "samples/scenarios/relay.toml"


def a_relay(host: str, **more: object) -> dict[str, object]:
    """Return the endpoint of a relay."""
    url = f"http://{host}"
    return {"name": "relay", "base_url": url, "api_key_env": "RELAY_KEY", **more}


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(folder=tmp_path, variables=VARIABLES)


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_however_a_relay_fails_the_request_is_tried_again(program: Program, provider: str) -> None:
    write_prompts(program.folder / "p.jsonl", 3 * len(TROUBLES))
    with odd_relay(TROUBLES) as relay:
        write_settings(program.folder, a_relay(relay.host, provider=provider))
        done = program.run("run", "p.jsonl", "--no-stdout", "--progress", "plain")
        heard = len(relay.heard)
    lines = read_results(program.folder / "p.results.jsonl")
    assert done.returncode == 0, done.stderr.decode()
    assert len({line.custom_id for line in lines}) == len(lines) == 3 * len(TROUBLES)
    assert heard >= 2 * len(lines)
    assert b"Traceback" not in done.stderr


def test_an_answer_that_does_not_tell_its_usage_is_kept_at_an_unknown_price(
    program: Program,
) -> None:
    message = {"type": "message", "content": [{"type": "text", "text": "Bonjour"}]}
    bare = Answer(200, "application/json", json.dumps(message).encode())
    write_prompts(program.folder / "p.jsonl", 1)
    with odd_relay([bare]) as relay:
        write_settings(program.folder, a_relay(relay.host))
        done = program.run("run", "p.jsonl", "--stdout")
        heard = len(relay.heard)
    line = json.loads(done.stdout)
    assert (done.returncode, heard) == (0, 1), done.stderr.decode()
    assert (line["result"]["message"], line["meta"]["cost_usd"]) == (message, None)


def test_a_refusal_in_another_shape_is_the_result_of_that_request_alone(program: Program) -> None:
    (program.folder / "p.jsonl").write_text('"Hello."\n"refuse this"\n"Hello again."\n')
    with odd_relay() as relay:
        write_settings(program.folder, a_relay(relay.host))
        done = program.run("run", "p.jsonl", "--stdout", "--progress", "none")
    results = {
        line["custom_id"]: line["result"] for line in map(json.loads, done.stdout.splitlines())
    }
    error = results["line-2"]["error"]
    assert done.returncode == 3, done.stderr.decode()
    assert [results[f"line-{number}"]["type"] for number in (1, 2, 3)] == [
        *("succeeded", "errored", "succeeded"),
    ]
    assert error["type"] == "error"
    assert error["error"]["type"] == "invalid_request_error"
    assert "that is not allowed here" in error["error"]["message"]


@pytest.mark.parametrize(
    ("auth", "seen"),
    [
        ("bearer", {"authorization": "Bearer relay-key-0123"}),
        ("x-api-key", {"x-api-key": "relay-key-0123"}),
        ("both", {"authorization": "Bearer relay-key-0123", "x-api-key": "relay-key-0123"}),
    ],
)
def test_the_key_goes_into_the_header_that_the_relay_reads(
    program: Program, auth: str, seen: dict[str, str]
) -> None:
    write_prompts(program.folder / "p.jsonl", 1)
    with odd_relay() as relay:
        write_settings(program.folder, a_relay(relay.host, auth=auth))
        done = program.run("run", "p.jsonl", "--no-stdout")
        (heard,) = relay.heard
    credentials = ("authorization", "x-api-key")
    assert done.returncode == 0, done.stderr.decode()
    assert {name: heard.headers[name] for name in credentials if name in heard.headers} == seen


def test_headers_and_model_names_are_those_of_the_relay(program: Program) -> None:
    write_prompts(program.folder / "p.jsonl", 1)
    with odd_relay() as relay:
        told = {"models": {"claude-haiku-5-5": "qwen3"}, "headers_env": {"x-team": "TEAM_TOKEN"}}
        write_settings(program.folder, a_relay(relay.host, **told))
        done = program.run("run", "p.jsonl", "--no-stdout")
        (heard,) = relay.heard
    assert done.returncode == 0, done.stderr.decode()
    assert (heard.body["model"], heard.headers["x-team"]) == ("qwen3", "team-0123")


@pytest.mark.parametrize("progress", ["plain", "live"])
def test_the_screen_names_every_host_that_is_not_anthropics(
    program: Program, progress: str
) -> None:
    write_prompts(program.folder / "p.jsonl", 2)
    with odd_relay() as one, odd_relay() as two:
        write_settings(
            program.folder, a_relay(one.host), a_relay(two.host, name="two", role="fallback")
        )
        done = program.run("run", "p.jsonl", "--no-stdout", "--progress", progress)
    assert done.returncode == 0, done.stderr.decode()
    assert f"{one.host}, {two.host}".encode() in done.stderr


def test_without_any_header_about_limits_they_are_found_out(program: Program) -> None:
    write_prompts(program.folder / "p.jsonl", 150)
    with served(program.folder, BARE.read_text()) as relay:
        write_settings(program.folder, a_relay(relay.url.removeprefix("http://")))
        done = program.run("run", "p.jsonl", "--no-stdout")
        stats = relay.stats()
    assert done.returncode == 0, done.stderr.decode()
    assert stats["succeeded_twice"] == 0
    # all at once, 20 of which are let in each second, would be 400
    assert stats["by_status"].get("429", 0) < 150, stats["by_status"]


def test_a_relay_without_batches_is_worked_off_live(program: Program) -> None:
    write_prompts(program.folder / "p.jsonl", 20)
    with served(program.folder, BARE.read_text()) as relay:
        write_settings(program.folder, a_relay(relay.url.removeprefix("http://")))
        done = program.run("run", "p.jsonl", "--mode", "batch", "--no-stdout", "--yes")
        stats = relay.stats()
    assert done.returncode == 0, done.stderr.decode()
    assert len(read_results(program.folder / "p.results.jsonl")) == 20
    assert stats["batches"] == 0
    assert b"batches" in done.stderr


def test_doctor_says_what_each_endpoint_lacks(program: Program) -> None:
    with odd_relay() as relay, served(program.folder, BARE.read_text()) as bare:
        write_settings(
            program.folder,
            a_relay(relay.host),
            a_relay(bare.url.removeprefix("http://"), name="bare"),
            a_relay(relay.host, name="local", provider="openai", role="fallback"),
        )
        done = program.run("doctor", "--json")
    said: dict[str, list[str]] = {}
    for finding in json.loads(done.stdout)["findings"]:
        said.setdefault(finding["topic"], []).append(finding["what"])
    assert done.returncode == 0, done.stdout.decode()
    for name in ("relay", "bare"):
        told = " / ".join(said[f"endpoint {name}"])
        assert "(not Anthropic's own) answers for claude-haiku-5-5" in told
        assert "does not report its limits" in told
        assert "has no Message Batches" in told
    assert "answers for claude-haiku-5-5" in said["endpoint local"][0]
    assert "as a fallback" in said["endpoint local"][0]
