"""Opening a run: what lies on disk is gone on with, or refused by name; nothing is bought twice."""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from claude_batch.core.model.requests import ResultType
from claude_batch.errors import CheckpointMismatchError, CheckpointWriteError, UsageError
from claude_batch.storage.run import opening
from claude_batch.storage.run.journal import JournalFile, Opened, journal_path
from claude_batch.storage.run.opening import OpenRun, end_retry, left_out_path
from claude_batch.storage.run.paths import copied_prompts, set_aside
from claude_batch.storage.run.results import encode_result
from tests.storage.run.test_batch_journal import an_intent
from tests.storage.run.test_recovery import a_line
from tests.storage.run.test_results import a_result
from tests.storage.run.test_run_identity import a_record, opened

THREE = b'"one"\n"two"\n"three"\n'


def begin(folder: Path, prompts: bytes = THREE, **more: Any) -> OpenRun:
    """Begin a run over `prompts`, or go on with it."""
    (folder / "three.jsonl").write_bytes(prompts)
    return opened(folder, prompts=str(folder / "three.jsonl"), **more)


def from_stdin(
    folder: Path, monkeypatch: pytest.MonkeyPatch, prompts: bytes, **more: Any
) -> OpenRun:
    """Begin a run over what comes from stdin, or go on with it."""
    stdin = SimpleNamespace(buffer=io.BytesIO(prompts), isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", stdin)
    return opened(folder, prompts="-", **more)


def note_done(folder: Path, done: int) -> None:
    journal = JournalFile(folder / "results.jsonl")
    journal.opened(Opened(at="t", process=1, done=done))
    journal.close()


@pytest.mark.parametrize("meddled", [1, 3, 10**12, None])
def test_an_edited_line_number_costs_no_result(tmp_path: Path, meddled: int | None) -> None:
    begin(tmp_path)
    results = tmp_path / "results.jsonl"
    results.write_bytes(a_line("line-2", meddled) + a_line("line-1", 1))
    done = begin(tmp_path).checkpoint.done
    assert [line for line in range(1, 4) if line in done] == [1, 2]


def test_results_of_two_runs_in_one_file_are_refused(tmp_path: Path) -> None:
    begin(tmp_path)
    (tmp_path / "results.jsonl").write_bytes(a_line("line-1", 1) + a_line("other", 2))
    with pytest.raises(CheckpointMismatchError, match="1 results of requests that"):
        begin(tmp_path)


def test_results_that_are_gone_are_not_bought_again(tmp_path: Path) -> None:
    begin(tmp_path)
    note_done(tmp_path, 2)
    with pytest.raises(CheckpointMismatchError, match="is gone: it held 2 results"):
        begin(tmp_path)


def test_a_run_that_was_killed_before_its_results_began_goes_on(tmp_path: Path) -> None:
    first = begin(tmp_path)
    note_done(tmp_path, 0)
    assert begin(tmp_path).identity.run_id == first.identity.run_id


def test_a_run_set_aside_by_half_loses_nothing(tmp_path: Path) -> None:
    begin(tmp_path)
    results = tmp_path / "results.jsonl"
    results.write_bytes(a_line("line-1", 1))
    note_done(tmp_path, 1)
    results.rename(tmp_path / "results.jsonl.then")  # killed here
    with pytest.raises(CheckpointMismatchError, match="is gone"):
        begin(tmp_path)
    set_aside(results, "then")
    assert begin(tmp_path).checkpoint.tally.done == 0
    assert (tmp_path / "results.jsonl.then").read_bytes() == a_line("line-1", 1)


def test_retrying_again_after_a_crash_between_aside_and_rename_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path)
    results = tmp_path / "results.jsonl"
    results.write_bytes(a_line("line-1", 1) + encode_result(a_result(2)).replace(b"a2", b"line-2"))

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            begin(tmp_path, retry_errored=True)
    again = begin(tmp_path, retry_errored=True)
    assert again.retaken == 1
    assert again.checkpoint.tally.ended == {ResultType.SUCCEEDED: 1}


def test_answers_of_a_fallback_are_taken_out_to_be_asked_for_again(tmp_path: Path) -> None:
    begin(tmp_path)
    results = tmp_path / "results.jsonl"
    stood_in = a_line("line-2", 2).replace(b'"meta":{', b'"meta":{"degraded":true,')
    results.write_bytes(a_line("line-1", 1) + stood_in)
    again = begin(tmp_path, retry_degraded=True)
    assert (again.retaken, results.read_bytes()) == (1, a_line("line-1", 1))


def test_what_was_repaired_before_a_retry_is_reported(tmp_path: Path) -> None:
    begin(tmp_path)
    results = tmp_path / "results.jsonl"
    results.write_bytes(a_line("line-1", 1) + b"junk\n" + a_line("line-2", 2) + b'{"custom_id":"l')
    again = begin(tmp_path, retry_errored=True)
    assert (again.retaken, again.checkpoint.damaged, again.checkpoint.torn_bytes) == (2, 1, 15)


@pytest.mark.parametrize("at_the_api", [False, True])
def test_a_retry_goes_on_while_its_batch_is_at_the_api_and_else_is_over(
    tmp_path: Path, *, at_the_api: bool
) -> None:
    begin(tmp_path)
    results = tmp_path / "results.jsonl"
    errored = encode_result(a_result(2, ResultType.ERRORED)).replace(b"a2", b"line-2")
    results.write_bytes(a_line("line-1", 1) + errored)
    assert begin(tmp_path, retry_errored=True).retaken == 2
    if at_the_api:
        asyncio.run(a_record(results, an_intent(lines="2")))
    assert end_retry(results).put_back == 2
    assert begin(tmp_path).checkpoint.tally.done == (0 if at_the_api else 2)
    assert end_retry(results).put_back == (2 if at_the_api else 0)
    assert len(results.read_bytes().splitlines()) == 2


