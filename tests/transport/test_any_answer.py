"""Whatever comes back, an attempt is a reply or a failure, and both can be written down."""

from __future__ import annotations

import json
import zlib
from typing import Any

import httpx2
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.core.model.raw_json import LONGEST_MESSAGE
from claude_batch.core.model.requests import Failure, Reply, Request, Result, ResultType
from claude_batch.storage.batch.results import parse_batch_line
from claude_batch.storage.run.checkpoint import parse_entry
from claude_batch.storage.run.output import as_text
from claude_batch.storage.run.results import encode_result
from claude_batch.transport.batches import BatchesTransport
from claude_batch.transport.clients import EndpointSettings
from claude_batch.transport.counting import CountingTransport
from claude_batch.transport.messages import MessagesTransport
from claude_batch.transport.openai_chat import OpenAiTransport
from tests.support import odd_answers
from tests.support.virtual_time import run_virtually
from tests.transport.wire import A_MESSAGE, KEY, Chunks, Wire, a_request, events

OPENAI = EndpointSettings(provider="openai", base_url="https://relay.example/v1", api_key=KEY)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["message", "error", "\ud83d", 2**64, -1, 1e300]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        *("type", "index", "delta", "message", "content_block", "content", "usage", "error"),
        *("stop_reason", "text", "partial_json", "citation", "citations", "input", "output_tokens"),
        *(
            "input_tokens",
            "choices",
            "finish_reason",
            "tool_calls",
            "function",
            "arguments",
            "data",
        ),
        *("id", "created_at", "request_counts", "has_more", "last_id", "cache_creation", "code"),
    ]
)
ODD_VALUES = st.recursive(
    JSON, lambda inner: st.dictionaries(NAMES, inner, max_size=4) | st.lists(inner, max_size=2)
)


def dumped(value: Any) -> bytes:
    """Return JSON as careless servers write it: halves of characters, NaN and all."""
    return json.dumps(value).encode()


def changed(whole: Any, draw: st.DrawFn) -> Any:
    """Return a copy of something good in which one thing, at any depth, is something else."""
    if draw(st.integers(0, 3)) == 0 or not isinstance(whole, dict | list) or not whole:
        return draw(ODD_VALUES)
    if isinstance(whole, list):
        at = draw(st.integers(0, len(whole) - 1))
        return [changed(each, draw) if n == at else each for n, each in enumerate(whole)]
    name = draw(st.sampled_from(sorted(whole)))
    return {**whole, name: changed(whole[name], draw)}


COMPLETION = {
    "id": "c",
    "model": "qwen3",
    "choices": [
        {
            "message": {
                "content": "Hi",
                "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{}"}}],
            },
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {}},
}
ERROR = {"type": "error", "error": {"type": "api_error", "message": "no", "details": {}}}
EVENTS = [
    odd_answers.START,
    odd_answers.BLOCK,
    odd_answers.text("Hel"),
    odd_answers.text("\ud83d"),
    odd_answers.tool_input('{"a":'),
    odd_answers.CLOSE,
    odd_answers.end(),
    odd_answers.STOP,
    ERROR,
]


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Return a body: any bytes, or something good with one thing changed, or cut."""
    good: Any = draw(st.sampled_from([A_MESSAGE, COMPLETION, ERROR]))
    body = draw(
        st.one_of(
            st.binary(max_size=200), st.just(dumped(good)), st.just(dumped(changed(good, draw)))
        )
    )
    return body[: draw(st.integers(0, len(body)))] if draw(st.integers(0, 4)) == 0 else body


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Return server-sent events: in any order, with one thing changed, cut, framed in any way."""
    written = draw(st.one_of(st.just(EVENTS[:-1]), st.lists(st.sampled_from(EVENTS), max_size=12)))
    pieces = [
        dumped(changed(e, draw)) if draw(st.integers(0, 5)) == 0 else dumped(e) for e in written
    ]
    end = draw(st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r", b"\n"]))
    body = b"".join(b"data: " + piece + end for piece in pieces)
    body += draw(st.sampled_from([b"", b"data: [DONE]\n\n", b"data:\n\n", b"\xff{"]))
    return body[: draw(st.integers(0, len(body)))] if draw(st.integers(0, 3)) == 0 else body


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *(b"retry-after", b"retry-after-ms", b"date", b"request-id", b"location"),
                *(b"anthropic-ratelimit-requests-limit", b"anthropic-ratelimit-tokens-remaining"),
                *(b"anthropic-ratelimit-requests-reset", b"anthropic-organization-id", b"x"),
            ]
        ),
        st.one_of(
            st.sampled_from([b"0", b"-1", b"1e400", b"nan", b"9" * 400, b"2026-11-30T00:00:00Z"]),
            st.binary(max_size=20).map(lambda raw: raw.translate(None, b"\r\n\0")),
        ),
    ),
    max_size=4,
)
KINDS = st.sampled_from(
    [
        *(b"application/json", b"text/event-stream", b"text/html; charset=utf-16", b"", b"\xff"),
        *(b"application/json; charset=zlib", b"text/plain; charset=undefined"),
    ]
)
STATUSES = st.one_of(st.just(200), st.integers(200, 599), st.sampled_from([400, 429, 500, 529]))


