"""JSON is taken apart and put together as it was written."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.core.model.raw_json import dumped, members, object_of, read_json, read_message

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(
    value=st.dictionaries(st.text(), JSON, max_size=5),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
)
def test_an_object_is_the_sum_of_its_members(
    value: dict[str, Any], indent: int | None, *, ascii_only: bool
) -> None:
    raw = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    found = members(raw)
    assert list(found) == list(value)
    assert all(part in raw and json.loads(part) == value[name] for name, part in found.items())
    assert json.loads(object_of(found)) == value


@pytest.mark.parametrize("raw", [b"[1]", b"3", b'"{"', b"", b"null"])
def test_what_is_no_object_has_no_members(raw: bytes) -> None:
    with pytest.raises(ValueError, match="no JSON object"):
        members(raw)


@given(st.text(st.sampled_from("\\ud83e0x"), max_size=40))
def test_any_escapes_of_halves_become_text_that_can_be_read(body: str) -> None:
    raw = f'"{body}"'.encode()
    try:
        said = json.loads(raw)
    except ValueError:
        return  # no JSON for anyone
    whole, value = read_json(raw)
    assert (
        orjson.loads(whole)
        == value
        == said.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )


@pytest.mark.parametrize("depth", [500, 501, 1024, 100_000])
def test_what_is_nested_too_deeply_is_no_json(depth: int) -> None:
    raw = b"[" * depth + b"]" * depth
    if depth <= 500:
        assert read_json(raw)[0] is raw
        return
    with pytest.raises(ValueError, match=r"deep|depth"):
        read_json(raw)


def test_what_takes_too_much_memory_is_no_json() -> None:
    with pytest.raises(ValueError, match="values"):
        read_json(b"[" + b"1," * 5_000_000 + b"1]")


def test_a_message_stands_on_one_line() -> None:
    raw = b'\r\n{"type": "message",\r\n "content": []}\n'
    assert read_message(raw).body == b'{"type": "message",   "content": []}'


def test_json_that_is_kept_takes_little_more_than_its_length() -> None:
    tracemalloc.start()
    try:
        kept = [dumped({"text": "x" * 100}) for _ in range(100)]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept[0] == b'{"text":"%b"}' % (b"x" * 100)
    assert taken < 100 * 300
