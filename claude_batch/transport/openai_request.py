"""A Messages API request in the words of the Chat Completions API.

What has a counterpart is converted; what only tunes (thinking, cache_control, metadata,
service_tier, speed) is left out; anything else that would change the answer is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

Json = dict[str, Any]

_LEFT_OUT = {"cache_control", "metadata", "service_tier", "speed", "stream", "thinking"}
_AS_IT_IS = ("model", "temperature", "top_p", "top_k")
_CONVERTED = {
    *("max_tokens", "messages", "output_config", "stop_sequences"),
    *("system", "tool_choice", "tools"),
}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class CannotConvertError(Exception):
    """The request asks for something that an OpenAI-compatible endpoint has no words for."""


def chat_request(params: Json, *, max_tokens_key: str = "max_tokens") -> Json:
    """Return the body of a chat completion. Raises CannotConvertError.

    `max_tokens_key`: OpenAI itself calls it max_completion_tokens, everybody else max_tokens.
    """
    unknown = params.keys() - _CONVERTED - _LEFT_OUT - set(_AS_IT_IS)
    if unknown:
        raise CannotConvertError(f"{', '.join(sorted(unknown))} has no counterpart there")
    try:
        body = {name: params[name] for name in _AS_IT_IS if name in params}
        body[max_tokens_key] = params["max_tokens"]
        body["messages"] = [*_system(params.get("system")), *_messages(params["messages"])]
        body |= _tools(params) | _output(params.get("output_config") or {})
    except (KeyError, TypeError, AttributeError) as error:
        raise CannotConvertError(f"the request is not of the Messages API: {error!r}") from error
    if params.get("stop_sequences"):
        body["stop"] = params["stop_sequences"]
    return body


def _system(system: str | list[Json] | None) -> Iterator[Json]:
    if system:
        yield {"role": "system", "content": _text_of(system, "system")}


def _messages(messages: Iterable[Json]) -> Iterator[Json]:
    for message in messages:
        role, content = message["role"], message["content"]
        if isinstance(content, str):
            yield {"role": role, "content": content}
        elif role == "assistant":
            yield _assistant(content)
        elif role == "system":
            yield {"role": "system", "content": _text_of(content, "system")}
        else:
            yield from _user(content)


def _assistant(blocks: list[Json]) -> Json:
    """Return a turn of the model's; its thinking stays behind, as it is signed for Claude alone."""
    message: Json = {"role": "assistant", "content": None}
    said = [block for block in blocks if block["type"] == "text"]
    calls = [_call(block) for block in blocks if block["type"] == "tool_use"]
    known = {"text", "tool_use", "thinking", "redacted_thinking"}
    for block in blocks:
        if block["type"] not in known:
            raise CannotConvertError(f"a {block['type']} block of the assistant")
    if said:
        message["content"] = _text_of(said, "assistant")
    return {**message, "tool_calls": calls} if calls else message


def _call(block: Json) -> Json:
    arguments = orjson.dumps(block["input"]).decode()
    return {
        "id": block["id"],
        "type": "function",
        "function": {"name": block["name"], "arguments": arguments},
    }


def _user(blocks: list[Json]) -> Iterator[Json]:
    """Yield what the tools said, each as a message of its own, then what the user says."""
    for block in blocks:
        if block["type"] == "tool_result":
            yield {
                "role": "tool",
                "tool_call_id": block["tool_use_id"],
                "content": _text_of(block.get("content") or "", "tool_result"),
            }
    said = [_part(block) for block in blocks if block["type"] != "tool_result"]
    if said:
        yield {"role": "user", "content": said}


def _part(block: Json) -> Json:
    match block:
        case {"type": "text", "text": text}:
            return {"type": "text", "text": text}
        case {"type": "image", "source": {"type": "base64"} as source}:
            return {"type": "image_url", "image_url": {"url": _data_url(source)}}
        case {"type": "image", "source": {"type": "url", "url": url}}:
            return {"type": "image_url", "image_url": {"url": url}}
        case {"type": "document", "citations": {"enabled": True}}:
            raise CannotConvertError("citations")
        case {"type": "document", "source": {"type": "text", "data": text}}:
            return {"type": "text", "text": text}
        case {"type": "document", "source": {"type": "base64"} as source}:
            name = block.get("title") or "document.pdf"
            return {"type": "file", "file": {"filename": name, "file_data": _data_url(source)}}
        case _:
            source = block.get("source")
            by = f" by {source.get('type')}" if isinstance(source, dict) else ""
            raise CannotConvertError(f"a {block['type']} block{by}")


def _data_url(source: Json) -> str:
    return f"data:{source['media_type']};base64,{source['data']}"


def _text_of(content: str | list[Json], where: str) -> str:
    if isinstance(content, str):
        return content
    for block in content:
        if block["type"] != "text":
            raise CannotConvertError(f"a {block['type']} block within {where}")
    return "\n\n".join(block["text"] for block in content)


def _tools(params: Json) -> Json:
    if not params.get("tools"):
        return {}
    body: Json = {"tools": [_tool(tool) for tool in params["tools"]]}
    choice = params.get("tool_choice") or {}
    if choice.get("type") == "tool":
        body["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    elif choice:
        body["tool_choice"] = _CHOICES[choice["type"]]
    if choice.get("disable_parallel_tool_use"):
        body["parallel_tool_calls"] = False
    return body


def _tool(tool: Json) -> Json:
    if tool.get("type", "custom") != "custom":
        raise CannotConvertError(f"the tool {tool['type']}, which runs at Anthropic")
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    if tool.get("description"):
        function["description"] = tool["description"]
    return {"type": "function", "function": function}


def _output(config: Json) -> Json:
    body: Json = {}
    if config.get("effort"):
        body["reasoning_effort"] = config["effort"]
    wanted = config.get("format")
    if wanted:
        if wanted["type"] != "json_schema":
            raise CannotConvertError(f"output_config.format {wanted['type']}")
        schema = {"name": "answer", "schema": wanted["schema"], "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body
