"""Foreign text in a page: never markup, nothing hidden."""

from __future__ import annotations

from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.report.text import inert


@given(st.text())
def test_text_has_no_markup_and_no_way_out_of_a_quoted_attribute(text: str) -> None:
    assert not set(inert(text)) & set("<>\"'")


@given(st.text(alphabet=st.characters(codec="ascii", min_codepoint=32, max_codepoint=126)))
def test_visible_text_is_read_as_it_was(text: str) -> None:
    assert unescape(inert(text)) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\0b", "a⟨U+0000⟩b"),
        ("\x1b[31m", "⟨U+001B⟩[31m"),
        ("\u202egnp.exe", "⟨U+202E⟩gnp.exe"),
        ("\u2066x\u2069", "⟨U+2066⟩x⟨U+2069⟩"),
        ("\u200bx", "⟨U+200B⟩x"),
        ("\ud83d", "⟨U+D83D⟩"),
        ("a\r\nb\tc", "a\nb\tc"),
        ("a\rb", "a⟨U+000D⟩b"),
        ("&lt;", "&amp;lt;"),
    ],
)
def test_what_would_not_be_seen_is_shown(text: str, shown: str) -> None:
    assert inert(text) == shown
