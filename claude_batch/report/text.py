"""Foreign text as it may stand in a page: never markup, and nothing that hides or turns text."""

from __future__ import annotations

import re
from html import escape

_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
    "|[\ud800-\udfff]"
)
"""Control characters but tab and newline, marks that turn or hide text, halves of surrogates."""


def inert(text: str) -> str:
    """Return text for the content of an element, or for a quoted attribute."""
    return escape(_CONTROLS.sub(_shown, text.replace("\r\n", "\n")), quote=True)


def _shown(found: re.Match[str]) -> str:
    """Return what stands for a character that would not be seen, or would do something."""
    return f"⟨U+{ord(found[0]):04X}⟩"
