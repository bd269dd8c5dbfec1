"""A disk that stops answering in the middle of a batch run: whoever stops the run is let go."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.support.killing import lines_of, write_prompts
from tests.support.program import Program, served, wait_for
from tests.whole.test_batch import SOON, a_program, records

pytestmark = pytest.mark.whole

HANGING = """
import os, time

def hanging(call):
    def called(*arguments, **named):
        while os.access("hang", os.F_OK):
            time.sleep(0.1)
        return call(*arguments, **named)
    return called

for name in ("fsync", "fdatasync", "pwrite", "unlink"):
    setattr(os, name, hanging(getattr(os, name)))
"""
"""Python's own start-up file: the calls that reach a disk wait while there is a file `hang`."""


def test_a_disk_that_hangs_does_not_hold_up_the_end_of_a_batch_run(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 30)
    results = tmp_path / "p.results.jsonl"
    (tmp_path / "sitecustomize.py").write_text(HANGING)
    with served(tmp_path, SOON + "duration_s = 2\n") as sandbox:
        program = a_program(tmp_path, sandbox)
        hooked = Program(
            folder=tmp_path, variables={**program.variables, "PYTHONPATH": str(tmp_path)}
        )
        process = hooked.start("run", "p.jsonl", "--mode", "batch", "--no-stdout", "--cache")
        wait_for(lambda: records(results, "batch_created"))
        (tmp_path / "hang").touch()
        time.sleep(4)  # the batch has ended, and its results are on their way to the disk
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        try:
            _, stderr = process.communicate()
        finally:
            process.kill()
            (tmp_path / "hang").unlink()
        again = program.run("run", "p.jsonl", "--no-stdout")
    assert process.returncode == 5, stderr.decode()
    assert b"the disk does not answer" in stderr
    assert again.returncode == 0, again.stderr.decode()
    assert sorted(lines_of(results)) == sorted(f"p{number}" for number in range(30))
