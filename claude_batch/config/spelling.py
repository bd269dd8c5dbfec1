"""How options are written: as flags, as variables, as typed, and in messages."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from textwrap import shorten

from claude_batch.config.declaration import NONE, journaled
from claude_batch.config.options import OPTIONS

PREFIX = "CLAUDE_BATCH_"

_LONGEST = 60
"""Characters of a value in a message: a system prompt may be a page."""


def flag(name: str) -> str:
    """Return an option as it is typed."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """Return the environment variable that an option is also read from."""
    return PREFIX + name.upper()


def as_typed(name: str, value: object) -> str:
    """Return an option as it is typed, for a shell: `--model haiku`, `--no-cache`."""
    if value is None:
        return f"{flag(name)} {NONE}"
    if isinstance(value, bool):
        return flag(name) if value else "--no-" + name.replace("_", "-")
    if isinstance(value, tuple):
        return " ".join(as_typed(name, each) for each in value) or f"no {flag(name)}"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    elif isinstance(value, str):
        value = journaled(OPTIONS[name].kind, value)  # without a password
    return f"{flag(name)} {shlex.quote(str(value))}"


def spelled(name: str, value: object) -> str:
    """Return an option for a message: `--model haiku`, `--no-cache`, or `no --model`."""
    if value is None or value == () or (value is False and not OPTIONS[name].flags):
        return f"no {flag(name)}"
    return shorten(as_typed(name, value), _LONGEST, placeholder=" ...")


def difference(name: str, was: object, now: object) -> str:
    """Return how a command differs from a run in an option, after "it was started"."""
    then, here = spelled(name, was), spelled(name, now)
    if then == here:  # two long values that begin alike
        here = f"another {flag(name)}"
    then = f"without {flag(name)}" if then.startswith("no ") else f"with {then}"
    return f"{then}, but this command has {here}"


def differences_text(run: str, differences: Iterable[str]) -> str:
    """Return how a command differs from a run, a sentence for each difference."""
    return f"{run} was started {'. It was started '.join(differences)}"
