"""An OpenAI-compatible endpoint looks like any other to the rest of the house."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import orjson
import pytest
from anthropic.types import Message

from claude_batch.core.model.requests import Failure, FailureKind, Reply, Request, Usage
from claude_batch.errors import SettingsError
from claude_batch.transport.clients import EndpointSettings
from claude_batch.transport.openai_chat import OpenAiTransport
from claude_batch.transport.opening import open_transport
from tests.support.virtual_time import run_virtually
from tests.transport.wire import HAIKU, KEY, NEVER_S, Chunks, Wire, a_request

BASE = "https://relay.example/v1"
SETTINGS = EndpointSettings(name="relay", provider="openai", base_url=BASE, api_key=KEY)

Json = dict[str, Any]


def completion(message: Json | None = None, **changes: Any) -> httpx2.Response:
    said = {"role": "assistant", "content": "Bonjour", **(message or {})}
    choice = {"index": 0, "message": said, "finish_reason": changes.pop("finish_reason", "stop")}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    whole = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "qwen3",
        "choices": [choice],
        "usage": usage,
        **changes,
    }
    return httpx2.Response(200, json=whole)


def attempt(
    wire: Wire, request: Request | None = None, settings: EndpointSettings = SETTINGS
) -> Reply | Failure:
    async def one() -> Reply | Failure:
        transport = open_transport(settings, network=wire)
        try:
            return await transport.send(request or a_request(), timeout_s=5)
        finally:
            await transport.close()

    return run_virtually(one())


def message_from(answer: httpx2.Response) -> Json:
    outcome = attempt(Wire(answers=[answer]))
    assert isinstance(outcome, Reply), outcome
    message: Json = orjson.loads(outcome.message)
    return message


def failure_from(answer: httpx2.Response, **more: Any) -> Failure:
    outcome = attempt(Wire(answers=[answer]), **more)
    assert isinstance(outcome, Failure)
    return outcome


def test_a_request_goes_to_chat_completions_below_the_base_url() -> None:
    wire = Wire(answers=[completion()])
    attempt(wire)
    assert str(wire.sent[0].url) == "https://relay.example/v1/chat/completions"


def test_the_key_goes_out_as_a_bearer_token() -> None:
    wire = Wire(answers=[completion()])
    attempt(wire)
    assert wire.sent[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_server_without_keys_gets_none() -> None:
    wire = Wire(answers=[completion()])
    attempt(wire, settings=EndpointSettings(provider="openai", base_url=BASE))
    assert "authorization" not in wire.sent[0].headers


def test_headers_of_the_settings_are_sent() -> None:
    wire = Wire(answers=[completion()])
    settings = EndpointSettings(provider="openai", base_url=BASE, headers={"x-team": "blue"})
    attempt(wire, settings=settings)
    assert wire.sent[0].headers["x-team"] == "blue"


def test_a_model_is_called_what_the_endpoint_calls_it() -> None:
    wire = Wire(answers=[completion()])
    settings = EndpointSettings(provider="openai", base_url=BASE, models={HAIKU: "qwen3"})
    attempt(wire, settings=settings)
    assert wire.body["model"] == "qwen3"


@pytest.mark.parametrize(
    ("base_url", "key"),
    [("https://api.openai.com/v1", "max_completion_tokens"), (BASE, "max_tokens")],
)
def test_the_bound_has_the_name_that_the_host_wants(base_url: str, key: str) -> None:
    wire = Wire(answers=[completion()])
    attempt(wire, settings=EndpointSettings(provider="openai", base_url=base_url, api_key=KEY))
    assert wire.body[key] == 100


def test_an_answer_becomes_a_message() -> None:
    assert message_from(completion()) == {
        "id": "chatcmpl-1",
        "type": "message",
        "role": "assistant",
        "model": "qwen3",
        "content": [{"type": "text", "text": "Bonjour"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 7,
            "output_tokens": 3,
            "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 0,
            "output_tokens_details": {"thinking_tokens": 0},
        },
    }


def test_the_sdk_takes_the_message_for_one_of_its_own() -> None:
    Message.model_validate(message_from(completion({"reasoning_content": "Hm"})))


def test_usage_counts_cached_tokens_apart() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    outcome = attempt(Wire(answers=[completion(usage=usage)]))
    assert isinstance(outcome, Reply)
    assert outcome.usage == Usage(input_tokens=6, output_tokens=3, cache_read_input_tokens=4)


@pytest.mark.parametrize(
    ("said", "content"),
    [
        ({"content": None}, []),
        ({"content": ""}, []),
        (
            {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            [{"type": "text", "text": "ab"}],
        ),
        (
            {"reasoning_content": "Hm"},
            [
                {"type": "thinking", "thinking": "Hm", "signature": ""},
                {"type": "text", "text": "Bonjour"},
            ],
        ),
        ({"content": None, "refusal": "I cannot"}, [{"type": "text", "text": "I cannot"}]),
        (
            {
                "content": None,
                "tool_calls": [
                    {"id": "t1", "function": {"name": "f", "arguments": '{"a":1}'}},
                    {"id": "t2", "function": {"name": "g", "arguments": ""}},
                ],
            },
            [
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
            ],
        ),
        (
            {
                "content": None,
                "tool_calls": [{"id": "t1", "function": {"name": "f", "arguments": '{"a":'}}],
            },
            [{"type": "tool_use", "id": "t1", "name": "f", "input": {}, "partial_json": '{"a":'}],
        ),
    ],
)
def test_what_was_said_becomes_blocks(said: Json, content: list[Json]) -> None:
    assert message_from(completion(said))["content"] == content


def test_the_arguments_of_a_call_are_spliced_in() -> None:
    arguments = '{"n": 123456789012345678901234567890, "x": 1.10, "e": "\\u00e9"}'
    call = {"id": "t1", "function": {"name": "f", "arguments": arguments}}
    message = attempt_message(completion({"content": None, "tool_calls": [call]}))
    assert b'"input":' + arguments.encode() in message


@pytest.mark.parametrize("figure", [1e30, 2**64, -1, "many", [], True])
def test_a_figure_that_cannot_be_makes_usage_unknown(figure: object) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": figure}
    raw = json.dumps({**orjson.loads(completion().content), "usage": usage})
    outcome = attempt(Wire(answers=[httpx2.Response(200, content=raw)]))
    assert isinstance(outcome, Reply)
    assert outcome.usage == Usage()


CALLS = {"tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{}"}}]}


@pytest.mark.parametrize(
    ("finish", "said", "stop_reason"),
    [
        ("stop", {}, "end_turn"),
        ("length", {}, "max_tokens"),
        ("tool_calls", CALLS, "tool_use"),
        ("stop", CALLS, "tool_use"),
        ("content_filter", {}, "refusal"),
        ("stop", {"refusal": "no"}, "refusal"),
        ("novel", {}, "novel"),
        (None, {}, None),
    ],
)
def test_the_reason_to_stop_is_converted(
    finish: str | None, said: Json, stop_reason: str | None
) -> None:
    assert message_from(completion(said, finish_reason=finish))["stop_reason"] == stop_reason


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, content=b"<html>"),
        httpx2.Response(200, json=[]),
        httpx2.Response(200, json={"choices": []}),
        httpx2.Response(200, json={"choices": [{"message": "hi"}]}),
        httpx2.Response(200, stream=Chunks([b'{"choices"'], httpx2.ReadError("reset"))),
    ],
)
def test_an_answer_that_is_no_completion_is_an_invalid_response(answer: httpx2.Response) -> None:
    assert failure_from(answer).kind is FailureKind.INVALID_RESPONSE


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, FailureKind.REQUEST_REJECTED),
        (401, FailureKind.ENDPOINT_REJECTED),
        (429, FailureKind.RATE_LIMITED),
        (500, FailureKind.SERVER_ERROR),
        (503, FailureKind.OVERLOADED),
    ],
)
def test_errors_mean_what_they_mean_elsewhere(status: int, kind: FailureKind) -> None:
    body = {"error": {"message": "no", "type": "server_says_no"}}
    assert failure_from(httpx2.Response(status, json=body)).kind is kind


def test_what_cannot_be_converted_is_refused_before_it_is_sent() -> None:
    wire = Wire()
    outcome = attempt(wire, a_request(params={"inference_geo": "us"}))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.error_type) == (
        FailureKind.REQUEST_REJECTED,
        "invalid_request_error",
    )
    assert "inference_geo" in outcome.message
    assert not wire.sent


def test_a_key_that_comes_back_is_taken_out() -> None:
    assert KEY.encode() not in attempt_message(completion({"content": f"I saw {KEY}"}))


def attempt_message(answer: httpx2.Response) -> bytes:
    outcome = attempt(Wire(answers=[answer]))
    assert isinstance(outcome, Reply)
    return outcome.message


def test_a_redirect_is_not_followed() -> None:
    moved = httpx2.Response(307, headers={"location": "https://elsewhere.example/"})
    assert failure_from(moved).kind is FailureKind.ENDPOINT_UNUSABLE


def test_a_server_that_hangs_times_out() -> None:
    async def one() -> Reply | Failure:
        async def hang(_: httpx2.Request) -> httpx2.Response:
            await asyncio.sleep(NEVER_S)
            return completion()

        transport = open_transport(SETTINGS, network=Wire(answer=hang))
        return await transport.send(a_request(), timeout_s=5)

    outcome = run_virtually(one())
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.TIMED_OUT


def test_a_base_url_is_needed() -> None:
    with pytest.raises(SettingsError, match="base_url"):
        open_transport(EndpointSettings(provider="openai"))


def test_such_an_endpoint_is_not_anthropic() -> None:
    transport = open_transport(SETTINGS)
    assert isinstance(transport, OpenAiTransport)
    assert (transport.name, transport.host, transport.is_anthropic) == (
        "relay",
        "relay.example",
        False,
    )
