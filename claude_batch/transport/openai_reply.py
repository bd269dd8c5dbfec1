"""A chat completion as the message that the Messages API would have sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

Json = dict[str, Any]

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def message_of(completion: Json) -> Json:
    """Return the message; a stop reason that has no counterpart keeps its name.

    Raises ValueError, KeyError, TypeError, IndexError or AttributeError when it is no completion
    (or when the arguments of a tool's call are no JSON).
    """
    choice = completion["choices"][0]
    said: Json = choice["message"]
    content = list(_blocks(said))
    reason = choice.get("finish_reason")
    stop_reason = "refusal" if said.get("refusal") else _STOP_REASONS.get(reason, reason)
    if stop_reason == "end_turn" and any(block["type"] == "tool_use" for block in content):
        stop_reason = "tool_use"  # some servers say "stop" all the same
    return {
        "id": str(completion.get("id") or ""),
        "type": "message",
        "role": "assistant",
        "model": completion.get("model") or "",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": _usage(completion.get("usage") or {}),
    }


def _blocks(said: Json) -> Iterator[Json]:
    thoughts = said.get("reasoning_content") or said.get("reasoning")
    if isinstance(thoughts, str) and thoughts:
        yield {"type": "thinking", "thinking": thoughts, "signature": ""}
    text = _text(said.get("content")) or said.get("refusal")
    if text:
        yield {"type": "text", "text": text}
    for call in said.get("tool_calls") or ():
        function = call["function"]
        yield {
            "type": "tool_use",
            "id": call["id"],
            "name": function["name"],
            "input": orjson.loads(function.get("arguments") or "{}"),
        }


def _text(content: str | list[Json] | None) -> str:
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part.get("type") == "text")
    return content or ""


def _usage(usage: Json) -> Json:
    """Return usage as the Messages API counts: cached tokens are not among the input tokens."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    thinking = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": int(usage.get("prompt_tokens") or 0) - int(cached),
        "output_tokens": int(usage.get("completion_tokens") or 0),
        "cache_read_input_tokens": int(cached),
        "cache_creation_input_tokens": 0,
        "output_tokens_details": {"thinking_tokens": int(thinking)},
    }
