"""One attempt: a request goes out, and whatever comes back is a reply or a failure.

An answer that is complete is kept, whatever becomes of its connection. One that has to be discarded
leaves what it says that it has used: that is paid for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from claude_batch.core.model.raw_json import Message, read_message
from claude_batch.core.model.requests import NO_USAGE, Failure, FailureKind, Reply, Usage
from claude_batch.transport.clients import Client
from claude_batch.transport.failures import (
    event_failure,
    invalid_failure,
    own_failure,
    prefix_of,
    unforeseen_failure,
)
from claude_batch.transport.headers import headers_of
from claude_batch.transport.network import Answer, Body, BrokenAnswerError, TooLongError
from claude_batch.transport.streaming import (
    BrokenStreamError,
    Event,
    EventReader,
    StreamedMessage,
)

SILENCE_S = 90.0
"""Seconds without a byte after which a stream is given up: the API sends pings more often."""
END_S = 5.0
"""Seconds that the end of a stream is waited for after the last of its message has come."""

_EVENTS = "text/event-stream"  # some servers do not stream though they are asked to


class _SilentStreamError(Exception):
    """A stream that has begun, and does not go on."""


@dataclass(slots=True)
class Attempt:
    """One request to `path`, and its answer as far as it has come.

    `late` or `broken` say why it comes no further. `read` returns the message that a body is, or
    raises ValueError; `what` is what that body should be.
    """

    client: Client
    path: str
    body: Body
    headers: dict[str, str] | None = None
    read: Callable[[bytes], Message] = read_message
    what: str = "message"
    answer: Answer | None = None
    stream: StreamedMessage | None = None
    late: str = ""
    broken: str = ""

    async def send(self, timeout_s: float) -> Reply | Failure:
        """Send once, within `timeout_s` seconds in all."""
        try:
            failure = await self._receive(timeout_s)
            return failure or self._outcome()
        except Exception as error:  # noqa: BLE001  # the last resort
            return unforeseen_failure(error, self.client.scrub)
        finally:
            if self.answer is not None:
                await self.answer.release()

    async def _receive(self, timeout_s: float) -> Failure | None:
        """Let the answer come as far as it does; return the failure that it is, if it is one."""
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self.client.send(
                    "POST", self.path, headers=self.headers, body=self.body
                )
                if isinstance(answer, Failure):
                    return answer
                self.answer = answer
                if answer.header(b"content-type").lower().startswith(_EVENTS):
                    self.stream = StreamedMessage()
                    await _read_events(answer, self.stream)
                else:
                    await answer.read()
        except TimeoutError:
            self.late = f"no complete answer in {timeout_s:.0f} s"
        except _SilentStreamError as error:
            self.late = str(error)
        except (BrokenAnswerError, BrokenStreamError) as error:
            self.broken = f"the answer broke off: {error}"
        return None

    def _outcome(self) -> Reply | Failure:
        """Return the message that has come, or what is wrong with it."""
        answer, stream = self.answer, self.stream
        if answer is None:
            return own_failure(FailureKind.TIMED_OUT, self.late)
        if stream is not None and stream.error is not None and not stream.is_complete:
            failure = event_failure(stream.error, headers_of(answer), self.client.scrub)
            return replace(failure, usage=stream.usage)
        body, usage = b"", NO_USAGE if stream is None else stream.usage
        try:
            body = answer.received if stream is None else stream.body()
            message = self.read(body)
        except (ValueError, BrokenStreamError) as error:
            return self._failure(answer, body, usage, str(error))
        if not message.is_complete:
            return self._failure(answer, body, message.usage)
        return Reply(
            message=self.client.scrub.json(message.body),
            usage=message.usage,
            stop_reason=message.stop_reason,
            headers=headers_of(answer),
        )

    def _failure(self, answer: Answer, body: bytes, usage: Usage, why: str = "") -> Failure:
        if self.late:
            failure = own_failure(FailureKind.TIMED_OUT, self.late, headers=headers_of(answer))
        elif self.broken or (self.stream is not None and why):
            failure = invalid_failure(answer, self.broken or why, self.client.scrub)
        else:
            prefix = prefix_of(body, self.client.scrub)
            message = f"status {answer.status}, but no {self.what}: {prefix}"
            failure = invalid_failure(answer, message, self.client.scrub)
        return replace(failure, usage=usage)


async def _read_events(answer: Answer, stream: StreamedMessage) -> None:
    """Read events until the message is over. Raises _SilentStreamError, BrokenAnswerError."""
    reader = EventReader()
    while not stream.is_over:
        silence_s = END_S if stream.is_complete else SILENCE_S
        try:
            async with asyncio.timeout(silence_s):
                piece = await answer.piece_to_keep()
        except TimeoutError as error:
            _take(reader.finish(), stream)
            raise _SilentStreamError(f"nothing came for {silence_s:.0f} s") from error
        except TooLongError:
            raise
        except BrokenAnswerError:
            _take(reader.finish(), stream)
            raise
        _take(reader.feed(piece) if piece else reader.finish(), stream)
        if not piece:
            return


def _take(events: Iterable[Event], stream: StreamedMessage) -> None:
    for event in events:
        stream.add(event)
        if stream.is_over:
            return
