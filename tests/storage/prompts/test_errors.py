"""Bad lines: each says what is wrong and what to do."""

from __future__ import annotations

import orjson
import pytest

from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.core.model.requests import Request
from claude_batch.storage.prompts.parse import InvalidLine, parse_line
from claude_batch.storage.prompts.shapes import Defaults

ASK = [{"role": "user", "content": "hi"}]
DEEP = 500


def a_block(block: object) -> object:
    return {"messages": [{"role": "user", "content": [block]}]}


def refused(raw: bytes | None) -> InvalidLine:
    line = parse_line(raw, 3, Defaults(catalog=BUNDLED))
    assert isinstance(line, InvalidLine), line
    assert line.line == 3
    assert line.remedy
    assert len(line.what) < 200
    assert "\n" not in line.what
    return line


@pytest.mark.parametrize(
    ("raw", "what", "remedy"),
    [
        (b'{"prompt" "x"}', "not JSON", "one JSON value per line"),
        (b"Translate this", "(column 1)", "add --input-format txt"),
        (b'{"prompt":"x",}', "trailing comma", "take the last comma out"),
        (b'"a" "b"', "(column 5)", "one JSON value per line"),
        (b"{'prompt':'x'}", "(column 2)", "JSON needs double quotes"),
        (b'{"prompt":"x', "unexpected end", "cut off"),
        (b"{", "unexpected end", "spread over several"),
        ('"é" x'.encode(), "(column 5)", "one JSON value per line"),
        (b'{"a":NaN}', "(column 6)", "JSON has no NaN"),
        (b'{"a":-Infinity}', "not JSON", "JSON has no NaN"),
        (b'{"a":1e999}', "infinity", "write it as a text"),
        (b'"caf\xe9"', "invalid UTF-8 at byte 5", "save the file as UTF-8"),
        (b'"\xed\xa0\x80"', "invalid UTF-8 at byte 2", "save the file as UTF-8"),
        (b'"a\0b"', "NUL byte in column 3", "UTF-16"),
        (b"\0\0\0", "NUL byte in column 1", "damaged"),
        (b'"\\ud800"', "surrogate", "half a character"),
        (b"[" * 3000 + b"]" * 3000, "nested more than 100", "flatten"),
        (b'{"prompt":"x","meta":{"a":%s}}' % (b"[" * DEEP + b"]" * DEEP), "nested", "flatten"),
        (b'{"prompt":"x","meta":{"a":18446744073709551616}}', "64 bits", "as a text"),
        (b'{"prompt":"x","meta":{"a":[-9223372036854775809]}}', "64 bits", "as a text"),
        (b'{"prompt":"x","meta":{"a":%s}}' % (b"9" * 99), "99999...", "as a text"),
        (b'{"prompt":"x","metadata":{"user_id":123456789012345678901}}', "64 bits", "as a text"),
        (None, "longer than 32 MB", "shorten"),
    ],
)
def test_a_line_that_cannot_be_read_is_refused(raw: bytes | None, what: str, remedy: str) -> None:
    line = refused(raw)
    assert what in line.what
    assert remedy in line.remedy


