"""A snapshot as JSON, and read back: what another terminal shows of a run."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import orjson

from claude_batch.core.model.snapshot import Snapshot

Read = Callable[[Any], Any]


def to_json(snapshot: Snapshot) -> bytes:
    """Return a snapshot as JSON; what is no number (an endless time) becomes null."""
    try:
        return orjson.dumps(snapshot, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # a file's name may be any bytes
        return orjson.dumps(_encodable(asdict(snapshot)), option=orjson.OPT_NON_STR_KEYS)


def snapshot_of(value: Any) -> Snapshot:
    """Return a snapshot that was JSON.

    Fields that this version does not know are passed over. Raises ValueError for what is none.
    """
    try:
        read: Snapshot = _reader(Snapshot)(value)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no snapshot: {error}") from error
    return read


@cache
def _reader(kind: Any) -> Read:
    """Return a function that reads a value of a type."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        (some,) = [_reader(each) for each in inner if each is not types.NoneType]
        return lambda value: None if value is None else some(value)
    if origin is tuple:
        each = _reader(inner[0])
        return lambda value: tuple(map(each, value))
    if origin is not None and issubclass(origin, Mapping):
        return dict
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    if issubclass(kind, StrEnum):
        members: Mapping[str, Any] = {each.value: each for each in kind}
        return members.__getitem__
    if kind is float:
        return lambda value: math.inf if value is None else float(value)
    return lambda value: _checked(kind, value)


def _dataclass_reader(kind: Any) -> Read:
    hints = get_type_hints(kind)
    known = {each.name: _reader(hints[each.name]) for each in fields(kind)}
    return lambda value: kind(
        **{name: known[name](part) for name, part in value.items() if name in known}
    )


def _checked(kind: Any, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not {kind.__name__}")
    return value


def _encodable(value: Any) -> Any:
    """Return a value with text that UTF-8 can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {key: _encodable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(part) for part in value]
    return value
