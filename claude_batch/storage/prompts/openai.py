"""Requests of an OpenAI batch file, converted to Messages API params.

What has no counterpart is refused by name. Source: OpenAI's Batch and Chat Completions reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from claude_batch.storage.prompts.params import BadPromptError, quoted, refuse_deep, refuse_unknown

ENVELOPE = frozenset({"custom_id", "method", "url", "body", "meta"})
URLS = ("/v1/chat/completions", "/chat/completions")

_SAME = ("temperature", "top_p")
_IGNORED = frozenset({"seed", "store", "metadata", "parallel_tool_calls", "service_tier"})
"""Hints without a counterpart that change nothing in the shape of an answer."""

_CONVERTED = frozenset(
    {
        "model",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "tools",
        "tool_choice",
        "response_format",
        "user",
        "n",
        "stream",
    }
)
_OPENAI_MODEL = re.compile(r"(ft:)?(gpt-\d|o\d(-|$)|chatgpt-)")
_SYSTEM = ("system", "developer")
_KNOWN = _CONVERTED | _IGNORED | set(_SAME)
_DATA_URL = re.compile(r"data:(?P<media>[\w/+.-]+);base64,(?P<data>.*)", re.DOTALL)


def is_claude(model: object) -> bool:
    """Return whether a model of an OpenAI file is one of Claude's."""
    return isinstance(model, str) and "claude" in model


def is_openai_model(model: str) -> bool:
    """Return whether a model is certainly one of OpenAI's."""
    return _OPENAI_MODEL.match(model) is not None


def convert(envelope: Mapping[str, Any]) -> dict[str, Any]:
    """Return the params of one request; its model is left out unless it is Claude's.

    Raises BadPromptError for what cannot be converted.
    """
    refuse_unknown(envelope, ENVELOPE, "in an OpenAI batch line")
    body = envelope.get("body")
    url = envelope.get("url")
    if url not in URLS:
        raise BadPromptError(
            f"url {quoted(url)} cannot be converted",
            f"requests for {URLS[0]} can; of others, write the text as "
            '{"custom_id": "...", "prompt": "..."}',
        )
    if not isinstance(body, dict):
        raise BadPromptError("body must be an object", 'write "body": {"messages": [...]}')
    body = {key: value for key, value in body.items() if value is not None}
    refuse_unknown(
        body,
        _KNOWN,
        "in body: it has no counterpart",
        otherwise="leave it out with --drop NAME, or write the request as Messages API params",
    )
    if body.get("n", 1) != 1:
        raise BadPromptError("n: Claude gives one answer per request", "repeat the line instead")
    if body.get("stream"):
        raise BadPromptError("'stream' is not supported", "leave it out")
    params: dict[str, Any] = {}
    if is_claude(body.get("model")):
        params["model"] = body["model"]
    max_tokens = body.get("max_completion_tokens", body.get("max_tokens"))
    if max_tokens is not None:
        params["max_tokens"] = max_tokens
    params.update(_conversation(body.get("messages")))
    params.update(_options(body))
    return params


