"""What commands write besides their tables: JSON for scripts, a question for a person."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path

import orjson

from claude_batch.errors import UsageError


def print_json(report: object, *, indented: bool = False) -> None:
    """Print a report to stdout as one line of JSON, or as a few that are `indented`, for people.

    In UTF-8, whatever stdout's encoding.
    """
    line = to_json(report, orjson.OPT_INDENT_2 if indented else 0)
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:
        sys.stdout.write(line.decode())
        return
    sys.stdout.flush()
    buffer.write(line)


def to_json(report: object, also: int = 0) -> bytes:
    """Return a report, whose types are its documented keys, as one line of JSON.

    Dataclasses become objects, enums their values, paths texts. A field named after a keyword ends
    in an underscore (`class_`), which its key does not.
    """
    option = orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATACLASS | also
    return orjson.dumps(report, default=_plain, option=option)


def _plain(value: object) -> object:
    if is_dataclass(value):
        return {each.name.rstrip("_"): getattr(value, each.name) for each in fields(value)}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def require_yes(question: str, *, otherwise: str) -> None:
    """Ask on the terminal. Raises UsageError with `otherwise` for any answer but yes."""
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(question, hint="use --yes: there is no terminal to ask on")
    if not confirmed(question):
        raise UsageError(otherwise, hint="answer y, or use --yes")


def confirmed(question: str) -> bool:
    """Ask on the terminal, and return whether the answer is yes."""
    width = shutil.get_terminal_size().columns - 1
    sys.stderr.write(textwrap.fill(f"{question} [y/N]", width, break_long_words=False) + " ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
