"""What a result line says to a person: text, how it ended, tokens, cost; and as columns of a table.

Relays and users write results, too: what is not of the API's shape counts as absent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

ANSWER = "answer"
"""The column of answers, and what the names of our other columns begin with."""

_FACTS = (
    "status",
    "error",
    "stop_reason",
    "input_tokens",
    "output_tokens",
    "cost_usd",
)
_FILE = "file"
"""What the column is called, after the prefix, that names the file of a row."""


class Answer(NamedTuple):
    """One result as cells of a table, in the order of the columns; None: an empty cell."""

    text: str | None = None
    status: str | None = None
    error: str | None = None
    stop_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None


NO_ANSWER = Answer()
"""The cells of a row without a result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerColumns:
    """The names of our columns: `prefix`, `prefix_status`, ..., then one per property.

    A property called as one of the others (`status`) is `prefix_property_status`. `has_file`: one
    more names the file that a row is from.
    """

    prefix: str = ANSWER
    properties: tuple[str, ...] = ()
    has_file: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in their order."""
        facts = (*_FACTS, _FILE) if self.has_file else _FACTS
        spread = (
            f"{self.prefix}_property_{name}" if name in facts else f"{self.prefix}_{name}"
            for name in self.properties
        )
        return (self.prefix, *(f"{self.prefix}_{fact}" for fact in facts), *spread)


def are_of_answers(names: Collection[str]) -> bool:
    """Return whether columns, or keys, are those of answers: of a table, or of result lines."""
    if {"custom_id", "result"} <= {*names} or {"custom_id", "type", "text", "stop_reason"} <= {
        *names
    }:
        return True
    ends = f"_{_FACTS[-1]}"
    prefixes = (each.removesuffix(ends) for each in names if each.endswith(ends))
    return any({*AnswerColumns(prefix=each).names} <= {*names} for each in prefixes)


def answer_of(value: Mapping[str, Any]) -> Answer:
    """Return the answer in a parsed result line."""
    result, meta = value["result"], value.get("meta")
    if type(meta) is not dict:
        meta = {}
    status = result["type"]
    if status != "succeeded":
        return Answer(status=status, error=error_text(result), cost_usd=_number(meta, "cost_usd"))
    message = result.get("message")
    if type(message) is not dict:
        message = {}
    usage = message.get("usage")
    if type(usage) is not dict:
        usage = {}
    reason, broken = message.get("stop_reason"), meta.get("output_error")
    return Answer(
        text_of(message.get("content")),
        status,
        broken if type(broken) is str else None,
        reason if type(reason) is str else None,
        _read(usage) if usage else None,
        _whole(usage.get("output_tokens")),
        _number(meta, "cost_usd"),
    )


def error_text(result: Mapping[str, Any]) -> str | None:
    """Return why a request did not succeed, `type: message`; None where nothing says it."""
    if "error" not in result:
        return None
    error = inner(inner(result, "error"), "error")
    parts = [error.get("type"), error.get("message")]
    return ": ".join(part for part in parts if isinstance(part, str)) or None


def text_of(content: Any) -> str:
    """Return the text of all text blocks, joined."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    if len(content) == 1:  # as most answers are; a million of them make a table
        return _text_of_block(content[0])
    return "".join(map(_text_of_block, content))


def _text_of_block(block: Any) -> str:
    if type(block) is dict and block.get("type") == "text":
        text = block.get("text")
        if type(text) is str:
            return text
    return ""


def inner(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the object under a key; an empty one where there is none."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _read(usage: Mapping[str, Any]) -> int | None:
    """Return the tokens of the whole prompt, cached or not."""
    try:
        tokens: Any = (
            (usage.get("input_tokens") or 0)
            + (usage.get("cache_creation_input_tokens") or 0)
            + (usage.get("cache_read_input_tokens") or 0)
        )
    except TypeError:
        return None
    return _whole(tokens)


def _whole(figure: Any) -> int | None:
    return figure if type(figure) is int else None


def _number(meta: Mapping[str, Any], name: str) -> float | None:
    figure = meta.get(name)
    return figure if type(figure) in {int, float} else None
