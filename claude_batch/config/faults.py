"""What is wrong with settings, said so that it can be mended: where, what, and what was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from claude_batch.config.settings import (
    TIME,
    URL,
    VARIABLE,
    Endpoint,
    Options,
    Pool,
    SettingsFile,
)
from claude_batch.errors import SettingsError

PREFIX = "CLAUDE_BATCH_"

READ_AS_FLAGS = ("config", "sandbox", "scenario")
"""Options of the command line, no settings, that a variable can say all the same."""

TYPED_ONLY = (
    "out",
    "skip_invalid",
    "fresh",
    "retry_errored",
    "retry_degraded",
    "new_only",
    "detach",
    "yes",
)
"""What is meant for one command: exported, it would change all that follow."""

_WORDS = {
    "string_type": "it should be a text in quotes",
    "string_unicode": "it should be UTF-8",
    "string_too_short": "it should not be empty",
    "float_parsing": "it should be a number",
    "int_parsing": "it should be a whole number",
    "int_from_float": "it should be a whole number",
    "bool_parsing": "it should be true or false",
    "list_type": "it should begin with [[...]], in double brackets",
    "dict_type": 'it should be a table: { name = "value" }',
}
_PATTERNS = {
    TIME: "it should be a time, such as 90s, 5m, 2h or 1d",
    URL: "it should begin with http:// or https://",
    VARIABLE: "it should be the NAME of an environment variable, never the secret itself",
}
_TABLES: Mapping[str, type[BaseModel]] = {"endpoint": Endpoint, "pool": Pool}


def variable(option: str) -> str:
    """Return the environment variable that an option is also read from."""
    return PREFIX + option.upper()


def refuse_equal_names(endpoints: list[Endpoint], path: Path | None) -> None:
    """Refuse endpoints that results could not tell apart."""
    names = [endpoint.name for endpoint in endpoints]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(
                f"{path}: two endpoints are called {name!r}",
                hint='give each [[endpoint]] a name of its own: name = "..."',
            )


def refuse_mistyped(environment: Mapping[str, str]) -> None:
    """Refuse a variable that was meant for us and would be passed over: it may bound the cost."""
    known = {variable(name) for name in (*Options.model_fields, *READ_AS_FLAGS)}
    for option in TYPED_ONLY:
        if environment.get(variable(option)):
            raise SettingsError(
                f"{variable(option)}: this is not taken from a variable",
                hint=f"unset it, and say --{option.replace('_', '-')} with the command it is for",
            )
    for name in environment:
        close = name.startswith(PREFIX) and difflib.get_close_matches(name, known, n=1, cutoff=0.9)
        if close and name not in known:
            raise SettingsError(
                f"{name}: there is no such setting",
                hint=f"did you mean {close[0]}? If not: unset {name}",
            )


def refuse_no_url(environment: Mapping[str, str]) -> None:
    """Refuse a base URL that the SDK would take, and never reach."""
    url = environment.get("ANTHROPIC_BASE_URL")
    if url and not re.match(URL, url):
        raise SettingsError(
            f"ANTHROPIC_BASE_URL: {_PATTERNS[URL]}",
            hint="export ANTHROPIC_BASE_URL=https://...",
        )


def explain(
    error: ValidationError,
    path: Path | None,
    variables: Mapping[str, Any],
    flags: Mapping[str, Any],
) -> SettingsError:
    """Say the first thing that is wrong, and where it was said."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if not isinstance(part, int)]
    key = where[-1] if where else ""
    if key in flags:
        place = "--" + key.replace("_", "-")
    elif key in variables:
        place = variable(key)
    else:
        place = f"{path}: {'.'.join(where)}"
    if first["type"] == "extra_forbidden":
        return SettingsError(f"{path}: there is no setting {key!r}", hint=_nearest(key, where))
    said = f" = {first['input']!r}"
    if first.get("ctx", {}).get("pattern") in {VARIABLE, URL}:
        said = ""  # it may be the key itself, or hold a password
    return SettingsError(f"{place}{said}: {_in_words(first)}", hint=f"change {place}")


def _in_words(error: ErrorDetails) -> str:
    """Return what a value should have been."""
    pattern = error.get("ctx", {}).get("pattern", "")
    known = _PATTERNS.get(pattern) or _WORDS.get(error["type"])
    return known or re.sub(r"^Input", "it", error["msg"])


def _nearest(key: str, where: list[str]) -> str:
    """Name the setting that was meant: of the table it stands in, or else of [defaults]."""
    if len(where) == 1:
        known = [*SettingsFile.model_fields, *Options.model_fields]
    else:
        known = list(_TABLES.get(where[0], Options).model_fields)
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if not close:
        return f"known settings: {', '.join(known)}"
    table = "[defaults] " if close[0] in Options.model_fields and len(where) == 1 else ""
    return f"did you mean {table}{close[0]!r}?"
