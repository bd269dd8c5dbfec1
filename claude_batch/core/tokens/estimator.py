"""How many tokens a prompt will have, before they are counted.

A linear fit over features of the text, one set of weights per tokenizer generation. On texts that
were not fitted each kind is within 15 %, the mean error 6 %; documents are rough guesses. Real
usage corrects the estimate per model (core/pacing/estimates.py). Source:
docs/claude-api.md#token-estimates.

All features are counted by C loops over bytes: 1 KB takes about 50 microseconds.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any

from claude_batch.core.catalog.catalog import Catalog, model_class
from claude_batch.core.catalog.model_card import Tokenizer
from claude_batch.core.tokens.images import UNKNOWN_SIZE, base64_size, image_tokens

FRAME_TOKENS = 6.0
"""What every request adds around its text, and `_MESSAGE_TOKENS` each message."""

_MESSAGE_TOKENS = 3.0

DOCUMENT_PAGE_TOKENS = 3_500.0
_BASE64_CHARS_PER_PAGE = 100_000

_TOOLS_TOKENS = (286, 406)
"""The preamble of tools for a model that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weights:
    """Tokens per feature of a text; characters that are not ASCII by script."""

    word: float
    long_letter: float  # letters beyond the fourth of each word
    capital_run: float
    capital: float  # further capitals of a run
    digits: float  # per group of up to three digits
    punctuation: float
    punctuation_run: float
    newline: float
    tab: float
    space_run: float  # two spaces or more
    lower_upper: float  # a capital after a small letter, as in camelCase and base64
    letter_digit: float  # a digit beside a letter, as in hex and IDs
    foreign_word: float  # added to words of four letters or more of a text with accents
    japanese: float
    korean: float
    chinese: float
    cyrillic: float
    arabic: float
    indic: float
    thai: float
    sign: float  # typographic quotes, dashes, arrows
    emoji: float
    accent: float
    other: float


_WEIGHTS = {
    Tokenizer.NEW: _Weights(
        word=0.801,
        long_letter=0.689,
        capital_run=1.136,
        capital=0.341,
        digits=0.982,
        punctuation=0.128,
        punctuation_run=1.093,
        newline=0.756,
        tab=1.363,
        space_run=0.924,
        lower_upper=0.026,
        letter_digit=0.321,
        foreign_word=0.687,
        japanese=0.801,
        korean=1.365,
        chinese=1.228,
        cyrillic=0.465,
        arabic=0.829,
        indic=0.885,
        thai=0.978,
        sign=2.116,
        emoji=3.626,
        accent=1.460,
        other=2.019,
    ),
    Tokenizer.OLD: _Weights(
        word=0.787,
        long_letter=0.142,
        capital_run=0.369,
        capital=0.113,
        digits=0.915,
        punctuation=0.023,
        punctuation_run=1.158,
        newline=1.199,
        tab=1.020,
        space_run=0.649,
        lower_upper=2.238,
        letter_digit=0.245,
        foreign_word=0.940,
        japanese=0.806,
        korean=1.373,
        chinese=1.235,
        cyrillic=0.468,
        arabic=0.831,
        indic=0.888,
        thai=0.981,
        sign=2.538,
        emoji=3.559,
        accent=1.072,
        other=2.006,
    ),
}
"""Fitted to 319 texts of 33 kinds with counts for both tokenizers (docs/claude-api.md)."""

_FOREIGN_ACCENTS = 0.01
"""Share of accented letters from which a text is taken to be in another language than English."""


def _class_of(byte: int) -> str:
    character = chr(byte)
    if byte > 127:  # noqa: PLR2004  # a part of a character that is not ASCII
        return "~"
    if character in string.ascii_lowercase:
        return "a"
    if character in string.ascii_uppercase:
        return "A"
    if character in string.digits:
        return "0"
    if character in string.punctuation:
        return "."
    return character if character in "\n\t" else " "


def _only(kept: str, *, shown: str = "x") -> bytes:
    """Return a table that makes `shown` of each of `kept` and a space of all the rest."""
    return bytes(ord(shown if chr(byte) in kept else " ") for byte in range(256))


_CLASSES = "".join(map(_class_of, range(256))).encode()
_LETTERS = _only("aA")
_CAPITALS = _only("A")
_CASELESS = bytes(byte if chr(byte) != "A" else ord("a") for byte in range(256))
_DIGITS = _only("0")
_PUNCTUATION = _only(".")
_NO_SPACES = bytes(ord(" " if chr(byte) == " " else "x") for byte in range(256))


