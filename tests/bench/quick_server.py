"""A server that answers every message after 50 ms with the same JSON: nothing to measure in it.

No framework: a protocol on the event loop, so that it takes little of the machine it shares.
"""

from __future__ import annotations

import asyncio
import json

LATENCY_S = 0.05
MESSAGE = json.dumps(
    {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": [{"type": "text", "text": "An answer of some length. " * 8}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 30, "output_tokens": 40},
    }
).encode()
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_01\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(MESSAGE), MESSAGE)
)


class Answering(asyncio.Protocol):
    """Reads requests by their content-length, and answers each after the latency.

    A GET is answered by how many others there were.
    """

    received = 0

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take in what came; answer each whole request."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            _, _, rest = head.partition(b"content-length:")
            size = end + 4 + int(rest.split(b"\r\n", 1)[0] or 0)
            if len(self._buffer) < size:
                return
            self._buffer = self._buffer[size:]
            if head.startswith(b"get /received"):
                self._tell()
                continue
            Answering.received += 1
            asyncio.get_running_loop().call_later(LATENCY_S, self._answer)

    def _tell(self) -> None:
        if self._transport is not None:
            body = b"%d" % Answering.received
            head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self._transport.write(head % len(body) + body)

    def _answer(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(ANSWER)


async def main() -> None:
    """Serve on a free port; tell the address on stdout."""
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"url": f"http://127.0.0.1:{port}"}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
