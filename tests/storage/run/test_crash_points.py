"""kill -9 before each single step of what opens, mends and rewrites a run's files."""

from __future__ import annotations

import asyncio
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from claude_batch.core.model.requests import ResultType
from claude_batch.storage.files import locked
from claude_batch.storage.prompts.check import CheckReport, check
from claude_batch.storage.run.journal import JournalFile, Opened, journal_path
from claude_batch.storage.run.opening import OpenRun, end_retry, open_run
from claude_batch.storage.run.paths import set_aside
from claude_batch.storage.run.recovery import recover
from claude_batch.storage.run.results import ResultsFile, encode_result
from tests.storage.run.test_recovery import a_line
from tests.storage.run.test_results import a_result
from tests.storage.run.test_run_identity import a_wanted
from tests.support.crash_points import dies_at

PROMPTS = b"".join(b'"prompt %d"\n' % number for number in range(1, 7))
SUCCEEDED = [
    orjson.dumps(
        {"custom_id": f"line-{line}", "result": {"type": "succeeded"}, "meta": {"line": line}},
        option=orjson.OPT_APPEND_NEWLINE,
    )
    for line in (1, 3)
]
CANCELED = [a_line("line-2", 2), a_line("line-4", 4)]
JUNK = b"\0\0junk\n"
TORN = b'{"custom_id":"line-6","res'


