"""Recovery: every valid line is kept, whatever happened to the file; ids decide what is done."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.core.model.requests import ResultType
from claude_batch.errors import CheckpointMismatchError, CheckpointWriteError
from claude_batch.storage.files import beside
from claude_batch.storage.prompts.parse import parse_line
from claude_batch.storage.prompts.shapes import Defaults
from claude_batch.storage.run.checkpoint import Entry, parse_entry, read_checkpoint, read_lines
from claude_batch.storage.run.recovery import (
    as_put_back,
    id_of,
    is_retrying,
    left_to_retry,
    prove,
    put_back,
    recover,
    retry_expense,
    take_out,
    take_out_again,
)
from claude_batch.storage.run.results import encode_result
from tests.storage.run.test_results import MESSAGE, a_result

LINES = [encode_result(a_result(line)) for line in range(1, 5)]
WHOLE = b"".join(LINES)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "r.jsonl"


def test_a_file_cut_at_any_byte_keeps_every_whole_line(results: Path) -> None:
    for cut in range(len(WHOLE) + 1):
        results.write_bytes(WHOLE[:cut])
        recover(results)
        kept = results.read_bytes()
        whole = [line for line in LINES if WHOLE.index(line) + len(line) - 1 <= cut]
        assert kept == b"".join(whole), f"cut at {cut}"


def test_a_file_in_order_is_left_alone(results: Path) -> None:
    results.write_bytes(WHOLE)
    before = results.stat().st_mtime_ns
    checkpoint = recover(results)
    assert results.stat().st_mtime_ns == before
    assert checkpoint.tally.ended == {ResultType.SUCCEEDED: 4}


@pytest.mark.parametrize(
    "content",
    [
        LINES[0] + b"\0" * 100 + LINES[1] + LINES[2],
        LINES[0] + b"\0" * 100 + b"\n" + LINES[1] + LINES[2],
        LINES[0] + LINES[3][:50] + LINES[1] + LINES[2],
        LINES[0] + b"\xff\xfe junk\n" + LINES[1] + LINES[2],
        b"[1, 2]\n" + LINES[0] + LINES[1] + LINES[2],
        LINES[0] + LINES[1] + LINES[0] + LINES[2],
    ],
    ids=["NULs", "a line of NULs", "torn in the middle", "junk", "other JSON", "a second line"],
)
def test_damage_before_intact_lines_costs_no_line(results: Path, content: bytes) -> None:
    results.write_bytes(content)
    checkpoint = recover(results)
    assert results.read_bytes() == LINES[0] + LINES[1] + LINES[2]
    assert checkpoint.damaged == 1
    assert beside(results, ".damaged").stat().st_size > 0


def test_nuls_behind_the_last_line_are_cut(results: Path) -> None:
    results.write_bytes(WHOLE + b"\0" * 4096)
    recover(results)
    assert results.read_bytes() == WHOLE


def test_reading_a_checkpoint_changes_nothing(results: Path) -> None:
    results.write_bytes(WHOLE[:-20])
    checkpoint = read_checkpoint(results)
    assert results.read_bytes() == WHOLE[:-20]
    assert checkpoint.torn_bytes > 0
    assert checkpoint.tally.done == 3


def test_done_lines_are_known_by_their_number(results: Path) -> None:
    results.write_bytes(LINES[0] + LINES[2])
    done = recover(results).done
    assert [line in done for line in range(6)] == [False, True, False, True, False, False]


@pytest.mark.parametrize(
    "content",
    [
        LINES[0][:-1] + LINES[1] + LINES[2],
        LINES[0][:-1] + b"\0" * 512 + LINES[1] + LINES[2],
        LINES[0][:-1] + b"\0" * 512 + LINES[1][:-1] + LINES[2],
        LINES[0] + LINES[3][:50] + LINES[1][:-1] + b"\0" * 9 + LINES[2],
    ],
    ids=["a lost newline", "NULs for a newline", "both", "torn, then NULs"],
)
def test_whole_lines_that_lost_their_newline_are_kept(results: Path, content: bytes) -> None:
    results.write_bytes(content)
    recover(results)
    assert results.read_bytes() == LINES[0] + LINES[1] + LINES[2]


def test_a_whole_line_after_a_torn_one_is_kept_though_its_message_looks_like_one(
    results: Path,
) -> None:
    echo = b'{"type":"message","content":[{"type":"tool_use","input":{"custom_id":"b"}}]}'
    line = LINES[1].replace(MESSAGE, echo)
    results.write_bytes(LINES[0][:40] + line)
    recover(results)
    assert results.read_bytes() == line


@pytest.mark.parametrize(
    "tail", [b"", LINES[3][:30], LINES[3][:-1], b"\0" * 99, b"junk\n" + LINES[3]]
)
def test_the_size_told_is_that_of_the_mended_file(results: Path, tail: bytes) -> None:
    results.write_bytes(LINES[0] + LINES[1] + tail)
    assert recover(results).size == results.stat().st_size


def test_a_result_that_was_cut_down_to_its_text_is_still_one(results: Path) -> None:
    results.write_bytes(b'{"custom_id":"x","result":{"type":"succeeded","message":"hello"}}\n')
    checkpoint = recover(results)
    assert (checkpoint.damaged, checkpoint.tally.done) == (0, 1)


def test_recovery_syncs_what_a_killed_process_left(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results.write_bytes(WHOLE)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    recover(results)
    assert synced == [results.stat().st_ino, results.parent.stat().st_ino]


def test_a_result_without_a_line_number_is_known_by_its_id(results: Path) -> None:
    results.write_bytes(b'{"custom_id":"x","result":{"type":"canceled"}}\n')
    assert recover(results).done.ids == {"x"}


@pytest.mark.parametrize("tail", [LINES[1] + b"junk\n", LINES[1][:-1], LINES[1] + LINES[2][:9]])
def test_results_behind_a_link_are_repaired_where_they_are(results: Path, tail: bytes) -> None:
    real = results.with_name("real")
    real.write_bytes(LINES[0] + tail)
    real.chmod(0o640)
    results.symlink_to(real)
    recover(results)
    assert results.is_symlink()
    assert real.read_bytes() == LINES[0] + LINES[1]
    assert real.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("suffix", [".damaged", ".part"])
def test_damage_is_not_moved_through_a_link(results: Path, suffix: str) -> None:
    victim = results.with_name("victim")
    victim.write_bytes(b"theirs")
    beside(results, suffix).symlink_to(victim)
    results.write_bytes(LINES[0] + b"junk\n" + LINES[1])
    with pytest.raises(CheckpointWriteError, match="is a link"):
        recover(results)
    assert victim.read_bytes() == b"theirs"


def is_errored(entry: Entry) -> bool:
    return entry.type is ResultType.ERRORED


def test_unwanted_lines_are_taken_out_and_kept_beside(results: Path) -> None:
    errored = encode_result(a_result(9, ResultType.ERRORED))
    results.write_bytes(LINES[0] + errored + LINES[1])
    assert take_out(results, is_errored) == 1
    assert results.read_bytes() == LINES[0] + LINES[1]
    assert beside(results, ".retrying").read_bytes() == errored


def a_line_of(line: int, result: str, **meta: object) -> bytes:
    told = {"custom_id": f"a{line}", "result": {"type": result}, "meta": {"line": line, **meta}}
    return orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)


ERRORED, OTHER_ERROR = a_line_of(9, "errored"), a_line_of(9, "errored", attempts=6)
STOOD_IN, ANSWERED = a_line_of(9, "succeeded", degraded=True), a_line_of(9, "succeeded")
STOOD_IN_AGAIN = a_line_of(9, "succeeded", degraded=True, attempts=2)
ANSWERED_AGAIN = a_line_of(9, "succeeded", attempts=2)
BROKEN = a_line_of(9, "succeeded", output_error="no JSON")


def a_stopped_line(stop_reason: str, tokens: int = 10) -> bytes:
    message = {"stop_reason": stop_reason, "usage": {"output_tokens": tokens}}
    told = {
        "custom_id": "a9",
        "result": {"type": "succeeded", "message": message},
        "meta": {"line": 9},
    }
    return orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)


REFUSED, CUT, CUT_LATER = (
    a_stopped_line("refusal"),
    a_stopped_line("max_tokens"),
    a_stopped_line("max_tokens", 20),
)


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        (ERRORED, b"", ERRORED),
        (ERRORED, OTHER_ERROR, OTHER_ERROR),
        (ERRORED, STOOD_IN, STOOD_IN),
        (STOOD_IN, b"", STOOD_IN),
        (STOOD_IN, OTHER_ERROR, STOOD_IN),
        (STOOD_IN, ANSWERED, ANSWERED),
        (STOOD_IN, STOOD_IN_AGAIN, STOOD_IN),
        (CUT, OTHER_ERROR, CUT),
        (CUT, REFUSED, CUT),
        (CUT, CUT_LATER, CUT_LATER),
        (CUT_LATER, CUT, CUT_LATER),
        (CUT, ANSWERED, ANSWERED),
        (REFUSED, BROKEN, BROKEN),
        (BROKEN, CUT, BROKEN),
        (BROKEN, ANSWERED, ANSWERED),
        (ANSWERED, ANSWERED_AGAIN, ANSWERED),
    ],
)
def test_after_a_retry_the_better_result_is_there_and_the_other_one_kept(
    results: Path, old: bytes, new: bytes, kept: bytes
) -> None:
    results.write_bytes(LINES[0] + old + LINES[1])
    take_out(results, lambda entry: entry.custom_id == "a9")
    with results.open("ab") as file:
        file.write(new)
    assert put_back(results).put_back == (kept == old)
    assert results.read_bytes() == LINES[0] + LINES[1] + kept
    retried = beside(results, ".retried").read_bytes()
    assert retried == (new if kept == old else old)
    assert not is_retrying(results)


def test_a_retry_whose_batches_continue_is_put_back_for_readers_and_taken_out_again(
    results: Path,
) -> None:
    results.write_bytes(WHOLE + ERRORED)
    take_out(results, is_errored)
    assert put_back(results, keep=True).put_back == 1
    assert results.read_bytes() == WHOLE + ERRORED
    take_out_again(results)
    assert results.read_bytes() == WHOLE
    assert put_back(results).put_back == 1
    assert results.read_bytes() == WHOLE + ERRORED


def test_a_retry_that_was_killed_is_read_as_if_it_was_put_back(results: Path) -> None:
    results.write_bytes(LINES[0] + ERRORED + LINES[1])
    take_out(results, lambda entry: entry.custom_id != "a1")
    with results.open("ab") as file:
        file.write(ANSWERED + b'{"custom_id":"torn')
    before = results.read_bytes()
    with as_put_back(results) as copy:
        assert sorted(copy.read_bytes().splitlines(keepends=True)) == sorted(
            [LINES[0], LINES[1], ANSWERED]
        )
        assert retry_expense(copy).cost_usd is None  # what failed has cost nothing
    assert results.read_bytes() == before
    assert left_to_retry(results) == 1
    put_back(results, keep=True)
    assert left_to_retry(results) == 1
    put_back(results)
    assert left_to_retry(results) == 0


def test_what_waits_for_a_retry_is_paid_for_once(results: Path) -> None:
    results.write_bytes(
        b"".join(encode_result(replace(a_result(line), cost_usd=1.0)) for line in range(1, 5))
    )
    take_out(results, lambda entry: entry.custom_id == "a2")
    for _ in range(2):  # then it is in both files
        spent = (read_checkpoint(results).tally.cost_usd, retry_expense(results).cost_usd)
        assert sum(each or 0.0 for each in spent) == pytest.approx(4.0)
        put_back(results, keep=True)


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_a_crash_while_lines_are_taken_out_loses_and_doubles_none(
    results: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    errored = encode_result(a_result(9, ResultType.ERRORED))
    content = LINES[0] + errored + LINES[1]
    results.write_bytes(content)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(step, crash)
        with pytest.raises(KeyboardInterrupt):
            take_out(results, is_errored)
    assert results.read_bytes() == content
    take_out(results, is_errored)
    assert results.read_bytes() == LINES[0] + LINES[1]
    assert errored in beside(results, ".retrying").read_bytes()


def test_a_rewrite_without_room_changes_nothing_and_says_so(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = LINES[0] + encode_result(a_result(9, ResultType.ERRORED))
    results.write_bytes(content)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointWriteError, match="No space left"):
        take_out(results, is_errored)
    assert results.read_bytes() == content
    assert not beside(results, ".part").exists()


@given(st.binary())
def test_no_bytes_make_parsing_fail(raw: bytes) -> None:
    assert parse_entry(raw) is None or raw.startswith((b"{", b" ", b"\n", b"\t", b"\r"))


@given(st.lists(st.one_of(st.sampled_from(LINES), st.binary(max_size=40)), max_size=8))
def test_recovery_is_done_after_one_pass(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    results = tmp_path_factory.mktemp("r") / "r.jsonl"
    results.write_bytes(b"".join(parts))
    recover(results)
    once = results.read_bytes()
    second = recover(results)
    assert results.read_bytes() == once
    assert (second.damaged, second.torn_bytes) == (0, 0)
    assert all(entry is not None for _, entry in read_lines(results))


# --- results compared with the prompts ------------------------------------------------------------

PROMPTS = [
    b'{"custom_id":"a","prompt":"x"}',
    b'"bare"',
    b"",
    b'{"prompt":"x","custom_id":"d"}',
    b'{"custom_id":"e\\u00e9","prompt":"x"}',
]
_BODY = b'"body":{"model":"claude-haiku-5-5","messages":[{"role":"user","content":"x"}]}'


def a_line(custom_id: str, line: int | None) -> bytes:
    meta = {} if line is None else {"line": line}
    return orjson.dumps(
        {"custom_id": custom_id, "result": {"type": "canceled"}, "meta": meta},
        option=orjson.OPT_APPEND_NEWLINE,
    )


def done_lines(folder: Path, *results: bytes, left_out: frozenset[int] = frozenset()) -> list[int]:
    """Return the lines of PROMPTS that `results` make done."""
    (folder / "p").write_bytes(b"\n".join(PROMPTS) + b"\n")
    (folder / "r").write_bytes(b"".join(results))
    read = read_checkpoint(folder / "r")
    done = prove(read, folder / "p", folder / "r", left_out=left_out).done
    return [line for line in range(9) if line in done]


def test_lines_that_say_the_truth_are_done(tmp_path: Path) -> None:
    results = [a_line("a", 1), a_line("line-2", 2), a_line("d", 4), a_line("e\u00e9", 5)]
    assert done_lines(tmp_path, *results) == [1, 2, 4, 5]


def test_results_without_line_numbers_are_known_by_their_ids(tmp_path: Path) -> None:
    assert done_lines(tmp_path, a_line("d", None), a_line("line-2", None)) == [2, 4]


@pytest.mark.parametrize("wrong", [4, 2, 5, 3, 999, 10**15])
def test_a_result_with_a_wrong_line_number_makes_its_own_request_done(
    tmp_path: Path, wrong: int
) -> None:
    assert done_lines(tmp_path, a_line("a", wrong), a_line("d", 4)) == [1, 4]


def test_two_results_that_claim_one_line_are_both_kept(tmp_path: Path) -> None:
    assert done_lines(tmp_path, a_line("a", 4), a_line("d", 4)) == [1, 4]
    assert read_checkpoint(tmp_path / "r").damaged == 0


def test_results_of_another_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMismatchError, match="1 results of requests that"):
        done_lines(tmp_path, a_line("a", 1), a_line("stranger", 2))


def test_one_id_under_two_lines_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b'{"custom_id":"a","prompt":"x"}\n"y"\n')
    (tmp_path / "r").write_bytes(a_line("a", 1) + a_line("b", 2))
    read = read_checkpoint(tmp_path / "r")
    with pytest.raises(CheckpointMismatchError):
        prove(read, tmp_path / "p", tmp_path / "r", left_out=frozenset())


def test_a_bad_line_that_was_left_out_takes_no_result(tmp_path: Path) -> None:
    out = frozenset({1})
    with pytest.raises(CheckpointMismatchError):
        done_lines(tmp_path, a_line("a", 9), left_out=out)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"custom_id":"a","prompt":"x"}',
        b'{"custom_id":"a\\"b","prompt":"x"}',
        b'{"custom_id":"a","prompt":"x","custom_id":"b"}',
        b'{"prompt":"x","custom_id":"\xc3\xa9"}',
        b'{"prompt":"x","custom\\u005fid":"hidden"}',
        b'{"prompt":"x","custom_id":null}',
        b'{"prompt":"x","meta":{"custom_id":"not mine"}}',
        b'"a text that says \\"custom_id\\""',
        b'\xef\xbb\xbf{"custom_id":"a","prompt":"x"}',
        b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions",%b}' % _BODY,
    ],
)
def test_the_quick_look_sees_the_id_that_the_full_one_sees(raw: bytes) -> None:
    request = parse_line(raw, 7, Defaults(catalog=BUNDLED), checked=True)
    assert id_of(raw, 7) == getattr(request, "custom_id", None)


@pytest.mark.parametrize("line", [2, 4, 5, 999])
def test_a_second_result_of_a_request_is_surplus_whatever_its_line_number(
    tmp_path: Path, line: int
) -> None:
    assert done_lines(tmp_path, a_line("a", 1), a_line("a", line)) == [1]
    assert (tmp_path / "r").read_bytes() == a_line("a", 1)
    assert (tmp_path / "r.damaged").read_bytes() == a_line("a", line)


def test_of_two_results_the_one_with_the_right_line_number_stays(tmp_path: Path) -> None:
    assert done_lines(tmp_path, a_line("d", 2), a_line("a", 1), a_line("d", 4)) == [1, 4]
    assert (tmp_path / "r").read_bytes() == a_line("a", 1) + a_line("d", 4)
    assert (tmp_path / "r.damaged").read_bytes() == a_line("d", 2)


def test_surplus_results_are_not_counted_as_done(results: Path) -> None:
    results.write_bytes(a_line("a", 1) + a_line("a", 2) + a_line("a", None) + a_line("d", 4))
    read = read_checkpoint(results)
    assert (read.tally.done, read.surplus, read.damaged) == (2, 2, 0)


def test_surplus_results_that_were_moved_are_reported_as_damage(tmp_path: Path) -> None:
    done_lines(tmp_path)
    (tmp_path / "r").write_bytes(a_line("a", 1) + a_line("a", 2) + a_line("d", 4))
    read = recover(tmp_path / "r")
    proved = prove(read, tmp_path / "p", tmp_path / "r", left_out=frozenset())
    assert (proved.tally.done, proved.damaged, proved.surplus) == (2, 1, 0)
    assert proved.size == (tmp_path / "r").stat().st_size


@pytest.mark.parametrize(
    "meta",
    [
        b'{"cost_usd":1e308}',
        b'{"cost_usd":-5}',
        b'{"cost_usd":"x","attempts":[],"endpoint":{}}',
    ],
)
def test_figures_of_a_wrong_kind_are_not_added_up(results: Path, meta: bytes) -> None:
    usage = b'{"input_tokens":18446744073709551615,"output_tokens":-1}'
    line = b'{"custom_id":"a","result":{"type":"succeeded","message":{"usage":%s}},"meta":%s}\n'
    results.write_bytes(line % (usage, meta))
    tally = read_checkpoint(results).tally
    assert (tally.done, tally.input_tokens, tally.cost_usd) == (1, 0, None)
