"""Requests packed into chunks."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.core.batch.chunk import Chunk
from claude_batch.core.batch.packing import (
    MAX_REQUESTS,
    TAIL,
    Packer,
    WireId,
    parse_wire_id,
)
from claude_batch.core.model.requests import API_VERSION, SAMPLING_API_VERSION, Request
from tests.support.fake_batches import data_of
from tests.support.fakes import UNBOUNDED, a_request


def packed(requests: list[Request], **limits: Any) -> tuple[list[Chunk], dict[int, bytes]]:
    """Return the chunks of `requests`, and their bodies."""
    packer = Packer("abc123", next_chunk=1, budget=UNBOUNDED, **limits)
    bodies: dict[int, list[bytes]] = defaultdict(list)
    chunks: list[Chunk] = []
    for request in requests:
        piece = packer.add(request)
        bodies[piece.chunk].append(data_of(piece))
        chunks.extend([piece.full] if piece.full else [])
    chunks.extend(packer.close())
    return chunks, {number: b"".join([*body, TAIL]) for number, body in bodies.items()}


def some(count: int) -> list[Request]:
    return [a_request(line) for line in range(1, count + 1)]


def sized(sizes: list[int]) -> list[Request]:
    return [
        replace(request, body=orjson.dumps({"pad": "x" * size}))
        for request, size in zip(some(len(sizes)), sizes, strict=True)
    ]


def test_a_body_is_the_create_that_the_api_documents() -> None:
    _, bodies = packed(some(2))
    assert orjson.loads(bodies[1]) == {
        "requests": [
            {"custom_id": "abc123-1-1", "params": {"model": "claude-haiku-5-5", "line": 1}},
            {"custom_id": "abc123-1-2", "params": {"model": "claude-haiku-5-5", "line": 2}},
        ]
    }


def test_a_chunk_ends_with_the_last_request_that_fits() -> None:
    chunks, _ = packed(some(5), max_requests=2)
    assert [chunk.lines.text for chunk in chunks] == ["1-2", "3-4", "5"]


def test_nobody_can_ask_for_more_requests_than_the_api_takes() -> None:
    chunks, _ = packed(some(MAX_REQUESTS + 1), max_requests=10**9)
    assert [chunk.count for chunk in chunks] == [MAX_REQUESTS, 1]


def test_api_versions_do_not_mix() -> None:
    requests = [
        replace(each, api_version=SAMPLING_API_VERSION) if each.line % 2 else each
        for each in some(4)
    ]
    chunks, _ = packed(requests)
    assert {chunk.api_version: chunk.lines.text for chunk in chunks} == {
        SAMPLING_API_VERSION: "1,3",
        API_VERSION: "2,4",
    }


def test_the_same_lines_give_the_same_bytes() -> None:
    assert packed(some(50), max_requests=20) == packed(some(50), max_requests=20)


def test_after_shrinking_chunks_are_smaller() -> None:
    packer = Packer("r", next_chunk=1, budget=UNBOUNDED, max_bytes=4_000_000)
    assert packer.shrink(3_000_000)
    requests = sized([1_000_000, 1_000_000])
    assert [packer.add(request).chunk for request in requests] == [1, 2]


def test_shrinking_comes_to_an_end() -> None:
    assert not Packer("r", next_chunk=1, budget=UNBOUNDED).shrink(9_999)


def test_shrinking_begins_at_what_was_refused() -> None:
    packer = Packer("r", next_chunk=1, budget=UNBOUNDED)
    packer.shrink(30_000)
    chunks = [packer.add(request).chunk for request in sized([7_000, 7_000, 7_000])]
    assert chunks == [1, 1, 2]


@given(st.lists(st.integers(min_value=0, max_value=400), min_size=1, max_size=60))
def test_no_body_is_larger_than_allowed(sizes: list[int]) -> None:
    _, bodies = packed(sized(sizes), max_bytes=1000)
    assert max(map(len, bodies.values())) <= 1000


@given(st.lists(st.integers(min_value=0, max_value=400), max_size=60))
def test_every_request_is_in_exactly_one_chunk(sizes: list[int]) -> None:
    chunks, bodies = packed(sized(sizes), max_bytes=1000, max_requests=7)
    lines = sorted(line for chunk in chunks for line in chunk.lines)
    ids = [each["custom_id"] for body in bodies.values() for each in orjson.loads(body)["requests"]]
    assert lines == list(range(1, len(sizes) + 1))
    assert len(set(ids)) == len(sizes)


@given(
    st.from_regex(r"[a-f0-9]{12}", fullmatch=True),
    st.integers(min_value=1, max_value=999_999_999),
    st.integers(min_value=1, max_value=999_999_999_999),
)
def test_wire_ids_fit_the_pattern_and_read_back(run: str, chunk: int, line: int) -> None:
    wire_id = WireId(run=run, chunk=chunk, line=line)
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", str(wire_id))
    assert parse_wire_id(str(wire_id)) == wire_id


def test_ids_of_others_are_none_of_ours() -> None:
    assert [parse_wire_id(text) for text in ("", "a1", "run-1", "a-b-c", "a-1-2-3")] == [None] * 5