@pytest.mark.parametrize(
    ("value", "what", "remedy"),
    [
        (17, "a line must be a text or an object", 'write "..."'),
        (None, "a line must be a text or an object", 'write "..."'),
        ([{"prompt": "x"}], "a line must be a text or an object", "one JSON array"),
        ("", "the prompt is empty", "ask something"),
        (" \t", "the prompt is empty", "ask something"),
        ({}, "messages are missing", '"prompt"'),
        ({"custom_id": "a"}, "messages are missing", '"prompt"'),
        ({"params": {}}, "messages are missing", '"messages"'),
        ({"params": []}, "params must be an object", '"params"'),
        ({"params": {}, "model": "m"}, "unknown key 'model' beside params", "known keys"),
        ({"promt": "x"}, "unknown key 'promt' in the line", "'prompt'"),
        ({"text": "x"}, "there is no column 'prompt' (columns: text)", "--prompt-column text"),
        ({"prompt": "x", "max_token": 5}, "unknown key 'max_token'", "'max_tokens'"),
        ({"params": {"messages": ASK, "sytem": "x"}}, "'sytem' in params", "'system'"),
        ({"prompt": "x", "messages": ASK}, "both prompt and messages", "leave one out"),
        ({"prompt": 5}, "prompt must be a text", '"prompt"'),
        ({"prompt": "x", "meta": [1]}, "meta must be an object", '"meta"'),
        ({"prompt": "x", "custom_id": [1]}, "the id must be a text or", "--id-column"),
        ({"prompt": "x", "custom_id": ""}, "custom_id is empty", "leave it out"),
        ({"prompt": "x", "custom_id": "i" * 257}, "custom_id has 257 characters", "256"),
        ({"prompt": "x", "model": 5}, "model must be a text, not the number 5", "name a model"),
        ({"prompt": "x", "model": ""}, "model must be a text", "name a model"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens is 0", "at least 1"),
        ({"prompt": "x", "max_tokens": -5}, "max_tokens is negative (-5)", "at least 1"),
        ({"prompt": "x", "max_tokens": "5"}, "not the text '5'", "without quotes"),
        ({"prompt": "x", "max_tokens": True}, "not true or false", "without quotes"),
        ({"prompt": "x", "max_tokens": 1.5}, "not the number 1.5", "point"),
        ({"prompt": "x", "stream": False}, "'stream' is not supported", "remove it"),
        ({"messages": "hi"}, "messages must be a list", '"role"'),
        ({"messages": []}, "not an empty list", '"role"'),
        ({"messages": ASK * 100_001}, "there are 100,001 messages", "100,000"),
        ({"messages": ["hi"]}, "messages[0] must be an object", '"role"'),
        ({"messages": [{"content": "x"}]}, "messages[0]: role is missing", "user"),
        ({"messages": [{"role": "human", "content": "x"}]}, "bad role 'human'", "user"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "bad role ['user']", "user"),
        ({"messages": [{"role": "user"}]}, "messages[0]: content is missing", '"content"'),
        ({"messages": [{"role": "user", "content": 5}]}, "not the number 5", '"content"'),
        ({"messages": [{"role": "user", "content": {}}]}, "not an object", '"content"'),
        ({"messages": [{"role": "user", "content": ""}]}, "content is empty", "say something"),
        ({"messages": [{"role": "user", "content": []}]}, "content is empty", "say something"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "content[0] must be", '"type"'),
        ({"messages": [{"role": "user", "content": " \n"}]}, "only white space", "say something"),
        (a_block({"type": "text", "value": "hi"}), "text block without a text", '"text"'),
        (a_block({"type": "text", "text": 5}), "text block without a text", '"text"'),
        (a_block({"type": "text", "text": ""}), "the text is empty", "say something"),
        (a_block({"type": "text", "text": "\u3000"}), "only white space", "say something"),
        (
            {"messages": [{"role": "user", "content": "x", "name": "bob"}]},
            "messages[0]: unknown key 'name'",
            "role and content only",
        ),
        (
            {"messages": [*ASK, {"role": "assistant", "content": "{"}]},
            "the last message is the assistant's (prefill), which claude-haiku-5-5 refuses",
            "end with a user message",
        ),
        ({"prompt": "x", "system": " "}, "system: the text is only white space", "leave it out"),
        ({"prompt": "x", "system": [{"type": "text", "text": " "}]}, "white space", "leave it out"),
        ({"prompt": "x", "compaction": "a sentence"}, "compaction must be an object", "meta"),
        ({"prompt": "x", "thread": 17}, "thread must be an object", "meta"),
        ({"prompt": "x", "inference_geo": ["us"]}, "inference_geo must be a text", "meta"),
        ({"prompt": "x", "speed": 9}, "speed must be a text, not the number 9", "meta"),
        ({"prompt": "x", "metadata": {"page": 3}}, "metadata: unknown key 'page'", "user_id only"),
        ({"prompt": "x", "metadata": {"user_id": 3}}, "metadata.user_id must be a text", "quotes"),
        ({"prompt": "x", "model": "claude-haiku-4-5", "temperature": 1.5}, "is 1.5", "0 to 1"),
        ({"prompt": "x", "model": "claude-haiku-4-5", "top_p": -1}, "top_p is -1", "0 to 1"),
        ({"prompt": "x", "betas": ["b"]}, "unknown key 'betas'", "headers_env"),
        ({"params": {"messages": ASK, "betas": ["b"]}}, "unknown key 'betas'", "headers_env"),
        ({"params": {"messages": ASK, "extra_body": {}}}, "'extra_body' in params", "beside"),
        (
            {"id": "a", "question": "y", "grade": 1},
            "there is no column 'prompt' (columns: id, question, grade)",
            "--prompt-column question; or write one: --prompt 'TEXT {{question}}'",
        ),
        (
            {"model": "gpt-4o-mini", "messages": ASK},
            "model 'gpt-4o-mini' is not one of Claude's",
            "--model",
        ),
        ({"prompt": "x", "system": 5}, "system must be a text or", '"system"'),
        ({"prompt": "x", "system": [{}]}, "system: content[0] must be", '"type"'),
        ({"prompt": "x", "tools": {}}, "tools must be a list, not an object", "[...]"),
        ({"prompt": "x", "stop_sequences": "x"}, "stop_sequences must be a list", "[...]"),
        ({"prompt": "x", "thinking": True}, "thinking must be an object", "{...}"),
        ({"prompt": "x", "temperature": 0.5}, "claude-haiku-5-5 takes no sampling", "leave it"),
        (
            {"prompt": "x", "model": "claude-haiku-4-5", "top_p": "1"},
            "top_p must be a number, not the text '1'",
            "quotes",
        ),
    ],
)
def test_a_line_that_would_be_refused_is_refused_here(
    value: object, what: str, remedy: str
) -> None:
    line = refused(orjson.dumps(value))
    assert what in line.what
    assert remedy in line.remedy


# Keys of real files, and parameters that a lower cutoff took them for.
DATA_KEYS = (
    "answer answers category choices class completion context domain expected_output explanation "
    "gold grade instruction label language messages_count name number options output page passage "
    "pid reference response score solution source split subject tags target task title topic url"
)
MISTYPED = {
    "max_token": "max_tokens",
    "temprature": "temperature",
    "sytem": "system",
    "promt": "prompt",
    "message": "messages",
    "customid": "custom_id",
}


@pytest.mark.parametrize("key", DATA_KEYS.split())
def test_data_is_not_taken_for_a_parameter(key: str) -> None:
    request = parse_line(orjson.dumps({"prompt": "x", key: "y"}), 1, Defaults(catalog=BUNDLED))
    assert isinstance(request, Request)
    assert orjson.loads(request.meta or b"") == {key: "y"}
    assert orjson.loads(request.body).keys() == {"model", "max_tokens", "messages"}


@pytest.mark.parametrize(("key", "meant"), MISTYPED.items())
def test_a_mistyped_key_is_named(key: str, meant: str) -> None:
    line = refused(orjson.dumps({key: "y"}))
    assert line.remedy == f"did you mean {meant!r}?"


def test_a_temperature_above_1_is_for_models_that_are_not_claude_s() -> None:
    raw = b'{"prompt":"x","model":"qwen3","temperature":1.5}'
    assert not isinstance(parse_line(raw, 1, Defaults(catalog=BUNDLED)), InvalidLine)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"prompt":"a","prompt":"b"}',
        b'{"prompt":"a","meta":{"x":1,"x":1}}',
        b'{"params":{"messages":[{"role":"user","content":"a","content":"b"}]}}',
        b'{"prompt" :"a", "pr\\u006fmpt" :"b"}',
    ],
)
def test_a_key_that_is_there_twice_is_refused(raw: bytes) -> None:
    line = refused(raw)
    assert "is there twice" in line.what
    assert line.remedy == "remove one of the two"
