"""A relay that tells everybody everything: whatever it is sent stands in whatever it answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from itertools import count

from tests.support.chat_server import ThreadedServer

_HOW = ("message", "refusal", "failure", "page", "cut", "flat", "message")
"""How it answers, in turn."""


class _Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    turns: Iterator[int]
    only: str | None

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # its name
        """Keep quiet."""

    def do_GET(self) -> None:  # its name
        """Answer a call of any other endpoint."""
        self._answer(404, self._error("not_found_error"))

    def do_POST(self) -> None:  # its name
        """Answer a message in one of the ways."""
        self.rfile.read(int(self.headers.get("content-length") or 0))
        heard = str(self.headers)
        match self.only or _HOW[next(self.turns) % len(_HOW)]:
            case "message":
                self._answer(200, self._message(heard))
            case "refusal":
                self._answer(400, self._error("invalid_request_error"))
            case "unauthorized":
                self._answer(401, self._error("authentication_error"))
            case "failure":
                self._answer(500, self._error("api_error"))
            case "page":
                self._answer(502, f"<html>{heard}</html>".encode())
            case "flat":
                self._answer(400, json.dumps({"error": {"message": heard}}).encode())
            case _:
                self._answer(200, heard.encode())

    def _message(self, text: str) -> bytes:
        return json.dumps(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "claude-haiku-5-5",
                "content": [{"type": "text", "text": text}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 1, "output_tokens": 1},
            }
        ).encode()

    def _error(self, kind: str) -> bytes:
        error = {"type": kind, "message": f"you sent {self.headers}"}
        return json.dumps({"type": "error", "error": error, "request_id": "req_1"}).encode()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def echoing(*, only: str | None = None) -> Iterator[str]:
    """Serve it on a free port; yield host and port. `only`: answer in this one way."""
    relay = type("Relay", (_Relay,), {"turns": count(), "only": only})
    server = ThreadedServer(("127.0.0.1", 0), relay)
    thread = threading.Thread(target=server.serve_forever, name="relay")
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
