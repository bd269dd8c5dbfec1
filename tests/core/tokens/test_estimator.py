"""Estimates of tokens, against a mixed corpus and against what the API says it adds.

The counts come from a reconstruction of the tokenizers: see tests/support/corpus/README.md.
"""

from __future__ import annotations

import base64
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.core.catalog.model_card import Tokenizer
from claude_batch.core.model.requests import Usage
from claude_batch.core.pacing.estimates import Estimates
from claude_batch.core.tokens.estimator import estimate_input_tokens, text_tokens
from claude_batch.core.tokens.images import base64_size, image_tokens
from tests.support.corpus import COUNTS, a_request, read, reference

OLD, NEW = Tokenizer.OLD, Tokenizer.NEW

generations = pytest.mark.parametrize("tokenizer", [OLD, NEW])
texts = pytest.mark.parametrize("name", COUNTS)


def ask(content: Any, **more: Any) -> dict[str, Any]:
    message = {"role": "user", "content": content}
    return {"model": "claude-haiku-5-5", "messages": [message], **more}


@texts
@generations
def test_each_class_of_text_is_estimated_within_twenty_percent(
    name: str, tokenizer: Tokenizer
) -> None:
    counted = reference(name, tokenizer)
    assert text_tokens(read(name), tokenizer) == pytest.approx(counted, rel=0.2)


@generations
def test_the_mean_error_of_the_classes_is_within_ten_percent(tokenizer: Tokenizer) -> None:
    errors = [
        abs(text_tokens(read(name), tokenizer) / reference(name, tokenizer) - 1) for name in COUNTS
    ]
    assert sum(errors) / len(errors) < 0.1


@pytest.mark.parametrize(("text", "groups"), [("7", 1), ("123", 1), ("1234", 2), ("1234567", 3)])
def test_digits_count_in_groups_of_three(text: str, groups: int) -> None:
    assert text_tokens(text, NEW) == pytest.approx(groups * text_tokens("7", NEW))


@generations
def test_the_corpus_as_a_whole_is_estimated_within_ten_percent(tokenizer: Tokenizer) -> None:
    estimated = sum(text_tokens(read(name), tokenizer) for name in COUNTS)
    real = sum(reference(name, tokenizer) for name in COUNTS)
    assert estimated == pytest.approx(real, rel=0.10)


@generations
@pytest.mark.parametrize("names", [[name] for name in COUNTS] + [[*COUNTS]])
def test_fifty_replies_bring_the_total_within_four_percent(
    names: list[str], tokenizer: Tokenizer
) -> None:
    draw, estimates = random.Random(5), Estimates()
    file = [(a_request(name, tokenizer), name) for name in draw.choices(names, k=1_000)]
    for request, name in file[:50]:
        real = round(reference(name, tokenizer) * draw.uniform(0.9, 1.1))
        estimates.learn(request, Usage(input_tokens=real, output_tokens=10))
    expected = sum(estimates.estimate(request).input_tokens for request, _ in file[50:])
    real_total = sum(reference(name, tokenizer) for _, name in file[50:])
    assert expected == pytest.approx(real_total, rel=0.04)


@given(st.text(), st.text())
def test_a_text_is_about_as_long_as_its_halves(one: str, other: str) -> None:
    halves = text_tokens(one, NEW) + text_tokens(other, NEW)
    assert text_tokens(one + "\n" + other, NEW) == pytest.approx(halves, rel=0.45, abs=8)


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_has_a_length(text: str) -> None:
    assert text_tokens(text, OLD) >= 0


def test_emoji_count_though_they_are_of_no_script() -> None:
    assert text_tokens("🎉🚀", NEW) == pytest.approx(2 * 3.626)


def test_spaces_between_russian_words_are_no_indentation() -> None:
    assert text_tokens("да нет", NEW) == pytest.approx(5 * 0.465)


def test_indentation_counts_once_for_each_run() -> None:
    assert text_tokens("        x", NEW) == text_tokens("    x", NEW) > text_tokens("x", NEW)


def test_a_request_is_its_text_and_a_frame() -> None:
    frame = estimate_input_tokens(ask("hello"), BUNDLED) - text_tokens("hello", NEW)
    assert 7 <= frame <= 11


def test_a_text_counts_alike_as_a_string_and_as_a_block() -> None:
    block = [{"type": "text", "text": "hello there", "cache_control": {"type": "ephemeral"}}]
    assert estimate_input_tokens(ask(block), BUNDLED) == estimate_input_tokens(
        ask("hello there"), BUNDLED
    )