def _options(body: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: body[name] for name in _SAME if name in body}
    stop = body.get("stop")
    if stop:
        options["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if body.get("tools"):
        options["tools"] = [_tool(tool) for tool in _list(body["tools"], "tools")]
    if body.get("user"):
        options["metadata"] = {"user_id": body["user"]}
    if "tool_choice" in body:
        options["tool_choice"] = _tool_choice(body["tool_choice"])
    if body.get("response_format"):
        options.update(_response_format(body["response_format"]))
    return options


def _list(value: object, name: str) -> list[Any]:
    if isinstance(value, list):
        return value
    raise BadPromptError(f"body: {name} must be a list", f'write "{name}": [...]')


def _conversation(messages: object) -> dict[str, Any]:
    if not isinstance(messages, list) or not all(isinstance(item, dict) for item in messages):
        raise BadPromptError("body: messages must be a list of objects", "see OpenAI's reference")
    system = [_text(item) for item in messages if item.get("role") in _SYSTEM]
    rest = [_message(item) for item in messages if item.get("role") not in _SYSTEM]
    merged: list[dict[str, Any]] = []
    for message in rest:
        both = merged and isinstance(merged[-1]["content"], list)
        if both and _is_tool_result(message) and _is_tool_result(merged[-1]):
            merged[-1]["content"].extend(message["content"])
        else:
            merged.append(message)
    return {**({"system": "\n\n".join(system)} if system else {}), "messages": merged}


def _is_tool_result(message: Mapping[str, Any]) -> bool:
    content = message["content"]
    return isinstance(content, list) and bool(content) and content[0]["type"] == "tool_result"


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    match message.get("role"):
        case "user":
            return {"role": "user", "content": _content(message.get("content"))}
        case "assistant":
            return {"role": "assistant", "content": _assistant(message)}
        case "tool":
            result = {
                "type": "tool_result",
                "tool_use_id": message.get("tool_call_id"),
                "content": _text(message),
            }
            return {"role": "user", "content": [result]}
        case other:
            raise BadPromptError(
                f"body: role {quoted(other)} cannot be converted",
                "roles are system, developer, user, assistant, tool",
            )


def _assistant(message: Mapping[str, Any]) -> str | list[dict[str, Any]]:
    calls = _list(message.get("tool_calls") or [], "tool_calls")
    if not calls:
        return _content(message.get("content"))
    text = _text(message)
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    return blocks + [_tool_use(call) for call in calls]


def _tool_use(call: Any) -> dict[str, Any]:
    try:
        function = call["function"]
        name, arguments = function["name"], orjson.loads(function["arguments"] or "{}")
        converted = {"type": "tool_use", "id": call["id"], "name": name, "input": arguments}
    except (TypeError, KeyError, ValueError):
        arguments = None
    if not isinstance(arguments, dict):
        raise BadPromptError(
            "body: a tool call cannot be converted",
            "give id, function.name and arguments: a JSON object, as a text",
        )
    refuse_deep(arguments)
    return converted


def _text(message: Mapping[str, Any]) -> str:
    """Return the text of a message that may only hold text."""
    content = _content(message.get("content"))
    if isinstance(content, str):
        return content
    if all(block["type"] == "text" for block in content):
        return "".join(block["text"] for block in content)
    raise BadPromptError("body: a system or tool message may only hold text", "move the image")


def _content(content: object) -> str | list[dict[str, Any]]:
    """Return the content converted: a text, or a list of blocks."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return [_part(part) for part in _list(content, "content")]


def _part(part: Any) -> dict[str, Any]:
    match part:
        case {"type": "text", "text": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return {"type": "image", "source": _image_source(url)}
        case {"type": str(kind)}:
            raise BadPromptError(
                f"body: content of type {quoted(kind)} cannot be converted", "use text or image_url"
            )
        case _:
            raise BadPromptError("body: a part of a content has no type", "use text or image_url")


def _image_source(url: str) -> dict[str, Any]:
    inline = _DATA_URL.match(url)
    if inline is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": inline["media"], "data": inline["data"]}


def _tool(tool: Any) -> dict[str, Any]:
    match tool:
        case {"type": "function", "function": {"name": str(name), **rest}}:
            schema = rest.get("parameters") or {"type": "object", "properties": {}}
            converted = {"name": name, "input_schema": schema}
            if rest.get("description"):
                converted["description"] = rest["description"]
            return converted
        case _:
            raise BadPromptError("body: a tool cannot be converted", "only functions with a name")


def _tool_choice(choice: Any) -> dict[str, Any]:
    match choice:
        case "auto" | "none":
            return {"type": choice}
        case "required":
            return {"type": "any"}
        case {"type": "function", "function": {"name": str(name)}}:
            return {"type": "tool", "name": name}
        case _:
            raise BadPromptError(
                "body: tool_choice cannot be converted", "use auto, none, required"
            )


def _response_format(value: Any) -> dict[str, Any]:
    match value:
        case {"type": "text"}:
            return {}
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
        case _:
            raise BadPromptError(
                "body: response_format cannot be converted",
                "use json_schema with a schema, or ask for JSON in the prompt",
            )
