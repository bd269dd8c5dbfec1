"""A run folder in object storage, against moto: hosts die, stop and go on; storage goes away."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.support.killing import QUICK, write_prompts
from tests.support.program import ENOUGH_S, Program, Served, Started, served, wait_for
from tests.support.s3_server import S3Server, s3_server

pytestmark = [pytest.mark.whole, pytest.mark.services]

BUCKET = "bucket"
QUIET = ("--progress", "none", "--no-stdout")
SLOW = ("--concurrency", "4")
"""About 20 requests a second: longer than the 5 s after which results are shipped first."""


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        server.make_bucket(BUCKET)
        yield server


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A run folder in a bucket, the pretend API, and hosts, each with its own home."""

    s3: S3Server
    api: Served
    folder: Path
    name: str

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/{self.name}/"

    def host(self, name: str) -> Program:
        """Return the program on a host, which sees the same inputs."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        program = Program(folder=home, variables=self.api.variables | dict(self.s3.environment))
        return replace(program, variables={**program.variables, "XDG_CACHE_HOME": str(home / "c")})

    def start(self, host: Program, *flags: str) -> Started:
        """Start the run, or go on with it."""
        prompts = str(self.folder / "p.jsonl")
        return host.start("run", prompts, "--out", self.url, *QUIET, *flags)

    def keys(self, below: str) -> list[str]:
        return self.s3.keys(BUCKET, f"{self.name}/{below}")

    def shipped(self, shard: int = 1) -> set[str]:
        """Return the ids that storage has results of."""
        segments = [key for key in self.keys(f"shards/{shard:04}/") if key.endswith(".jsonl")]
        lines = b"".join(self.s3.get(BUCKET, key) for key in segments).splitlines()
        return {json.loads(line)["custom_id"] for line in lines}

    def forget_holder(self, claim: str) -> None:
        """Make a claim look as if nothing had been heard of its holder for long."""
        self.s3.put(BUCKET, f"{self.name}/claims/{claim}", b"")

    def results(self, host: Program, *flags: str) -> Counter[str]:
        """Return how many results each id has."""
        printed = host.run("results", self.url, *flags).stdout
        return Counter(json.loads(line)["custom_id"] for line in printed.splitlines())

    def resent(self) -> int:
        return sum(count - 1 for count, _ in self.api.requests().values())

    def arrived(self) -> int:
        return len(self.api.requests())


@pytest.fixture
def world(s3: S3Server, tmp_path: Path) -> Iterator[World]:
    write_prompts(tmp_path / "p.jsonl", 400)
    with served(tmp_path, QUICK) as api:
        yield World(s3=s3, api=api, folder=tmp_path, name=tmp_path.name)


EVERY_ID = {f"p{number}": 1 for number in range(400)}


def test_a_run_goes_there_and_comes_back(world: World) -> None:
    here, there = world.host("here"), world.host("there")
    process = world.start(here, "--shard-size", "150")
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert world.results(there) == EVERY_ID
    ordered = there.run("results", world.url, "--ordered").stdout.splitlines()
    assert [json.loads(line)["custom_id"] for line in ordered] == [*EVERY_ID]
    status = json.loads(there.run("status", world.url, "--json").stdout)
    assert (status["folder"] + "/", status["state"], status["done"]) == (world.url, "finished", 400)
    for _ in range(2):  # it is known as the table of this run
        assert there.run("results", world.url, "-o", "t.csv").returncode == 0
    rows = (there.folder / "t.csv").read_text().splitlines()
    assert rows[0].startswith("custom_id,prompt,answer,")
    assert len(rows) == 401
    assert there.run("report", world.url, "-o", "r.html").returncode == 0
    again = there.run("resume", world.url)
    assert again.returncode == 0, again.stderr
    assert world.arrived() == 400
    assert world.resent() == 0
    assert [path.name for path in here.folder.glob("c/**/*")] == ["claude-batch", "run-folders"]
    files = {path.name for path in there.folder.glob("c/**/*") if path.is_file()}
    assert files == {"manifest.json", "tables.journal", ".url", ".in-use"}


def kill_after_shipping(world: World, host: Program, *flags: str) -> set[str]:
    """Begin a run, kill it when some results are in storage, and some not; return the former."""
    process = world.start(host, *SLOW, *flags)
    wait_for(lambda: any(key.endswith("1-1.jsonl") for key in world.keys("shards/")))
    shipped = len(world.shipped())
    wait_for(lambda: world.arrived() > shipped + 20)
    process.kill()
    process.communicate()
    return world.shipped()


def test_another_host_goes_on_where_a_lost_one_has_shipped(world: World) -> None:
    shipped = kill_after_shipping(world, world.host("lost"))
    unshipped = world.arrived() - len(shipped)
    assert 0 < len(shipped) < 400
    shutil.rmtree(world.folder / "lost")
    world.forget_holder("0001-1")
    process = world.start(world.host("other"))
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert world.results(world.host("third")) == EVERY_ID
    assert world.resent() <= unshipped
    assert not any(key.startswith(f"{world.name}/shards/0001/1") for key in world.keys("shards/"))


def test_the_same_host_has_what_was_not_shipped(world: World) -> None:
    here = world.host("here")
    kill_after_shipping(world, here)
    (file,) = here.folder.glob("c/**/1.results.jsonl")
    in_flight = world.arrived() - len(file.read_bytes().splitlines())
    process = world.start(here)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert world.results(here) == EVERY_ID
    assert world.resent() <= in_flight < 20  # more were not shipped


def test_what_a_zombie_ships_counts_no_more(world: World) -> None:
    zombie = world.start(world.host("zombie"), *SLOW, "--shard", "1")
    wait_for(lambda: bool(world.shipped()))
    zombie.send_signal(signal.SIGSTOP)
    world.forget_holder("0001-1")
    other = world.start(world.host("other"), *SLOW)
    wait_for(lambda: any(key.endswith("/2.journal") for key in world.keys("shards/")))
    zombie.send_signal(signal.SIGCONT)
    _, said = zombie.communicate()
    assert zombie.returncode == 5
    assert b"taken over by another process" in said
    other.communicate()
    assert other.returncode == 0
    assert world.results(world.host("third")) == EVERY_ID
    assert {Path(key).name[0] for key in world.keys("shards/0001/")} - {"1"} == {"2", "d"}


def batches_at(api: Served) -> list[dict[str, Any]]:
    headers = {"x-api-key": "sandbox-key", "anthropic-version": "2023-06-01"}
    request = Request(f"{api.url}/v1/messages/batches?limit=100", headers=headers)  # noqa: S310  # loopback
    with urlopen(request, timeout=ENOUGH_S) as answer:  # noqa: S310  # as above
        batches: list[dict[str, Any]] = json.load(answer)["data"]
    return batches


def test_a_bound_given_on_one_host_is_in_force_on_another(world: World) -> None:
    here, there = world.host("here"), world.host("there")
    world.start(here, "--shard-size", "200", "--shard", "1").communicate()

    def status() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(there.run("status", world.url, "--json").stdout)
        return found

    bound = round(1.3 * status()["cost_usd"], 6)
    begun = here.run("resume", world.url, "--max-cost", f"{bound}")
    assert begun.returncode == 6, begun.stderr
    again = there.run("resume", world.url)
    assert again.returncode == 6
    assert f"Using --max-cost {bound} from this run folder" in again.stderr.decode()
    found = status()
    assert (found["max_cost_usd"], found["cost_usd"] <= bound) == (bound, True)


def test_a_batch_of_a_lost_host_is_not_paid_twice(s3: S3Server, tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 400)
    with served(tmp_path, f"{QUICK}[batches]\nduration_s = 6\nspread = 0.0\n") as api:
        world = World(s3=s3, api=api, folder=tmp_path, name=tmp_path.name)
        soon = {"CLAUDE_BATCH_LIST_LAG": "3s", "CLAUDE_BATCH_FIRST_POLL": "0.1s"}
        mode = ("--mode", "batch", "--no-canary")
        lost = world.host("lost")
        process = world.start(replace(lost, variables=lost.variables | soon), *mode)
        wait_for(lambda: bool(batches_at(api)))
        process.kill()  # its journal says that it meant to, and perhaps not that it did
        process.communicate()
        journal = s3.get(BUCKET, f"{world.name}/shards/0001/1.journal")
        assert b'"type":"batch_intent"' in journal
        shutil.rmtree(tmp_path / "lost")
        world.forget_holder("0001-1")
        other = world.host("other")
        process = world.start(replace(other, variables=other.variables | soon))
        _, said = process.communicate()
        assert process.returncode == 0, said
        assert world.results(other) == EVERY_ID
        assert len(batches_at(api)) == 1


def test_processes_share_a_folder(world: World) -> None:
    first = world.host("one")
    made = world.start(first, "--shard", "2", "--shard-size", "200")
    _, said = made.communicate()
    assert made.returncode == 0, said
    one = world.host("two").start("run", world.url, "--shard", "1", *QUIET)
    same = first.run("run", world.url, "--shard", "2", *QUIET)
    one.communicate()
    assert (one.returncode, same.returncode) == (0, 0)
    assert world.results(first) == EVERY_ID
    assert world.resent() == 0


def test_workers_of_a_cluster_share_a_folder(world: World) -> None:
    pytest.importorskip("ray")
    process = world.start(
        world.host("here"), "--shard-size", "150", "--on", "ray", "--workers", "2"
    )
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert world.results(world.host("there")) == EVERY_ID
    assert world.resent() == 0


def test_what_failed_is_retried_on_another_host(world: World) -> None:
    rows = [
        {"prompt": f"{n}?", "model": ("claude-none", "claude-haiku-5-5")[n % 2]} for n in range(60)
    ]
    (world.folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    unknown = ("--allow-unknown-model", "--yes", "--shard-size", "30")
    process = world.start(world.host("here"), *unknown)
    _, said = process.communicate()
    assert process.returncode == 3, said
    there = world.host("there")
    again = ("resume", world.url, "--retry-errored", "--model", "claude-haiku-5-5", *QUIET)
    retried = there.run(*again)
    assert retried.returncode == 0, retried.stderr
    printed = world.host("third").run("results", world.url).stdout.splitlines()
    lines = [json.loads(line) for line in printed]
    assert {line["result"]["type"] for line in lines} == {"succeeded"}
    assert Counter(line["custom_id"] for line in lines) == {f"p.jsonl:{n}": 1 for n in range(1, 61)}
    names = {Path(key).name for key in world.keys("shards/0002/")}
    assert {"done.json", "done-2.json", "2.journal", "2.retried"} <= names
    assert not any(name.startswith("1") for name in names)


def test_what_a_lost_host_has_shipped_of_a_retry_is_read_and_continued(world: World) -> None:
    made = world.start(world.host("here"), "--max-tokens", "2")
    made.communicate()
    again = ("--retry-stop", "max_tokens", "--max-tokens", "500", *SLOW, *QUIET)
    process = world.host("here").start("resume", world.url, *again)
    shard = "shards/0001"
    wait_for(lambda: f"{world.name}/{shard}/2-2.jsonl" in world.keys(shard))
    process.kill()
    process.communicate()
    shutil.rmtree(world.folder / "here")
    world.forget_holder("0001-2")
    there = world.host("there")
    new = there.run("results", world.url).stdout.count(b'"stop_reason":"end_turn"')
    assert 0 < new < 400
    assert world.results(there) == EVERY_ID
    found = json.loads(there.run("status", world.url, "--json").stdout)
    assert (found["state"], found["done"]) == ("interrupted", 400)
    assert there.run("resume", world.url, *QUIET, "--concurrency", "none").returncode == 0
    printed = world.host("third").run("results", world.url).stdout
    assert printed.count(b'"stop_reason":"end_turn"') == 400
    assert world.results(there) == EVERY_ID


def test_an_interrupted_run_ships_what_is_left(world: World) -> None:
    process = world.start(world.host("here"), *SLOW)
    wait_for(lambda: world.arrived() > 40)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert f"claude-batch resume {world.url}".encode() in said
    assert len(world.shipped()) == world.arrived()
    shutil.rmtree(world.folder / "here")
    there = world.host("there")
    done = there.run("resume", world.url, *QUIET)
    assert done.returncode == 0, done.stderr
    assert world.results(there) == EVERY_ID
    assert world.resent() == 0


def test_storage_that_is_away_for_a_while_does_not_stop_a_run(world: World) -> None:
    host = world.host("here")
    process = world.start(host, *SLOW)
    wait_for(lambda: bool(world.shipped()))
    with world.s3.gone():
        before = world.arrived()
        time.sleep(8)  # longer than between two times that it ships
        wait_for(lambda: world.arrived() > before + 40)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert world.results(host) == EVERY_ID
    assert world.resent() == 0


def test_storage_that_stays_away_stops_a_run_which_loses_nothing(world: World) -> None:
    host = world.host("here")
    process = world.start(host, "--rpm", "300")
    wait_for(lambda: bool(world.shipped()))
    with world.s3.gone():
        _, said = process.communicate()
    assert process.returncode == 5
    assert b"has not answered for 30 s" in said
    assert b"run the same command again" in said
    (file,) = host.folder.glob("c/**/1.results.jsonl")
    in_flight = world.arrived() - len(file.read_bytes().splitlines())
    again = world.start(host, "--rpm", "none")
    _, said = again.communicate()
    assert again.returncode == 0, said
    assert world.results(host) == EVERY_ID
    assert world.resent() <= in_flight


@pytest.mark.parametrize(
    ("variables", "url", "said"),
    [
        ({}, "s3://no-such-bucket/x/", "no-such-bucket"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "s3://bucket/x/", "AWS_ENDPOINT_URL"),
        ({"AWS_ALLOW_HTTP": ""}, "s3://bucket/x/", "AWS_ALLOW_HTTP=true"),
        ({}, "s3://bucket/nothing/", "is no run folder"),
    ],
)
def test_what_keeps_a_folder_from_being_read_is_said(
    world: World, variables: dict[str, str], url: str, said: str
) -> None:
    here = world.host("here")
    refused = replace(here, variables=here.variables | variables).run("status", url)
    assert refused.returncode == 2
    assert said in refused.stderr.decode()
