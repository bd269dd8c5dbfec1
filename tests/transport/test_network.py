"""What a real network does, on loopback: refused, reset, cut, hanging; proxies, certificates."""

from __future__ import annotations

import asyncio
import base64
import gzip
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
from yarl import URL

from claude_batch.core.model.requests import Failure, FailureKind, Reply
from claude_batch.errors import SettingsError
from claude_batch.transport.clients import EndpointSettings
from claude_batch.transport.messages import MessagesTransport
from claude_batch.transport.network import Connections, _socket, proxy_of
from claude_batch.transport.opening import open_client, sdk_client
from tests.support.program import ENOUGH_S
from tests.transport import wire
from tests.transport.wire import A_MESSAGE, KEY, a_request

pytestmark = pytest.mark.usefixtures("sender")

ANSWER = orjson.dumps(A_MESSAGE)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
WHOLE = HEAD % len(ANSWER) + ANSWER

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def opened(base_url: str) -> MessagesTransport:
    settings = EndpointSettings(api_key=KEY, base_url=base_url)
    if wire.using == "sdk":
        network = Connections(secure=base_url.startswith("https"))
        return MessagesTransport(sdk_client(settings, network))
    return MessagesTransport(open_client(settings))


async def attempt(base_url: str, *, timeout_s: float = ENOUGH_S) -> Reply | Failure:
    transport = opened(base_url)
    try:
        return await transport.send(a_request(), timeout_s=timeout_s)
    finally:
        await transport.close()


def against(talk: Talk, *, timeout_s: float = ENOUGH_S) -> Reply | Failure:
    """Try one request at a server that talks like this once it has read the request's head."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    async def whole() -> Reply | Failure:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            return await attempt(f"http://127.0.0.1:{port}", timeout_s=timeout_s)

    return asyncio.run(whole())


def kind_against(talk: Talk, *, timeout_s: float = ENOUGH_S) -> FailureKind:
    outcome = against(talk, timeout_s=timeout_s)
    assert isinstance(outcome, Failure)
    return outcome.kind


def saying(data: bytes) -> Talk:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return talk


def saying_in_turn(*pieces: bytes) -> Talk:
    """Say these in packets of their own, then nothing more."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)
        await reader.read()

    return talk


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    transport: asyncio.WriteTransport = writer.transport
    transport.abort()


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def test_a_whole_answer_comes_through() -> None:
    outcome = against(saying(WHOLE))
    assert isinstance(outcome, Reply)
    assert outcome.message == ANSWER


def test_a_refused_connection_is_unreachable() -> None:
    outcome = asyncio.run(attempt(f"http://127.0.0.1:{free_port()}"))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.error_type) == (FailureKind.UNREACHABLE, "connection_error")


def test_a_host_that_does_not_exist_is_unreachable() -> None:
    outcome = asyncio.run(attempt("http://no-such-host.invalid"))
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.UNREACHABLE


def test_a_reset_before_the_answer_is_unreachable() -> None:
    assert kind_against(reset) is FailureKind.UNREACHABLE


def test_a_close_before_the_answer_is_unreachable() -> None:
    assert kind_against(saying(b"")) is FailureKind.UNREACHABLE


def test_a_close_within_the_answer_is_an_invalid_response() -> None:
    assert kind_against(saying(WHOLE[:-9])) is FailureKind.INVALID_RESPONSE


@pytest.mark.parametrize("garbage", [b"SSH-2.0-OpenSSH\r\n\r\n", b"\x00\xff" * 50 + b"\r\n\r\n"])
def test_something_that_speaks_no_http_is_an_invalid_response(garbage: bytes) -> None:
    assert kind_against(saying(garbage)) is FailureKind.INVALID_RESPONSE


CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [CHUNKED % b"application/json" + b"XYZ\r\n"],
        [CHUNKED % b"application/json", b"XYZ\r\n"],
        [CHUNKED % b"application/json", b"1\r\n{\r\n", b"XYZ\r\n"],
        [CHUNKED % b"text/event-stream", b"7\r\ndata: {\r\n", b"1\r\n}}}\r\n"],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n{}"],
    ],
)
def test_framing_that_is_no_http_ends_at_once(pieces: list[bytes]) -> None:
    outcome = against(saying_in_turn(*pieces), timeout_s=ENOUGH_S)
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.INVALID_RESPONSE
    assert "valid HTTP" in outcome.message


