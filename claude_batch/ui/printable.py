"""Text of others made fit for a terminal: what an API or a file says cannot steer the screen."""

from __future__ import annotations

import unicodedata

_STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that move the cursor, turn the writing direction or cannot be encoded."""

_JOINERS = "\u200c\u200d"
"""Invisible, harmless, and needed by some scripts and emoji."""


def printable(text: str, *, keep_lines: bool = False) -> str:
    r"""Return `text` with white space as spaces and control characters as `\x1b`; \n on demand."""
    if text.isprintable():
        return text
    return "".join(_shown(char, keep_lines=keep_lines) for char in text)


def _shown(char: str, *, keep_lines: bool) -> str:
    if char == "\n" and keep_lines:
        return char
    if char in "\n\r\t\v\f":
        return " "
    if char in _JOINERS or unicodedata.category(char) not in _STEERING:
        return char
    return char.encode("unicode_escape").decode("ascii")
