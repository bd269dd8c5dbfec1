"""A run folder on a Ray node of this machine: what is killed or stopped, and what that costs.

Four shards against a server with a limit by the minute. The time counts from the first request that
arrives to the last result; the ideal is the server's limit used without a pause, plus one latency.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import files
from pathlib import Path

from tests.bench.measuring import PYTHON, Row, measure
from tests.support.program import Program, served
from tests.support.ray_run import RayRun, write_shards

SHARDS = 4
PER_S = 20
LATENCY_S = 1.0
LINES = 240
ZOMBIE_LINES = 500
"""Of a shard: the others have enough to do while one is stopped."""

STOPPED_S = 60.0
AT = 0.4
"""What is killed is killed when so much is done."""

MOST_LATE_S = 5.0
STARTED_S = 10.0
"""How long Ray and a process of ours take to start here, when both cores are busy."""

SCENARIO = f"""
[limits]
rpm = {60 * PER_S}
rpm_burst_s = 1
itpm = 0
otpm = 0
[latency]
base_s = {LATENCY_S}
per_output_token_s = 0.0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What happens to a run at 40 %. `starts`: how often Ray is waited for in between."""

    what: str
    disturb: Callable[[RayRun], None]
    lines: int = LINES
    starts: int = 0


def _kill_process(run: RayRun) -> None:
    os.kill(run.shard_processes()[2], signal.SIGKILL)


def _kill_worker(run: RayRun) -> None:
    os.kill(run.worker_of(2), signal.SIGKILL)


def _kill_node(run: RayRun) -> None:
    os.kill(run.node(), signal.SIGKILL)


def _kill_command(run: RayRun) -> None:
    assert run.process is not None
    run.process.kill()
    run.process.communicate()
    run.wait_for_silence()
    run.start()


def _interrupt(run: RayRun) -> None:
    assert run.process is not None
    run.process.send_signal(signal.SIGINT)
    run.end()
    run.start()


def _stop(run: RayRun) -> None:
    worker, process = run.worker_of(2), run.shard_processes()[2]
    run.stop_process(worker)
    run.stop_process(process)
    time.sleep(STOPPED_S)
    run.continue_stopped()


CASES = (
    Case(what="undisturbed", disturb=lambda _: None),
    Case(what="kill -9 of a shard's process at 40 %", disturb=_kill_process),
    Case(what="kill -9 of its Ray worker at 40 %", disturb=_kill_worker),
    Case(what="kill -9 of the command at 40 %, repeated", disturb=_kill_command, starts=1),
    Case(what="kill -9 of Ray's node process at 40 %", disturb=_kill_node, starts=1),
    Case(what="Ctrl-C at 40 %, repeated", disturb=_interrupt, starts=1),
    Case(what="a worker stopped for 60 s, then continued", disturb=_stop, lines=ZOMBIE_LINES),
)


def ray(folder: Path) -> Iterator[Row]:
    """Disturb a run in seven ways; then what the extra takes."""
    for number, case in enumerate(CASES):
        place = folder / str(number)
        place.mkdir()
        yield _row(case, place)
    yield from _extra(folder)


def _row(case: Case, folder: Path) -> Row:
    (folder / "server").mkdir()
    write_shards(folder, SHARDS, case.lines)
    total = SHARDS * case.lines
    with served(folder / "server", SCENARIO) as sandbox:
        program = Program(folder=folder, variables=sandbox.variables)
        # one place more than shards: what follows a stopped worker finds one
        run = RayRun(program=program, sandbox=sandbox, workers=SHARDS + 1)
        try:
            run.start()
            run.wait_for_results(1)
            began = time.monotonic()
            run.wait_for_results(round(AT * total))
            in_flight = sandbox.stats()["in_flight"]
            case.disturb(run)
            exit_code = run.end()
            took_s = time.monotonic() - began + LATENCY_S
            ids, twice = run.ids(), run.paid_twice()
        finally:
            run.close()
    ideal_s = total / PER_S + LATENCY_S
    bound_s = ideal_s + MOST_LATE_S + STARTED_S * (1 + case.starts)
    once = len(ids) == ids.total() == total
    return Row(
        what=case.what,
        measured=f"{took_s:.0f} s of {ideal_s:.0f} s, {len(ids):,} ids in {ids.total():,} lines, "
        f"{twice} paid twice of {in_flight} in flight, exit {exit_code}",
        held_to=f"every id once, paid twice <= in flight, <= {bound_s:.0f} s",
        kept=once and exit_code == 0 and twice <= in_flight and took_s <= bound_s,
    )


def _extra(folder: Path) -> Iterator[Row]:
    installed = sum(Path(path.locate()).stat().st_size for path in files("ray") or ())
    taken = min(
        (measure([PYTHON, "-c", "import ray"], folder=folder) for _ in range(3)),
        key=lambda each: each.cpu_s,
    )
    yield Row(
        what="the extra `ray`",
        measured=f"{installed / 1e6:.0f} MB installed, {taken.cpu_s:.1f} s of processor time and "
        f"{taken.rss_mb:.0f} MB to import",
        held_to="imported with --on ray only",
    )
