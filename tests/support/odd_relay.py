"""A relay that fails in the ways relays do: each prompt's first attempt in another one."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.chat_server import ThreadedServer


class Answer(NamedTuple):
    """What it answers; `length` is what its header says of the body's, None: the truth."""

    status: int
    kind: str
    body: bytes
    length: int | None = None


TROUBLES = (
    Answer(502, "text/html", b"<html><body><h1>502 Bad Gateway</h1></body></html>"),
    Answer(503, "text/plain", b"upstream connect error or disconnect/reset before headers"),
    Answer(
        500, "application/json", b'{"error":{"message":"boom","type":"server_error","code":null}}'
    ),
    Answer(429, "application/json", b'{"error":{"message":"slow down","code":"rate_limited"}}'),
    Answer(200, "text/html", b"<html><body>Please log in</body></html>"),
    Answer(200, "application/json", b""),
    Answer(200, "application/json", b'{"type":"message","content":[', length=4_000),
    Answer(200, "application/json", b'"ok"'),
    Answer(504, "application/json", b"null"),
    Answer(520, "text/plain", b"error code: 520"),
)


STOPS = {"decline": "refusal", "poem": "max_tokens", "search": "pause_turn"}
ENOUGH_TOKENS, MOST_TOKENS = 2_000, 64_000


class Heard(NamedTuple):
    """A request as it arrived, the names of headers in small letters."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(slots=True)
class Relay:
    """The server, running, and what it has heard; it speaks both APIs.

    A prompt that says "refuse" is refused, one with a word of STOPS answered in part. Where there
    are `models`, it lists them.
    """

    host: str
    troubles: Sequence[Answer]
    models: Sequence[str] = ()
    key: str = ""
    heard: list[Heard] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def answer(self, heard: Heard) -> Answer:
        """Return what a request gets."""
        self.heard.append(heard)
        if refused := self._refusal(heard):
            status, kind, message = refused
            error = {"type": "error", "error": {"type": kind, "message": message}}
            return Answer(status, "application/json", json.dumps(error).encode())
        prompt = json.dumps(heard.body["messages"])
        if "refuse" in prompt:
            error = {"message": "that is not allowed here", "type": "invalid_request_error"}
            return Answer(400, "application/json", json.dumps({"error": error}).encode())
        if self.troubles and prompt not in self._seen:
            self._seen.add(prompt)
            return self.troubles[len(self._seen) % len(self.troubles)]
        if heard.path.endswith("/chat/completions"):
            return Answer(200, "application/json", _completion(heard.body["model"]))
        stop_reason = next((STOPS[word] for word in STOPS if word in prompt), "end_turn")
        if stop_reason == "max_tokens" and heard.body["max_tokens"] >= ENOUGH_TOKENS:
            stop_reason = "end_turn"
        return Answer(200, "application/json", _message(heard.body["model"], stop_reason))

    def _refusal(self, heard: Heard) -> tuple[int, str, str] | None:
        """Return why every request like this is refused, in the API's words: status, type, text."""
        body = heard.body
        if self.key not in heard.headers.get("authorization", "") + heard.headers.get(
            "x-api-key", ""
        ):
            return 401, "authentication_error", "invalid x-api-key"
        served = {each.removesuffix(":latest") for each in self.models}
        if served and body["model"] not in served:
            return 404, "not_found_error", f"model: {body['model']}"
        if "temperature" in body:
            return 400, "invalid_request_error", "`temperature` is not supported for this model"
        if (most := body.get("max_tokens", 0)) > MOST_TOKENS:
            said = f"max_tokens: {most} > {MOST_TOKENS}, which is the maximum allowed number"
            return 400, "invalid_request_error", said
        return None


def _completion(model: str) -> bytes:
    message = {"role": "assistant", "content": "Hello."}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }
    ).encode()


def _message(model: str, stop_reason: str) -> bytes:
    return json.dumps(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": "Hello."}],
            "stop_reason": stop_reason,
            "usage": {"input_tokens": 3, "output_tokens": 2},
        }
    ).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    relay: Relay

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # its name
        """Keep quiet."""

    def do_GET(self) -> None:  # its name
        """Answer a call of any other endpoint."""
        if self.relay.models and "/models" in self.path:
            listed = {"object": "list", "data": [{"id": each} for each in self.relay.models]}
            self._send(Answer(200, "application/json", json.dumps(listed).encode()))
            return
        self._send(Answer(404, "text/plain", b"404 page not found"))

    def do_POST(self) -> None:  # its name
        """Answer a message; there are no batches."""
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path.endswith("/batches"):
            self._send(Answer(404, "text/plain", b"404 page not found"))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._send(self.relay.answer(Heard(self.path, headers, json.loads(raw))))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("content-type", answer.kind)
        self.send_header("content-length", str(answer.length or len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)
        self.close_connection = answer.length is not None


@contextmanager
def odd_relay(
    troubles: Sequence[Answer] = (),
    *,
    models: Sequence[str] = (),
    key: str = "",
    certificate: Path | None = None,
) -> Iterator[Relay]:
    """Serve it on a free port, in threads of this process; over TLS with a `certificate`.

    The certificate's own key lies beside it (.key). Only requests with `key` are answered.
    """
    handler: type[_Handler] = type("Handler", (_Handler,), {})
    server = ThreadedServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    host = "127.0.0.1"
    if certificate is not None:
        host = "localhost"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # refused handshakes
    handler.relay = Relay(f"{host}:{server.server_port}", troubles, models, key)
    thread = threading.Thread(target=server.serve_forever, name="relay")
    thread.start()
    try:
        yield handler.relay
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