def text_tokens(text: str, tokenizer: Tokenizer) -> float:
    """Return the estimated tokens of `text`."""
    weights = _WEIGHTS[tokenizer]
    raw = text.encode("utf-8", "surrogatepass")
    classes = b" " + raw.translate(_CLASSES)  # runs are counted where they begin, behind a space
    tokens = _word_tokens(classes, weights)
    tokens += _digit_tokens(classes, weights) + _sign_tokens(classes, weights)
    if len(raw) != len(text):
        scripts, accents = _script_tokens(text, weights)
        ascii_letters = max(1, len(text.encode("ascii", "ignore")))
        foreign = min(1.0, accents / (_FOREIGN_ACCENTS * ascii_letters))
        long_words = classes.translate(_LETTERS).count(b" xxxx")  # short ones are a token anywhere
        tokens += scripts + long_words * weights.foreign_word * foreign
    return tokens


def _word_tokens(classes: bytes, weights: _Weights) -> float:
    """Return the tokens of letters and capitals."""
    letters = classes.translate(_LETTERS)
    words = letters.count(b" x")
    in_first_four = words + sum(letters.count(b" xx" + b"x" * more) for more in range(3))
    tokens = weights.word * words + weights.long_letter * (letters.count(b"x") - in_first_four)
    capitals = classes.translate(_CAPITALS)
    runs = capitals.count(b" x")
    if runs:
        tokens += weights.capital_run * runs + weights.capital * (capitals.count(b"x") - runs)
        tokens += weights.lower_upper * classes.count(b"aA")
    return tokens


def _digit_tokens(classes: bytes, weights: _Weights) -> float:
    """Return the tokens of digits: a run of n digits is ceil(n/3) groups."""
    if b"0" not in classes:
        return 0.0
    groups = classes.translate(_DIGITS).replace(b"xxx", b"y")
    caseless = classes.translate(_CASELESS)
    beside = caseless.count(b"a0") + caseless.count(b"0a")
    count = groups.count(b"y") + groups.count(b" x") + groups.count(b"yx")
    return weights.digits * count + weights.letter_digit * beside


def _sign_tokens(classes: bytes, weights: _Weights) -> float:
    """Return the tokens of punctuation, newlines, tabs and runs of spaces."""
    signs = classes.translate(_PUNCTUATION)
    tokens = (
        weights.punctuation * signs.count(b"x")
        + weights.punctuation_run * signs.count(b" x")
        + weights.newline * classes.count(b"\n")
        + weights.tab * classes.count(b"\t")
    )
    if b"  " in classes:
        spaces = b"x" + classes[1:].translate(_NO_SPACES)
        tokens += weights.space_run * spaces.count(b"x  ")
    return tokens


_SCRIPTS = ("accent", "japanese", "korean", "chinese", "cyrillic", "arabic", "indic", "thai",
            "sign", "emoji", "other")  # fmt: skip


def _script(high: int) -> str:
    """Return the script of the characters whose UTF-16 code unit starts with the byte `high`."""
    if 0x34 <= high <= 0x9F or high in {0xF9, 0xFA}:  # noqa: PLR2004
        return "chinese"
    if 0xAC <= high <= 0xD7 or high == 0x11:  # noqa: PLR2004
        return "korean"
    by_block = {
        **dict.fromkeys((0x00, 0x01, 0x02), "accent"),
        **dict.fromkeys((0x04, 0x05), "cyrillic"),
        **dict.fromkeys((0x06, 0x07), "arabic"),
        0x09: "indic",
        0x0E: "thai",
        0x20: "sign",
        **dict.fromkeys((0x30, 0xFF), "japanese"),
        **dict.fromkeys(range(0xD8, 0xDC), "emoji"),  # the first halves of pairs
        **dict.fromkeys(range(0xDC, 0xE0), "accent"),  # their second halves, taken off again
    }
    return by_block.get(high, "other")


_SCRIPT_BYTES = bytes(_SCRIPTS.index(_script(high)) for high in range(256))


def _script_tokens(text: str, weights: _Weights) -> tuple[float, int]:
    """Return the tokens of what is not ASCII, and how many of it are accented Latin letters."""
    highs = text.encode("utf-16-be", "surrogatepass")[::2].translate(_SCRIPT_BYTES)
    accents = len(text) - len(text.encode("ascii", "ignore"))
    tokens = 0.0
    for number, script in enumerate(_SCRIPTS[1:], start=1):
        found = highs.count(number)
        if found:
            accents -= found
            tokens += found * getattr(weights, script)
    return tokens + weights.accent * accents, accents


