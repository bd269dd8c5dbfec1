"""Events add up to the message that a plain answer would have been."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.transport.streaming import Accumulator, BrokenStreamError, EventReader
from tests.transport.wire import A_MESSAGE, events

Event = dict[str, Any]

CITATION = {"type": "char_location", "cited_text": "x", "document_index": 0}
BLOCKS: dict[str, tuple[Event, list[Event], Event]] = {
    "text": (
        {"type": "text", "text": ""},
        [{"type": "text_delta", "text": part} for part in ("Bon", "jour", " 🎉")],
        {"type": "text", "text": "Bonjour 🎉"},
    ),
    "thinking": (
        {"type": "thinking", "thinking": "", "signature": ""},
        [
            {"type": "thinking_delta", "thinking": "Hm"},
            {"type": "thinking_delta", "thinking": "m."},
            {"type": "signature_delta", "signature": "abc"},
        ],
        {"type": "thinking", "thinking": "Hmm.", "signature": "abc"},
    ),
    "redacted thinking": (
        {"type": "redacted_thinking", "data": "xyz"},
        [],
        {"type": "redacted_thinking", "data": "xyz"},
    ),
    "tool use": (
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
        [{"type": "input_json_delta", "partial_json": part} for part in ("", '{"a":', " [1]}")],
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1]}},
    ),
    "tool use without input": (
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
        [{"type": "input_json_delta", "partial_json": ""}],
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
    ),
    "citations": (
        {"type": "text", "text": "", "citations": None},
        [
            {"type": "citations_delta", "citation": CITATION},
            {"type": "text_delta", "text": "so"},
            {"type": "citations_delta", "citation": CITATION},
        ],
        {"type": "text", "text": "so", "citations": [CITATION, CITATION]},
    ),
    "a block and a delta of tomorrow": (
        {"type": "hologram", "layers": [], "caption": "a"},
        [{"type": "hologram_delta", "layers": [1], "caption": "b", "depth": 3}],
        {"type": "hologram", "layers": [1], "caption": "ab", "depth": 3},
    ),
    "a search's result": (
        {"type": "web_search_tool_result", "tool_use_id": "x", "content": [{"url": "u"}]},
        [],
        {"type": "web_search_tool_result", "tool_use_id": "x", "content": [{"url": "u"}]},
    ),
}


def stream_of(*blocks: tuple[Event, list[Event], Event]) -> list[Event]:
    message = {**A_MESSAGE, "content": [], "stop_reason": None}
    written: list[Event] = [{"type": "message_start", "message": message}, {"type": "ping"}]
    for index, (start, deltas, _) in enumerate(blocks):
        written.append({"type": "content_block_start", "index": index, "content_block": start})
        written += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
        written.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        *written,
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]


def assembled(written: list[Event]) -> dict[str, Any]:
    accumulator = Accumulator()
    for event in written:
        accumulator.add(event)
    message: dict[str, Any] = orjson.loads(accumulator.finish())
    return message


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_is_put_together(name: str) -> None:
    assert assembled(stream_of(BLOCKS[name]))["content"] == [BLOCKS[name][2]]


def test_blocks_stand_in_the_order_of_their_index() -> None:
    content = assembled(stream_of(*BLOCKS.values()))["content"]
    assert content == [block[2] for block in BLOCKS.values()]


def test_the_last_word_on_usage_stands_and_null_says_nothing() -> None:
    written = stream_of()
    written[-2]["usage"] = {"output_tokens": 12, "input_tokens": None, "new": 1}
    usage = {**A_MESSAGE["usage"], "output_tokens": 12, "new": 1}
    assert assembled(written)["usage"] == usage


def test_what_a_message_delta_adds_is_kept() -> None:
    written = stream_of()
    written[-2]["context_management"] = {"applied_edits": []}
    assert assembled(written)["context_management"] == {"applied_edits": []}


def test_an_event_of_tomorrow_is_passed_over() -> None:
    assert assembled([{"type": "confetti"}, *stream_of(BLOCKS["text"])])["content"]


def test_the_input_of_a_tool_that_is_no_json_breaks_the_stream() -> None:
    start, _, end = BLOCKS["tool use"]
    bad = (start, [{"type": "input_json_delta", "partial_json": '{"a":'}], end)
    with pytest.raises(BrokenStreamError):
        assembled(stream_of(bad))


def test_a_tool_whose_block_does_not_end_breaks_the_stream() -> None:
    written = [e for e in stream_of(BLOCKS["tool use"]) if e["type"] != "content_block_stop"]
    with pytest.raises(BrokenStreamError):
        assembled(written)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "content_block_delta", "index": 7, "delta": {"type": "text_delta", "text": ""}},
        {"type": "content_block_delta", "index": 0},
        {"type": "content_block_start", "index": 0, "content_block": 5},
        {"type": "message_start"},
        {"type": "message_delta", "delta": {}},
    ],
)
def test_an_event_that_does_not_fit_breaks_the_stream(event: Event) -> None:
    with pytest.raises(BrokenStreamError):
        Accumulator().add(event)


@given(cuts=st.sets(st.integers(min_value=0, max_value=2000)), crlf=st.booleans())
def test_events_are_read_wherever_the_bytes_are_cut(*, cuts: set[int], crlf: bool) -> None:
    written = stream_of(BLOCKS["text"], BLOCKS["tool use"])
    raw = events(*written).replace(b"\n", b"\r\n") if crlf else events(*written)
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    reader = EventReader()
    pieces = [raw[a:b] for a, b in pairwise(places)]
    assert [event for piece in pieces for event in reader.feed(piece)] == written


def test_comments_and_other_fields_are_passed_over() -> None:
    raw = b": hello\nid: 1\nretry: 5\ndata: {\ndata: }\n\n\n"
    assert list(EventReader().feed(raw)) == [{}]


def test_data_without_a_blank_is_data() -> None:
    assert list(EventReader().feed(b'data:{"type":"ping"}\n\n')) == [{"type": "ping"}]