@st.composite
def answers(draw: st.DrawFn, body: st.SearchStrategy[bytes], kind: bytes | None = None) -> Any:
    """Return an answer of any status with any headers, in pieces, which may end in a reset."""
    raw = draw(body)
    chosen = draw(KINDS) if kind is None else kind
    headers = [(b"content-type", chosen), *draw(HEADERS)]
    if draw(st.integers(0, 5)) == 0:
        raw = draw(st.sampled_from([zlib.compress(raw), raw]))
        headers.append((b"content-encoding", b"deflate"))
    at = draw(st.integers(0, len(raw)))
    broken = draw(st.sampled_from([None, None, httpx2.ReadError("reset"), ValueError("odd")]))
    stream = Chunks([each for each in (raw[:at], raw[at:]) if each], broken)
    return httpx2.Response(draw(STATUSES), headers=headers, stream=stream)


def attempt(
    answer: httpx2.Response,
    settings: EndpointSettings | None = None,
    request: Request | None = None,
) -> Reply | Failure:
    async def one() -> Reply | Failure:
        client = Wire(answers=[answer]).client(settings)
        is_openai = settings is not None and settings.provider == "openai"
        transport = OpenAiTransport(client) if is_openai else MessagesTransport(client)
        try:
            return await transport.send(request or a_request(), timeout_s=5)
        finally:
            await transport.close()

    return run_virtually(one())


def assert_writable(outcome: Reply | Failure) -> None:
    """Assert that a result of this can be written, read back, and shown."""
    line = encode_result(
        Result.of(
            a_request(),
            outcome,
            attempts=1,
            endpoint="e",
            started_at=0.0,
            latency_s=1.0,
            cost_usd=None,
        )
    )
    assert line.count(b"\n") == 1
    assert json.loads(line)["custom_id"] == "a1"
    assert parse_entry(line) is not None
    orjson.loads(as_text(line))
    if isinstance(outcome, Failure):
        assert 0 < len(outcome.message) <= LONGEST_MESSAGE + 100
        assert outcome.message.encode()
    else:
        usage = orjson.dumps(outcome.usage)
        assert usage
        assert outcome.stop_reason is None or isinstance(outcome.stop_reason, str)


@pytest.mark.usefixtures("sender")
@given(answer=answers(bodies()))
def test_any_answer_is_a_reply_or_a_failure(answer: httpx2.Response) -> None:
    assert_writable(attempt(answer))


@pytest.mark.usefixtures("sender")
@given(answer=answers(streams(), kind=b"text/event-stream"))
def test_any_stream_is_a_reply_or_a_failure(answer: httpx2.Response) -> None:
    assert_writable(attempt(answer, request=a_request(max_tokens=64_000)))


