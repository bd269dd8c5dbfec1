"""How many input tokens a request has: a count by classes of characters, always the same.

Not the API's tokenizer, which nobody outside has; near it (API-FACTS 5), and on purpose another
rule than the client's estimate, which has to learn the difference.
"""

from __future__ import annotations

import re
import string
from typing import Any

import orjson

from claude_batch.sandbox.models import Model
from claude_batch.sandbox.wire import Params

_LETTERS = string.ascii_letters.encode()
_DIGITS = string.digits.encode()
_SPACE = b" "
_TWO_BYTES = bytes(range(0xC2, 0xE0))
_MORE_BYTES = bytes(range(0xE0, 0xF5))

PER_LETTER, PER_DIGIT, PER_SIGN = 0.36, 1.05, 0.45
PER_TWO_BYTES, PER_MORE_BYTES = 0.38, 1.0
OLD_TOKENIZER = 0.77
FRAME, PER_MESSAGE, TOOLS = 8.0, 3.0, 290.0
PER_IMAGE, PER_PAGE, PAGE_BYTES = 1_500.0, 2_500.0, 60_000
_DATA = re.compile(rb'"data":"[^"]*"')


def text_tokens(text: str) -> float:
    """Return the tokens of a text under the newer tokenizer."""
    raw = text.encode("utf-8", "surrogatepass")
    count = 0.0
    if len(raw) != len(text):
        two, more = (len(raw) - len(raw.translate(None, c)) for c in (_TWO_BYTES, _MORE_BYTES))
        count += two * PER_TWO_BYTES + more * PER_MORE_BYTES
        raw = text.encode("ascii", "ignore")
    without_letters = raw.translate(None, _LETTERS)
    without_digits = without_letters.translate(None, _DIGITS)
    signs = len(without_digits) - without_digits.count(_SPACE)
    count += (len(raw) - len(without_letters)) * PER_LETTER
    count += (len(without_letters) - len(without_digits)) * PER_DIGIT
    return count + signs * PER_SIGN


def block_tokens(block: Any) -> float:
    """Return the tokens of one content block, or of anything else that is sent as JSON."""
    if isinstance(block, str):
        return text_tokens(block)
    match block.get("type"):
        case "text":
            return text_tokens(block["text"])
        case "image":
            return PER_IMAGE
        case "document":
            data = block["source"].get("data")
            size = len(data) if isinstance(data, str) else 0
            return PER_PAGE * (1 + size // PAGE_BYTES)
        case _:
            return text_tokens(_DATA.sub(b"", orjson.dumps(block)).decode())


def tools_tokens(tools: list[Params]) -> float:
    """Return the tokens of the tools, with what the API adds to explain them."""
    return TOOLS + sum(text_tokens(orjson.dumps(tool).decode()) for tool in tools)


def content_tokens(content: Any) -> float:
    """Return the tokens of a message's content: a text or a list of blocks."""
    if isinstance(content, str):
        return text_tokens(content)
    return sum(block_tokens(block) for block in content)


def scale(model: Model, error: float) -> float:
    """Return the factor between the newer tokenizer's count and this model's."""
    return error * (OLD_TOKENIZER if model.old_tokenizer else 1.0)


def input_tokens(params: Params, factor: float) -> int:
    """Return the input tokens of a valid request."""
    count = FRAME
    if params.get("system"):
        count += content_tokens(params["system"])
    if params.get("tools"):
        count += tools_tokens(params["tools"])
    for message in params["messages"]:
        count += PER_MESSAGE + content_tokens(message["content"])
    return max(1, round(count * factor))
