"""HTTP over aiohttp: connections, proxies, certificates, and answers whose body is still to read.

Both senders use it, so that a request leaves in the same way with the SDK and without it.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import zlib
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from claude_batch.errors import SettingsError

CONNECT_S = 10.0
"""Seconds that making a connection may take. The deadline of a whole attempt is the caller's."""
_IDLE_S = 5.0
"""Seconds that an unused connection is kept: less than the servers' own bounds, so that a request
rarely meets a connection that the server is closing."""
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPALIVE": 60, "TCP_KEEPINTVL": 60, "TCP_KEEPCNT": 5}
"""Seconds of silence before a connection is probed, seconds between probes, and how many: the SDK's
values. Probes keep a NAT from forgetting a connection that waits for a long answer."""
_PROXY_HINT = "set HTTPS_PROXY to an http:// proxy, or name the host in NO_PROXY"

MOST_BYTES = 64_000_000
"""The longest answer that is read, in bytes, decompressed. What is longer is discarded: the longest
that Claude can write takes less than a tenth of it."""
_MOST_ERROR_BYTES = 1_000_000
"""Bytes that are read of an error; the rest of a longer one is not waited for."""

_SMALL_BYTES = 250_000
_MOST_TOGETHER = 32_000_000
"""When the answers being read take more than this together, those of more than `_SMALL_BYTES` are
read one at a time: the memory that odd answers can take is bounded, however many there are."""

_AT_ONCE = 1_000_000
"""Bytes that are decompressed before others have their turn: a few milliseconds."""

ENCODINGS = "gzip, deflate"
"""The `accept-encoding` that every request carries: what can be decoded here."""

_HEAD_END = b"\r\n\r\n"
_MOST_HEAD = 1 << 16
"""Bytes in which the end of an answer's head is looked for."""

_GZIP_MAGIC = b"\x1f\x8b"

Body = bytes | AsyncIterable[bytes]
NextPiece = Callable[[], Awaitable[bytes]]


_NESTED = re.compile(r"<\w+: \d+, message=(['\"])(.+)\1>", re.DOTALL)
"""How aiohttp quotes the error that it found within an error."""


class BrokenAnswerError(Exception):
    """The answer broke off, is too long, or its body cannot be decoded."""


class TooLongError(BrokenAnswerError):
    """The answer is longer than any that could be one."""


@dataclass(slots=True, eq=False)
class Room:
    """The memory that the answers being read take together."""

    taken: int = 0
    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))


@dataclass(slots=True, kw_only=True, eq=False)
class Answer:
    """A status, headers, and a body to read. Whoever gets it releases it."""

    status: int
    raw_headers: Sequence[tuple[bytes, bytes]]
    next_piece: NextPiece
    release_connection: Callable[[], Awaitable[None]]
    room: Room = field(default_factory=Room)
    body: bytes = b""
    """The whole body, once `read` has returned."""
    _so_far: bytearray = field(default_factory=bytearray)
    _taken: int = 0
    _has_turn: bool = False

    @property
    def is_good(self) -> bool:
        """Whether the status says that the request succeeded."""
        return 200 <= self.status <= 299  # noqa: PLR2004  # HTTP's own range

    @property
    def received(self) -> bytes:
        """What `read` has received so far."""
        return self.body or bytes(self._so_far)

    def header(self, name: bytes) -> str:
        """Return the value of a header, by its name in lower case; "" where it is absent."""
        found = (value for key, value in self.raw_headers if key.lower() == name)
        return next(found, b"").decode("latin-1")

    async def piece(self) -> bytes:
        """Return the next part of the body, b"" at its end. Raises BrokenAnswerError."""
        try:
            return await self.next_piece()
        except Exception as error:  # whatever the libraries below raise
            raise BrokenAnswerError(_in_short(error)) from error

    async def piece_to_keep(self) -> bytes:
        """Return the next part of a body of which all is kept. Raises BrokenAnswerError."""
        piece = await self.piece()
        self._taken += len(piece)
        self.room.taken += len(piece)
        if self._taken > MOST_BYTES:
            self._so_far.clear()
            raise TooLongError(f"it is longer than {MOST_BYTES / 1e6:.0f} MB")
        is_tight = self._taken > _SMALL_BYTES and self.room.taken > _MOST_TOGETHER
        if is_tight and not self._has_turn:
            await self.room.turn.acquire()
            self._has_turn = True
        return piece

    async def read(self, *, enough: int = MOST_BYTES) -> bytes:
        """Return the whole body, or the first `enough` bytes. Raises BrokenAnswerError."""
        while self._taken <= enough and (piece := await self.piece_to_keep()):
            self._so_far += piece
        self.body = bytes(self._so_far)
        self._so_far.clear()
        return self.body

    async def error_body(self) -> bytes:
        """Return the body of an error, as far as it comes, and release the answer."""
        try:
            return await self.read(enough=_MOST_ERROR_BYTES)
        except BrokenAnswerError:
            return self.received
        finally:
            await self.release()

    async def release(self) -> None:
        """Let go of the connection, which is closed unless the body was read to its end."""
        self.room.taken -= self._taken
        self._taken = 0
        if self._has_turn:
            self.room.turn.release()
            self._has_turn = False
        await self.release_connection()


