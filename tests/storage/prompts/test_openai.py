"""OpenAI batch lines: what has a counterpart is converted, what has none is refused by name."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.core.model.requests import Request
from claude_batch.storage.prompts.parse import InvalidLine, parse_line
from claude_batch.storage.prompts.shapes import Defaults

HAIKU = "claude-haiku-4-5"
ASK = [{"role": "user", "content": "hi"}]
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def line(*, url: str = "/v1/chat/completions", **body: Any) -> bytes:
    said = {"model": "gpt-4o", "messages": ASK, **body}
    return orjson.dumps({"custom_id": "a", "method": "POST", "url": url, "body": said})


def converted(**body: Any) -> Any:
    request = parse_line(line(**body), 1, Defaults(model=HAIKU, catalog=BUNDLED))
    assert isinstance(request, Request), request
    return orjson.loads(request.body)


def test_a_model_of_claude_is_kept_and_any_other_replaced_by_the_default() -> None:
    assert converted()["model"] == HAIKU
    assert converted(model="claude-opus-5-5")["model"] == "claude-opus-5-5"


def test_without_a_default_a_foreign_model_is_refused() -> None:
    bad = parse_line(line(), 1, Defaults(catalog=BUNDLED))
    assert isinstance(bad, InvalidLine)
    assert (bad.what, bad.remedy) == (
        "body: model 'gpt-4o' is not one of Claude's",
        "name one with --model",
    )


def test_system_messages_become_the_system_prompt() -> None:
    messages = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "developer", "content": [{"type": "text", "text": "be short"}]},
    ]
    params = converted(messages=messages)
    assert params["system"] == "be kind\n\nbe short"
    assert params["messages"] == [messages[1]]


def test_tool_calls_and_their_results_are_converted_together() -> None:
    messages = [
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "c2"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": "two"},
    ]
    assert converted(messages=messages)["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": name, "name": "f", "input": {"a": 1}}
                for name in ("c1", "c2")
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "c2", "content": "two"},
            ],
        },
    ]


def test_images_are_converted() -> None:
    def image(url: str) -> object:
        return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}

    messages = [image("data:image/png;base64,AAAA"), image("https://example.com/a.png")]
    assert [each["content"][0]["source"] for each in converted(messages=messages)["messages"]] == [
        {"type": "base64", "media_type": "image/png", "data": "AAAA"},
        {"type": "url", "url": "https://example.com/a.png"},
    ]


@pytest.mark.parametrize(
    ("body", "params"),
    [
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 6}, {"max_tokens": 6}),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["A", "B"]}, {"stop_sequences": ["A", "B"]}),
        ({"temperature": 0, "top_p": 1}, {"temperature": 0, "top_p": 1}),
        ({"tool_choice": "auto"}, {"tool_choice": {"type": "auto"}}),
        ({"tool_choice": "required"}, {"tool_choice": {"type": "any"}}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tool_choice": {"type": "tool", "name": "f"}},
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "description": "d"}}]},
            {
                "tools": [
                    {
                        "name": "f",
                        "input_schema": {"type": "object", "properties": {}},
                        "description": "d",
                    }
                ]
            },
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"a": 1}}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"a": 1}}}},
        ),
        ({"response_format": {"type": "text"}}, {}),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"seed": 1, "n": 1, "stream": False, "tools": None}, {}),
    ],
)
def test_options_are_converted(body: dict[str, object], params: dict[str, object]) -> None:
    plain = {"model": HAIKU, "max_tokens": 1024, "messages": ASK}
    assert converted(**body) == {**plain, **params}


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"url": "/v1/embeddings"}, "url '/v1/embeddings' cannot be converted"),
        ({"n": 2}, "one answer per request"),
        ({"stream": True}, "'stream' is not supported"),
        ({"logprobs": True}, "unknown key 'logprobs' in body"),
        ({"messages": "hi"}, "messages must be a list of objects"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role 'robot' cannot"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "role ['user'] cannot"),
        ({"messages": [{"role": "user", "content": 5}]}, "content must be a list"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "has no type"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input_audio"),
        ({"messages": [{"role": "system", "content": 5}]}, "content must be a list"),
        ({"messages": [{"role": "assistant", "tool_calls": 5}]}, "tool_calls must be a list"),
        ({"messages": [{"role": "assistant", "tool_calls": [5]}]}, "a tool call cannot"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [
                {"id": "c", "function": {"name": "f", "arguments": "[]"}}]}]},
            "a tool call cannot",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [
                {"id": "c", "function": {"name": "f", "arguments": '{"a":' * 300 + "1" + "}" * 300}}
            ]}]},
            "nested more than",
        ),
        ({"tools": 5}, "tools must be a list"),
        ({"tools": [{"type": "retrieval"}]}, "a tool cannot be converted"),
        ({"tool_choice": "always"}, "tool_choice cannot"),
        ({"stop": 5}, "stop_sequences must be a list"),
        ({"response_format": {"type": "json_object"}}, "response_format cannot"),
        ({"max_tokens": 0}, "max_tokens is 0"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_refused_by_name(body: dict[str, Any], what: str) -> None:
    bad = parse_line(line(**body), 1, Defaults(model=HAIKU, catalog=BUNDLED))
    assert isinstance(bad, InvalidLine)
    assert what in bad.what
    assert bad.remedy
