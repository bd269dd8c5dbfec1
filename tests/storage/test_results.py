"""Results: the line's shape, durability, and what is left after a disk failed."""

from __future__ import annotations

import asyncio
import os
import resource
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from claude_batch.core.model import Result, ResultType, Usage
from claude_batch.errors import CheckpointWriteError
from claude_batch.storage.results import ResultsFile, encode_result

MESSAGE = b'{"type":"message","content":[{"type":"hologram","n":1.10}],"usage":{"input_tokens":3}}'


def a_result(line: int = 17, kind: ResultType = ResultType.SUCCEEDED) -> Result:
    return Result(
        custom_id=f"a{line}",
        line=line,
        type=kind,
        payload=MESSAGE if kind is ResultType.SUCCEEDED else b'{"type":"error","error":{}}',
        attempts=1,
        endpoint="default",
        started_at=1_790_000_000.25,
        latency_s=1.23456,
        usage=Usage(input_tokens=3),
        meta=b'{"topic":"x"}',
    )


def test_a_succeeded_line_holds_the_message_byte_for_byte() -> None:
    assert b'"message":' + MESSAGE + b"}" in encode_result(a_result())


def test_a_line_has_the_documented_shape() -> None:
    value = orjson.loads(encode_result(a_result()))
    assert value["custom_id"] == "a17"
    assert value["result"]["type"] == "succeeded"
    assert value["meta"] == {
        "line": 17,
        "attempts": 1,
        "endpoint": "default",
        "started_at": "2026-09-21T14:13:20.250Z",
        "latency_s": 1.235,
        "cost_usd": None,
        "cached": False,
        "user": {"topic": "x"},
    }


def test_an_errored_line_holds_the_error_nested_as_the_api_does() -> None:
    value = orjson.loads(encode_result(a_result(kind=ResultType.ERRORED)))
    assert value["result"] == {"type": "errored", "error": {"type": "error", "error": {}}}


@pytest.mark.parametrize("kind", [ResultType.CANCELED, ResultType.EXPIRED])
def test_canceled_and_expired_lines_carry_nothing_else(kind: ResultType) -> None:
    value = orjson.loads(encode_result(replace(a_result(), type=kind)))
    assert value["result"] == {"type": kind.value}


def test_nobody_else_may_read_the_results(tmp_path: Path) -> None:
    ResultsFile(tmp_path / "r").close()
    assert (tmp_path / "r").stat().st_mode & 0o777 == 0o600


def test_committed_lines_are_in_the_file_and_reported_durable(tmp_path: Path) -> None:
    sizes: list[int] = []
    file = ResultsFile(tmp_path / "r", durable=sizes.append)
    asyncio.run(file.commit([a_result(1), a_result(2)]))
    file.close()
    content = (tmp_path / "r").read_bytes()
    assert content == encode_result(a_result(1)) + encode_result(a_result(2))
    assert sizes == [0, len(content)]


def test_a_size_limit_leaves_whole_lines_and_says_what_to_do(tmp_path: Path) -> None:
    file = ResultsFile(tmp_path / "r")
    asyncio.run(file.commit([a_result(1)]))
    before = (tmp_path / "r").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 40, hard))
    try:
        with pytest.raises(CheckpointWriteError, match="cannot write results") as caught:
            asyncio.run(file.commit([a_result(2)]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        file.close()
    assert (tmp_path / "r").read_bytes() == before
    assert "make room" in caught.value.hint


def test_a_failed_sync_takes_the_lines_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ResultsFile(tmp_path / "r")

    def fail(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(CheckpointWriteError, match="Input/output error"):
        asyncio.run(file.commit([a_result(1)]))
    file.close()
    assert (tmp_path / "r").read_bytes() == b""
