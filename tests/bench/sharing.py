"""Programs that share limits by --shared-limits: real ones, one sandbox, and a real Redis.

The time counts from the first request that arrives to the last result on disk. The ideal is the
server's buckets drained without a pause, less what an outsider takes, plus one latency.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measuring import PROGRAM, Row
from tests.support.program import Served, environment, served
from tests.support.redis_server import free_port

AT_ONCE = 2
LATENCY_S = 1.0
SECONDS = 90.0
PER_S = 20
"""Requests that fit into a second, whichever limit binds."""

WORDS, INPUT_TOKENS, OUTPUT_TOKENS = 300, 320, 100
"""Words of a prompt, and about how many tokens go in and come out."""

LOOK_S = 0.1
OUTSIDER_FROM_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """So many programs; `binds` is the limit that does, its bucket holds `holds_s` seconds.

    `counts` are the requests of each in parts of the whole, `flags` those of the first program.
    Redis is down between two times of `redis_down`. `lease` False: without --shared-limits.
    """

    name: str
    programs: int
    binds: str = "rpm"
    holds_s: float = 5.0
    counts: Sequence[float] = ()
    flags: Sequence[str] = ()
    outsider: float = 0.0
    redis_down: tuple[float, float] | None = None
    lease: bool = True
    fair: float | None = None


CASES = (
    Case(name="4 programs, RPM, bucket of 5 s, no lease", programs=4, lease=False),
    Case(name="4 programs, RPM, bucket of 5 s", programs=4, fair=0.9),
    Case(name="4 programs, ITPM, bucket of 60 s", programs=4, binds="itpm", holds_s=60, fair=0.9),
    Case(name="4 programs, OTPM, bucket of 60 s", programs=4, binds="otpm", holds_s=60, fair=0.9),
    Case(name="12 programs, RPM, bucket of 60 s", programs=12, holds_s=60, fair=0.7),
    Case(name="12 programs, RPM, bucket of 1 s", programs=12, holds_s=1, fair=0.7),
    Case(name="12 programs, OTPM, bucket of 5 s", programs=12, binds="otpm", fair=0.7),
    Case(name="4 programs, an outsider takes a quarter", programs=4, outsider=0.25, fair=0.9),
    Case(
        name="4 programs, Redis killed at 30 s, back at 45 s",
        programs=4,
        redis_down=(30.0, 45.0),
        fair=0.9,
    ),
    Case(
        name="4 programs, one held to a tenth by --rpm",
        programs=4,
        counts=(0.05, 0.32, 0.32, 0.31),
        flags=("--rpm", str(PER_S * 6)),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How long it took, and the 429s among the attempts.

    `answered` are the answers of each when the first had all; `together` those since the last had
    its first: programs do not start at the same moment. `spent` is what they used of the limit
    that binds.
    """

    took_s: float
    spent: float
    answered: Sequence[int]
    together: Sequence[int]
    refused: int
    attempts: int


