"""The quick look that lets a million plain lines pass in seconds.

It only ever says yes: to a text, a short, a flat or a batch line of plain keys and text, to rows,
and to JSON rows with the keys of a row that was read in full. Whatever it is not sure of is read in
full (parse.py), which alone says no. A property test keeps the two consistent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claude_batch.storage.prompts.columns import LONGEST_ID, Columns, row_id
from claude_batch.storage.prompts.lines import Wrapping
from claude_batch.storage.prompts.openai import is_openai_model
from claude_batch.storage.prompts.params import DEEPEST, PARAMS, BadPromptError

_PARAMS = frozenset({"model", "max_tokens", "system"})
_ENVELOPE = frozenset({"custom_id", "meta"})
_BATCH = _ENVELOPE | {"params"}
_BATCH_PARAMS = _PARAMS | {"messages"}
_FLAT = _ENVELOPE | _PARAMS | {"messages"}
_SHORT = _ENVELOPE | _PARAMS | {"prompt"}
_FLAT_VALUES = frozenset({str, int, float, bool, type(None)})
_LOOKED_AT = PARAMS - _PARAMS - {"messages"}
"""Params whose values only the full look checks."""
_REQUESTS = frozenset({"params", "messages", "body", "modelInput"})
"""Keys of requests, for which columns may not be asked for."""

_MOST_KNOWN = 1_000
"""Sets of keys that are kept, of JSON rows that were read in full."""

_LARGE = 2.0**63
_TURNS = ("user", "assistant")
_FEW_TURNS = 100
_ROLE_AND_CONTENT = 2
_TEXTS_OF_A_TURN = 4
"""Two keys and two values."""

Destination = tuple[str | None, str | None, bool]
"""Where a line goes: the model it names, the rule it follows, and whether it sets max_tokens."""

Names = tuple[str | None, Destination]
"""A line's custom_id, None where it has none, and where it goes."""

_NO_NAMES: Names = (None, (None, None, False))


class QuickLook:
    """Looks at the lines of one file.

    `columns` say where ids come from, and how rows become requests where `are_data`;
    `usual_tokens` is the max_tokens of a line that sets none, `most_tokens` what every model takes.
    No model refuses anything of a line that passes, as far as the catalog knows. Routes, params
    and attachments for all lines are for the full look.
    """

    def __init__(
        self,
        columns: Columns,
        *,
        are_data: bool,
        wrapping: Wrapping | None,
        usual_tokens: int,
        most_tokens: int,
    ) -> None:
        self._columns = columns
        self._are_data = are_data
        self._is_table = wrapping is Wrapping.ROWS
        self._usual = usual_tokens
        self._most = most_tokens
        self._known: set[tuple[str, ...]] = set()

    def names(self, raw: bytes, value: Any) -> Names | None:
        """Return the names of a line that is certainly good; None when it needs a full look.

        `value` is the line parsed.
        """
        if self._are_data:
            return self._row(raw, value)
        if self._known and type(value) is dict:
            present = tuple(value)
            if None in value.values():
                present = tuple(key for key in present if value[key] is not None)
            if present in self._known:
                return self._json_row(raw, value)
        names = plain_names(raw, value, self._usual, self._most)
        return names if names is None or self._columns.ids else (None, names[1])

    def know(self, value: Any) -> None:
        """Remember the keys of a good JSON row, some of which are data."""
        present = tuple(key for key, each in value.items() if each is not None)
        if len(self._known) < _MOST_KNOWN and _LOOKED_AT.isdisjoint(present):
            self._known.add(present)

    def _row(self, raw: bytes, value: Any) -> Names | None:
        """Return the names of a row, all of whose columns are data."""
        if type(value) is not dict or self._usual > self._most:
            return None
        if not (self._is_table or (_REQUESTS.isdisjoint(value) and _is_whole(raw, value))):
            return None
        custom_id = row_id(value, self._columns.ids)
        if custom_id is not None and not (type(custom_id) is str and len(custom_id) <= LONGEST_ID):
            return None
        try:
            asked = self._columns.prompt_of(value)
            self._columns.system_of(value)
        except BadPromptError:
            return None
        return (custom_id, _NO_NAMES[1]) if type(asked) is str else None

    def _json_row(self, raw: bytes, value: dict[str, Any]) -> Names | None:
        """Return the names of a JSON row, whose keys are known: params and data."""
        asked = value.get("prompt")
        if not (_are_plain(value.get("messages")) if asked is None else _says_something(asked)):
            return None
        custom_id = row_id(value, self._columns.ids)
        if value.get("custom_id") == "" or not (custom_id is None or _is_id(custom_id)):
            return None
        destination = _destination(value, self._usual, self._most)
        if destination is None or not _is_whole(raw, value):
            return None
        if asked is None and _may_be_openais(destination[0]):
            return None
        return custom_id, destination


