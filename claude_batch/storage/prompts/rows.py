"""Decided once per file, before its rows are read: where ids come from, if rows can be rendered."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from claude_batch.core.model.typos import nearest
from claude_batch.errors import UsageError
from claude_batch.storage.by_line import repeated
from claude_batch.storage.prompts.columns import (
    CUSTOM_ID,
    ID,
    ID_PREFIX,
    LONGEST_ID,
    TemplateError,
    UnknownColumnError,
    row_id,
    unknown_column,
)
from claude_batch.storage.prompts.lines import PromptLines, Wrapping, wrapping_of
from claude_batch.storage.prompts.params import BadPromptError
from claude_batch.storage.prompts.shapes import Defaults

_LOOKED_AT = 1_000
"""Lines among which there is a good one, unless the file is of another kind."""


def for_file(path: Path, defaults: Defaults) -> Defaults:
    """Return the defaults for the lines of a file, which may be a converted one."""
    wrapping = wrapping_of(path)
    return defaults if wrapping is defaults.wrapping else replace(defaults, wrapping=wrapping)


def plan_rows(path: Path, defaults: Defaults) -> tuple[Defaults, str | None]:
    """Return the defaults with where ids come from, and a note if that is not what one expects.

    Raises UsageError where no row can be rendered.
    """
    defaults = for_file(path, defaults)
    first = _first_row(path)
    if first is None:
        return defaults, None
    _refuse_nested(path, first, defaults)
    _try(path, first, defaults)
    columns = defaults.columns
    _refuse_unknown_attached(path, first, defaults)
    if columns.id_column is not None:
        if defaults.wrapping is Wrapping.ROWS and columns.id_column not in first:
            error = unknown_column(columns.id_column, first, "--id-column: ")
            raise UsageError(f"{path}: {error.what}", hint=error.remedy)
        ids = tuple(dict.fromkeys((columns.id_column, CUSTOM_ID)))
        return replace(defaults, columns=replace(columns, ids=ids)), None
    if columns.id_prefix != ID_PREFIX or not columns.ids:  # that was decided for all files together
        return defaults, None
    if first.get(ID) is None or CUSTOM_ID in first or not _is_row(first, defaults):
        return defaults, None
    if _is_unique(path):
        return replace(defaults, columns=replace(columns, ids=(CUSTOM_ID, ID))), None
    note = "The column id is not unique: results are called line-N (see --id-column)"
    return defaults, note


def _is_row(first: dict[str, Any], defaults: Defaults) -> bool:
    return defaults.are_data or "prompt" in first or "messages" in first


def _first_row(path: Path) -> dict[str, Any] | None:
    """Return the first line of a file that is JSON, if it is an object."""
    for value in islice(_values(path), _LOOKED_AT):
        if value is not None:  # neither a bad line nor a bad record
            return value if isinstance(value, dict) else None
    return None


def _values(path: Path) -> Iterator[Any]:
    """Yield the values of the lines that are not blank; None for what is no JSON."""
    for _, lines in PromptLines(path):
        for raw in lines:
            if raw is None or not raw or raw.isspace():
                continue
            try:
                yield orjson.loads(raw.removeprefix(b"\xef\xbb\xbf"))
            except ValueError:
                yield None


def _refuse_nested(path: Path, first: dict[str, Any], defaults: Defaults) -> None:
    """Refuse one JSON object whose rows are under a key, where it is no prompt itself."""
    lists = [
        key
        for key, each in first.items()
        if isinstance(each, list) and each and isinstance(each[0], dict | str)
    ]
    if defaults.wrapping is not None or not lists or len([*islice(_values(path), 2)]) > 1:
        return
    if defaults.are_data:
        try:
            defaults.columns.prompt_of(first)
        except UnknownColumnError:
            pass
        except BadPromptError:
            return
        else:
            return
    elif not _REQUESTS.isdisjoint(first):
        return
    raise UsageError(
        f"{path}: is one JSON object, with arrays under {', '.join(lists[:8])}",
        hint=f"name the one that holds the rows: --field {lists[0]}",
    )


_REQUESTS = frozenset({"prompt", "messages", "params", "body", "modelInput"})
"""Keys of a line that asks something by itself."""


def _try(path: Path, first: dict[str, Any], defaults: Defaults) -> None:
    """Refuse a template that no row can be rendered with, and a column that no row has."""
    if not defaults.are_data:
        return
    try:
        defaults.columns.prompt_of(first)
        defaults.columns.system_of(first)
    except TemplateError as error:
        raise UsageError(error.what, hint=error.remedy) from None
    except UnknownColumnError as error:
        if defaults.wrapping is Wrapping.ROWS:  # JSON rows may have other keys each
            raise UsageError(f"{path}: {error.what}", hint=error.remedy) from None
    except BadPromptError:
        return  # of this row only


def _refuse_unknown_attached(path: Path, first: dict[str, Any], defaults: Defaults) -> None:
    """Refuse --attach with a column that no row of a table has, or that is probably mistyped."""
    meta = first.get("meta")
    row = {**first, **meta} if isinstance(meta, dict) else first
    for name in defaults.columns.attach:
        if name not in row and (defaults.wrapping is Wrapping.ROWS or nearest(name, row, most=1)):
            error = unknown_column(name, row, "--attach: ")
            raise UsageError(f"{path}: {error.what}", hint=error.remedy)


def _is_unique(path: Path) -> bool:
    """Return whether every row has an id of its own in the column id."""
    digests = array("q")
    for value in _values(path):
        if not isinstance(value, dict):
            return False
        found = row_id(value, (ID,))
        if not isinstance(found, str) or len(found) > LONGEST_ID:
            return False
        digests.append(hash(found))
    return not repeated(digests)


def refuse_all_alike(path: Path, defaults: Defaults, requests: int) -> None:
    """Refuse to ask the same of every row: no placeholder, no attachment."""
    columns = defaults.columns
    if (
        requests > 1
        and not columns.attach
        and columns.prompt is not None
        and columns.prompt.is_constant
        and (columns.system is None or columns.system.is_constant)
    ):
        first = _first_row(path) or {}
        named = ", ".join(list(first)[:8])
        single = _single_braces(columns.prompt.text, first)
        if single:
            raise UsageError(
                f"{path}: --prompt has no placeholder: {{{single}}} has one brace",
                hint=f"write two: {{{{{single}}}}}",
            )
        example = f"{{{{{next(iter(first), 'column')}}}}}"
        raise UsageError(
            f"{path}: --prompt has no placeholder: all {requests:,} rows would ask the same",
            hint=f"name a column in it, as {example} (columns: {named})",
        )


def _single_braces(text: str, row: dict[str, Any]) -> str | None:
    """Return the column that a template names in single braces, as Python does; None: no such."""
    return next((name for name in row if f"{{{name}}}" in text), None)
