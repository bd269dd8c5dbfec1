"""Answers as relays, gateways, broken servers and bad networks give them, by name."""

from __future__ import annotations

import gzip
import json
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from tests.support.raw_server import Step, Steps

Json = dict[str, Any]

MESSAGE: Json = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-5-5",
    "content": [{"type": "text", "text": "Hello."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 2},
}

_PLAIN = b"content-type: application/json\r\n"
_EVENTS = b"content-type: text/event-stream\r\n"


def http(body: bytes, *, status: str = "200 OK", headers: bytes = _PLAIN) -> bytes:
    """Return a whole answer of HTTP, after which the connection can be used again."""
    head = b"HTTP/1.1 %b\r\n%bx-keep: 1\r\n" % (status.encode(), headers)
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def an_error(message: str, **more: Any) -> bytes:
    """Return an error of the API."""
    error = {"type": "invalid_request_error", "message": message, **more}
    return json.dumps({"type": "error", "error": error}).encode()


def good(**changes: Any) -> bytes:
    """Return a message as a plain answer."""
    return http(json.dumps({**MESSAGE, **changes}).encode())


def _deep(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


# streams


def events(*written: Json | bytes) -> bytes:
    """Return server-sent events; bytes stand for themselves."""
    return b"".join(
        each
        if isinstance(each, bytes)
        else b"event: %b\ndata: %b\n\n" % (each["type"].encode(), json.dumps(each).encode())
        for each in written
    )


START: Json = {
    "type": "message_start",
    "message": {**MESSAGE, "content": [], "stop_reason": None, "usage": {"input_tokens": 3}},
}
BLOCK: Json = {
    "type": "content_block_start",
    "index": 0,
    "content_block": {"type": "text", "text": ""},
}
TOOL: Json = {
    "type": "content_block_start",
    "index": 0,
    "content_block": {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
}
CLOSE: Json = {"type": "content_block_stop", "index": 0}
STOP: Json = {"type": "message_stop"}
PING: Json = {"type": "ping"}


def end(reason: str = "end_turn") -> Json:
    """Return the event that has the stop reason."""
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": None},
        "usage": {"output_tokens": 2},
    }


def text(piece: str) -> Json:
    """Return an event with a piece of text."""
    delta = {"type": "text_delta", "text": piece}
    return {"type": "content_block_delta", "index": 0, "delta": delta}


def tool_input(piece: str) -> Json:
    """Return an event with a piece of a tool's input."""
    delta = {"type": "input_json_delta", "partial_json": piece}
    return {"type": "content_block_delta", "index": 0, "delta": delta}


WHOLE = events(START, BLOCK, PING, text("Hel"), text("lo."), CLOSE, end(), STOP)
_UNENDED = events(START, BLOCK, text("Hello."), CLOSE, end())


def chunked(*pieces: bytes, last: bytes = b"0\r\n\r\n", headers: bytes = _EVENTS) -> bytes:
    """Return an answer in chunks."""
    head = b"HTTP/1.1 200 OK\r\n%bx-keep: 1\r\ntransfer-encoding: chunked\r\n\r\n" % headers
    chunks = (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    return head + b"".join(chunks) + last


def _open(body: bytes, *steps: Step) -> tuple[bytes | Step, ...]:
    """Return a stream without a last chunk, and what follows it."""
    return (chunked(body, last=b""), *steps)


_GZIP = _EVENTS + b"content-encoding: gzip\r\n"
_CALL = (START, TOOL, tool_input('{"n": 123456789012345678901234567890, '))
_CITED = {
    "type": "content_block_delta",
    "index": 0,
    "delta": {"type": "citations_delta", "citation": {"cited_text": "x", "at": 1.10}},
}

STREAMS: Mapping[str, Steps] = {
    "as the API sends it": [chunked(WHOLE)],
    "[DONE] follows": [chunked(WHOLE + b"data: [DONE]\n\n")],
    "blank data follows": [chunked(WHOLE + b"data:\n\ndata: \n\n")],
    "rubbish follows": [chunked(WHOLE + b"\xff\xfe{{{ data: x\n\n")],
    "an error follows": [
        chunked(WHOLE + events({"type": "error", "error": {"type": "api_error"}}))
    ],
    "a reset follows": _open(WHOLE, Step.PAUSE, Step.RESET),
    "a reset at once": _open(WHOLE, Step.RESET),
    "the connection stays open": _open(WHOLE, Step.HANG),
    "closed without a last chunk": _open(WHOLE),
    "no blank line at the end": [chunked(WHOLE.removesuffix(b"\n"))],
    "no line end at all": [chunked(WHOLE.removesuffix(b"\n\n"))],
    "no blank line, and open": _open(WHOLE.removesuffix(b"\n"), Step.HANG),
    "no message_stop": [chunked(_UNENDED)],
    "no message_stop, and a reset": _open(_UNENDED, Step.PAUSE, Step.RESET),
    "no message_stop, and open": _open(_UNENDED, Step.HANG),
    "[DONE] instead of message_stop, and open": _open(_UNENDED + b"data: [DONE]\n\n", Step.HANG),
    "lines end with CRLF": [chunked(WHOLE.replace(b"\n", b"\r\n"))],
    "lines end with CR": [chunked(WHOLE.replace(b"\n", b"\r"))],
    "a byte order mark and comments": [
        chunked(b"\xef\xbb\xbf: OPENROUTER PROCESSING\n\n" + WHOLE.replace(b"\n\n", b"\n\n:\n\n"))
    ],
    "without event names": [chunked(re.sub(rb"event: .*\n", b"", WHOLE))],
    "a byte at a time": [chunked(*(WHOLE[at : at + 1] for at in range(len(WHOLE))))],
    "compressed": [chunked(gzip.compress(WHOLE), headers=_GZIP)],
    "compressed, without the checksum": [chunked(gzip.compress(WHOLE)[:-8], headers=_GZIP)],
    "in another charset, it says": [
        chunked(WHOLE, headers=b"content-type: Text/Event-Stream; charset=utf-16\r\n")
    ],
    "not streamed": [good()],
    "an unknown event": [chunked(events(START, {"type": "confetti", "n": [1]}) + WHOLE)],
    "citations": [chunked(events(START, BLOCK, _CITED, text("x"), CLOSE, end(), STOP))],
    "an emoji cut in two": [
        chunked(events(START, BLOCK, text("\ud83d"), text("\ude00"), CLOSE, end(), STOP))
    ],
    "half an emoji": [
        chunked(events(START, BLOCK, text("\ud83d"), CLOSE, end("max_tokens"), STOP))
    ],
    "tool input": [chunked(events(*_CALL, tool_input('"x": 1.10}'), CLOSE, end("tool_use"), STOP))],
    "tool input cut off": [chunked(events(*_CALL, CLOSE, end("max_tokens"), STOP))],
    "tool input cut off, its block open": [chunked(events(*_CALL, end("max_tokens"), STOP))],
    "tool input that is no JSON": [
        chunked(events(START, TOOL, tool_input("f(x=1)"), CLOSE, end("tool_use"), STOP))
    ],
    "odd usage": [
        chunked(
            events(
                {**START, "message": {**START["message"], "usage": {"input_tokens": 2**64}}},
                *(BLOCK, text("Hello."), CLOSE),
                {**end(), "usage": {"output_tokens": -1}},
                STOP,
            )
        )
    ],
}
"""Streamed answers that are complete: each is paid for, and kept."""


# what is no answer, or an odd one


def _bomb(megabytes: int) -> bytes:
    """Return spaces, packed: a stream repeats what was packed up to a full flush."""
    spaces, crc = b" " * 1_000_000, 0
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(spaces) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(megabytes):
        crc = zlib.crc32(spaces, crc)
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    size = megabytes * len(spaces)
    return b"".join([header, *[packed] * megabytes, packer.flush(), struct.pack("<II", crc, size)])


_BAD = "400 Bad Request"
_PAGE = b"content-type: text/html\r\n"
_PACKED = _PLAIN + b"content-encoding: gzip\r\n"
_RAW = json.dumps(MESSAGE).encode()


def _charset(name: bytes, status: str = _BAD) -> bytes:
    headers = b"content-type: application/json; charset=" + name + b"\r\n"
    return http(b"\xff\xfe" + an_error("no"), status=status, headers=headers)


def _broken(*written: Json | bytes) -> list[bytes]:
    return [chunked(events(*written))]


ODD: Mapping[str, Steps] = {
    "an error nested 255 deep": [http(an_error("no", x=1).replace(b"1", _deep(255)), status=_BAD)],
    "an error nested 1,000 deep": [
        http(an_error("no", x=1).replace(b"1", _deep(1000)), status=_BAD)
    ],
    "an error nested 100,000 deep": [
        http(an_error("no", x=1).replace(b"1", _deep(100_000)), status="500 Oops")
    ],
    **{
        f"charset {name.decode()}": [_charset(name)]
        for name in (b"utf-16", b"utf-7", b"base64", b"zlib", b"idna", b"undefined", b"rot13")
    },
    "charset unicode_escape": [_charset(b"unicode_escape", "500 Oops")],
    "an error with a long message": [http(an_error("no " * 2_000_000), status=_BAD)],
    "an error type of 50,000 letters": [http(an_error("no", type="x" * 50_000), status=_BAD)],
    "an error that is binary": [http(bytes(range(256)), status=_BAD)],
    "an error with half a character": [http(an_error("\ud83d"), status=_BAD)],
    "an error that is a list": [http(b"[1]", status=_BAD)],
    "an error of another shape": [http(b'{"error":{"message":[1],"type":{}}}', status=_BAD)],
    "an error that is cut": [http(b'{"type":"err', status=_BAD)],
    "an error of status 418": [http(an_error("teapot"), status="418 Teapot")],
    "an error of status 599": [http(b"", status="599 Odd")],
    "a redirect": [http(b"", status="307 Moved", headers=b"location: https://[bad\r\n")],
    "a redirect to a login": [http(b"", status="302 Found", headers=b"location: /login\r\n")],
    "status 204": [b"HTTP/1.1 204 No Content\r\nx-keep: 1\r\n\r\n"],
    "status 206": [http(_RAW[:50], status="206 Partial")],
    "status 999": [http(_RAW, status="999 Odd")],
    "nothing": [http(b"")],
    "a page": [http(b"<html>Please log in</html>", headers=_PAGE)],
    "a string": [http(b'"ok"')],
    "null": [http(b"null")],
    "a number": [http(b"1e400")],
    "a list of lists": [http(_deep(1000))],
    "another API's answer": [http(b'{"choices":[{"message":{"content":"Hi"}}]}')],
    "content that is a string": [good(content="Hello")],
    "a message nested 1,020 deep": [http(_RAW.replace(b'"Hello."', _deep(1020)))],
    "a message with NaN": [http(_RAW.replace(b"3", b"NaN"))],
    "a message with an endless number": [http(_RAW.replace(b"3", b"1e400"))],
    "a message with a raw tab": [http(_RAW.replace(b"Hello", b"Hel\tlo"))],
    "a message that is cut": [http(_RAW)[:-20], Step.RESET],
    "a message in a chunk without end": [
        chunked(_RAW[:40], last=b"50\r\nabc", headers=_PLAIN),
        Step.RESET,
    ],
    "a malformed chunk": [chunked(_RAW[:40], headers=_PLAIN, last=b""), Step.PAUSE, b"XYZ\r\n"],
    "a malformed first chunk": [chunked(headers=_PLAIN, last=b"XYZ\r\n"), Step.HANG],
    "two lengths": [http(_RAW, headers=b"content-length: 3\r\n")],
    "garbage that is said to be packed": [http(_RAW, headers=_PACKED)],
    "packed and cut": [http(gzip.compress(_RAW)[:60], headers=_PACKED)],
    "no HTTP": [b"SSH-2.0-OpenSSH_9.6\r\n"],
    "no HTTP at all": [bytes(range(256)) * 4],
    "HTTP without a status": [b"HTTP/1.1 \r\n\r\n"],
    "a header of 20 KB": [http(_RAW, headers=b"x: " + b"a" * 20_000 + b"\r\n")],
    "500 headers": [http(_RAW, headers=b"".join(b"x%d: a\r\n" % each for each in range(500)))],
    "a header with NUL": [http(_RAW, headers=b"x: a\0b\r\n")],
    "a stream that is cut": _broken(START, BLOCK, text("Hel")),
    "a stream that is reset": _open(events(START, BLOCK, text("Hel")), Step.PAUSE, Step.RESET),
    "a stream with a bad chunk": [
        chunked(events(START, BLOCK), last=b""),
        Step.PAUSE,
        b"XYZ\r\n",
        Step.HANG,
    ],
    "a stream of nothing": _broken(),
    "a stream of pages": _broken(b"<html>\n\n" * 100),
    "a message that is a string": _broken({"type": "message_start", "message": "hi"}),
    "a delta that is a string": _broken(START, BLOCK, {**text("x"), "delta": "x"}, end(), STOP),
    "a delta of no block": _broken(START, text("x"), end(), STOP),
    "an index that is a string": _broken(START, BLOCK, {**BLOCK, "index": "0"}, end(), STOP),
    "a usage that is a string": _broken(START, {**end(), "usage": "x", "delta": 5}, STOP),
    "a block nested deeply": _broken(
        START, events({**BLOCK, "content_block": 1}).replace(b"1}", _deep(1020) + b"}"), STOP
    ),
    "an event that is no JSON": _broken(START, b"data: {oops\n\n", STOP),
    "an event that is a list": _broken(START, b"data: [1]\n\n", STOP),
    "an error in a stream": _broken(START, {"type": "error", "error": {"type": "api_error"}}),
    "a refusal in a stream": _broken(
        START, {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
    ),
    "an error in a stream that is odd": _broken(START, b"event: error\ndata: 5\n\n"),
    "a stream said to be packed": [chunked(WHOLE, headers=_GZIP)],
    **{
        f"usage {name}": [http(_RAW.replace(b'{"input_tokens": 3, "output_tokens": 2}', usage))]
        for name, usage in {
            "that is null": b"null",
            "that is a list": b"[1]",
            "beyond 64 bits": b'{"input_tokens": 18446744073709551616, "output_tokens": 2}',
            "of 1e30": b'{"input_tokens": 1e30, "output_tokens": 2}',
            "that is negative": b'{"input_tokens": -3, "output_tokens": 2}',
            "of strings": b'{"input_tokens": "3", "output_tokens": true}',
            "of objects": b'{"input_tokens": {}, "cache_creation": 3, "server_tool_use": "x"}',
        }.items()
    },
    "a message with half a character": [http(_RAW.replace(b"Hello", rb"\ud83d"))],
    "a message that is no UTF-8": [http(_RAW.replace(b"Hello", b"\xff\xfe"))],
    "a message with a mark before it": [http(b"\xef\xbb\xbf" + _RAW)],
    "a message of many lines": [http(json.dumps(MESSAGE, indent=2).replace("\n", "\r\n").encode())],
    "a stop reason that is a list": [good(stop_reason=[1])],
}
"""Answers that are no message, or an odd one."""

KEPT = frozenset(
    {
        *("good", "a message with half a character", "a message that is no UTF-8"),
        *("a message with a mark before it", "a message of many lines"),
        *("a stop reason that is a list", *(kind for kind in ODD if kind.startswith("usage "))),
    }
)
"""Those that are messages all the same."""


def large_answers() -> Mapping[str, Steps]:
    """Return more of them: each takes many megabytes."""
    bomb = _bomb(300)
    return {
        "a bomb": [http(bomb, headers=_PACKED)],
        "a million lists": [http(b"[" + b"[]," * 8_000_000 + b"[]]")],
        "an answer of 70 MB": [http(b" " * 70_000_000)],
        "an error page of 50 MB": [http(b"<p>" * 17_000_000, status="500 Oops", headers=_PAGE)],
        "an error with a bomb": [http(bomb, status="500 Oops", headers=_PACKED)],
        "an event without end": [chunked(b"data: " + b"x" * 70_000_000)],
    }