class Network(Protocol):
    """What sends HTTP requests."""

    async def send(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        body: Body | None,
    ) -> Answer:
        """Send once, never following a redirect; return once the headers of the answer are here.

        Raises whatever the library below raises (see failures.failure_of).
        """

    async def close(self) -> None:
        """Close all connections."""


class Connections:
    """The network that there is: an aiohttp session, opened with the first request."""

    def __init__(self, *, secure: bool) -> None:
        """Read the certificates if TLS is needed (`secure`). Raises SettingsError."""
        self._tls = _tls_context() if secure else True
        self._session: aiohttp.ClientSession | None = None
        self._proxies: dict[tuple[str, str | None], URL | None] = {}
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        self._room = Room()

    async def send(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        body: Body | None,
    ) -> Answer:
        """Send once; see `Network`."""
        if self._session is None:
            self._session = self._open()
        proxy = self._proxy(url)
        try:
            response = await self._session.request(
                method,
                url,
                headers=headers,
                data=body,
                allow_redirects=False,  # a key goes nowhere but to the endpoint it was given for
                proxy=proxy,
            )
        except Exception as error:
            if proxy is not None:
                error.add_note(f"through the proxy {proxy.host}:{proxy.port}")
            raise
        return Answer(
            status=response.status,
            raw_headers=response.raw_headers,
            next_piece=_decoded(response),
            release_connection=_watched(response),
            room=self._room,
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,  # the scheduler bounds what is in flight
            ssl=self._tls,
            keepalive_timeout=_IDLE_S,
            socket_factory=_socket,
        )
        factory = partial(_Protocol, loop=asyncio.get_running_loop())
        connector._factory = factory  # type: ignore[assignment]  # noqa: SLF001  # no other way in
        return aiohttp.ClientSession(
            connector=connector, timeout=self._timeout, auto_decompress=False
        )

    def _proxy(self, url: URL) -> URL | None:
        key = (url.scheme, url.host)
        if key not in self._proxies:
            self._proxies[key] = proxy_of(url)
        return self._proxies[key]


class _Protocol(ResponseHandler):
    """Hands out an answer whatever follows it in the same packet.

    aiohttp forgets an answer that has arrived whole where the bytes behind it are not valid HTTP:
    it discards all that it has parsed of one packet. So the head goes to its parser first; what
    comes of the body is in the reader's hands before an error is found.
    """

    def data_received(self, data: bytes) -> None:
        end = data.find(_HEAD_END, 0, _MOST_HEAD) + len(_HEAD_END)
        if len(_HEAD_END) <= end < len(data):
            super().data_received(data[:end])
            data = data[end:]
        super().data_received(data)


def _decoded(response: aiohttp.ClientResponse) -> NextPiece:
    """Return what reads the next part of a body, decompressed in small steps."""
    content = response.content

    async def next_piece() -> bytes:
        try:
            return await content.readany()
        except Exception:
            # what had come before the connection broke: aiohttp keeps it, and does not hand it out
            if content._buffer:  # noqa: SLF001
                return content._read_nowait(-1)  # noqa: SLF001
            raise

    match response.headers.get("content-encoding", "").strip().lower():
        case "gzip" | "x-gzip":
            return _Decompressor(next_piece, zlib.MAX_WBITS | 16).next_piece
        case "deflate":
            return _Decompressor(next_piece, zlib.MAX_WBITS).next_piece
        case _:
            return next_piece


