"""Data types for requests, the replies and failures of attempts, and results.

JSON of the user or the API stays bytes, exactly as written.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

API_VERSION = "2026-10-21"
"""The `anthropic-version` header of requests."""

SAMPLING = ("temperature", "top_p", "top_k")
"""Parameters that only an older API version accepts."""

SAMPLING_API_VERSION = "2023-06-01"
"""That version, for requests that set one of them (docs/claude-api.md#versions)."""


class LimitKind(StrEnum):
    """What the API limits per minute."""

    REQUESTS = "requests"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"


LIMIT_NAMES = {
    LimitKind.REQUESTS: "RPM",
    LimitKind.INPUT_TOKENS: "ITPM",
    LimitKind.OUTPUT_TOKENS: "OTPM",
}
"""The names of the limits in the API's documentation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a request asks for that changes its price (docs/claude-api.md#models-and-prices).

    `us`: inference in the US; `fast`: fast mode. `marked_tokens` are the estimated input tokens up
    to the last cache breakpoint, cached `for_an_hour` or five minutes. `prefix` is the key of these
    tokens (0: none); `warm`: they are in the cache already.
    """

    us: bool = False
    fast: bool = False
    marked_tokens: int = 0
    for_an_hour: bool = False
    prefix: int = 0
    warm: bool = False


USUAL_TERMS = Terms()
"""The terms of a request that asks for nothing special."""


class Attached(Protocol):
    """A body with the content of files, which are read while it is sent; `len` is its size."""

    def __len__(self) -> int: ...

    def around(self, before: bytes, after: bytes) -> Attached:
        """Return it between other bytes."""

    def blocks(self) -> Iterator[bytes]:
        """Yield it from the start, blocking."""

    def pieces(self) -> AsyncIterator[bytes]:
        """Yield it from the start."""


Encode = Callable[[bytes, int], Awaitable["Attached | Failure"]]
"""Returns a body with its files, or why it cannot be sent; the number is that of its line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prompt line, ready to be sent.

    `body` holds the Messages API params as compact JSON, without `stream`; `meta` is the user's
    own JSON value, copied to the result. `input_tokens` is the estimate before any calibration.
    `cached_tokens` of them precede a cache breakpoint of ours: once cached they use no ITPM.
    `prefix` is the key of these tokens. `terms` change the price. `encode` is set where `body`
    names files: the API gets what it returns for it. `files_changed_at` is when the newest of them
    was changed last, in seconds since 1970. `schema` is the JSON Schema that the answer has
    to fit, if there is one.
    """

    custom_id: str
    line: int
    model: str
    max_tokens: int
    body: bytes
    input_tokens: int
    api_version: str = API_VERSION
    meta: bytes | None = None
    prefix: int | None = None
    cached_tokens: int = 0
    terms: Terms = USUAL_TERMS
    encode: Encode | None = None
    files_changed_at: float = 0.0
    schema: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one reply as the API counted them, and what else decides its price.

    `cache_creation_input_tokens` are all cache writes, `cache_creation_1h_input_tokens` those of
    them with a lifetime of an hour. `service_tier` is standard, priority or batch; `speed` standard
    or fast; `inference_geo` us or global; None where the API did not say.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_1h_input_tokens: int = 0
    web_search_requests: int = 0
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None

    @property
    def limited_input_tokens(self) -> int:
        """Input tokens that ITPM counts: all but cache reads (docs/claude-api.md#rate-limits)."""
        return self.input_tokens + self.cache_creation_input_tokens

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the whole prompt, cached or not."""
        return self.limited_input_tokens + self.cache_read_input_tokens

    @property
    def is_reported(self) -> bool:
        """Whether the API said anything: no prompt has 0 tokens."""
        return bool(self.prompt_tokens or self.output_tokens)


NO_USAGE = Usage()
"""Nothing used, or nothing known."""

MOST_TOKENS = 1 << 40
"""A figure from here on is damage: no request uses as many, and sums would exceed 64 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReading:
    """One limit in response headers. `full_at` is wall time, in seconds since 1970.

    `combined`: a limit of input tokens that counts output tokens, too.
    """

    kind: LimitKind
    limit_per_minute: int | None
    remaining: int | None
    full_at: float | None
    combined: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseHeaders:
    """The response headers we use, `anthropic-*` and a few others; absent ones: None or empty.

    `server_time` is the Date header in seconds since 1970. `retry_after_s` is a wait from now.
    """

    limits: tuple[LimitReading, ...] = ()
    retry_after_s: float | None = None
    organization_id: str | None = None
    request_id: str | None = None
    server_time: float | None = None


NO_HEADERS = ResponseHeaders()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A complete message; `message` is the API's JSON on one line, otherwise unchanged."""

    message: bytes
    usage: Usage
    stop_reason: str | None
    headers: ResponseHeaders = NO_HEADERS

    @property
    def type(self) -> ResultType:
        """How its request ends."""
        return ResultType.SUCCEEDED

    @property
    def payload(self) -> bytes:
        """The JSON that a result carries."""
        return self.message


class FailureKind(StrEnum):
    """What a failed attempt means, and what follows.

    | kind              | example                 | counted?    | what follows            |
    |-------------------|-------------------------|-------------|-------------------------|
    | RATE_LIMITED      | 429                     | no          | its lane waits          |
    | RAMP_LIMITED      | 429 ramp_limit_exceeded | no          | its lane waits, shrinks |
    | OVERLOADED        | 529, 503                | no          | backoff of the lane     |
    | UNREACHABLE       | refused, reset, no DNS  | no          | backoff of the lane     |
    | SERVER_ERROR      | 500, 502, 504, 408, 409 | yes         | retried with backoff    |
    | TIMED_OUT         | no answer in time       | yes         | retried with backoff    |
    | INVALID_RESPONSE  | cut body, no HTTP       | yes         | retried with backoff    |
    | REQUEST_REJECTED  | 400, 404, 413, 422      | -           | that request is errored |
    | MODEL_FORBIDDEN   | 403                     | no          | model out at endpoint   |
    | ENDPOINT_REJECTED | 401, no credential      | no          | endpoint out            |
    | ENDPOINT_UNUSABLE | redirect, certificate   | (yes)       | endpoint out, unless it |
    |                   |                         |             | has answered: retried   |
    | RUN_REFUSED       | spend limit, no credit  | no          | the run ends            |
    | EXPIRED, CANCELED | in a batch only         | -           | batch mode decides      |
    """

    RATE_LIMITED = "rate_limited"
    RAMP_LIMITED = "ramp_limited"
    OVERLOADED = "overloaded"
    UNREACHABLE = "unreachable"
    SERVER_ERROR = "server_error"
    TIMED_OUT = "timed_out"
    INVALID_RESPONSE = "invalid_response"
    REQUEST_REJECTED = "request_rejected"
    MODEL_FORBIDDEN = "model_forbidden"
    ENDPOINT_REJECTED = "endpoint_rejected"
    ENDPOINT_UNUSABLE = "endpoint_unusable"
    RUN_REFUSED = "run_refused"
    EXPIRED = "expired"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed attempt.

    `error` is the JSON object that a result carries: `{"type":"error","error":{"type":...,
    "message":...},"request_id":...}`, the API's own where it sent one. `error_type` is
    taken from it. `limit` is the limit that a 429 names, if any. `never_sent`: certainly nothing
    has reached the server. `usage` is what an answer that was discarded reported: it is
    paid for.
    """

    kind: FailureKind
    error: bytes
    error_type: str
    message: str
    status: int | None = None
    limit: LimitKind | None = None
    headers: ResponseHeaders = NO_HEADERS
    never_sent: bool = False
    usage: Usage = NO_USAGE

    @property
    def type(self) -> ResultType:
        """How its request ends, if it is not retried."""
        return ResultType.ERRORED

    @property
    def payload(self) -> bytes:
        """The JSON that a result carries."""
        return self.error

    @property
    def stop_reason(self) -> str | None:
        """None: nothing was answered."""
        return None


class ResultType(StrEnum):
    """How a request can end: the four types of the Message Batches API."""

    SUCCEEDED = "succeeded"
    ERRORED = "errored"
    CANCELED = "canceled"
    EXPIRED = "expired"


UNFINISHED = frozenset({"refusal", "max_tokens", "pause_turn", "model_context_window_exceeded"})
"""Stop reasons of answers that are not what was asked for, though their request has succeeded."""


class ResultOwner(Protocol):
    """The request of a result, or what is kept of it."""

    @property
    def custom_id(self) -> str: ...  # noqa: D102
    @property
    def line(self) -> int: ...  # noqa: D102
    @property
    def meta(self) -> bytes | None: ...  # noqa: D102
    @property
    def schema(self) -> bytes | None: ...  # noqa: D102


class ResultContent(Protocol):
    """What a request ends as: a `Reply`, a `Failure`, or a line of a batch's results."""

    @property
    def type(self) -> ResultType: ...  # noqa: D102
    @property
    def payload(self) -> bytes: ...  # noqa: D102
    @property
    def usage(self) -> Usage: ...  # noqa: D102
    @property
    def stop_reason(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A request's final state. `payload` is the message, or the error object, as bytes of JSON.

    `started_at` is the wall time of the first attempt in this process, `latency_s` that of the
    last attempt. `cached`: the answer was there already, at no cost and without usage.
    `degraded`: a fallback endpoint answered.
    """

    custom_id: str
    line: int
    type: ResultType
    payload: bytes
    attempts: int
    endpoint: str
    started_at: float
    latency_s: float
    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = None
    cached: bool = False
    degraded: bool = False
    meta: bytes | None = None
    schema: bytes | None = None
    stop_reason: str | None = None

    @classmethod
    def of(  # noqa: PLR0913  # a result has as many
        cls,
        owner: ResultOwner,
        content: ResultContent,
        *,
        attempts: int,
        endpoint: str,
        started_at: float,
        latency_s: float,
        cost_usd: float | None,
        cached: bool = False,
        degraded: bool = False,
    ) -> Result:
        """Return the result of a request.

        One from a cache has used no tokens; what a failed attempt has used is an expense apart.
        """
        return cls(
            custom_id=owner.custom_id,
            line=owner.line,
            type=content.type,
            payload=content.payload,
            attempts=attempts,
            endpoint=endpoint,
            started_at=started_at,
            latency_s=latency_s,
            usage=content.usage
            if content.type is ResultType.SUCCEEDED and not cached
            else NO_USAGE,
            cost_usd=cost_usd,
            cached=cached,
            degraded=degraded,
            meta=owner.meta,
            schema=owner.schema,
            stop_reason=content.stop_reason,
        )


def read_usage(usage: object) -> Usage:
    """Return the `usage` object of a message (docs/claude-api.md#responses); null counts as 0.

    If it has another shape, or any figure is negative, beyond MOST_TOKENS or no whole number, all
    are taken for unknown and counted as 0.
    """
    if not isinstance(usage, dict):
        return NO_USAGE
    by_lifetime = usage.get("cache_creation") or {}
    tools = usage.get("server_tool_use") or {}
    try:
        return Usage(
            input_tokens=_figure(usage.get("input_tokens")),
            output_tokens=_figure(usage.get("output_tokens")),
            cache_creation_input_tokens=_figure(usage.get("cache_creation_input_tokens")),
            cache_read_input_tokens=_figure(usage.get("cache_read_input_tokens")),
            cache_creation_1h_input_tokens=_figure(by_lifetime.get("ephemeral_1h_input_tokens")),
            web_search_requests=_figure(tools.get("web_search_requests")),
            service_tier=_word(usage.get("service_tier")),
            speed=_word(usage.get("speed")),
            inference_geo=_word(usage.get("inference_geo")),
        )
    except (ValueError, AttributeError):
        return NO_USAGE


def _figure(value: object) -> int:
    """Return a figure of a usage object. Raises ValueError for one that cannot be."""
    if value is None:
        return 0
    if type(value) is int or (type(value) is float and value.is_integer()):
        figure = int(value)
        if 0 <= figure < MOST_TOKENS:
            return figure
    raise ValueError("no number of tokens")


def _word(value: object) -> str | None:
    return value if isinstance(value, str) else None