def test_a_system_prompt_is_read_too() -> None:
    assert estimate_input_tokens(ask("hi", system="word " * 100), BUNDLED) > 80


OWN_TOKENS = 15
"""Of a tool with a short name and an empty schema."""


@pytest.mark.parametrize(
    ("model", "choice", "preamble"),
    [
        ("claude-haiku-5-5", "auto", 286),
        ("claude-haiku-5-5", "any", 406),
        ("claude-opus-4-7", "tool", 804),
        ("claude-sonnet-5", "none", 354),
        ("qwen3", "auto", 286),
    ],
)
def test_tools_bring_the_preamble_of_their_model(model: str, choice: str, preamble: int) -> None:
    tools = [{"name": "clock", "input_schema": {"type": "object"}}]
    with_tools = ask("hi", model=model, tools=tools, tool_choice={"type": choice})
    without = estimate_input_tokens(ask("hi"), BUNDLED)
    assert estimate_input_tokens(with_tools, BUNDLED) == without + preamble + OWN_TOKENS


def test_the_signature_of_a_thinking_block_is_not_read() -> None:
    block = {"type": "thinking", "thinking": "", "signature": "abcdef0123" * 400}
    assert estimate_input_tokens(ask([block]), BUNDLED) < 20


def test_a_document_of_text_is_its_text() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "one two three"}
    block = [{"type": "document", "source": source}]
    assert estimate_input_tokens(ask(block), BUNDLED) == estimate_input_tokens(
        ask("one two three"), BUNDLED
    )


def test_a_pdf_grows_with_its_size() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "A" * 500_000}
    assert estimate_input_tokens(ask([{"type": "document", "source": source}]), BUNDLED) > 15_000


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + width.to_bytes(2, "little") + height.to_bytes(2, "little") + b"\0\0\0"


def jpeg(width: int, height: int) -> bytes:
    thumbnail = b"\xff\xe1" + (60_000).to_bytes(2, "big") + b"\0" * 59_998
    size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return b"\xff\xd8" + thumbnail + b"\xff\xc2\0\x11\x08" + size + b"\x03" + b"\0" * 9


def webp_lossy(width: int, height: int) -> bytes:
    size = width.to_bytes(2, "little") + height.to_bytes(2, "little")
    return b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a" + size + b"\0\0"


def webp_lossless(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    return b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + bits.to_bytes(4, "little") + b"\0\0"


def webp_extended(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0" + size + b"\0\0\0"


@pytest.mark.parametrize("make", [png, gif, jpeg, webp_lossy, webp_lossless, webp_extended])
def test_the_first_bytes_of_an_image_tell_its_size(make: Any) -> None:
    assert base64_size(base64.b64encode(make(640, 480)).decode()) == (640, 480)


@pytest.mark.parametrize("data", ["", "nonsense", "AAAA", base64.b64encode(png(0, 5)).decode()])
def test_an_image_that_tells_nothing_is_taken_for_a_usual_one(data: str) -> None:
    assert image_tokens(*base64_size(data), NEW) == 39 * 39


@given(st.binary(max_size=200))
def test_broken_images_do_no_harm(raw: bytes) -> None:
    assert base64_size(base64.b64encode(b"\xff\xd8\xff" + raw).decode())[0] > 0


@pytest.mark.parametrize(
    ("width", "height", "tokenizer", "tokens"),
    [
        (280, 280, OLD, 100),
        (281, 280, OLD, 110),
        (1, 1, NEW, 1),
        (1_568, 28, OLD, 56),
        (3_136, 56, OLD, 56),  # scaled down to the longest edge
        (3_136, 56, NEW, 184),  # 92 x 2: this edge may be 2,576
    ],
)
def test_an_image_costs_a_token_per_patch(
    width: int, height: int, tokenizer: Tokenizer, tokens: int
) -> None:
    assert image_tokens(width, height, tokenizer) == tokens


@pytest.mark.parametrize(("tokenizer", "most"), [(OLD, 1_568), (NEW, 4_784)])
@given(width=st.integers(1, 8_000), height=st.integers(1, 8_000))
def test_no_image_costs_more_than_the_bound(
    tokenizer: Tokenizer, most: int, width: int, height: int
) -> None:
    assert 1 <= image_tokens(width, height, tokenizer) <= most


def test_an_image_in_a_message_is_measured() -> None:
    source = {"type": "base64", "media_type": "image/png"}
    source["data"] = base64.b64encode(png(2_800, 1_400)).decode()
    tokens = estimate_input_tokens(ask([{"type": "image", "source": source}]), BUNDLED)
    assert tokens == pytest.approx(92 * 46 + 9)