@given(answer=answers(bodies()))
def test_any_completion_is_a_reply_or_a_failure(answer: httpx2.Response) -> None:
    assert_writable(attempt(answer, settings=OPENAI))


@given(message=st.one_of(bodies(), st.builds(dumped, ODD_VALUES)))
def test_any_result_of_a_batch_reads_as_a_live_one_does(message: bytes) -> None:
    raw = b'{"custom_id":"a","result":{"type":"succeeded","message":' + message + b"}}"
    live = attempt(httpx2.Response(200, content=message))
    line = parse_batch_line(raw)
    if isinstance(live, Reply):
        assert line is not None
        assert (line.payload, line.usage, line.stop_reason) == (
            *(live.message, live.usage, live.stop_reason),
        )
    if line is not None:
        assert orjson.loads(line.payload) is not None


@given(raw=st.one_of(st.binary(max_size=200), st.builds(dumped, ODD_VALUES)))
def test_any_line_of_a_batch_is_a_result_or_none(raw: bytes) -> None:
    line = parse_batch_line(raw)
    assert line is None or line.type in ResultType


BATCH = {
    "id": "b",
    "processing_status": "ended",
    "created_at": "2026-11-30T00:00:00Z",
    "expires_at": "2026-12-01T00:00:00Z",
    "request_counts": dict.fromkeys(
        ("processing", "succeeded", "errored", "canceled", "expired"), 1
    ),
    "results_url": "https://x",
}
PAGE = {
    "data": [
        BATCH,
        {"id": "m", "display_name": "M", "max_tokens": 3, "retires_at": None},
        {"group": {"type": "model"}, "models": ["m"], "limits": [{"type": "r", "value": 1}]},
    ],
    "has_more": False,
    "last_id": "b",
    "input_tokens": 3,
}
CALLS = ("count", "models", "limits", "list", "retrieve", "cancel", "delete", "results")


@st.composite
def pages(draw: st.DrawFn) -> bytes:
    good: Any = draw(st.sampled_from([BATCH, PAGE, {"data": []}]))
    return dumped(changed(good, draw)) if draw(st.booleans()) else dumped(good)


async def called(name: str, wire: Wire) -> Any:
    client = wire.client()
    counting, batches = CountingTransport(client), BatchesTransport(client)
    match name:
        case "count":
            return await counting.count_tokens(a_request())
        case "models":
            return await counting.list_models()
        case "limits":
            return await counting.rate_limits()
        case "list":
            return await batches.list(limit=3, after_id=None)
        case "retrieve":
            return await batches.retrieve("b")
        case "cancel":
            return await batches.cancel("b")
        case "delete":
            return await batches.delete("b")
        case _:
            return [each async for each in batches.results("b", from_byte=3)]


@pytest.mark.parametrize("name", CALLS)
@given(answer=answers(st.one_of(pages(), bodies())))
def test_any_answer_to_another_call_is_understood_or_a_failure(
    name: str, answer: httpx2.Response
) -> None:
    async def one() -> Any:
        return await called(name, Wire(answers=[answer], answer=lambda _: httpx2.Response(404)))

    outcome = run_virtually(one())
    if isinstance(outcome, Failure):
        assert outcome.message
    if isinstance(outcome, int):
        assert 0 <= outcome < 2**63


def test_every_message_of_the_stream_events_is_good() -> None:
    raw = events(*(each for each in EVENTS[:-1] if each != EVENTS[3]))
    answer = httpx2.Response(
        200, headers={"content-type": "text/event-stream"}, stream=Chunks([raw])
    )
    assert isinstance(attempt(answer), Reply)


@pytest.mark.usefixtures("sender")
def test_a_stream_that_ends_with_something_else_than_a_message_is_quoted() -> None:
    events = (
        b'event: message_start\ndata: {"type":"message_start","message":{"odd":1}}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=events)
    outcome = attempt(answer, request=a_request(max_tokens=64_000))
    assert isinstance(outcome, Failure)
    assert '"odd":1' in outcome.message
