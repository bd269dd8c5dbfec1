"""What may not be lost: a run killed fifty times, and one in which every fifth attempt fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.bench.measuring import PROGRAM, Row, measure
from tests.support.killing import QUICK, arrivals, killed_again_and_again, lines_of, write_prompts
from tests.support.program import Program, environment, served

KILLS = 50
KILLED_PROMPTS = 4_000
FAULTY_PROMPTS = 3_000
FAULTS = """
seed = 11
[limits]
rpm = 60_000
itpm = 100_000_000
otpm = 100_000_000
[latency]
base_s = 0.2
per_output_token_s = 0.0
[faults]
rate_limit = 0.04
overloaded = 0.04
server_error = 0.04
reset = 0.03
cut_body = 0.03
hang = 0.02
hang_s = 5
rate_limit_retry_after_s = 1
"""


def kills(folder: Path) -> Iterator[Row]:
    """Kill a run at fifty random moments, going on after each."""
    with served(folder, QUICK) as sandbox:
        program = Program(folder=folder, variables=sandbox.variables)
        toll = killed_again_and_again(
            program, sandbox, prompts=KILLED_PROMPTS, kills=KILLS, flags=("--rpm", "3000")
        )
    kept = not (toll.exit_code or toll.lost or toll.doubled) and toll.resent <= toll.allowed
    yield Row(
        what=f"{KILLS} x kill -9 at random moments, {KILLED_PROMPTS:,} prompts",
        measured=f"{toll.lost} lost, {toll.doubled} doubled lines; {toll.resent} of {toll.allowed} "
        "resent that were admitted and not yet synced",
        held_to="0 lost, 0 doubled; resent <= admitted and not yet synced",
        kept=kept,
    )


def faults(folder: Path) -> Iterator[Row]:
    """Work a file off while a fifth of the attempts fail in six ways, drawn with a fixed seed."""
    write_prompts(folder / "p.jsonl", FAULTY_PROMPTS)
    with served(folder, FAULTS) as sandbox:
        variables = environment(folder, **sandbox.variables)
        command = [*PROGRAM, "run", "p.jsonl", "--no-stdout", "--progress", "none"]
        taken = measure(command, folder=folder, environment=variables)
        sent, different = arrivals(sandbox)
    lines = lines_of(folder / "p.results.jsonl")
    succeeded = (folder / "p.results.jsonl").read_bytes().count(b'"result":{"type":"succeeded"')
    whole = len(lines) == len(set(lines)) == succeeded == different == FAULTY_PROMPTS
    yield Row(
        what=f"20 % mixed faults (429, 529, 500, reset, cut, hang), {FAULTY_PROMPTS:,} prompts",
        measured=f"{succeeded:,} succeeded in {sent:,} attempts, {taken.wall_s:.0f} s, "
        f"exit {taken.exit_code}",
        held_to="every request ends succeeded",
        kept=whole and taken.exit_code == 0,
    )
