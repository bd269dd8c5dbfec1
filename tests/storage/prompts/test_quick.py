"""The quick look says yes only to what the full look takes, and calls it the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.core.catalog.refusals import refusals
from claude_batch.storage.prompts.columns import CUSTOM_ID, ID, Columns
from claude_batch.storage.prompts.parse import InvalidLine, read_line
from claude_batch.storage.prompts.quick import QuickLook, plain_names
from claude_batch.storage.prompts.shapes import Defaults, Shape
from tests.support.forms import examples

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-1, 1) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def mostly(good: st.SearchStrategy[Any], bad: st.SearchStrategy[Any] = JSON) -> Any:
    """Draw what is good, but one time in ten what is bad: lines with one thing wrong."""
    return st.integers(0, 9).flatmap(lambda draw: bad if draw == 9 else good)


TEXT = mostly(st.sampled_from(["hello", "x"]), st.sampled_from(["", " ", "\u2028\u3000"]) | JSON)
MESSAGE = st.fixed_dictionaries(
    {"role": mostly(st.sampled_from(["user", "assistant"]), st.just("system") | JSON)}
    | {"content": TEXT},
    optional={"extra": JSON},
)
MESSAGES = mostly(st.lists(mostly(MESSAGE), min_size=1, max_size=3))
ENVELOPE = {
    "custom_id": mostly(
        st.sampled_from(["a", "line-1", "x" * 256]), st.sampled_from(["", "x" * 257]) | JSON
    ),
    "meta": mostly(st.dictionaries(st.text(max_size=2), JSON, max_size=2)),
}
PARAMS = {
    "model": mostly(
        st.sampled_from(["claude-haiku-5-5", "claude-haiku-4-5", "m", "gpt-4o-mini"]),
        st.just("") | JSON,
    ),
    "max_tokens": mostly(st.integers(1, 5), st.integers(-2, 0) | st.just(64_001) | JSON),
    "system": TEXT,
}
STRAY = {"stream": JSON} | {"temperature": st.just(0.5) | JSON}


def a_line(required: dict[str, Any], optional: dict[str, Any]) -> Any:
    """Draw an object; one time in ten with keys that do not belong there, or without some."""
    return mostly(
        st.fixed_dictionaries(required, optional=optional),
        st.fixed_dictionaries(required, optional={**optional, **STRAY})
        | st.fixed_dictionaries({}, optional={**required, **optional, "prompt": TEXT}),
    )


LINES = st.one_of(
    a_line({"prompt": TEXT}, {**ENVELOPE, **PARAMS}),
    a_line({"messages": MESSAGES}, {**ENVELOPE, **PARAMS}),
    a_line({"params": mostly(a_line({"messages": MESSAGES}, PARAMS))}, ENVELOPE),
    TEXT,
)


USUAL, MOST = 1_024, 64_000


@examples(5)
@given(LINES)
def test_what_passes_the_quick_look_passes_the_full_one_under_the_same_names(line: Any) -> None:
    raw = orjson.dumps(line)
    names = plain_names(raw, line, USUAL, MOST)
    if names is not None:
        shape = read_line(raw, 1, Defaults(catalog=BUNDLED))
        assert isinstance(shape, Shape)
        model = shape.params["model"] if shape.names_model else None
        assert names == (shape.custom_id, (model, shape.rule, shape.names_max_tokens))


@examples(5)
@given(LINES, st.sampled_from([USUAL, MOST + 1]))
def test_no_model_refuses_what_passes_the_quick_look(line: Any, usual: int) -> None:
    if plain_names(orjson.dumps(line), line, usual, MOST) is not None:
        shape = read_line(orjson.dumps(line), 1, Defaults(max_tokens=usual, catalog=BUNDLED))
        assert isinstance(shape, Shape)
        for model in (shape.params["model"], "claude-opus-5-5", "claude-opus-4-5"):
            assert refusals(model, shape.params, catalog=BUNDLED) == ()


PLAIN = [
    "hello",
    {"prompt": "hello"},
    {"prompt": 'the key: "prompt": is here', "system": 'C:\\\\ "quoted" \\'},
    {"custom_id": "a", "prompt": "hello", "system": "be short", "max_tokens": 5},
    {"custom_id": "a", "model": "m", "messages": [{"role": "user", "content": "hello"}]},
    {"custom_id": "a", "params": {"messages": [{"role": "user", "content": "hello"}]}},
    {"prompt": "hello", "meta": {"page": 3, "source": "a.txt", "score": 0.5, "ok": True}},
]


@pytest.mark.parametrize("line", PLAIN)
@pytest.mark.parametrize("dumps", [orjson.dumps, lambda line: json.dumps(line).encode()])
def test_the_common_lines_pass_the_quick_look(line: object, dumps: Callable[[Any], bytes]) -> None:
    assert plain_names(dumps(line), line, USUAL, MOST) is not None


@pytest.mark.parametrize("line", [line for line in PLAIN if isinstance(line, dict)])
@given(
    space=st.sampled_from([b"", b" ", b"\t", b"\r", b" \t"]),
    which=st.integers(0, 20),
    data=st.data(),
)
def test_a_key_that_is_there_twice_is_looked_at_in_full(
    line: dict[str, Any], space: bytes, which: int, data: st.DataObject
) -> None:
    raw = orjson.dumps(line)
    keys = [found for found in re.finditer(rb'"(\w+)":', raw) if raw[found.start() - 1] in b"{,"]
    key = keys[which % len(keys)]
    other = data.draw(st.sampled_from([b'"x"', b'"a: b"', b'"\\": \\" "', b"1", b"null", b"[]"]))
    twice = raw[: key.start()] + b'"%b"%b:%b,' % (key[1], space, other) + raw[key.start() :]
    value = orjson.loads(twice)
    assert value == line
    assert plain_names(twice, value, USUAL, MOST) is None
    refused = read_line(twice, 1, Defaults(catalog=BUNDLED))
    assert isinstance(refused, InvalidLine)
    assert refused.what == f"the key {key[1].decode()!r} is there twice"


def test_a_number_that_may_have_been_a_large_whole_one_is_looked_at_in_full() -> None:
    raw = b'{"prompt":"hello","meta":{"a":99999999999999999999}}'
    assert plain_names(raw, orjson.loads(raw), USUAL, MOST) is None


DATA = {"id": st.integers(0, 9) | JSON, "answer": JSON, "choices": st.lists(JSON, max_size=3)}
ROWS = st.lists(
    a_line({"prompt": TEXT}, {**ENVELOPE, **PARAMS, **DATA})
    | a_line({"messages": MESSAGES}, {**ENVELOPE, **PARAMS, **DATA}),
    min_size=2,
    max_size=6,
)


def a_look(columns: Columns) -> QuickLook:
    """Return a quick look at a JSONL file."""
    return QuickLook(
        columns,
        are_data=columns.are_data,
        wrapping=None,
        usual_tokens=USUAL,
        most_tokens=MOST,
    )


@examples(5)
@given(ROWS, st.sampled_from([(CUSTOM_ID,), (CUSTOM_ID, ID)]))
def test_rows_with_data_that_pass_the_quick_look_pass_the_full_one(
    rows: list[Any], ids: tuple[str, ...]
) -> None:
    columns = Columns(ids=ids)
    look = a_look(columns)
    for row in rows * 2:  # the second time its keys are known
        raw = orjson.dumps(row)
        names = look.names(raw, row)
        shape = read_line(raw, 1, Defaults(catalog=BUNDLED, columns=columns))
        if isinstance(shape, Shape) and shape.data:
            look.know(row)
        if names is not None:
            assert isinstance(shape, Shape)
            model = shape.params["model"] if shape.names_model else None
            assert names == (shape.custom_id, (model, shape.rule, shape.names_max_tokens))


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        (Columns(), {"prompt": "hello", "answer": "x", "choices": ["a", {"b": 1}], "none": None}),
        (Columns(ids=(CUSTOM_ID, ID)), {"id": 17, "prompt": "hello", "level": 0.5}),
        (Columns(), {"messages": [{"role": "user", "content": "hello"}], "source": "web"}),
        (Columns(prompt_column="question"), {"question": "how?", "answer": "so"}),
    ],
)
def test_common_json_rows_pass_once_their_keys_are_known(
    columns: Columns, row: dict[str, Any]
) -> None:
    look = a_look(columns)
    look.know(row)
    assert look.names(orjson.dumps(row), row) is not None


@pytest.mark.parametrize("columns", [Columns(), Columns(prompt_column="prompt")])
@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b'{"prompt":"a","answer":"b","answer":"c"}', "the key 'answer' is there twice"),
        (b'{"prompt":"a","answer":99999999999999999999}', "the whole number"),
        (b'{"prompt":"a","answer":[{"x":99999999999999999999}]}', "the whole number"),
        (b'{"prompt":"a","answer":' + b"[" * 101 + b"]" * 101 + b"}", "nested more than 100"),
    ],
)
def test_a_row_that_would_lose_something_is_looked_at_in_full(
    columns: Columns, raw: bytes, what: str
) -> None:
    look = a_look(columns)
    look.know({"prompt": "a", "answer": "b"})
    assert look.names(raw, orjson.loads(raw)) is None
    refused = read_line(raw, 1, Defaults(catalog=BUNDLED, columns=columns))
    assert isinstance(refused, InvalidLine)
    assert what in refused.what


def test_columns_asked_of_a_request_are_looked_at_in_full() -> None:
    line = {"custom_id": "a", "params": {"messages": [{"role": "user", "content": "hello"}]}}
    look = a_look(Columns(prompt_column="custom_id"))
    assert look.names(orjson.dumps(line), line) is None
