"""Disks that are full, locked away or wrongly named: exit 5 or 2, nothing lost, resumable."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.killing import QUICK, arrivals, lines_of, write_prompts
from tests.support.program import Program, served

pytestmark = pytest.mark.whole

ALL = sorted(f"p{number}" for number in range(200))
RUN = ("run", "p.jsonl", "--rpm", "6000", "--progress", "none", "--no-stdout")


@contextmanager
def small_disk(at: Path, kilobytes: int) -> Iterator[None]:
    """Mount a disk of so many kilobytes; skip the test where that is not allowed."""
    at.mkdir()
    size = f"size={kilobytes}k"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "claude-batch-test", at],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", at], check=True)


def test_a_file_size_limit_stops_the_run_cleanly_and_it_goes_on_later(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 200)
    results = tmp_path / "p.results.jsonl"
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        full = program.shell(f"ulimit -f 40; claude-batch {' '.join(RUN)}", fresh=True)
        kept = lines_of(results)
        whole = results.read_bytes().endswith(b"\n")
        again = program.run(*RUN)
    assert full.returncode == 5, full.stderr.decode()
    assert b"cannot write" in full.stderr
    assert b"Traceback" not in full.stderr
    assert whole
    assert 0 < len(kept) < 200
    assert again.returncode == 0
    assert sorted(lines_of(results)) == ALL


def test_a_full_disk_stops_the_run_cleanly_and_it_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    write_prompts(tmp_path / "p.jsonl", 200)
    with small_disk(tmp_path / "disk", 64), served(tmp_path, QUICK) as sandbox:
        results = tmp_path / "disk" / "r.jsonl"
        program = Program(folder=tmp_path, variables=sandbox.variables)
        full = program.run(*RUN, "-o", str(results))
        kept = lines_of(results)
        still_full = program.run(*RUN, "-o", str(results))
        subprocess.run(["mount", "-o", "remount,size=4m", results.parent], check=True)
        again = program.run(*RUN, "-o", str(results))
        done = lines_of(results)
    for stopped in (full, still_full):
        assert stopped.returncode == 5, stopped.stderr.decode()
        assert b"No space left" in stopped.stderr
        assert b"Traceback" not in stopped.stderr
    assert 0 < len(kept) < 200
    assert again.returncode == 0, again.stderr.decode()
    assert sorted(done) == ALL


def test_without_room_for_a_single_file_nothing_is_sent(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 2)
    with small_disk(tmp_path / "disk", 4), served(tmp_path, QUICK) as sandbox:
        (tmp_path / "disk" / "filler").write_bytes(b"x" * 4096)
        program = Program(folder=tmp_path, variables=sandbox.variables)
        full = program.run(*RUN, "-o", "disk/r.jsonl")
        counts = arrivals(sandbox)
    assert full.returncode == 5, full.stderr.decode()
    assert b"Traceback" not in full.stderr
    assert b"--out" in full.stderr
    assert counts == (0, 0)


def test_a_disk_that_is_full_while_stdin_is_copied_keeps_nothing_of_it(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 5_000)
    with small_disk(tmp_path / "disk", 64), served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        stdin = (tmp_path / "p.jsonl").read_bytes()
        full = program.run("run", "-", "--no-stdout", "-o", "disk/r.jsonl", stdin=stdin)
        left = {path.name for path in (tmp_path / "disk").iterdir()}
        counts = arrivals(sandbox)
    assert full.returncode == 5, full.stderr.decode()
    assert b"make room" in full.stderr
    assert left <= {"r.jsonl.lock"}
    assert counts == (0, 0)


def test_results_that_vanish_while_a_run_writes_them_stop_it(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 200)
    results = tmp_path / "p.results.jsonl"
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        moved = program.shell(
            f"claude-batch {' '.join(RUN).replace('6000', '600')} &"
            "until [ -s p.results.jsonl ]; do sleep 0.02; done;"
            "mv p.results.jsonl elsewhere; wait $!"
        )
        refused = program.run(*RUN)
        (tmp_path / "elsewhere").rename(results)
        again = program.run(*RUN)
        _, different = arrivals(sandbox)
    assert (moved.returncode, refused.returncode) == (5, 5), moved.stderr.decode()
    assert b"moved, removed or replaced" in moved.stderr
    assert b"is gone" in refused.stderr
    assert again.returncode == 0, again.stderr.decode()
    assert sorted(lines_of(results)) == ALL
    assert different == 200


def a_folder(folder: Path) -> str:
    (folder / "there").mkdir()
    return "there"


def a_device(_: Path) -> str:
    return "/dev/null"


def the_prompts(_: Path) -> str:
    return "p.jsonl"


def no_folder(_: Path) -> str:
    return "nowhere/r.jsonl"


@pytest.mark.parametrize(
    ("where", "code"), [(a_folder, 2), (a_device, 2), (the_prompts, 2), (no_folder, 2)]
)
def test_where_no_results_can_be_is_told_before_anything_is_sent(
    tmp_path: Path, where: Callable[[Path], str], code: int
) -> None:
    write_prompts(tmp_path / "p.jsonl", 2)
    out = where(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    refused = Program(folder=tmp_path, variables={"ANTHROPIC_API_KEY": "none"}).run(*RUN, "-o", out)
    assert refused.returncode == code, refused.stderr.decode()
    assert b"--out" in refused.stderr
    assert b"Traceback" not in refused.stderr
    after = {path.name for path in tmp_path.iterdir()}
    assert after - {*before, "p.jsonl.lock"} <= {"state", ".cache"}
    assert not Path("/dev/null.lock").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_named(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 2)
    (tmp_path / "locked").mkdir(mode=0o500)
    refused = Program(folder=tmp_path).run(*RUN, "-o", "locked/r.jsonl")
    assert refused.returncode == 5
    assert b"Permission denied" in refused.stderr


def test_results_under_a_link_are_written_to_the_file_it_names(tmp_path: Path) -> None:
    write_prompts(tmp_path / "p.jsonl", 200)
    (tmp_path / "real").mkdir()
    (tmp_path / "r.jsonl").symlink_to("real/results.jsonl")
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        done = program.run(*RUN, "-o", "r.jsonl")
        again = program.run("run", "p.jsonl", "-o", "r.jsonl", "--retry-errored", "--stdout")
    assert (done.returncode, again.returncode) == (0, 0), again.stderr.decode()
    assert sorted(lines_of(tmp_path / "real" / "results.jsonl")) == ALL
    assert again.stdout == (tmp_path / "real" / "results.jsonl").read_bytes()
