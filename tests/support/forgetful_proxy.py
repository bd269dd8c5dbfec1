"""A TCP proxy that can forget its connections: they stay open, and carry nothing any more."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(eq=False)
class ForgetfulProxy:
    """A proxy in front of `host`:`port`; times are those of `time.monotonic`.

    Connections opened before `back_at` are dead from `away_at` on.
    """

    host: str
    port: int
    url: str = ""
    away_at: float = float("inf")
    back_at: float = float("inf")
    carried_at: list[float] = field(default_factory=list)
    """When a new connection, opened after `back_at`, carried something to the server."""
    forgotten: int = 0
    _open: int = 0

    @property
    def in_flight(self) -> int:
        """Connections that are open now."""
        return self._open

    def go_away(self, for_s: float) -> None:
        """Forget all connections, and those that are made in the next `for_s` seconds."""
        self.forgotten = self._open
        self.away_at = time.monotonic()
        self.back_at = self.away_at + for_s

    async def serve(self, started: threading.Event, ended: asyncio.Event) -> None:
        """Serve until `ended` is set."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await ended.wait()
        server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened_at = time.monotonic()
        self._open += 1
        try:
            their_reader, their_writer = await asyncio.open_connection(self.host, self.port)
            await asyncio.wait(
                {
                    asyncio.ensure_future(self._pump(reader, their_writer, opened_at, to=True)),
                    asyncio.ensure_future(self._pump(their_reader, writer, opened_at, to=False)),
                }
            )
            their_writer.close()
        finally:
            self._open -= 1
            writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, opened: float, *, to: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                now = time.monotonic()
                if opened < self.back_at and now >= self.away_at:
                    continue  # dropped, and nobody is told
                if to and opened >= self.back_at:
                    self.carried_at.append(now)
                writer.write(data)
                await writer.drain()
            writer.close()


@contextmanager
def forgetful_proxy(url: str) -> Iterator[ForgetfulProxy]:
    """Run a proxy in front of `url` in a thread while the block runs."""
    parts = urlsplit(url)
    proxy = ForgetfulProxy(parts.hostname or "", parts.port or 80)
    started, loops = threading.Event(), []

    async def work() -> None:
        ended = asyncio.Event()
        loops.append((asyncio.get_running_loop(), ended))
        await proxy.serve(started, ended)

    thread = threading.Thread(target=lambda: asyncio.run(work()), daemon=True)
    thread.start()
    started.wait(10)
    try:
        yield proxy
    finally:
        loop, ended = loops[0]
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
