"""What is refused when a batch is created; other errors are reported when it has ended."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterable, Iterator
from typing import Any

from claude_batch.sandbox.messages.endpoint import parse
from claude_batch.sandbox.wire import Params, invalid

MOST_REQUESTS = 100_000
MOST_BYTES = 256_000_000
CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


_HEAD = re.compile(r'\s*\{\s*"requests"\s*:\s*\[')
_NEXT = re.compile(r"\s*([,\]])\s*")
_TAIL = re.compile(r"\s*\}\s*")
_DECODER = json.JSONDecoder()


def requests_in(body: bytes) -> tuple[int, Iterator[Params]]:
    """Return how many requests a create has, and each of them, parsed when its turn comes.

    Only their outer structure is checked. 100,000 parsed at once would take 300 MB.
    """
    spans = _spans(body)
    if spans is None:
        requests = _list_in(parse(body, MOST_BYTES))
        return len(requests), _checked(requests)
    _check_count(len(spans) // 2)
    places = zip(spans[::2], spans[1::2], strict=True)
    pieces = (parse(body[start:end], MOST_BYTES) for start, end in places)
    return len(spans) // 2, _checked(pieces)


def _spans(body: bytes) -> array[int] | None:
    """Return where each request of a usual body begins and ends; None for any other body."""
    text = body.decode("latin-1")  # one character per byte: what strings say does not matter here
    head = _HEAD.match(text)
    if head is None or len(body) > MOST_BYTES:
        return None
    at, spans = head.end(), array("q")
    while True:
        try:
            _, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        spans.extend((at, end))
        after = _NEXT.match(text, end)
        if after is None:
            return None
        at = after.end()
        if after[1] == "]":
            return spans if _TAIL.fullmatch(text, at) else None


def _list_in(body: Any) -> list[Params]:
    if not isinstance(body, dict):
        raise invalid("Input should be a valid dictionary or object to extract fields from")
    requests = body.get("requests")
    if requests is None:
        raise invalid("requests: Field required")
    if body.keys() - {"requests"}:
        raise invalid(f"{min(body.keys() - {'requests'})}: Extra inputs are not permitted")
    if not isinstance(requests, list):
        raise invalid("requests: Input should be a valid list")
    if not requests:
        raise invalid("requests: List should have at least 1 item after validation, not 0")
    _check_count(len(requests))
    return requests


def _check_count(count: int) -> None:
    if count > MOST_REQUESTS:
        raise invalid(
            f"requests: List should have at most {MOST_REQUESTS} items after validation, "
            f"not {count}"
        )


def _checked(requests: Iterable[Params]) -> Iterator[Params]:
    seen: set[str] = set()
    for at, request in enumerate(requests):
        _check_frame(request, f"requests.{at}")
        if request["custom_id"] in seen:
            raise invalid(f"requests.{at}.custom_id: {request['custom_id']} is not unique")
        seen.add(request["custom_id"])
        yield request


def _check_frame(request: Any, where: str) -> None:
    if not isinstance(request, dict):
        raise invalid(f"{where}: Input should be a valid dictionary")
    for name, kind, words in (("custom_id", str, "string"), ("params", dict, "dictionary")):
        if name not in request:
            raise invalid(f"{where}.{name}: Field required")
        if not isinstance(request[name], kind):
            raise invalid(f"{where}.{name}: Input should be a valid {words}")
    if request.keys() - {"custom_id", "params"}:
        extra = min(request.keys() - {"custom_id", "params"})
        raise invalid(f"{where}.{extra}: Extra inputs are not permitted")
    if not CUSTOM_ID.fullmatch(request["custom_id"]):
        raise invalid(f"{where}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
