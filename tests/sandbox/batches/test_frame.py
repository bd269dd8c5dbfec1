"""The requests of a create are parsed one at a time, whatever its body looks like."""

from __future__ import annotations

import orjson
import pytest

from claude_batch.sandbox.batches.frame import requests_in
from claude_batch.sandbox.wire import RefusedError

A, B = ({"custom_id": name, "params": {"text": '\u00fc ]}\\" \U0001f600'}} for name in "ab")


@pytest.mark.parametrize(
    "body",
    [
        orjson.dumps({"requests": [A, B]}),
        orjson.dumps({"requests": [A, B]}, option=orjson.OPT_INDENT_2),
        b"\n {" + orjson.dumps({"requests": [A, B]})[1:] + b" \r\n",
        b'{"\\u0072equests":[%b , %b]}' % (orjson.dumps(A), orjson.dumps(B)),
    ],
    ids=["compact", "indented", "white space around it", "an escape in its key"],
)
def test_requests_are_found(body: bytes) -> None:
    count, requests = requests_in(body)
    assert (count, list(requests)) == (2, [A, B])


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b'{"requests":[%b],"more":1}' % orjson.dumps(A), "Extra inputs"),
        (b'{"requests":[%b,]}' % orjson.dumps(A), "not valid JSON"),
        (b'{"requests":[%b]' % orjson.dumps(A), "not valid JSON"),
        (b'{"requests":[%b]} x' % orjson.dumps(A), "not valid JSON"),
        (b'{"requests":[NaN]}', "not valid JSON"),
        (b'{"requests":[1]}', "valid dictionary"),
        (b'{"requests":[]}', "at least 1 item"),
        (b'{"requests":[%b,%b]}' % (orjson.dumps(A), orjson.dumps(A)), "not unique"),
        (b'{"requests":' + b"[" * 5_000, "not valid JSON"),
    ],
)
def test_a_body_that_is_none_is_refused(body: bytes, what: str) -> None:
    with pytest.raises(RefusedError, match=what):
        list(requests_in(body)[1])