def sharing(folder: Path) -> Iterator[Row]:
    """Run every case, two at a time, each against a server of its own."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [(case, pool.submit(_run, case, folder / str(n))) for n, case in enumerate(CASES)]
        for case, job in jobs:
            yield _row(case, job.result())


def _row(case: Case, outcome: Outcome) -> Row:
    used = ideal_s(case, outcome) / outcome.took_s
    refused = outcome.refused / max(1, outcome.attempts)
    fairness = min(outcome.together) / max(outcome.together)
    in_all = min(outcome.answered) / max(outcome.answered)
    kept = used >= 0.97 and refused <= 0.005 and fairness >= (case.fair or 0.0)
    fair = "" if case.fair is None else f", slowest/fastest >= {case.fair}"
    return Row(
        what=case.name,
        measured=f"{used:.1%} used, {refused:.2%} 429s, slowest/fastest {fairness:.2f} "
        f"({in_all:.2f} with the time before the last had started)",
        held_to=f">= 97 % used, <= 0.5 % 429s{fair}" if case.lease else "",
        kept=kept if case.lease else None,
    )


def ideal_s(case: Case, outcome: Outcome) -> float:
    """Return the time no programs could beat together."""
    per_s = _limit(case) / 60
    alone_s = outcome.spent / per_s - case.holds_s
    if case.outsider and alone_s > OUTSIDER_FROM_S:
        alone_s = OUTSIDER_FROM_S + (alone_s - OUTSIDER_FROM_S) / (1.0 - case.outsider)
    return alone_s + LATENCY_S


def _run(case: Case, folder: Path) -> Outcome:
    folder.mkdir()
    total = PER_S * (case.holds_s + SECONDS)
    parts = case.counts or [1 / case.programs] * case.programs
    counts = [int(total * part) for part in parts]
    text = " ".join(["word"] * WORDS)
    for number, count in enumerate(counts):
        with (folder / f"p{number}.jsonl").open("w") as file:
            for line in range(count):
                prompt = {"prompt": f"{number} {line} {text}", "max_tokens": 1_024}
                file.write(json.dumps(prompt) + "\n")
    with served(folder, _scenario(case)) as sandbox, _redis(folder) as redis:
        return _watch(case, folder, counts, sandbox, redis)


def _watch(
    case: Case, folder: Path, counts: Sequence[int], sandbox: Served, redis: _Redis
) -> Outcome:
    """Start the programs, look at their results until all are there, and disturb them."""
    variables = dict(sandbox.variables)
    if case.lease:
        variables["CLAUDE_BATCH_SHARED_LIMITS"] = redis.url
    programs = [
        _start(folder, number, environment(folder, **variables), case.flags if not number else ())
        for number in range(case.programs)
    ]
    began: float | None = None
    answered: list[int] = []
    alone = [0] * case.programs
    down = list(case.redis_down or ())
    ends = time.monotonic() + 4 * SECONDS
    while True:
        now = time.monotonic()
        if began is None and sandbox.stats()["sent"]:
            began = now
        if began is not None and down and now - began >= down[0]:
            (redis.kill if len(down) == 2 else redis.start)()
            down.pop(0)
        done = [_lines(folder / f"p{number}.results.jsonl") for number in range(len(counts))]
        if not all(alone):
            alone = done
        complete = [here >= count for here, count in zip(done, counts, strict=True)]
        if any(complete) and not answered:
            answered = done
        if all(complete) or now > ends:
            break
        time.sleep(LOOK_S)
    for program in programs:
        if program.wait(timeout=60):
            raise RuntimeError(f"{case.name}: exit {program.returncode}")
    stats = sandbox.stats()
    return Outcome(
        took_s=now - (began or now),
        spent=stats[
            {"rpm": "answered", "itpm": "input_tokens", "otpm": "output_tokens"}[case.binds]
        ],
        answered=answered,
        together=[end - start for end, start in zip(answered, alone, strict=True)],
        refused=stats["by_status"].get("429", 0),
        attempts=stats["sent"],
    )


def _start(
    folder: Path, number: int, variables: Mapping[str, str], flags: Sequence[str]
) -> subprocess.Popen[bytes]:
    model = ("--model", "claude-haiku-5-5")
    return subprocess.Popen(
        [*PROGRAM, "run", f"p{number}.jsonl", *model, "--no-stdout", "--progress", "none", *flags],
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(folder / f"stderr{number}.txt").open("wb"),
    )


@dataclass(slots=True)
class _Redis:
    """A Redis server that can be killed, and started again with nothing in it."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                *("redis-server", "--bind", "127.0.0.1", "--port", str(self.port)),
                *("--dir", str(self.folder), "--save", "", "--daemonize", "no"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextmanager
def _redis(folder: Path) -> Iterator[_Redis]:
    """Run a Redis server for a while."""
    redis = _Redis(folder, free_port())
    redis.start()
    try:
        for _ in range(100):
            with suppress(OSError), socket.create_connection(("127.0.0.1", redis.port), 1):
                break
            time.sleep(LOOK_S)
        yield redis
    finally:
        redis.kill()


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _limit(case: Case) -> int:
    """Return the limit that binds, per minute."""
    cost = {"rpm": 1, "itpm": INPUT_TOKENS, "otpm": OUTPUT_TOKENS}[case.binds]
    return 60 * PER_S * cost


def _scenario(case: Case) -> str:
    limits = {"rpm": 0, "itpm": 0, "otpm": 0}
    limits[case.binds] = _limit(case)
    outsider = f"[competitor]\nshare = {case.outsider}\nfrom_s = {OUTSIDER_FROM_S}\n"
    return (
        "[limits]\n"
        + "".join(f"{name} = {limit}\n" for name, limit in limits.items())
        + f"{case.binds}_burst_s = {case.holds_s}\n"
        + (outsider if case.outsider else "")
        + f"[output]\nmean_tokens = {OUTPUT_TOKENS}\n"
        + f"[latency]\nbase_s = {LATENCY_S}\nper_output_token_s = 0.0\njitter = 0.2\n"
    )
