"""The simulated API over real sockets on loopback.

Everything is decided in `api.py`; here a request is read, its answer waited for and written, and
connections are reset, cut or left hanging as the answer says.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
import signal
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import web

from claude_batch.sandbox.api import SandboxApi
from claude_batch.sandbox.scenario import Blackout, Scenario
from claude_batch.sandbox.wire import Answer, ApiRequest, Trouble

HOST = "127.0.0.1"
BACKLOG = 8_192
KEEPALIVE_S = 600.0
_RESET_AT_ONCE = struct.pack("ii", 1, 0)


class Network:
    """Which connections the network has forgotten; times are those of the loop."""

    def __init__(self, blackouts: Sequence[Blackout]) -> None:
        self._blackouts = blackouts
        self._began: float | None = None
        self._opened: WeakKeyDictionary[asyncio.BaseTransport, float] = WeakKeyDictionary()

    async def carry(self, request: web.BaseRequest, now: float) -> None:
        """Return if the connection of a request works; wait for ever if it is forgotten."""
        if not self._blackouts or request.transport is None:
            return
        if self._began is None:
            self._began = now
        elapsed_s = now - self._began
        opened_s = self._opened.setdefault(request.transport, elapsed_s)
        if any(opened_s < each.until_s and each.from_s <= elapsed_s for each in self._blackouts):
            await asyncio.Event().wait()  # until the client closes it


class Handler:
    """Answers HTTP requests from one simulated API."""

    def __init__(self, scenario: Scenario) -> None:
        self._loop = asyncio.get_running_loop()
        self._network = Network(scenario.blackout)
        self._api = SandboxApi(scenario, epoch=time.time() - self._loop.time())

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request. A client that goes away cancels this."""
        body = await request.content.read()
        came = self._loop.time()
        await self._network.carry(request, came)
        asked = ApiRequest(
            method=request.method,
            path=request.path,
            headers={name.lower(): value for name, value in request.headers.items()},
            query=request.query if request.query_string else {},
            body=body,
        )
        answer = self._api.handle(asked, came)
        gone = True
        try:
            response = await self._give(request, answer, came)
            gone = False
        except ConnectionResetError:  # the client disconnected while the response was written
            response = web.Response()
        finally:
            self._api.ended(answer, gone=gone)
        return response

    async def _give(
        self, request: web.BaseRequest, answer: Answer, came: float
    ) -> web.StreamResponse:
        """Write a response with its timing and faults."""
        await self._wait_until(came + answer.delay_s)
        await self._network.carry(request, self._loop.time())
        if answer.trouble is Trouble.HANG:
            await asyncio.sleep(answer.hang_s)
            return _reset(request)
        if answer.trouble is Trouble.RESET:
            return _reset(request)
        self._api.sending(answer, self._loop.time())
        if answer.events or answer.chunks is not None or answer.trouble is Trouble.CUT:
            return await self._stream(request, answer, came)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def _wait_until(self, at: float) -> None:
        wait_s = at - self._loop.time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    async def _stream(
        self, request: web.BaseRequest, answer: Answer, came: float
    ) -> web.StreamResponse:
        """Write a response in pieces; one that is to be cut off ends half way."""
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        if answer.body:
            response.content_length = len(answer.body)
        await response.prepare(request)
        async for data in self._pieces(answer, came):
            await self._network.carry(request, self._loop.time())
            await response.write(data)
        if answer.trouble is Trouble.CUT:
            if request.transport is not None:
                request.transport.close()
            return response
        await response.write_eof()
        return response

    async def _pieces(self, answer: Answer, came: float) -> AsyncIterator[bytes]:
        """Yield the pieces at their times; only half of them if the response is to be cut off."""
        cut = answer.trouble is Trouble.CUT
        if answer.body:
            yield answer.body[: len(answer.body) // 2] if cut else answer.body
        events = answer.events[: max(1, len(answer.events) // 2)] if cut else answer.events
        for event in events:
            await self._wait_until(came + event.after_s)
            yield event.data
        for data in answer.chunks or ():
            yield data
            await asyncio.sleep(0)  # making the next one takes a while: let other tasks run


def _reset(request: web.BaseRequest) -> web.StreamResponse:
    """Reset the connection under a request."""
    transport = request.transport
    if transport is not None:
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_ONCE)
        transport.abort()
    return web.Response()


@contextlib.asynccontextmanager
async def listening(scenario: Scenario, port: int) -> AsyncIterator[str]:
    """Serve on loopback while the block runs; yield the address."""
    allow_many_connections()
    asyncio.get_running_loop().set_exception_handler(TooManyConnections())
    server = web.Server(
        Handler(scenario), handler_cancellation=True, access_log=None, keepalive_timeout=KEEPALIVE_S
    )
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, port, backlog=BACKLOG)
        await site.start()
        found = runner.addresses[0][1]
        yield f"http://{HOST}:{found}"
    finally:
        await runner.cleanup()


class TooManyConnections:
    """Reports once, not per connection, that no file descriptors are left.

    The connections wait in the kernel's queue until others end.
    """

    def __init__(self) -> None:
        self._said = False

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an asyncio error report."""
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in {errno.EMFILE, errno.ENFILE}:
            loop.default_exception_handler(context)
        elif not self._said:
            self._said = True
            logging.getLogger(__name__).warning(
                "no open files left: further connections wait until others end (ulimit -n)"
            )


def allow_many_connections() -> None:
    """Raise the limit on open files to the system's maximum."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve(scenario: Scenario, *, port: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `announce` is called with the address once it can be used."""
    asyncio.run(_serve(scenario, port, announce))


async def _serve(scenario: Scenario, port: int, announce: Callable[[str], None]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with listening(scenario, port) as url:
        announce(url)
        await stopped.wait()
