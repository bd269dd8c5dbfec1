"""One attempt at the Messages API: a `Request` goes out, a `Reply` or a `Failure` comes back.

Bodies are sent and kept as bytes: nothing passes through the SDK's models, so what they do not
know survives.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import anthropic
import httpx2
import orjson

from claude_batch.core.model import Failure, FailureKind, Reply, Request, ResponseHeaders, Usage
from claude_batch.transport.clients import Client
from claude_batch.transport.failures import (
    FOREIGN,
    event_failure,
    own_failure,
    raised_failure,
    status_failure,
)
from claude_batch.transport.headers import read_headers
from claude_batch.transport.streaming import Accumulator, BrokenStreamError, EventReader

MOST_UNSTREAMED_TOKENS = 21_333
"""Above it the SDK demands streaming: a plain answer could take longer than ten minutes
(API-FACTS 2.3)."""

_OLD_OPUS = ("opus-4-0", "opus-4-1", "opus-4-2025", "opus-4@2025", "claude-4-opus")
_MOST_UNSTREAMED_OLD_OPUS = 8_192

_PATH = "/v1/messages"
_STREAM = b'{"stream":true,'


class MessagesTransport:
    """The Messages API of one endpoint."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.name = client.name

    @property
    def client(self) -> Client:
        """The endpoint's client: its host, and whether it is Anthropic's own."""
        return self._client

    async def send(self, request: Request, *, timeout_s: float) -> Reply | Failure:
        """Try `request` once, within `timeout_s` seconds in all."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._send(request)
        except TimeoutError:
            return own_failure(FailureKind.TIMED_OUT, f"no whole answer in {timeout_s:.0f} s")

    async def _send(self, request: Request) -> Reply | Failure:
        streamed = must_stream(request)
        try:
            response = await self._post(request, streamed=streamed)
        except anthropic.APIStatusError as error:
            return status_failure(error, _headers(error.response), self._client.scrub)
        except FOREIGN as error:
            return raised_failure(error, scrub=self._client.scrub)
        try:
            if streamed:
                return await self._assemble(response)
            return _reply(await response.aread(), response)
        except (*FOREIGN, BrokenStreamError) as error:
            return own_failure(
                FailureKind.INVALID_RESPONSE,
                self._client.scrub(f"the answer broke off: {str(error) or type(error).__name__}"),
                status=response.status_code,
                headers=_headers(response),
            )
        finally:
            await response.aclose()

    async def _post(self, request: Request, *, streamed: bool) -> httpx2.Response:
        """Send; return as soon as the headers are here, whoever is to read the body."""
        headers = {
            "content-type": "application/json",
            "anthropic-version": request.api_version,
            **self._client.headers,
        }
        response: Any = await self._client.sdk.post(
            _PATH,
            cast_to=httpx2.Response,
            content=_STREAM + request.body[1:] if streamed else request.body,
            options={"headers": headers},
            stream=True,
            stream_cls=anthropic.AsyncStream[Any],
        )
        return cast("httpx2.Response", response)  # the SDK hands out what `cast_to` names

    async def _assemble(self, response: httpx2.Response) -> Reply | Failure:
        reader, accumulator = EventReader(), Accumulator()
        async for chunk in response.aiter_bytes():
            for event in reader.feed(chunk):
                accumulator.add(event)
            if accumulator.error is not None:
                return event_failure(accumulator.error, _headers(response), self._client.scrub)
        return _reply(accumulator.finish(), response)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._client.sdk.close()


def must_stream(request: Request) -> bool:
    """Tell whether the answer may be so long that it has to be streamed."""
    bound = MOST_UNSTREAMED_TOKENS
    if request.max_tokens > _MOST_UNSTREAMED_OLD_OPUS and _is_old_opus(request.model):
        bound = _MOST_UNSTREAMED_OLD_OPUS
    return request.max_tokens > bound


def _is_old_opus(model: str) -> bool:
    return any(name in model for name in _OLD_OPUS)


def _reply(body: bytes, response: httpx2.Response) -> Reply | Failure:
    """Return the message, checked to be one, on one line and otherwise untouched."""
    headers = _headers(response)
    try:
        message = orjson.loads(body)
        usage = _usage(message)
    except (orjson.JSONDecodeError, AttributeError, TypeError, KeyError):
        return own_failure(
            FailureKind.INVALID_RESPONSE,
            f"status {response.status_code}, but no message: {_beginning(body)}",
            status=response.status_code,
            headers=headers,
        )
    # within JSON's strings a newline is escaped: a raw one is white space between tokens
    line = body.replace(b"\n", b" ").replace(b"\r", b" ") if b"\n" in body else body
    return Reply(
        message=line.strip(), usage=usage, stop_reason=message.get("stop_reason"), headers=headers
    )


def _usage(message: dict[str, Any]) -> Usage:
    """Return the usage of something that is a message; raises like any wrong access otherwise."""
    if message["type"] != "message" or not isinstance(message["content"], list):
        raise TypeError
    usage = message["usage"]
    return Usage(
        input_tokens=int(usage.get("input_tokens") or 0),
        output_tokens=int(usage.get("output_tokens") or 0),
        cache_creation_input_tokens=int(usage.get("cache_creation_input_tokens") or 0),
        cache_read_input_tokens=int(usage.get("cache_read_input_tokens") or 0),
    )


def _beginning(body: bytes) -> str:
    text = " ".join(body[:200].decode("utf-8", "replace").split())
    return repr(text) if text else "an empty body"


def _headers(response: httpx2.Response) -> ResponseHeaders:
    return read_headers(response.headers.raw, wall=time.time())
