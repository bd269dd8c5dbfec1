"""A network of our own below either sender: it keeps what was sent, a test says what comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx2
import orjson
from yarl import URL

from claude_batch.core.model.requests import Failure, Reply, Request
from claude_batch.transport.clients import Client, EndpointSettings
from claude_batch.transport.messages import MessagesTransport
from claude_batch.transport.network import Answer, Body
from claude_batch.transport.opening import open_client, sdk_client
from tests.support.virtual_time import run_virtually

KEY = "sk-test-0123456789"
HAIKU = "claude-haiku-5-5"
NEVER_S = 1e6
"""How long an answer takes that no deadline waits for; in virtual time it costs nothing."""

SENDERS = ["direct", "sdk"]
using = SENDERS[0]
"""The sender of the current test, set by the fixture `sender`."""

Responder = Callable[[httpx2.Request], httpx2.Response | Awaitable[httpx2.Response]]

A_MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": HAIKU,
    "content": [{"type": "text", "text": "Bonjour"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 7, "output_tokens": 3},
}


@dataclass
class Wire:
    """Answers each request with `answer`, or with the next of `answers`; keeps the requests.

    Implements network.Network: what is sent comes here as it would go to aiohttp.
    """

    answer: Responder = lambda _request: a_message()
    answers: list[httpx2.Response] = field(default_factory=list)
    sent: list[httpx2.Request] = field(default_factory=list)
    bodies: list[Body | None] = field(default_factory=list)
    closed: bool = False

    async def send(
        self, method: str, url: URL, *, headers: Mapping[str, str], body: Body | None
    ) -> Answer:
        self.bodies.append(body)
        if body is not None and not isinstance(body, bytes):
            body = b"".join([piece async for piece in body])
        request = httpx2.Request(method, str(url), headers=dict(headers), content=body)
        self.sent.append(request)
        if self.answers:
            return _answer(self.answers.pop(0))
        response = self.answer(request)
        return _answer(response if isinstance(response, httpx2.Response) else await response)

    async def close(self) -> None:
        self.closed = True

    def client(self, settings: EndpointSettings | None = None) -> Client:
        """Return a client on this wire; with a key unless `settings` say otherwise."""
        settings = settings or EndpointSettings(api_key=KEY)
        if using == "sdk" and settings.provider != "openai":
            return sdk_client(settings, self)
        return open_client(settings, network=self)

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of the last request."""
        body: dict[str, Any] = orjson.loads(self.sent[-1].content)
        return body


def _answer(response: httpx2.Response) -> Answer:
    """Return a response as the network gives it: decoded, its body still to be read."""
    unread = httpx2.Response(
        response.status_code, headers=response.headers.raw, stream=response.stream
    )
    pieces = unread.aiter_bytes()

    async def next_piece() -> bytes:
        return await anext(pieces, b"")

    return Answer(
        status=unread.status_code,
        raw_headers=unread.headers.raw,
        next_piece=next_piece,
        release_connection=unread.aclose,
    )


def send(
    wire: Wire,
    request: Request | None = None,
    *,
    settings: EndpointSettings | None = None,
    timeout_s: float = 5.0,
) -> Reply | Failure:
    """Try one request over `wire`."""

    async def attempt() -> Reply | Failure:
        transport = MessagesTransport(wire.client(settings))
        try:
            return await transport.send(request or a_request(), timeout_s=timeout_s)
        finally:
            await transport.close()

    return run_virtually(attempt())


def reply(wire: Wire, request: Request | None = None, **more: Any) -> Reply:
    """Try one request that is answered."""
    answer = send(wire, request, **more)
    assert isinstance(answer, Reply), answer
    return answer


def failure(answer: httpx2.Response | Responder, **more: Any) -> Failure:
    """Return the failure that `answer` is."""
    wire = Wire(answer=(lambda _: answer) if isinstance(answer, httpx2.Response) else answer)
    outcome = send(wire, **more)
    assert isinstance(outcome, Failure), outcome
    return outcome


def a_request(**changes: Any) -> Request:
    """Return a request; `params` are merged into its body."""
    params = {
        "model": changes.get("model", HAIKU),
        "max_tokens": changes.get("max_tokens", 100),
        "messages": [{"role": "user", "content": "Translate: hello"}],
        **changes.pop("params", {}),
    }
    plain = Request(
        custom_id="a1",
        line=1,
        model=HAIKU,
        max_tokens=100,
        body=orjson.dumps(params),
        input_tokens=10,
    )
    return replace(plain, **changes)


def a_message(**changes: Any) -> httpx2.Response:
    """Return a plain answer."""
    return httpx2.Response(200, json={**A_MESSAGE, **changes})


def unreachable(error: OSError) -> aiohttp.ClientConnectorError:
    """Return what aiohttp raises where no connection can be made."""
    key: Any = SimpleNamespace(host="api.example", port=443, ssl=True, is_ssl=True)
    return aiohttp.ClientConnectorError(key, error)


def an_error(
    status: int,
    error_type: str,
    message: str = "no",
    *,
    code: str | None = None,
    headers: dict[str, str] | None = None,
) -> httpx2.Response:
    """Return an error in the API's shape."""
    error: dict[str, Any] = {"type": error_type, "message": message}
    if code:
        error["details"] = {"error_code": code}
    return httpx2.Response(
        status,
        json={"type": "error", "error": error, "request_id": "req_1"},
        headers=headers,
    )


class Chunks(httpx2.AsyncByteStream):
    """A body in pieces, which may end in an error."""

    def __init__(self, pieces: Iterable[bytes], error: Exception | None = None) -> None:
        self._pieces = tuple(pieces)
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        if self._error is not None:
            raise self._error


def events(*written: dict[str, Any]) -> bytes:
    """Return server-sent events as the API frames them."""
    lines = (b"event: %b\ndata: %b\n\n" % (e["type"].encode(), orjson.dumps(e)) for e in written)
    return b"".join(lines)


def streamed(
    *pieces: bytes, error: Exception | None = None, headers: dict[str, str] | None = None
) -> httpx2.Response:
    """Return an answer that is a stream of events."""
    told = {"content-type": "text/event-stream; charset=utf-8", **(headers or {})}
    return httpx2.Response(200, headers=told, stream=Chunks(pieces, error))