_repeated_tokens = lru_cache(maxsize=64)(text_tokens)
"""For texts that line after line repeats: system prompts, the names in tools."""


def estimate_input_tokens(params: Mapping[str, Any], catalog: Catalog) -> int:
    """Return the estimated input tokens of Messages API params."""
    tokenizer = model_class(params["model"], catalog).tokenizer
    tokens = FRAME_TOKENS + _system_tokens(params.get("system"), tokenizer)
    for message in params["messages"]:
        content = message.get("content")
        tokens += _MESSAGE_TOKENS + (
            text_tokens(content, tokenizer)
            if isinstance(content, str)
            else _value_tokens(content, tokenizer)
        )
    if params.get("tools"):
        tokens += _preamble(params, catalog) + _value_tokens(params["tools"], tokenizer)
    if params.get("output_config"):
        tokens += _value_tokens(params["output_config"], tokenizer)
    return ceil(tokens)


def prefix_tokens(params: Mapping[str, Any], catalog: Catalog) -> float:
    """Return the estimated tokens of params as the prefix of a prompt, without any frame."""
    tokenizer = model_class(params["model"], catalog).tokenizer
    tokens = _system_tokens(params.get("system"), tokenizer)
    for message in params.get("messages", ()):
        tokens += _MESSAGE_TOKENS + _value_tokens(message.get("content"), tokenizer)
    if params.get("tools"):
        tokens += _preamble(params, catalog) + _value_tokens(params["tools"], tokenizer)
    return tokens


def _system_tokens(system: Any, tokenizer: Tokenizer) -> float:
    if isinstance(system, str):
        return _repeated_tokens(system, tokenizer)
    return _value_tokens(system, tokenizer)


def _preamble(params: Mapping[str, Any], catalog: Catalog) -> int:
    """Return the tokens that tools bring with them, by model and tool_choice."""
    choice = params.get("tool_choice")
    forced = isinstance(choice, dict) and choice.get("type") in {"any", "tool"}
    card = catalog.card(params["model"])
    return (_TOOLS_TOKENS if card is None else card.tools_tokens)[forced]


def _value_tokens(value: Any, tokenizer: Tokenizer) -> float:
    """Return the tokens of a text, of content blocks, or of JSON that the model reads as text."""
    match value:
        case str():
            return text_tokens(value, tokenizer)
        case list():
            return sum(_value_tokens(item, tokenizer) for item in value)
        case {"type": "text", "text": str(text)}:
            return text_tokens(text, tokenizer)
        case {"type": "image"}:
            return _image_tokens(value.get("source"), tokenizer)
        case {"type": "document", "source": dict(source)}:
            return _document_tokens(source, tokenizer)
        case {"type": "thinking"}:
            return _value_tokens(value.get("thinking"), tokenizer)
        case {"type": "redacted_thinking"} | None:
            return 0.0
        case dict():
            keys = 1.5 * len(value)  # quotes, colons and commas around what follows
            names = sum(_repeated_tokens(name, tokenizer) for name in value)
            return keys + names + sum(_value_tokens(item, tokenizer) for item in value.values())
        case _:
            return 1.0


def _image_tokens(source: Any, tokenizer: Tokenizer) -> float:
    match source:
        case {"type": "base64", "data": str(data)}:
            return image_tokens(*base64_size(data), tokenizer)
        case {"type": "path", "width": int(width), "height": int(height)}:
            return image_tokens(width, height, tokenizer)
        case _:
            return image_tokens(*UNKNOWN_SIZE, tokenizer)


def _document_tokens(source: dict[str, Any], tokenizer: Tokenizer) -> float:
    match source:
        case {"type": "text", "data": str(text)}:
            return text_tokens(text, tokenizer)
        case {"type": "base64", "data": str(data)}:
            return DOCUMENT_PAGE_TOKENS * max(1, len(data) // _BASE64_CHARS_PER_PAGE)
        case {"type": "path", "pages": int(pages)}:
            return DOCUMENT_PAGE_TOKENS * pages
        case {"type": "content", "content": content}:
            return _value_tokens(content, tokenizer)
        case _:
            return DOCUMENT_PAGE_TOKENS
