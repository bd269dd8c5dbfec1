"""Files: one writer, replaced whole."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.errors import (
    CheckpointLockedError,
    CheckpointMismatchError,
    CheckpointWriteError,
    UsageError,
)
from claude_batch.storage import files
from claude_batch.storage.files import (
    beside,
    locked,
    make_private_folder,
    open_new,
    open_to_append,
    read_blocks,
    replace_file,
    sync_directory,
    temporary_folder,
)
from claude_batch.storage.run.paths import (
    default_results,
    refuse_as_stdout,
    refuse_foreign_results,
    set_aside,
)


def test_a_second_writer_is_refused_and_learns_who_is_first(tmp_path: Path) -> None:
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


def test_a_lock_is_removed_where_nothing_came_of_the_run(tmp_path: Path) -> None:
    for name, kept in (("none.jsonl", False), ("r.jsonl", True), ("j.jsonl", True)):
        with locked(tmp_path / name):
            if kept:
                (tmp_path / ("r.jsonl" if name == "r.jsonl" else "j.jsonl.journal")).touch()
        assert (tmp_path / f"{name}.lock").exists() is kept


def test_a_lock_that_its_owner_has_removed_meanwhile_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.jsonl.lock"
    held: list[int] = []

    def lock(fd: int, _results: Path) -> None:
        if not held:
            path.unlink()  # between opening the file and locking it
        held.append(fd)

    monkeypatch.setattr(files, "_lock", lock)
    with locked(tmp_path / "r.jsonl"):
        assert path.exists()
    assert len(held) == 2


@pytest.mark.parametrize("what", ["folder", "device", "pipe"])
def test_what_can_not_be_read_back_takes_no_results(tmp_path: Path, what: str) -> None:
    results = {"folder": tmp_path, "device": Path("/dev/null"), "pipe": tmp_path / "pipe"}[what]
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=r"can be read again|is a folder"), locked(results):
        pass
    assert not beside(results, ".lock").exists()


def test_a_link_and_the_file_it_names_have_one_lock(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.jsonl"
    link.symlink_to(tmp_path / "real" / "r.jsonl")
    with locked(link), pytest.raises(CheckpointLockedError), locked(tmp_path / "real" / "r.jsonl"):
        pass


def test_a_lock_on_a_full_disk_is_held_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    results = tmp_path / "r.jsonl"
    with locked(results), pytest.raises(CheckpointLockedError), locked(results):
        pass


def test_a_file_system_without_locks_is_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unable)
    with pytest.raises(CheckpointWriteError, match="No locks"), locked(tmp_path / "r.jsonl"):
        pass


def test_a_file_system_that_syncs_no_directories_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", unable)
    sync_directory(tmp_path)


def test_a_disk_that_fails_to_sync_a_directory_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        sync_directory(tmp_path)


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    (tmp_path / "f").chmod(0o640)
    replace_file(tmp_path / "f", [b"new"])
    assert (tmp_path / "f").read_bytes() == b"new"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


def take_lock(path: Path) -> None:
    with locked(path.with_suffix("")):
        pass


@pytest.mark.parametrize("dangling", [False, True])
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("r.lock", take_lock),
        ("r.journal", lambda path: replace_file(path, [b"ours"])),
        ("r.part", lambda path: replace_file(path.with_suffix(""), [b"ours"])),
        ("r.prompts.part", open_new),
        ("r.damaged", open_to_append),
    ],
)
def test_a_link_in_the_place_of_a_file_of_ours_is_refused(
    tmp_path: Path, name: str, write: Callable[[Path], object], *, dangling: bool
) -> None:
    victim, link = tmp_path / "victim", tmp_path / name
    if not dangling:
        victim.write_bytes(b"theirs")
    link.symlink_to(victim)
    with pytest.raises(CheckpointWriteError, match=f"{name} is a link") as caught:
        write(link)
    assert caught.value.hint.endswith(f"rm {link}")
    assert victim.exists() is not dangling
    assert dangling or victim.read_bytes() == b"theirs"
    assert link.is_symlink()


def test_a_part_that_a_crash_left_is_replaced_and_private(tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(b"a long leftover")
    (tmp_path / "f.part").chmod(0o666)
    with open_new(tmp_path / "f.part") as file:
        file.write(b"new")
    assert (tmp_path / "f.part").read_bytes() == b"new"
    assert (tmp_path / "f.part").stat().st_mode & 0o777 == 0o600


def test_temporary_folders_of_processes_that_are_gone_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / "claude-batch-copies-left"
    left.mkdir()
    (left / "1").touch()
    with temporary_folder() as first, temporary_folder() as second:
        (second / "1").touch()
        assert sorted(tmp_path.iterdir()) == sorted([first, second])
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_folder_is_not_removed_by_a_process_that_looks_before_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.mkdtemp

    def make_and_wait(**named: Any) -> str:
        made: str = make(**named)
        monkeypatch.setattr(tempfile, "mkdtemp", make)
        with temporary_folder(tmp_path):
            return made

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_wait)
    with temporary_folder(tmp_path) as folder:
        (folder / "1").touch()
    assert list(tmp_path.iterdir()) == []


@given(
    content=st.binary(max_size=30), start=st.integers(0, 9), length=st.none() | st.integers(0, 30)
)
def test_a_range_of_bytes_is_read_in_blocks(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, start: int, length: int | None
) -> None:
    path = tmp_path_factory.mktemp("range") / "f"
    path.write_bytes(content)
    end = None if length is None else start + length
    with pytest.MonkeyPatch.context() as small:
        small.setattr(files, "BLOCK", 4)
        blocks = list(read_blocks(path, start, end))
    assert b"".join(blocks) == content[start:end]
    assert all(0 < len(block) <= 4 for block in blocks)


def test_folders_are_made_for_their_user_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_private_folder(tmp_path / "state" / "claude-batch")
    finally:
        os.umask(before)
    for folder in (tmp_path / "state", tmp_path / "state" / "claude-batch"):
        assert folder.stat().st_mode & 0o777 == 0o700


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
        (".", False, ".results.jsonl"),
        ("/", True, "/.sandbox.results.jsonl"),
    ],
)
def test_results_lie_beside_the_prompts(prompts: str, results: str, *, sandbox: bool) -> None:
    assert default_results(Path(prompts), sandbox=sandbox) == Path(results)


def test_results_without_a_journal_are_not_appended_to(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"{}\n")
    with pytest.raises(CheckpointMismatchError, match="is unknown"):
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


def test_bodies_and_downloads_of_a_run_set_aside_are_removed(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("")
    for name in ("r.jsonl.batch-1.body", "r.jsonl.batch-msgbatch_1.part"):
        (tmp_path / name).write_text("")
    set_aside(tmp_path / "r.jsonl", "then")
    assert {path.name for path in tmp_path.iterdir()} == {"r.jsonl.then"}


def test_what_was_set_aside_is_never_replaced(tmp_path: Path) -> None:
    for content in (b"1", b"2", b"3"):
        (tmp_path / "r.jsonl").write_bytes(content)
        set_aside(tmp_path / "r.jsonl", "now")
    kept = sorted(path.read_bytes() for path in tmp_path.iterdir())
    assert kept == [b"1", b"2", b"3"]
