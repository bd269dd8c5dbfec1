"""A local OpenAI-compatible server that answers whatever model it is asked for, as many do."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class ChatServer:
    """Where it is, and the models it was asked for. `lists`: those of its list; None: no list.

    `takes_s`: how long an answer takes.
    """

    url: str
    lists: Sequence[str] | None
    takes_s: float = 0.0
    asked: Counter[str] = field(default_factory=Counter)


class _Chat(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    chat: ChatServer

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # its name
        """Keep quiet."""

    def do_GET(self) -> None:  # its name
        """List the models."""
        if self.path.partition("?")[0] != "/v1/models" or self.chat.lists is None:
            self._answer(404, {"error": {"message": "no such page", "type": "not_found"}})
            return
        models = [{"id": name, "object": "model"} for name in self.chat.lists]
        self._answer(200, {"object": "list", "data": models})

    def do_POST(self) -> None:  # its name
        """Answer a chat completion."""
        asked = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)))
        self.chat.asked[asked["model"]] += 1
        time.sleep(self.chat.takes_s)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "Yes."},
            "finish_reason": "stop",
        }
        usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
        self._answer(
            200,
            {
                "id": "chat-1",
                "object": "chat.completion",
                "model": asked["model"],
                "choices": [choice],
                "usage": usage,
            },
        )

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class ThreadedServer(ThreadingHTTPServer):
    """A server with a thread for each connection, however many are made at once."""

    request_queue_size = 1024
    """With the usual 5, some of many connections at once are tried again for a minute."""


@contextmanager
def chat_server(lists: Sequence[str] | None = (), *, takes_s: float = 0.0) -> Iterator[ChatServer]:
    """Serve it on a free port."""
    handler = type("Chat", (_Chat,), {})
    server = ThreadedServer(("127.0.0.1", 0), handler)
    url = f"http://127.0.0.1:{server.server_port}/v1"
    chat = handler.chat = ChatServer(url, lists, takes_s)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, name="chat")
    thread.start()
    try:
        yield chat
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