def steps(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield 1, 2, 3 ... each with an empty folder."""
    for step in count(1):
        at = folder / str(step)
        at.mkdir()
        yield step, at


def work(folder: Path, *, stdin: bytes | None = None, **more: Any) -> OpenRun:
    """Open the run in `folder` as the command does: under its lock, aside first with --fresh."""
    (folder / "p.jsonl").write_bytes(PROMPTS)
    prompts = "-" if stdin is not None else str(folder / "p.jsonl")
    wanted = a_wanted(folder, prompts=prompts, **more)

    def before_start(_: CheckReport) -> None:
        if wanted.options.fresh:
            set_aside(wanted.results, "then")

    stream = SimpleNamespace(buffer=io.BytesIO(stdin or b""), isatty=lambda: False)
    with locked(wanted.results), pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdin", stream)
        return open_run(
            wanted,
            check_file=lambda path, note: check(path, wanted.defaults, note=note),
            before_start=before_start,
        )


def a_damaged_run(folder: Path) -> Path:
    """Make a run whose results are damaged in every way; return where they are."""
    work(folder)
    results = folder / "results.jsonl"
    results.write_bytes(SUCCEEDED[0] + CANCELED[0] + JUNK + SUCCEEDED[1] + CANCELED[1] + TORN)
    journal = JournalFile(results)
    journal.opened(Opened(at="t", process=1, done=3))
    journal.close()
    return results


def everything_in(folder: Path) -> Counter[bytes]:
    """Return the lines of all files of results, whatever they are called now."""
    files = [path for path in folder.glob("results.jsonl*") if ".journal" not in path.name]
    return Counter(line for path in files for line in path.read_bytes().splitlines(keepends=True))


def killed_at_each_step(
    folder: Path, prepare: Callable[[Path], object], act: Callable[[Path], object]
) -> Iterator[Path]:
    """Yield a folder as it is after `act` was killed before each of its steps."""
    for step, at in steps(folder):
        prepare(at)
        if not dies_at(step, lambda at=at: act(at)):  # type: ignore[misc]  # bound at once
            assert step > 3, "nothing was killed"
            return
        yield at


def test_a_start_killed_at_any_step_can_be_made_again(tmp_path: Path) -> None:
    for at in killed_at_each_step(tmp_path, lambda _: None, work):
        again = work(at)
        assert (again.identity.total, again.checkpoint.tally.done) == (6, 0)


def test_a_start_from_stdin_killed_at_any_step_can_be_made_again(tmp_path: Path) -> None:
    def begin(at: Path) -> OpenRun:
        return work(at, stdin=PROMPTS)

    for at in killed_at_each_step(tmp_path, lambda _: None, begin):
        again = begin(at)
        assert again.prompts.read_bytes() == PROMPTS
        assert again.identity.total == 6


def test_a_recovery_killed_at_any_step_keeps_every_whole_line(tmp_path: Path) -> None:
    for at in killed_at_each_step(tmp_path, a_damaged_run, work):
        again = work(at)
        assert again.checkpoint.tally.ended == {
            ResultType.SUCCEEDED: 2,
            ResultType.CANCELED: 2,
        }
        assert Counter((at / "results.jsonl").read_bytes().splitlines(keepends=True)) == Counter(
            [*SUCCEEDED, *CANCELED]
        )


def retry(at: Path) -> OpenRun:
    return work(at, retry_errored=True)


def results_in(at: Path) -> Counter[bytes]:
    return Counter((at / "results.jsonl").read_bytes().splitlines(keepends=True))


def test_retrying_killed_at_any_step_loses_and_doubles_nothing(tmp_path: Path) -> None:
    for at in killed_at_each_step(tmp_path, a_damaged_run, retry):
        assert set(everything_in(at)) >= {*SUCCEEDED, *CANCELED}
        again = retry(at)
        assert again.checkpoint.tally.ended == {ResultType.SUCCEEDED: 2}
        assert results_in(at) == Counter(SUCCEEDED)
        assert set(CANCELED) <= set(
            (at / "results.jsonl.retrying").read_bytes().splitlines(keepends=True)
        )


def test_a_retry_killed_at_any_step_goes_on_with_the_next_process_and_then_every_result_is_back(
    tmp_path: Path,
) -> None:
    for at in killed_at_each_step(tmp_path, a_damaged_run, retry):
        was_taken_out = (at / "results.jsonl.retrying").exists()
        again = work(at)
        assert again.checkpoint.tally.done == (2 if was_taken_out else 4)
        assert again.retaken == (2 if was_taken_out else 0)
        end_retry(at / "results.jsonl")
        assert results_in(at) == Counter([*SUCCEEDED, *CANCELED])
        assert not (at / "results.jsonl.retrying").exists()


def test_a_retry_ended_and_killed_at_any_step_keeps_the_better_of_two(tmp_path: Path) -> None:
    better = SUCCEEDED[0].replace(b"line-1", b"line-2").replace(b":1}", b":2}")

    def prepare(at: Path) -> None:
        a_damaged_run(at)
        retry(at)
        with (at / "results.jsonl").open("ab") as file:
            file.write(better)

    for at in killed_at_each_step(tmp_path, prepare, lambda at: end_retry(at / "results.jsonl")):
        assert set(everything_in(at)) >= {*SUCCEEDED, *CANCELED, better}
        work(at)
        end_retry(at / "results.jsonl")
        assert results_in(at) == Counter([*SUCCEEDED, better, CANCELED[1]])
        assert CANCELED[0] in (at / "results.jsonl.retried").read_bytes()
        assert not (at / "results.jsonl.retrying").exists()


def test_a_fresh_start_killed_at_any_step_keeps_the_old_results(tmp_path: Path) -> None:
    def afresh(at: Path) -> OpenRun:
        return work(at, fresh=True)

    for at in killed_at_each_step(tmp_path, a_damaged_run, afresh):
        assert set(everything_in(at)) >= {*SUCCEEDED, *CANCELED}
        assert afresh(at).checkpoint.tally.done == 0
        kept = everything_in(at)
        assert {kept[line] for line in (*SUCCEEDED, *CANCELED)} == {1}
        assert not (at / "results.jsonl").exists()


def test_a_commit_killed_at_any_step_leaves_whole_lines_and_what_was_there(
    tmp_path: Path,
) -> None:
    lines = [encode_result(a_result(line)) for line in (1, 2, 3)]

    def commit(at: Path) -> None:
        file = ResultsFile(at / "r")
        asyncio.run(file.commit([a_result(2), a_result(3)]))
        file.close()

    def prepare(at: Path) -> None:
        (at / "r").write_bytes(lines[0])

    for at in killed_at_each_step(tmp_path, prepare, commit):
        recover(at / "r")
        assert (at / "r").read_bytes() in {lines[0], b"".join(lines)}


def test_a_journal_killed_at_any_step_still_tells_whose_run_it_is(tmp_path: Path) -> None:
    def note(at: Path) -> None:
        journal = JournalFile(at / "results.jsonl")
        journal.durable("opened", Opened(at="t", process=1, done=0))
        journal.close()

    def prepare(at: Path) -> None:
        work(at)
        with journal_path(at / "results.jsonl").open("ab") as file:
            file.write(b'{"type":"ope')

    for at in killed_at_each_step(tmp_path, prepare, note):
        assert work(at).identity.total == 6