CHUNK = b"%x\r\n%b\r\n" % (len(ANSWER), ANSWER)


@pytest.mark.parametrize(
    "pieces",
    [
        [CHUNKED % b"application/json" + CHUNK, b"XYZ\r\n"],
        [CHUNKED % b"application/json", CHUNK + b"XYZ\r\n"],
        [CHUNKED % b"application/json" + CHUNK + b"XYZ\r\n"],
        [WHOLE + b"something\r\nelse"],
    ],
    ids=["body first", "head first", "in one packet", "with a length, in one packet"],
)
def test_a_whole_answer_is_kept_whatever_follows_it(pieces: list[bytes]) -> None:
    outcome = against(saying_in_turn(*pieces), timeout_s=ENOUGH_S)
    assert isinstance(outcome, Reply)
    assert outcome.message == ANSWER


def test_the_status_of_an_error_is_known_though_its_framing_breaks() -> None:
    error = orjson.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "m"}})
    head = (CHUNKED % b"application/json").replace(b"200 OK", b"529 Overloaded")
    chunk = b"%x\r\n%b\r\n" % (len(error), error)
    outcome = against(saying_in_turn(head + chunk + b"XYZ\r\n"), timeout_s=ENOUGH_S)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.message) == (FailureKind.OVERLOADED, "m")


def test_what_an_answer_has_used_is_known_though_its_framing_breaks_in_the_same_packet() -> None:
    start = {"type": "message_start", "message": {**A_MESSAGE, "content": []}}
    event = b"data: " + orjson.dumps(start) + b"\n\n"
    head = CHUNKED % b"text/event-stream"
    talk = saying_in_turn(head + b"%x\r\n%b\r\n" % (len(event), event) + b"XYZ\r\n")
    outcome = against(talk, timeout_s=ENOUGH_S)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.usage.input_tokens) == (FailureKind.INVALID_RESPONSE, 7)


def test_a_whole_answer_is_kept_though_its_end_does_not_come() -> None:
    chunk = b"%x\r\n%b\r\n" % (len(ANSWER), ANSWER)
    talk = saying_in_turn(CHUNKED % b"application/json" + chunk)
    assert isinstance(against(talk, timeout_s=2), Reply)


def test_what_an_answer_has_used_that_does_not_come_to_its_end_is_known() -> None:
    start = {"type": "message_start", "message": {**A_MESSAGE, "content": []}}
    event = b"data: " + orjson.dumps(start) + b"\n\n"
    talk = saying_in_turn(CHUNKED % b"text/event-stream" + b"%x\r\n%b\r\n" % (len(event), event))
    outcome = against(talk, timeout_s=2)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.usage.input_tokens) == (FailureKind.TIMED_OUT, 7)


@pytest.mark.parametrize("size", [200_000_000, 60_000_000])
def test_a_small_answer_that_unpacks_to_a_large_one_holds_nobody_up(size: int) -> None:
    packed = gzip.compress(b" " * size, 1)
    head = HEAD.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n") % len(packed)
    before = time.thread_time()
    gzip.decompress(packed)
    at_once_s = time.thread_time() - before
    longest_s = 0.0

    async def go() -> Reply | Failure:
        nonlocal longest_s
        server = Server(head + packed)
        async with server.running() as place:
            trying = asyncio.create_task(attempt(f"http://{place}", timeout_s=ENOUGH_S))
            while not trying.done():
                before = time.thread_time()  # not what others on the machine take
                await asyncio.sleep(0.001)
                longest_s = max(longest_s, time.thread_time() - before)
            return await trying

    outcome = asyncio.run(go())
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.INVALID_RESPONSE
    assert longest_s < 10 * at_once_s  # which is only a part of what else there would be to do


def test_a_server_that_hangs_times_out() -> None:
    assert kind_against(hang, timeout_s=0.3) is FailureKind.TIMED_OUT


def test_tls_spoken_to_a_plain_server_is_unreachable() -> None:
    async def whole() -> Reply | Failure:
        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            return await attempt(f"https://127.0.0.1:{port}")

    outcome = asyncio.run(whole())
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.UNREACHABLE


