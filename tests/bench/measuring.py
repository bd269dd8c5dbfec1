"""A program run to its end, with what it took: time, processor time and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PYTHON = sys.executable
PROGRAM = (PYTHON, "-m", "claude_batch")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a process took: seconds, processor seconds, and megabytes at its largest."""

    wall_s: float
    cpu_s: float
    rss_mb: float
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: what was measured, what came out, what it is held to."""

    what: str
    measured: str
    held_to: str = ""
    kept: bool | None = None


def measure(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str] | None = None
) -> Taken:
    """Run `command` in `folder`, its output thrown away, and return what it took."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "stderr.txt").open("wb"),
    )
    return waited(process, began)


def waited(process: subprocess.Popen[bytes], began: float) -> Taken:
    """Wait for the end of a process that `began` then, and return what it took."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Taken(
        wall_s=time.perf_counter() - began,
        cpu_s=usage.ru_utime + usage.ru_stime,
        rss_mb=usage.ru_maxrss / 1024,
        exit_code=process.returncode,
    )


def must(taken: Taken, folder: Path, *, codes: Sequence[int] = (0,)) -> Taken:
    """Return `taken`, unless the program failed: a bench of a failure tells nothing."""
    if taken.exit_code not in codes:
        said = (folder / "stderr.txt").read_text(errors="replace")[-2_000:]
        raise RuntimeError(f"exit {taken.exit_code}: {said}")
    return taken
