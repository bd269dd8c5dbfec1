"""Several endpoints at once: what one cannot do another does, and limits are an organization's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.doors import Line, by_endpoint, read_results, write_settings
from tests.support.killing import write_prompts
from tests.support.program import Program, Served, served
from tests.support.redis_server import free_port

pytestmark = pytest.mark.whole

KEYS = {f"KEY_{name}": f"key-{name.lower()}" for name in "ABCDE"}

SWIFT = """
[latency]
base_s = 0.1
per_output_token_s = 0.0
"""

TROUBLED = f"""
{SWIFT}
[limits]
rpm = 3000
itpm = 0
otpm = 0
rpm_burst_s = 1
[[organization]]
id = "org-a"
keys = ["key-a"]
[[organization]]
id = "org-b"
keys = ["key-b"]
[[organization]]
id = "org-c"
keys = ["key-c"]
[[outage]]
key = "key-a"
status = 401
from_s = 3
[[outage]]
key = "key-b"
status = 529
from_s = 2
until_s = 5
"""

COUNTED = f"""
{SWIFT}
[limits]
rpm = 1200
itpm = 0
otpm = 0
rpm_burst_s = 1
[[organization]]
id = "org-1"
keys = ["key-a"]
[[organization]]
id = "org-2"
keys = ["key-b", "key-c"]
[[organization]]
id = "org-3"
keys = ["key-d"]
[[organization]]
id = "org-4"
keys = ["key-e"]
"""


def an_endpoint(server: Served, name: str, **more: object) -> dict[str, object]:
    """Return an endpoint `name` at `server`, whose key is in KEY_NAME."""
    return {"name": name, "base_url": server.url, "api_key_env": f"KEY_{name.upper()}", **more}


def work(folder: Path, *flags: str) -> tuple[int, str, list[Line]]:
    """Work off p.jsonl in `folder`; return exit code, stderr and results."""
    program = Program(folder=folder, variables=KEYS)
    done = program.run("run", "p.jsonl", "--no-stdout", "--progress", "plain", *flags)
    results = folder / "p.results.jsonl"
    return done.returncode, done.stderr.decode(), read_results(results) if results.exists() else []


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Served]:
    (tmp_path / "server").mkdir()
    with served(tmp_path / "server", request.param) as sandbox:
        yield sandbox


def came_back(lines: Sequence[Line], name: str) -> float:
    """Return when an endpoint was used again: after the longest time in which it was not."""
    began = sorted(line.began for line in lines if line.endpoint == name)
    return max(pairwise(began), key=lambda pair: pair[1] - pair[0])[1]


@pytest.mark.parametrize("server", [TROUBLED], indirect=True)
def test_what_two_troubled_endpoints_cannot_do_the_third_does_and_one_comes_back(
    tmp_path: Path, server: Served
) -> None:
    # b is probed 2 to 9 s after the run has begun; limits leave at least 500 of these for later
    write_prompts(tmp_path / "p.jsonl", 1_400)
    write_settings(tmp_path, *(an_endpoint(server, name) for name in "abc"))
    code, stderr, lines = work(tmp_path)
    stats = server.stats()
    status = json.loads(Program(folder=tmp_path).run("status", "p.results.jsonl", "--json").stdout)
    back = came_back(lines, "b")
    after = by_endpoint([line for line in lines if line.began >= back])
    assert code == 0, stderr
    assert Counter(line.custom_id for line in lines) == {f"p{n}": 1 for n in range(1_400)}
    assert {line.type for line in lines} == {"succeeded"}
    assert stats["succeeded_twice"] == 0
    assert status["endpoints"] == by_endpoint(lines)
    assert set(after) == {"b", "c"}
    assert after.total() >= 300, after
    assert min(after["b"], after["c"]) >= 0.3 * after.total(), after


@pytest.mark.parametrize("server", [COUNTED], indirect=True)
@pytest.mark.parametrize(
    ("names", "lanes"),
    [("bc", {"Haiku 5.5"}), ("de", {"Haiku 5.5 @ d", "Haiku 5.5 @ e"})],
    ids=["two keys of one", "two organizations"],
)
def test_limits_are_those_of_an_organization_whatever_keys_it_has(
    tmp_path: Path, server: Served, names: str, lanes: set[str]
) -> None:
    """What that does to the pace is tested in virtual time (`test_pool_loop.py`)."""
    write_prompts(tmp_path / "p.jsonl", 100)
    write_settings(tmp_path, *(an_endpoint(server, name) for name in names))
    code, stderr, lines = work(tmp_path)
    program = Program(folder=tmp_path)
    history = json.loads(program.run("status", "p.results.jsonl", "--history", "--json").stdout)
    assert (code, len(lines)) == (0, 100), stderr
    assert set(by_endpoint(lines)) == set(names)
    found = {limit["lane"] for minute in history for limit in minute["limits"]}
    assert lanes <= found <= lanes | {"Haiku 5.5"}  # as long as the organizations are not known


@pytest.mark.parametrize("server", [COUNTED], indirect=True)
def test_doctor_tells_whose_limits_each_endpoint_draws_on(tmp_path: Path, server: Served) -> None:
    write_settings(tmp_path, *(an_endpoint(server, name) for name in "abc"))
    done = Program(folder=tmp_path, variables=KEYS).run("doctor", "--json")
    told = [
        (finding["topic"], finding["what"])
        for finding in json.loads(done.stdout)["findings"]
        if "reports its limits" in finding["what"]
    ]
    assert told == [
        (
            f"endpoint {name}",
            f"reports its limits (organization {whose}): pacing follows them",
        )
        for name, whose in (("a", "org-1"), ("b", "org-2"), ("c", "org-2"))
    ]


@pytest.mark.parametrize(
    "server",
    [SWIFT + '[[outage]]\nstatus = 401\nkey = "key-a"\n[[outage]]\nstatus = 401\nkey = "key-b"\n'],
    indirect=True,
)
def test_the_run_ends_when_no_endpoint_is_left_and_tells_why_of_each(
    tmp_path: Path, server: Served
) -> None:
    write_prompts(tmp_path / "p.jsonl", 50)
    write_settings(tmp_path, an_endpoint(server, "a"), an_endpoint(server, "b"))
    code, stderr, lines = work(tmp_path)
    assert (code, lines) == (4, []), stderr
    assert "a: invalid x-api-key; b: invalid x-api-key" in stderr


@pytest.mark.parametrize(
    "server",
    [SWIFT + '[[outage]]\nstatus = 403\nkey = "key-a"\nmodel = "claude-haiku-5-5"\n'],
    indirect=True,
)
def test_an_endpoint_that_forbids_a_model_still_serves_others(
    tmp_path: Path, server: Served
) -> None:
    with (tmp_path / "p.jsonl").open("w") as file:
        for number in range(200):
            model = ("claude-haiku-5-5", "claude-opus-5-5")[number % 2]
            file.write(json.dumps({"prompt": f"Say {number}.", "model": model}) + "\n")
    write_settings(tmp_path, an_endpoint(server, "a"), an_endpoint(server, "b"))
    code, stderr, lines = work(tmp_path)
    models = {(line.endpoint, json.loads(line.message)["model"]) for line in lines}
    assert (code, len(lines)) == (0, 200), stderr
    assert ("a", "claude-haiku-5-5") not in models
    assert ("a", "claude-opus-5-5") in models


@pytest.mark.parametrize("server", [f"{SWIFT}[spend]\nafter_requests = 40\n"], indirect=True)
def test_what_a_spent_account_leaves_another_does(tmp_path: Path, server: Served) -> None:
    (tmp_path / "other").mkdir()
    write_prompts(tmp_path / "p.jsonl", 400)
    with served(tmp_path / "other", f"seed = 2{SWIFT}") as other:
        write_settings(tmp_path, an_endpoint(server, "a"), an_endpoint(other, "b"))
        code, stderr, lines = work(tmp_path, "--concurrency", "20")
    assert (code, len(lines)) == (0, 400), stderr
    assert 0 < by_endpoint(lines)["a"] < 70


@pytest.mark.parametrize("server", [SWIFT], indirect=True)
@pytest.mark.parametrize(
    ("strategy", "shares"), [("priority", {"a": 200}), ("round_robin", {"a": 100, "b": 100})]
)
def test_the_strategy_says_who_gets_what(
    tmp_path: Path, server: Served, strategy: str, shares: dict[str, int]
) -> None:
    write_prompts(tmp_path / "p.jsonl", 200)
    write_settings(tmp_path, an_endpoint(server, "a"), an_endpoint(server, "b"), strategy=strategy)
    code, stderr, lines = work(tmp_path)
    assert code == 0, stderr
    assert by_endpoint(lines) == shares


def test_a_fallback_takes_over_once_for_all_shards_of_a_folder_and_the_folder_says_so(
    tmp_path: Path,
) -> None:
    write_prompts(tmp_path / "p.jsonl", 60)
    program = Program(folder=tmp_path, variables=KEYS)
    with served(tmp_path, SWIFT) as sandbox:
        main = {"name": "main", "base_url": f"http://127.0.0.1:{free_port()}"}
        main["api_key_env"] = "KEY_A"
        spare = {"name": "spare", "base_url": sandbox.url, "api_key_env": "KEY_B"}
        write_settings(tmp_path, main, {**spare, "role": "fallback"}, fallback_after="1s")
        first = program.run("run", "p.jsonl", "--out", "out/", "--shard-size", "20")
        shown = program.run("status", "out/").stdout.decode()
        status = json.loads(program.run("status", "out/", "--json").stdout)
        lines = program.run("results", "out/", "--ordered").stdout.splitlines()
        program.run("report", "out/", "-o", "out.html")
        write_settings(tmp_path, {**main, "base_url": sandbox.url}, {**spare, "role": "fallback"})
        again = program.run("resume", "out/", "--retry-degraded")
        after = json.loads(program.run("status", "out/", "--json").stdout)
    said = first.stderr.decode()
    assert first.returncode == again.returncode == 0, said
    assert said.count("the fallback spare takes over") == 1
    tried = [json.loads(line)["meta"]["attempts"] for line in lines]
    assert sum(each > 1 for each in tried[20:]) <= 4  # probes; the first shard's have all failed
    assert "a fallback answered 60" in said
    assert "claude-batch resume out/ --retry-degraded" in said
    assert "a fallback answered 60" in shown
    assert (status["degraded"], status["endpoints"]) == (60, {"spare": 60})
    assert [each["degraded"] for each in status["per_shard"]] == [20, 20, 20]
    assert "60 came from a fallback" in (tmp_path / "out.html").read_text()
    assert (after["degraded"], after["endpoints"]) == (0, {"main": 60})
