"""A run is changed from another terminal; what counts is what arrives at the server."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.killing import QUICK, lines_of, write_prompts
from tests.support.program import Program, Served, Started, served, wait_for

pytestmark = pytest.mark.whole

RESULTS = "p.results.jsonl"


@contextmanager
def running(
    folder: Path, *flags: str, count: int = 5_000, scenario: str = QUICK
) -> Iterator[tuple[Program, Served, Started]]:
    """Start a run that has its first results, and end it."""
    write_prompts(folder / "p.jsonl", count)
    with served(folder, scenario) as sandbox:
        program = Program(folder=folder, variables=sandbox.variables)
        process = program.start(
            "run", "p.jsonl", "--no-stdout", "--progress", "json", "--yes", *flags
        )
        try:
            wait_for(lambda: len(lines_of(folder / RESULTS)) > 3)
            yield program, sandbox, process
        finally:
            process.kill()
            process.communicate()


def adjust(program: Program, *flags: str) -> str:
    """Change the run; on a busy machine it may take longer than 2 s, and is asked again."""
    done = program.run("adjust", RESULTS, *flags)
    if b"within 2 s" in done.stderr:
        return adjust(program, *flags)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def arrived(sandbox: Served) -> int:
    sent: int = sandbox.stats()["sent"]
    return sent


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / f"{RESULTS}.journal").read_text().splitlines()
    return [each for each in map(json.loads, lines) if each["type"] == kind]


def test_a_pause_stops_what_arrives_and_ends_on_demand(tmp_path: Path) -> None:
    with running(tmp_path, "--concurrency", "4") as (program, sandbox, process):
        assert "paused" in adjust(program, "--pause")
        wait_for(lambda: sandbox.stats()["in_flight"] == 0)
        before = arrived(sandbox)
        status = json.loads(program.run("status", RESULTS, "--json").stdout)
        assert "paused at" in status["activity"]
        assert arrived(sandbox) == before
        assert "continued" in adjust(program, "--continue")
        wait_for(lambda: arrived(sandbox) > before)
        assert process.poll() is None
    pauses = [each["pause"] for each in records(tmp_path, "adjusted")]
    assert (pauses[0], pauses[-1]) == (True, False)


def test_what_was_adjusted_stays_in_force_after_kill_9(tmp_path: Path) -> None:
    with running(tmp_path, "--concurrency", "4", "--rpm", "6000") as (program, sandbox, process):
        adjust(program, "--rpm", "60", "--concurrency", "2", "--pause")
        process.kill()
        process.communicate()
        wait_for(lambda: sandbox.stats()["in_flight"] == 0)
        before = len(lines_of(tmp_path / RESULTS))
        resumed = program.run(
            "run", "p.jsonl", "--no-stdout", "--rpm", "6000", "--limit", str(before + 3)
        )
    assert resumed.returncode == 6, resumed.stderr.decode()
    assert "Using --rpm 60, --concurrency 2 from" in resumed.stderr.decode()
    (settings,) = [each for each in records(tmp_path, "settings") if each["adjusted"]][-1:]
    assert settings["adjusted"] == {"rpm": 60.0, "concurrency": 2}


def test_a_lower_bound_on_the_cost_ends_the_run_and_is_named(tmp_path: Path) -> None:
    with running(tmp_path, "--concurrency", "4", "--max-cost", "50") as (program, _, process):
        adjust(program, "--max-cost", "0.0000001")
        _, progress = process.communicate()
    end = json.loads(progress.splitlines()[-1])
    assert (process.returncode, end["type"]) == (6, "end")
    *_, closed = records(tmp_path, "closed")
    assert closed["max_cost_usd"] == 0.0000001


def test_progress_says_what_was_adjusted(tmp_path: Path) -> None:
    with running(tmp_path, "--concurrency", "4") as (program, _, process):
        adjust(program, "--share", "0.3", "--rpm", "none")
        process.send_signal(signal.SIGINT)
        _, progress = process.communicate()
    end = json.loads(progress.splitlines()[-1])
    assert [(each["name"], each["value"]) for each in end["adjusted"]] == [
        ("rpm", None),
        ("share", 0.3),
    ]
    assert not list(tmp_path.glob("*.live*"))


def test_a_stopped_process_is_named_and_its_request_withdrawn(tmp_path: Path) -> None:
    with running(tmp_path, "--concurrency", "4") as (program, _, process):
        process.send_signal(signal.SIGSTOP)
        refused = program.run("adjust", RESULTS, "--rpm", "5")
        assert refused.returncode == 2
        assert f"process {process.pid} has not taken the change" in refused.stderr.decode()
        assert not list(tmp_path.glob("*.adjust"))
        process.send_signal(signal.SIGCONT)
        assert "rpm 5" in adjust(program, "--rpm", "5")


def test_a_run_that_has_ended_names_the_command_that_resumes_it(tmp_path: Path) -> None:
    with running(tmp_path, "--concurrency", "4") as (program, _, process):
        process.kill()
        process.communicate()
        refused = program.run("adjust", RESULTS, "--rpm", "5", "--max-cost", "none")
    assert refused.returncode == 2
    assert "no process works on this run" in refused.stderr.decode()
    assert f"claude-batch resume {RESULTS} --rpm 5 --max-cost none" in refused.stderr.decode()


@pytest.mark.parametrize(
    "flags", [(), ("--pause", "--continue"), ("--rpm", "-1"), ("--share", "80%")]
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, flags: tuple[str, ...]) -> None:
    done = Program(folder=tmp_path).run("adjust", RESULTS, *flags)
    assert done.returncode == 2


def test_another_terminal_watches_a_run_to_its_end(tmp_path: Path) -> None:
    with running(tmp_path, "--concurrency", "4") as (program, _, process):
        watching = program.start("status", RESULTS, "--watch")
        wait_for(lambda: list(tmp_path.glob("*.live")))
        process.send_signal(signal.SIGINT)
        process.communicate()
        shown, _ = watching.communicate()
        again = program.run("status", RESULTS, "--watch")
    assert watching.returncode == again.returncode == 0
    assert "claude-batch resume p.results.jsonl" in shown.decode()
    assert "no process works on this run now" in again.stdout.decode()
