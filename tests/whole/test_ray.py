"""A run folder on a Ray node of this machine: whatever is killed, every id once, none sends on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_batch.core.shards.claims import SILENT_S
from tests.support.program import Program, Served, served, wait_for
from tests.support.ray_run import RayRun, write_shards

pytest.importorskip("ray")
pytestmark = [pytest.mark.whole, pytest.mark.services]

LINES = 80
LATENCY_S = 0.5
IN_FLIGHT = 4
"""Per shard: at most 8 answers a second."""

SCENARIO = f"""
[limits]
rpm = 0
itpm = 0
otpm = 0
[latency]
base_s = {LATENCY_S}
per_output_token_s = 0.0
"""

KEY = "sandbox-key-that-is-not-to-be-found-anywhere"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("api"), SCENARIO) as sandbox:
        yield sandbox


@pytest.fixture
def program(tmp_path: Path, api: Served) -> Program:
    return Program(folder=tmp_path, variables={**api.variables, "ANTHROPIC_API_KEY": KEY})


@pytest.fixture
def run(program: Program, api: Served) -> Iterator[RayRun]:
    flags = ("--concurrency", str(IN_FLIGHT))
    ray_run = RayRun(program=program, sandbox=api, flags=flags)
    yield ray_run
    ray_run.close()


def every_id(shards: int, lines: int = LINES) -> dict[str, int]:
    return {f"s{shard}.jsonl:{n}": 1 for shard in range(1, shards + 1) for n in range(1, lines + 1)}


def test_a_killed_process_and_a_killed_worker_are_made_up_for(run: RayRun) -> None:
    write_shards(run.program.folder, 4, LINES)
    run.start()
    first, second = run.two_at_work()
    process, worker = run.shard_processes()[first], run.worker_of(second)
    os.kill(process, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    assert not _holders_of(KEY, run)
    assert run.end() == 0, run.said
    assert run.ids() == every_id(4)
    assert f"shard {first} is placed again: its process was ended by SIGKILL" in run.said
    assert f"shard {second} is placed again: its worker was lost" in run.said
    assert f"4 of 4 shards finished, {4 * LINES} of {4 * LINES} results" in run.said
    # of the process, some of it on its way to the disk; the worker's keeps its answers
    assert run.paid_twice() <= 2 * IN_FLIGHT


def test_a_killed_command_leaves_nothing_that_sends_and_continues(run: RayRun) -> None:
    write_shards(run.program.folder, 2, 2 * LINES)
    run.workers = 2
    run.start()
    run.wait_for_results(LINES // 2)
    assert run.process is not None
    run.process.kill()
    run.process.communicate()
    run.wait_for_silence()
    before = run.ids().total()
    assert before < 4 * LINES
    run.flags = ("--concurrency", str(2 * IN_FLIGHT))
    run.start()
    run.wait_for_results(before + 10)
    os.kill(run.node(), signal.SIGKILL)
    assert run.end() == 0, run.said
    assert "the Ray node here is gone; starting another one" in run.said
    assert run.ids() == every_id(2, 2 * LINES)
    assert run.paid_twice() == 0


def test_a_zombie_is_followed_and_changes_nothing(run: RayRun) -> None:
    write_shards(run.program.folder, 1, LINES)
    run.workers = 2
    run.start()
    run.wait_for_results(20)
    worker, process = run.worker_of(1), run.shard_processes()[1]
    run.stop_process(worker)
    run.stop_process(process)
    claim, long_ago = run.path / "claims/0001-1", time.time() - SILENT_S - 1
    os.utime(claim, (long_ago, long_ago))  # as if it had been stopped for so long
    follower = run.path / "shards/0001/2.results.jsonl"
    wait_for(lambda: follower.exists() and len(run.ids()) > 30)
    run.continue_stopped()
    assert run.end() == 0, run.said
    assert "shard 1 is placed again: nothing is heard of its process" in run.said
    assert run.ids() == every_id(1)
    assert run.paid_twice() <= 2 * IN_FLIGHT
    run.wait_for_silence()


def test_ctrl_c_stops_all_and_names_the_command_that_continues(run: RayRun) -> None:
    write_shards(run.program.folder, 2, LINES)
    run.workers = 2
    run.start()
    run.wait_for_results(10)
    assert run.process is not None
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130
    assert run.shard_processes() == {}
    assert "continue  claude-batch resume out/ --on ray --workers 2" in run.said
    assert run.paid_twice() == 0
    assert run.program.run("resume", "out/").returncode == 0
    assert run.ids() == every_id(2)


def test_a_shard_that_fails_by_itself_does_not_keep_the_others(run: RayRun) -> None:
    write_shards(run.program.folder, 3, 4)
    made = run.program.run("run", "in", "--out", "out/", "--shard", "1")
    assert made.returncode == 0
    in_the_way = [run.path / f"shards/0002/{epoch}.results.jsonl.lock" for epoch in range(1, 5)]
    for path in in_the_way:
        path.mkdir(parents=True)
    run.start()
    assert run.end() == 4, run.said
    assert "shard 2 has failed: it got no further in 4 attempts" in run.said
    assert "2 of 3 shards finished" in run.said
    for path in in_the_way:
        path.rmdir()
    assert run.program.run("resume", "out/").returncode == 0


def _holders_of(secret: str, run: RayRun) -> list[str]:
    """Return the files of Ray's node, and of the run folder, that a secret is in."""
    assert run.process is not None
    folders = [*Path("/tmp").glob(f"claude-batch-ray-{run.process.pid}-*"), run.path]  # noqa: S108
    assert len(folders) > 1
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if secret.encode() in path.read_bytes()]