class _Decompressor:
    """Decompresses a body, at most `_AT_ONCE` bytes at a time."""

    def __init__(self, next_piece: NextPiece, bits: int) -> None:
        self._next = next_piece
        self._bits = bits
        self._zlib: zlib._Decompress | None = None
        self._rest = b""

    async def next_piece(self) -> bytes:
        """Return the next part, b"" at the end. Raises zlib.error."""
        while True:
            if self._rest:
                await asyncio.sleep(0)  # a small answer may unpack to a large one
            packed = self._rest or await self._next()
            if not packed:
                return b""
            plain = self._decompress(packed)
            if plain:
                return plain

    def _decompress(self, packed: bytes) -> bytes:
        if self._zlib is None:
            is_raw = self._bits == zlib.MAX_WBITS and packed[0] & 0x0F != zlib.DEFLATED
            self._zlib = zlib.decompressobj(-zlib.MAX_WBITS if is_raw else self._bits)
        plain = self._zlib.decompress(packed, _AT_ONCE)
        self._rest = self._zlib.unconsumed_tail
        if self._zlib.eof:
            self._rest = self._zlib.unused_data
            self._zlib = None
            if not self._rest.startswith(_GZIP_MAGIC):  # else another member follows
                self._rest = b""
        return plain


def _watched(response: aiohttp.ClientResponse) -> Callable[[], Awaitable[None]]:
    """Return what releases a response; until then its body ends with its connection.

    aiohttp closes the connection where the framing of a body is wrong, and reading waits for ever.
    """
    connection, content = response.connection, response.content
    protocol = None if connection is None else connection.protocol
    closed = None if protocol is None else protocol.closed
    if closed is None:  # the body is here already, or nothing more can come
        if not content.is_eof() and content.exception() is None:
            content.set_exception(_bad_framing())
        return response.release

    def end(_: object) -> None:
        if not content.is_eof() and content.exception() is None:
            content.set_exception(_bad_framing())

    closed.remove_done_callback(_retrieve)  # of an earlier answer on this connection
    closed.add_done_callback(_retrieve)
    closed.add_done_callback(end)

    async def release() -> None:
        closed.remove_done_callback(end)
        await response.release()

    return release


def _bad_framing() -> Exception:
    return aiohttp.ClientPayloadError("its framing is not valid HTTP")


def _retrieve(closed: asyncio.Future[None]) -> None:
    """Look at how a connection has ended: asyncio prints an error that nobody looks at."""
    if not closed.cancelled():
        closed.exception()


def proxy_of(url: URL) -> URL | None:
    """Return the proxy that the environment (HTTPS_PROXY, NO_PROXY, ...) names for `url`.

    Raises SettingsError for one that does not speak HTTP.
    """
    host = url.host or ""
    if proxy_bypass(host if ":" in host else f"{host}:{url.port}"):
        return None
    proxies = getproxies()
    named = proxies.get(url.scheme) or proxies.get("all")
    if not named:
        return None
    try:
        proxy = URL(named if "://" in named else f"http://{named}")
    except ValueError as error:
        raise SettingsError(
            f"the proxy of the environment is not a URL: {error}", hint=_PROXY_HINT
        ) from error
    if proxy.scheme not in {"http", "https"} or not proxy.host:
        raise SettingsError(
            f"the proxy of the environment ({proxy.scheme}://{proxy.host or ''}) is not an HTTP "
            "proxy, and no other kind is supported",
            hint=_PROXY_HINT,
        )
    return proxy


def _tls_context() -> ssl.SSLContext:
    """Return the machine's certificates, or those of SSL_CERT_FILE and SSL_CERT_DIR."""
    import httpx2  # noqa: PLC0415  # it knows where each system keeps its certificates

    file, folders = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if folders and not file and not any(map(os.path.isdir, folders.split(os.pathsep))):
        raise SettingsError(
            f"SSL_CERT_DIR names {folders}, which is no folder",
            hint="point SSL_CERT_DIR at a folder of certificates (c_rehash), or unset it",
        )
    try:
        context = httpx2.create_ssl_context()
    except OSError as error:
        what = f"SSL_CERT_FILE names {file}, which" if file else "the machine's certificate file"
        raise SettingsError(
            f"{what} cannot be read: {error.strerror or error}",
            hint="point SSL_CERT_FILE at a file of PEM certificates, or unset it",
        ) from error
    if file and folders:  # where both are named, the file alone has been read
        context.load_verify_locations(capath=folders)
    return context


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):  # not every system has all of them
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


def _in_short(error: Exception) -> str:
    """Return what aiohttp says of a broken body, without its quoting: the innermost message."""
    text = str(error) or type(error).__name__
    if nested := _NESTED.search(text):
        return nested[2]
    return text