def test_a_stop_before_anything_is_retried_and_other_prompts_then_lose_no_result(
    tmp_path: Path,
) -> None:
    begin(tmp_path)
    results = tmp_path / "results.jsonl"
    results.write_bytes(a_line("line-1", 1))
    begin(tmp_path, retry_errored=True)  # killed here: nothing is left in the results
    note_done(tmp_path, 0)
    with pytest.raises(CheckpointMismatchError):
        begin(tmp_path, b'"other"\n')
    again = begin(tmp_path)
    assert (again.continued, again.checkpoint.tally.done) == (True, 0)
    end_retry(results)
    assert begin(tmp_path).checkpoint.tally.done == 1


@pytest.mark.parametrize("fresh", [False, True])
def test_results_do_not_go_into_the_prompts(tmp_path: Path, *, fresh: bool) -> None:
    prompts = tmp_path / "three.jsonl"
    with pytest.raises(UsageError, match="both prompts and results"):
        begin(tmp_path, results=prompts, fresh=fresh)
    assert prompts.read_bytes() == THREE


def test_prompts_are_not_set_aside_with_a_run_of_theirs(tmp_path: Path) -> None:
    kept = copied_prompts(tmp_path / "results.jsonl")
    kept.write_bytes(THREE)
    with pytest.raises(UsageError, match="both prompts and results"):
        opened(tmp_path, prompts=str(kept), fresh=True)


@pytest.mark.parametrize("harm", ["torn", "gone"])
def test_a_damaged_copy_of_stdin_is_mended_by_the_same_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    kept = from_stdin(tmp_path, monkeypatch, THREE).prompts
    if harm == "torn":
        kept.write_bytes(THREE[:9])
    else:
        kept.unlink()
    assert from_stdin(tmp_path, monkeypatch, THREE).prompts.read_bytes() == THREE


def test_other_prompts_from_stdin_do_not_touch_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = from_stdin(tmp_path, monkeypatch, THREE).prompts
    with pytest.raises(CheckpointMismatchError, match="other prompts"):
        from_stdin(tmp_path, monkeypatch, b'"four"\n')
    assert kept.read_bytes() == THREE
    assert sorted(path.name for path in tmp_path.iterdir() if "part" in path.name) == []


def test_a_full_disk_leaves_no_part_of_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("claude_batch.storage.prompts.input.sync_open", full)
    with pytest.raises(CheckpointWriteError, match="cannot copy the prompts: No space left"):
        from_stdin(tmp_path, monkeypatch, THREE)
    assert list(tmp_path.glob("results*")) == []


@pytest.mark.parametrize("suffix", [".prompts.part", ".journal.part", ".journal"])
def test_a_new_run_is_not_written_through_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    link = tmp_path / f"results.jsonl{suffix}"
    link.symlink_to(tmp_path / "victim")
    with pytest.raises(CheckpointWriteError, match="is a link"):
        from_stdin(tmp_path, monkeypatch, THREE)
    assert not (tmp_path / "victim").exists()


def test_a_list_of_bad_lines_is_not_written_through_a_link(tmp_path: Path) -> None:
    left_out_path(tmp_path / "results.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(CheckpointWriteError, match="is a link"):
        begin(tmp_path, b'"one"\nbad\n', skip_invalid=True)
    assert not (tmp_path / "victim").exists()


def test_one_id_twice_in_the_results_leaves_the_other_prompt_to_be_sent(tmp_path: Path) -> None:
    begin(tmp_path)
    results = tmp_path / "results.jsonl"
    results.write_bytes(b"".join(a_line("line-1", line) for line in (1, 2, 3)))
    again = begin(tmp_path)
    assert not again.is_done
    assert (again.checkpoint.tally.done, again.checkpoint.damaged) == (1, 2)
    assert [line for line in range(1, 4) if line in again.checkpoint.done] == [1]


@pytest.mark.parametrize("content", [b"", b'{"line":2}\n{"line":3}\n', b"junk\n"])
def test_a_list_of_bad_lines_that_was_edited_is_refused(tmp_path: Path, content: bytes) -> None:
    begin(tmp_path, b'"one"\nbad\n"three"\n', skip_invalid=True)
    left_out_path(tmp_path / "results.jsonl").write_bytes(content)
    with pytest.raises(CheckpointMismatchError, match=r"lists \d bad lines|cannot be read"):
        begin(tmp_path, b'"one"\nbad\n"three"\n', skip_invalid=True)


def test_a_list_that_a_start_cut_off_left_behind_counts_for_nothing(tmp_path: Path) -> None:
    left_out_path(tmp_path / "results.jsonl").write_bytes(b'{"line":2}\n')
    begin(tmp_path, skip_invalid=True)
    assert not left_out_path(tmp_path / "results.jsonl").exists()


def test_a_folder_without_room_for_the_journal_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("claude_batch.storage.run.journal.replace_file", full)
    with pytest.raises(CheckpointWriteError, match="cannot write the journal"):
        begin(tmp_path)
    assert not journal_path(tmp_path / "results.jsonl").exists()
    assert opening.left_out_path(tmp_path / "results.jsonl").exists() is False
