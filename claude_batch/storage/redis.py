"""Opens a connection to a Redis server, whose password is never shown."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from claude_batch.errors import UsageError

SCHEMES = ("redis", "rediss", "unix")


def connect(url: str, *, flag: str, purpose: str, without: str, answer_s: float) -> Any:
    """Return a client that gives up after `answer_s` seconds.

    The messages name the `flag` that the URL came with, its `purpose`, and how to do `without`.
    Any, since redis types sync and async replies as one. Raises UsageError.
    """
    try:
        from redis.asyncio import Redis  # noqa: PLC0415  # an extra, loaded when asked for
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            f"{purpose} in Redis needs the redis package",
            hint=f"pip install 'claude-batch[redis]', or leave out {flag} {without}",
        ) from error
    try:
        return Redis.from_url(
            url,
            socket_timeout=answer_s,
            socket_connect_timeout=answer_s,
            retry=Retry(NoBackoff(), 1),  # a connection that was closed while idle
        )
    except ValueError as error:
        raise UsageError(
            f"{flag}: the URL cannot be used: {place(url)}",
            hint=f"write {flag} redis://HOST:PORT/0 (rediss:// with TLS, unix:// for a socket)",
        ) from error


def place(url: str) -> str:
    """Return the URL without user, password and parameters."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
