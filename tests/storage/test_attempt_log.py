"""The log of attempts: what a line says, where it is written, and that it harms nothing."""

from __future__ import annotations

import json
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from claude_batch.core.model.attempts import Attempted, AttemptRecord
from claude_batch.core.model.requests import (
    Failure,
    FailureKind,
    LimitKind,
    LimitReading,
    Reply,
    ResponseHeaders,
)
from claude_batch.errors import UsageError
from claude_batch.storage.attempt_log import AttemptLog
from tests.support.fakes import a_failure, a_reply, a_request

MADE = Attempted("main", 2, 1.23456, 0.25)


def a_record(outcome: Reply | Failure | None = None) -> AttemptRecord:
    return AttemptRecord.of(a_request(7), outcome or a_reply(), at=1_800_000_000.5, attempt=MADE)


@contextmanager
def a_log(path: Path, *not_into: Path) -> Iterator[tuple[AttemptLog, list[str]]]:
    warnings: list[str] = []
    log = AttemptLog(path, not_into=not_into, warn=lambda text, _hint: warnings.append(text))
    try:
        yield log, warnings
    finally:
        log.close()


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_an_answer_is_one_line_without_its_text(tmp_path: Path) -> None:
    path = tmp_path / "log"
    limits = (
        LimitReading(kind=LimitKind.REQUESTS, limit_per_minute=50, remaining=49, full_at=None),
    )
    headers = ResponseHeaders(limits=limits, request_id="req_1")
    reply = Reply(
        message=b'{"content":"secret"}',
        usage=a_reply().usage,
        stop_reason="end_turn",
        headers=headers,
    )
    with a_log(path) as (log, _):
        log(a_record(reply))
    assert lines_of(path) == [
        {
            "time": "2027-01-15T08:00:00.500Z",
            "custom_id": "line-7",
            "line": 7,
            "endpoint": "main",
            "model": "claude-haiku-5-5",
            "attempt": 2,
            "status": 200,
            "error_type": None,
            "latency_s": 1.2346,
            "input_tokens": 20,
            "output_tokens": 10,
            "cost_usd": 0.25,
            "request_id": "req_1",
            "limits": {"requests": {"limit": 50, "remaining": 49}},
            "batch_id": None,
        }
    ]


def test_a_failure_has_its_status_and_type_but_not_its_message(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with a_log(path) as (log, _):
        log(a_record(a_failure(FailureKind.OVERLOADED)))
    (line,) = lines_of(path)
    assert line["error_type"] == a_failure(FailureKind.OVERLOADED).error_type
    assert line["input_tokens"] is None
    assert "message" not in line


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    with a_log(tmp_path / "log"):
        assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


def test_a_second_command_appends_after_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for _ in range(2):
        with a_log(path) as (log, _warnings):
            log(a_record())
    with path.open("ab") as file:
        file.write(b'{"time":"2027-')
    with a_log(path) as (log, _):
        log(a_record())
    raw = path.read_bytes().splitlines()
    assert [line[:8] for line in raw] == [b'{"time":'] * 4
    assert json.loads(raw[3])["line"] == 7


def test_files_of_the_run_are_refused_even_before_they_exist(tmp_path: Path) -> None:
    results = tmp_path / "x.results.jsonl"
    with pytest.raises(UsageError, match="file of the run itself"), a_log(results, results):
        pass
    assert not results.exists()


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is a link"), a_log(tmp_path / "link"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_is_no_log_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "How?"}\n')
    with pytest.raises(UsageError, match="no log of attempts"), a_log(path):
        pass
    assert path.read_text() == '{"prompt": "How?"}\n'


def test_a_pipe_and_a_folder_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(UsageError), a_log(path):
            pass


def test_a_full_disk_is_reported_once_and_whole_lines_follow(tmp_path: Path) -> None:
    path = tmp_path / "log"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with a_log(path) as (log, warnings):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            for _ in range(2):
                log(a_record())
                log._write_waiting()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        log(a_record())
    assert len(warnings) == 1
    assert "attempts are missing" in warnings[0]
    *_, last = path.read_bytes().splitlines()
    assert json.loads(last)["custom_id"] == "line-7"