@dataclass
class Server:
    """Answers each request on a connection with `answer`; keeps the heads, counts connections."""

    answer: bytes = WHOLE
    hangs_up: bool = False
    heads: list[str] = field(default_factory=list)
    connections: int = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = head.lower().partition("content-length: ")[2].partition("\r")[0]
                await reader.readexactly(int(length or 0))
                self.heads.append(head)
                writer.write(self.answer)
                if self.hangs_up:
                    writer.close()
                    return
        except asyncio.IncompleteReadError:
            writer.close()


async def sent_to(server: Server, times: int) -> list[Reply | Failure]:
    """Send as many requests at once."""
    async with server.running() as place:
        transport = opened(f"http://{place}")
        tries = [transport.send(a_request(), timeout_s=ENOUGH_S) for _ in range(times)]
        outcomes = await asyncio.gather(*tries)
        await transport.close()
        return outcomes


def test_a_compressed_answer_is_unpacked() -> None:
    packed = gzip.compress(ANSWER)
    head = HEAD.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n") % len(packed)
    (outcome,) = asyncio.run(sent_to(Server(head + packed), 1))
    assert isinstance(outcome, Reply)
    assert outcome.message == ANSWER


def test_a_redirect_is_not_followed() -> None:
    async def go() -> tuple[Reply | Failure, int]:
        elsewhere = Server()
        async with elsewhere.running() as place:
            moved = b"HTTP/1.1 307 Moved\r\nlocation: http://%b/\r\ncontent-length: 0\r\n\r\n"
            (outcome,) = await sent_to(Server(moved % place.encode()), 1)
        return outcome, elsewhere.connections

    outcome, connections = asyncio.run(go())
    assert isinstance(outcome, Failure)
    assert (outcome.status, connections) == (307, 0)


def test_a_proxy_gets_the_request_and_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> str:
        proxy = Server()
        async with proxy.running() as place:
            monkeypatch.setenv("HTTP_PROXY", f"http://me:open-sesame@{place}")
            assert isinstance(await attempt("http://api.example"), Reply)
        return proxy.heads[0]

    head = asyncio.run(go())
    password = base64.b64encode(b"me:open-sesame").decode()
    assert head.startswith("POST http://api.example/v1/messages HTTP/1.1")
    assert f"proxy-authorization: basic {password}".lower() in head.lower()


def test_a_refusing_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    outcome = asyncio.run(attempt("http://api.example"))
    assert isinstance(outcome, Failure)
    assert outcome.message.startswith("connection refused by the proxy 127.0.0.1:")


