"""Events add up to the message that a plain answer would have been."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.core.model.raw_json import read_message
from claude_batch.core.model.requests import Usage
from claude_batch.transport.streaming import (
    BrokenStreamError,
    EventReader,
    StreamedMessage,
)
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


def taken(raw: bytes) -> StreamedMessage:
    """Return what has become of a message of which these bytes have come."""
    reader, stream = EventReader(), StreamedMessage()
    for event in (*reader.feed(raw), *reader.finish()):
        stream.add(event)
        if stream.is_over:
            break
    return stream


def assembled(written: list[Event]) -> dict[str, Any]:
    message: dict[str, Any] = orjson.loads(taken(events(*written)).body())
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


@pytest.mark.parametrize("came", ['{"a":', "no json", '{"a":1}}', '{"a":"\\ud83d'])
@pytest.mark.parametrize("stops", [True, False])
def test_the_input_of_a_tool_that_is_no_json_stays_beside_it(came: str, *, stops: bool) -> None:
    start, _, end = BLOCKS["tool use"]
    deltas = [{"type": "input_json_delta", "partial_json": came[:3]}]
    deltas.append({"type": "input_json_delta", "partial_json": came[3:]})
    written = stream_of((start, deltas, end))
    written[-2]["delta"]["stop_reason"] = "max_tokens"
    if not stops:
        written = [each for each in written if each["type"] != "content_block_stop"]
    message = assembled(written)
    assert message["content"] == [{**start, "partial_json": came}]
    assert message["stop_reason"] == "max_tokens"


def test_the_input_of_a_tool_is_spliced_in() -> None:
    start, _, end = BLOCKS["tool use"]
    came = '{"n": 123456789012345678901234567890, "x": 1.10,\n "e": "\\u00e9"}'
    deltas = [{"type": "input_json_delta", "partial_json": each} for each in came]
    body = taken(events(*stream_of((start, deltas, end)))).body()
    assert b'"input":' + came.encode() in body


def test_numbers_and_escapes_of_any_event_are_spliced_in() -> None:
    start = b'{"type":"result","n":123456789012345678901234567890,"x":1.10,"deep":' + b"[" * 300
    start += b"]" * 300 + rb',"e":"\u00e9"}'
    raw = events(*stream_of(({"type": "X"}, [], {}))).replace(b'{"type":"X"}', start)
    assert b'"content":[' + start + b"]" in taken(raw).body()


def delta_of(text: bytes) -> bytes:
    """Return an event that brings a piece of text, written as it is."""
    start = b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"'
    return start + text + b'"}}\n\n'


@pytest.mark.parametrize("backwards", [True, False])
def test_half_characters_of_two_deltas_are_joined(*, backwards: bool) -> None:
    text = {"type": "text", "text": ""}
    halves = delta_of(rb"\ud83d") + delta_of(rb"\ude00 \ud83d")
    if backwards:  # as a server writes it that sorts keys
        halves = halves.replace(b'"type":"content_block_delta",', b"")
        halves = halves.replace(b"}}", b'},"type":"content_block_delta"}')
    raw = events(*stream_of((text, [], text)))
    at = raw.index(b"event: content_block_stop")
    body = taken(raw[:at] + halves + raw[at:]).body()
    assert read_message(body).body.count(rb'"text":"\ud83d\ude00 \ufffd"') == 1


def test_a_stream_without_its_last_event_is_complete_once_it_has_a_stop_reason() -> None:
    assert assembled(stream_of(BLOCKS["text"])[:-1])["stop_reason"] == "end_turn"


def test_a_cut_stream_tells_what_it_has_used() -> None:
    begun = taken(events(*stream_of(BLOCKS["text"])[:-2]))
    assert begun.usage == Usage(input_tokens=7, output_tokens=3)
    with pytest.raises(BrokenStreamError):
        begun.body()


def test_what_comes_after_the_last_event_is_not_looked_at() -> None:
    raw = events(*stream_of(BLOCKS["text"])) + b"data: [DONE]\n\ndata:\n\nrubbish"
    assert taken(raw).is_complete


def test_an_error_without_a_type_is_one() -> None:
    raw = events(*stream_of()[:2]) + b'data: {"error":{"message":"upstream"}}\n\n'
    assert taken(raw).error == b'{"error":{"message":"upstream"}}'


def long_stream(deltas: int, size: int) -> bytes:
    raw = events(*stream_of(({"type": "text", "text": ""}, [], {})))
    at = raw.index(b"event: content_block_stop")
    return raw[:at] + delta_of(b"x" * size) * deltas + raw[at:]


def seconds_to_read(deltas: int, size: int) -> float:
    """Return the processor time that a long stream takes."""
    raw = long_stream(deltas, size)
    begun = time.thread_time()
    reader, stream = EventReader(), StreamedMessage()
    for start in range(0, len(raw), 65_536):
        for event in reader.feed(raw[start : start + 65_536]):
            stream.add(event)
    body = read_message(stream.body()).body
    taken_s = time.thread_time() - begun
    assert len(body) > deltas * size
    return taken_s


@pytest.mark.parametrize(
    ("small", "large"), [((75_000, 4), (300_000, 4)), ((1, 10_000_000), (1, 40_000_000))]
)
def test_the_time_grows_with_the_bytes(small: tuple[int, int], large: tuple[int, int]) -> None:
    assert seconds_to_read(*large) < 12 * seconds_to_read(*small)  # 16 if it were quadratic


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
        taken(events(event)).body()


@given(
    cuts=st.sets(st.integers(min_value=0, max_value=2000)),
    ending=st.sampled_from([b"\n", b"\r", b"\r\n"]),
    bom=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_events_are_read_wherever_the_bytes_are_cut(
    cuts: set[int], ending: bytes, bom: bytes
) -> None:
    written = stream_of(BLOCKS["text"], BLOCKS["tool use"])
    raw = bom + events(*written).replace(b"\n", ending)
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    reader = EventReader()
    pieces = [raw[a:b] for a, b in pairwise(places)]
    read = [event for piece in pieces for event in reader.feed(piece)]
    assert [orjson.loads(event.data) for event in read] == written
    assert [event.name.decode() for event in read] == [each["type"] for each in written]


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b": hello\nid: 1\nretry: 5\ndata: {\ndata: }\n\n\n", [b"{\n}"]),
        (b'data:{"type":"ping"}\n\n', [b'{"type":"ping"}']),
        (b"data: {}\n", [b"{}"]),
        (b"data: {}", [b"{}"]),
        (b"data\n\ndata:\n\n:\n\nevent: x\n\n", []),
        (b"\xef\xbb\xbfdata: {}\r\rdata: []\r\n\r\n", [b"{}", b"[]"]),
    ],
)
def test_framing_is_the_specifications(raw: bytes, data: list[bytes]) -> None:
    reader = EventReader()
    assert [event.data for event in (*reader.feed(raw), *reader.finish())] == data
