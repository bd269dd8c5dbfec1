"""Files: one writer, replaced whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from claude_batch.errors import CheckpointLockedError, CheckpointMismatchError, UsageError
from claude_batch.storage.files import locked, replace_file
from claude_batch.storage.run_files import (
    default_results,
    refuse_as_stdout,
    refuse_foreign_results,
    set_aside,
)


def test_a_second_writer_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    results = tmp_path / "r.jsonl"
    with (
        locked(results),
        pytest.raises(CheckpointLockedError, match=f"process {os.getpid()}"),
        locked(results),
    ):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    results = tmp_path / "r.jsonl"
    program = (
        "import os, sys, pathlib; from claude_batch.storage.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(results)], check=False)
    with locked(results):
        assert (tmp_path / "r.jsonl.lock").exists()


def test_a_replaced_file_is_whole_or_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def chunks() -> object:
        yield b"new"
        raise RuntimeError("power loss")

    with pytest.raises(RuntimeError):
        replace_file(path, chunks())  # type: ignore[arg-type]  # a generator that fails
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("prompts", "sandbox", "results"),
    [
        ("a/prompts.jsonl", False, "a/prompts.results.jsonl"),
        ("a/prompts.jsonl", True, "a/prompts.sandbox.results.jsonl"),
        ("data.v2", False, "data.v2.results.jsonl"),
        ("p.txt", False, "p.results.jsonl"),
    ],
)
def test_results_lie_beside_the_prompts(prompts: str, results: str, *, sandbox: bool) -> None:
    assert default_results(Path(prompts), sandbox=sandbox) == Path(results)


def test_results_without_a_journal_are_not_appended_to(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"{}\n")
    with pytest.raises(CheckpointMismatchError, match="cannot be told"):
        refuse_foreign_results(tmp_path / "r")


def test_printing_into_the_results_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "r").open("wb") as file, pytest.raises(UsageError, match="stdout is"):
        refuse_as_stdout(file.fileno(), tmp_path / "p", tmp_path / "r")


def test_a_run_set_aside_leaves_only_its_lock(tmp_path: Path) -> None:
    for suffix in ("", ".journal", ".damaged", ".lock"):
        (tmp_path / f"r.jsonl{suffix}").write_bytes(b"x")
    set_aside(tmp_path / "r.jsonl", "then")
    assert {path.name for path in tmp_path.iterdir()} == {
        "r.jsonl.then",
        "r.jsonl.journal.then",
        "r.jsonl.damaged.then",
        "r.jsonl.lock",
    }