@pytest.mark.parametrize("talk", [reset, saying(b"SSH-2.0\r\n\r\n")])
def test_a_proxy_on_the_way_is_named(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> tuple[Reply | Failure, int]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            monkeypatch.setenv("HTTP_PROXY", f"http://me:open-sesame@127.0.0.1:{port}")
            return await attempt("http://api.example"), port

    outcome, port = asyncio.run(go())
    assert isinstance(outcome, Failure)
    assert f"the proxy 127.0.0.1:{port}" in outcome.message
    assert "open-sesame" not in outcome.message


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, "https://api.example", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://api.example", "http://p:1"),
        ({"HTTPS_PROXY": "p:1"}, "https://api.example", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://api.example", None),
        ({"ALL_PROXY": "http://p:1"}, "http://api.example", "http://p:1"),
        ({"ALL_PROXY": "http://p:1", "https_proxy": "http://q"}, "https://a.example", "http://q"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example"}, "https://api.example", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a, api.example"}, "https://api.example", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "ample"}, "https://api.example", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, "https://api.example", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "localhost"}, "http://localhost:8080", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "::1"}, "http://[::1]:8080", None),
    ],
)
def test_the_proxy_is_the_environments(
    variables: dict[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_of(URL(url)) == (proxy and URL(proxy))


@pytest.mark.parametrize("proxy", ["socks5://me:open-sesame@p:1", "http://[p"])
def test_a_proxy_that_cannot_serve_is_refused_at_once(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(SettingsError, match="proxy of the environment") as caught:
        opened("http://api.example")
    assert "open-sesame" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_certificates_that_cannot_be_read_are_refused_at_once(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "corporate.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(SettingsError, match=r"SSL_CERT_FILE names .*corporate\.pem"):
        opened("https://api.example")


@dataclass
class Tunnel:
    """A proxy that connects where it is asked to; keeps what it was asked."""

    heads: list[str] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        port = int(head.split()[1].rpartition(":")[2])
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a key and a certificate for localhost that nobody has signed."""
    openssl = shutil.which("openssl") or pytest.skip("needs openssl")
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    name = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    key = ("-newkey", "rsa:2048", "-nodes", "-keyout", str(path.with_suffix(".key")))
    command = [openssl, "req", "-x509", *key, "-out", str(path), "-days", "2", *name]
    subprocess.run(command, check=True, capture_output=True)
    return path


def another_certificate(folder: Path) -> Path:
    """Return a file with a certificate that signs nothing here."""
    path = folder / "other.pem"
    key = ("-newkey", "rsa:2048", "-nodes", "-keyout", str(folder / "other.key"))
    command = ["openssl", "req", "-x509", *key, "-out", str(path), "-subj", "/CN=other"]
    subprocess.run(command, check=True, capture_output=True)
    return path


def test_a_folder_of_certificates_that_is_none_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match=r"SSL_CERT_DIR names .*missing"):
        opened("https://api.example")


async def attempt_tls(certificate: Path) -> Reply | Failure:
    """Send one request to a server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    server = Server()
    async with await asyncio.start_server(server._serve, "127.0.0.1", 0, ssl=context) as listening:
        port = listening.sockets[0].getsockname()[1]
        return await attempt(f"https://localhost:{port}")


def test_a_certificate_that_nobody_signed_is_named(certificate: Path) -> None:
    outcome = asyncio.run(attempt_tls(certificate))
    assert isinstance(outcome, Failure)
    assert outcome.message.startswith("the certificate of localhost:")
    assert "SSL_CERT_FILE" in outcome.message
    assert (outcome.kind, outcome.never_sent) == (FailureKind.ENDPOINT_UNUSABLE, True)


def test_certificates_of_a_file_are_trusted(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert isinstance(asyncio.run(attempt_tls(certificate)), Reply)


@pytest.mark.parametrize("has_file", [True, False])
def test_certificates_of_a_folder_are_trusted(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_file: bool
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    if has_file:
        monkeypatch.setenv("SSL_CERT_FILE", str(another_certificate(tmp_path)))
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(certificate)]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    shutil.copy(certificate, tmp_path / f"{name}.0")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert isinstance(asyncio.run(attempt_tls(certificate)), Reply)


def test_tls_goes_through_a_proxy_that_wants_a_password(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> tuple[Reply | Failure, str]:
        tunnel = Tunnel()
        async with await asyncio.start_server(tunnel, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            monkeypatch.setenv("HTTPS_PROXY", f"http://me:open-sesame@127.0.0.1:{port}")
            outcome = await attempt_tls(certificate)
            return outcome, tunnel.heads[0]

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    outcome, head = asyncio.run(go())
    assert isinstance(outcome, Reply)
    assert head.startswith("CONNECT localhost:")
    assert "proxy-authorization: basic" in head.lower()


def test_a_connection_is_kept_alive() -> None:
    made = _socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1)))
    try:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    finally:
        made.close()


def test_an_answer_that_is_not_read_to_its_end_closes_its_connection() -> None:
    async def go() -> int:
        server = Server(HEAD % 100_000_000 + b"x" * 100_000)
        async with server.running() as place:
            transport = opened(f"http://{place}")
            for _ in range(2):
                answer = await transport.client.send("GET", "/v1/models")
                assert not isinstance(answer, Failure)
                await answer.piece()
                await answer.release()
            await transport.close()
        return server.connections

    assert asyncio.run(go()) == 2


def test_an_answer_that_broke_off_says_how_much_came_in_plain_words() -> None:
    server = Server(HEAD % len(ANSWER) + ANSWER[:9], hangs_up=True)
    (outcome,) = asyncio.run(sent_to(server, 1))
    assert isinstance(outcome, Failure)
    assert outcome.message.startswith("the answer broke off: Not enough data")
    assert "<" not in outcome.message
