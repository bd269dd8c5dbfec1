"""Canaries: one request of each shape is sent live before the others go into a batch.

The API checks the params of a batch late: a typo would fail 100,000 requests an hour from now. A
shape is what such a typo concerns: the model, the keys of the params, and how thinking and output
are set. The text of the prompts is not part of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from claude_batch.core.model.requests import Failure, Reply, Request

_NOT_IN_BATCHES = frozenset(
    {"store", "previous_thread_event_id", "cache_hint", "context_hint", "stream"}
)
"""Params that live requests take and batches do not (docs/claude-api.md#message-batches)."""

SAMPLE = 3
"""Requests of a shape that are tried, one after another, until one is not refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryResult:
    """A canary and its outcome after `attempts`, of which `rate_limited` got a 429.

    `started_at` is wall time. `discarded` are failures that the API has charged, or may have.
    """

    request: Request
    outcome: Reply | Failure
    attempts: int
    started_at: float
    latency_s: float
    rate_limited: int = 0
    discarded: tuple[Failure, ...] = ()


_Features = tuple[object, ...]


class Shapes:
    """The shapes known to be accepted, as short digests, and how many more of others to sample."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known = set(known)
        self._left: dict[_Features, int] = {}

    def sample(self, request: Request) -> str | None:
        """Return the digest of the request's shape if it is to be a canary, else None."""
        features = _features(request)
        left = self._left.get(features, SAMPLE)
        if not left:
            return None
        digest = _digest(features)
        if digest in self._known:
            self._left[features] = 0
            return None
        self._left[features] = left - 1
        return digest

    def accept(self, shapes: Iterable[str]) -> None:
        """Note shapes of which a request was accepted."""
        self._known.update(shapes)


def shape(request: Request) -> str:
    """Return the digest of a request's shape: equal for requests that fail alike."""
    return _digest(_features(request))


def _features(request: Request) -> _Features:
    params: dict[str, Any] = orjson.loads(request.body)
    return (
        request.api_version,
        request.model,
        tuple(sorted(params)),
        _kind(params.get("thinking")),
        _keys(params.get("output_config")),
        _kind(params.get("tool_choice")),
        bool(params.get("tools")),
        str(params.get("speed")),
    )


def _digest(features: _Features) -> str:
    return hashlib.sha256(orjson.dumps(features)).hexdigest()[:16]


def _kind(value: object) -> str | None:
    return str(value.get("type")) if isinstance(value, Mapping) else None


def _keys(value: object) -> tuple[str, ...]:
    return tuple(sorted(map(str, value))) if isinstance(value, Mapping) else ()


def params_not_in_batches(request: Request) -> tuple[str, ...]:
    """Return the params that batches refuse in a request that live mode takes."""
    params: dict[str, Any] = orjson.loads(request.body)
    names = sorted(_NOT_IN_BATCHES & params.keys())
    if params.get("speed") == "fast":
        names.append("speed: fast")
    return tuple(names)