def plain_names(raw: bytes, value: Any, usual_tokens: int, most_tokens: int) -> Names | None:
    """Return the names of a line without data of its own; None when it needs a full look."""
    if type(value) is str:
        return _NO_NAMES if _says_something(value) and usual_tokens <= most_tokens else None
    if type(value) is not dict:
        return None
    messages: Any
    params = value.get("params")
    if params is not None:
        messages = params.get("messages") if type(params) is dict else None
        if not (_are_plain(messages) and value.keys() <= _BATCH and params.keys() <= _BATCH_PARAMS):
            return None
        texts = len(value) + len(params) + _TEXTS_OF_A_TURN * len(messages)
    elif "prompt" in value:
        params = value
        if not (_says_something(value["prompt"]) and value.keys() <= _SHORT):
            return None
        texts = len(value) + 1
    else:
        params, messages = value, value.get("messages")
        if not (_are_plain(messages) and value.keys() <= _FLAT):
            return None
        if _may_be_openais(value.get("model")):
            return None
        texts = len(value) + _TEXTS_OF_A_TURN * len(messages)
    return _names(raw, value, params, texts, usual_tokens, most_tokens)


def _names(
    raw: bytes,
    value: dict[str, Any],
    params: dict[str, Any],
    texts: int,
    usual_tokens: int,
    most_tokens: int,
) -> Names | None:
    """Return the names; `texts` counts the line's keys, its prompt, and the texts of its turns."""
    custom_id, meta = value.get("custom_id"), value.get("meta")
    destination = _destination(params, usual_tokens, most_tokens)
    if (
        destination is None
        or not (custom_id is None or _is_id(custom_id))
        or not (meta is None or _is_flat(meta))
    ):
        return None
    texts += (custom_id is not None) + (destination[0] is not None)
    texts += params.get("system") is not None
    if meta:
        texts += len(meta) + sum(type(each) is str for each in meta.values())
    if not _holds(raw, texts):
        return None
    return custom_id, destination


def _destination(
    params: Mapping[str, Any], usual_tokens: int, most_tokens: int
) -> Destination | None:
    """Return where a line goes; None where one of the params needs a full look."""
    model, max_tokens = params.get("model"), params.get("max_tokens")
    system = params.get("system")
    tokens = usual_tokens if max_tokens is None else max_tokens
    if not (
        (model is None or (type(model) is str and model))
        and type(tokens) is int
        and 0 < tokens <= most_tokens
        and (system is None or (type(system) is str and not system.isspace()))
    ):
        return None
    return model, None, max_tokens is not None


def _is_id(custom_id: Any) -> bool:
    return type(custom_id) is str and 0 < len(custom_id) <= LONGEST_ID


def _may_be_openais(model: Any) -> bool:
    return type(model) is str and is_openai_model(model)


def _holds(raw: bytes, texts: int) -> bool:
    """Return whether a line has so many texts: if more than were parsed, a key is there twice."""
    return raw.count(b'"') == 2 * texts or _quotes(raw) == 2 * texts


def _is_whole(raw: bytes, value: dict[str, Any]) -> bool:
    """Return whether parsing has certainly lost nothing: no key twice, no large whole number."""
    if raw.count(b"{") + raw.count(b"[") > DEEPEST:
        return False
    texts = _texts(value)
    return texts is not None and _holds(raw, texts)


def _texts(value: Any) -> int | None:
    """Return how many texts and keys a value holds; None if a number may have been changed."""
    count = 0
    level = [value]
    while level:
        each = level.pop()
        if type(each) is dict:
            count += len(each)
            each = each.values()
        for one in each:
            kind = type(one)
            if kind is str:
                count += 1
            elif kind is dict or kind is list:
                level.append(one)
            elif kind is float and not abs(one) < _LARGE:
                return None
    return count


def _quotes(raw: bytes) -> int:
    """Return how many quotes begin or end a text."""
    return raw.replace(b"\\\\", b"").replace(b'\\"', b"").count(b'"')


def _is_flat(meta: Any) -> bool:
    """Return whether it is a plain table, with no number that may have been a large whole one."""
    if type(meta) is not dict:
        return False
    types = set(map(type, meta.values()))
    return _FLAT_VALUES.issuperset(types) and (
        float not in types or all(abs(v) < _LARGE for v in meta.values() if type(v) is float)
    )


def _says_something(prompt: Any) -> bool:
    return type(prompt) is str and prompt != "" and not prompt.isspace()


def _are_plain(messages: Any) -> bool:
    """Return whether messages are turns that say something, in text, the last one the user's."""
    if type(messages) is not list or not 0 < len(messages) <= _FEW_TURNS:
        return False
    for message in messages:
        if type(message) is not dict or len(message) != _ROLE_AND_CONTENT:
            return False
        content, role = message.get("content"), message.get("role")
        if type(content) is not str or not content or content.isspace() or role not in _TURNS:
            return False
    return role == "user"
