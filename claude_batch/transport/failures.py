"""What went wrong, as a `Failure`: from an answer's status and body, or from an exception.

What an error in the API's shape means is in core/model/error_kinds.py. Without an answer, the
exception decides, by its nearest ancestor in RAISED. Source: the SDK's exceptions.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import orjson
from yarl import URL

from claude_batch.config.secrets import Scrub
from claude_batch.core.model.error_kinds import ErrorBody
from claude_batch.core.model.raw_json import (
    cut,
    error_object,
    is_plain_error,
    members,
    object_of,
    on_one_line,
    read_json,
)
from claude_batch.core.model.requests import (
    NO_HEADERS,
    Failure,
    FailureKind,
    LimitKind,
    ResponseHeaders,
)
from claude_batch.transport.foreign_waits import foreign_wait_s
from claude_batch.transport.headers import LONGEST_WAIT_S, headers_of
from claude_batch.transport.network import CONNECT_S, Answer


@dataclass(frozen=True, slots=True)
class Raised:
    """What an exception means. `never_sent`: it is certain that no request left."""

    kind: FailureKind
    never_sent: bool = False


RAISED = {
    "aiohttp.ClientConnectorCertificateError": Raised(
        FailureKind.ENDPOINT_UNUSABLE, never_sent=True
    ),
    "aiohttp.ClientConnectorError": Raised(FailureKind.UNREACHABLE, never_sent=True),
    "aiohttp.ClientHttpProxyError": Raised(FailureKind.UNREACHABLE, never_sent=True),
    "aiohttp.ConnectionTimeoutError": Raised(FailureKind.UNREACHABLE, never_sent=True),
    "aiohttp.ClientResponseError": Raised(FailureKind.INVALID_RESPONSE),  # no HTTP
    "aiohttp.ServerTimeoutError": Raised(FailureKind.TIMED_OUT),
    "anthropic.APIConnectionError": Raised(FailureKind.UNREACHABLE),
    "anthropic.APIResponseValidationError": Raised(FailureKind.INVALID_RESPONSE),
    "anthropic.APITimeoutError": Raised(FailureKind.TIMED_OUT),
    "anthropic.AnthropicError": Raised(FailureKind.INVALID_RESPONSE, never_sent=True),
    "anthropic.CredentialsError": Raised(FailureKind.ENDPOINT_REJECTED, never_sent=True),
    "anthropic.RetryableError": Raised(FailureKind.SERVER_ERROR, never_sent=True),
    "anthropic.WorkloadIdentityError": Raised(FailureKind.ENDPOINT_REJECTED, never_sent=True),
    "builtins.Exception": Raised(FailureKind.INVALID_RESPONSE),
    "builtins.OSError": Raised(FailureKind.UNREACHABLE),
    "aiohttp.ClientConnectionError": Raised(FailureKind.UNREACHABLE),
    "httpx2.ConnectTimeout": Raised(FailureKind.UNREACHABLE, never_sent=True),
    "httpx2.TimeoutException": Raised(FailureKind.TIMED_OUT),
    "httpx2.TransportError": Raised(FailureKind.UNREACHABLE),
    "ssl.SSLCertVerificationError": Raised(FailureKind.ENDPOINT_UNUSABLE, never_sent=True),
}
"""Exceptions of the libraries below, by library and class, so that none has to be loaded for its
name. A test looks each of them up."""

_WRAPPERS = {"anthropic.APIConnectionError", "anthropic.APITimeoutError"}
"""Exceptions of the SDK that say less than the one that they were raised from."""

OUR_TYPES = {
    FailureKind.UNREACHABLE: "connection_error",
    FailureKind.TIMED_OUT: "timeout_error",
    FailureKind.ENDPOINT_REJECTED: "authentication_error",
    FailureKind.ENDPOINT_UNUSABLE: "connection_error",
    FailureKind.REQUEST_REJECTED: "invalid_request_error",
}
"""The error types of failures that we name; all others are invalid_response_error."""

LONGEST_PAGE = 500
"""Characters that are kept of an error that is not in the API's shape."""
_LOOKED_AT, _SHOWN = 10_000, 200
_FORBIDDEN = 403
_TOO_MANY = 429
_REDIRECTS = range(300, 400)

_CA_HINT = (
    "where a company's own authority has signed it, set SSL_CERT_FILE to a file with that "
    "authority's certificate (PEM), or SSL_CERT_DIR to a folder"
)

_LIMITERS = (
    (re.compile(r"output tokens? per minute", re.IGNORECASE), LimitKind.OUTPUT_TOKENS),
    (re.compile(r"input tokens? per minute", re.IGNORECASE), LimitKind.INPUT_TOKENS),
    (re.compile(r"requests? per minute", re.IGNORECASE), LimitKind.REQUESTS),
)


def failure_of(error: Exception, scrub: Scrub) -> Failure:
    """Return the failure that an exception is: of a library below, or any other."""
    causes = list(_causes(error))
    telling = next((cause for cause in causes if not _is_wrapper(cause)), error)
    row = _row(type(telling))
    words = _in_words(telling)
    notes = [note for cause in causes for note in getattr(cause, "__notes__", ())]
    if notes and "the proxy" not in words:
        words = f"{words} ({'; '.join(notes)})"
    return own_failure(row.kind, scrub(words[:_LOOKED_AT]), never_sent=row.never_sent)


async def error_failure(answer: Answer, scrub: Scrub) -> Failure:
    """Return the failure that an answer with an error status is; reads and releases it."""
    headers = headers_of(answer)
    raw = await answer.error_body()
    if answer.status in _REDIRECTS:
        return _redirected(answer, headers)
    if answer.status == _TOO_MANY and headers.retry_after_s is None:
        headers = _with_foreign_wait(answer, headers, raw)
    failure = _failure(raw, answer.status, headers, scrub)
    return replace(failure, kind=_advised(failure.kind, answer.header(b"x-should-retry")))


def _with_foreign_wait(answer: Answer, headers: ResponseHeaders, raw: bytes) -> ResponseHeaders:
    """Return the headers with the wait that a server of another maker asks for in its own way."""
    now = time.time() if headers.server_time is None else headers.server_time
    values = {name.lower(): value for name, value in answer.raw_headers}
    wait_s = foreign_wait_s(values, raw[:_LOOKED_AT].decode("utf-8", "replace"), now)
    return (
        headers if wait_s is None else replace(headers, retry_after_s=min(wait_s, LONGEST_WAIT_S))
    )


def _advised(kind: FailureKind, should_retry: str) -> FailureKind:
    """Return the kind of a failure as the server's advice changes it, which the SDK follows, too.

    A 429 and an overload say nothing about the request: they are waited out, whatever it advises.
    """
    match should_retry.strip().lower():
        case "false" if kind is FailureKind.SERVER_ERROR:
            return FailureKind.REQUEST_REJECTED
        case "true" if kind is FailureKind.REQUEST_REJECTED:
            return FailureKind.SERVER_ERROR
        case _:
            return kind


def event_failure(data: bytes, headers: ResponseHeaders, scrub: Scrub) -> Failure:
    """Return the failure that an `error` event in a stream is (it has no status of its own)."""
    return _failure(data, None, headers, scrub)


def unforeseen_failure(error: Exception, scrub: Scrub) -> Failure:
    """Return the failure that an answer is on which our own code failed: the last resort."""
    message = f"the answer could not be read: {type(error).__name__}: {error}"
    return own_failure(FailureKind.INVALID_RESPONSE, scrub(message[:_LOOKED_AT]))


def invalid_failure(answer: Answer, message: str, scrub: Scrub) -> Failure:
    """Return the failure that a good status with something else in it is."""
    return own_failure(
        FailureKind.INVALID_RESPONSE,
        scrub(message),
        status=answer.status,
        headers=headers_of(answer),
    )


def own_failure(
    kind: FailureKind,
    message: str,
    *,
    status: int | None = None,
    headers: ResponseHeaders = NO_HEADERS,
    never_sent: bool = False,
) -> Failure:
    """Return a failure that we name, in the API's error shape."""
    error_type, message = OUR_TYPES.get(kind, "invalid_response_error"), cut(message)
    return Failure(
        kind=kind,
        error=error_object(error_type, message, headers.request_id),
        error_type=error_type,
        message=message,
        status=status,
        headers=headers,
        never_sent=never_sent,
    )


def prefix_of(body: bytes, scrub: Scrub) -> str:
    """Return how a body that makes no sense begins, scrubbed before it is cut."""
    text = scrub(body[:_LOOKED_AT].decode("utf-8", "replace"))
    return repr(" ".join(text.split())[:_SHOWN]) if text.strip() else "an empty body"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it was raised from: the SDK wraps what the network raises."""
    while error is not None:
        yield error
        error = error.__cause__


def _is_wrapper(error: BaseException) -> bool:
    return _name(type(error)) in _WRAPPERS and error.__cause__ is not None


def _name(error_class: type[BaseException]) -> str:
    return f"{error_class.__module__.partition('.')[0]}.{error_class.__name__}"


def _row(error_class: type[BaseException]) -> Raised:
    names = (_name(ancestor) for ancestor in error_class.__mro__)
    return next(RAISED[name] for name in names if name in RAISED)


def _in_words(error: BaseException) -> str:
    """Return what happened, with the host that it happened to."""
    name = _name(type(error))
    host, place = getattr(error, "host", ""), _place(error)
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None)
    match name:
        case "aiohttp.ServerDisconnectedError":
            return "the server closed the connection without an answer"
        case "aiohttp.ConnectionTimeoutError":
            return f"no connection within {CONNECT_S:.0f} s ({error})"
        case "aiohttp.ClientConnectorDNSError":
            return f"the host name {host} cannot be found: {_reason(cause)}"
        case "aiohttp.ClientConnectorCertificateError":
            return f"the certificate of {place} is not trusted: {_reason(cause)}; {_CA_HINT}"
        case "ssl.SSLCertVerificationError":
            return f"the server's certificate is not trusted: {_reason(error)}; {_CA_HINT}"
        case "aiohttp.ClientHttpProxyError":
            status, said = getattr(error, "status", ""), getattr(error, "message", "")
            return f"the proxy does not connect: it answers {status} {said}"
        case "aiohttp.ClientResponseError":
            said = getattr(error, "message", "").strip().partition("\n")[0]
            return f"the answer is not valid HTTP: {said.rstrip(':')}"
        case "aiohttp.ClientConnectorError" | "aiohttp.ClientProxyConnectionError":
            if isinstance(cause, ConnectionRefusedError):
                return f"connection refused by {place}"
            return f"no connection to {place}: {_reason(cause)}"
        case _:
            details = (str(each).strip() for each in _causes(error))
            return next((detail for detail in details if detail), type(error).__name__)


def _place(error: BaseException) -> str:
    is_proxy = _name(type(error)) == "aiohttp.ClientProxyConnectionError"
    place = f"{getattr(error, 'host', '')}:{getattr(error, 'port', '')}"
    return f"the proxy {place}" if is_proxy else place


def _reason(error: BaseException | None) -> str:
    """Return an operating system's or OpenSSL's own words."""
    verified = getattr(error, "verify_message", None)
    return str(verified or getattr(error, "strerror", None) or error)


def _failure(raw: bytes, status: int | None, headers: ResponseHeaders, scrub: Scrub) -> Failure:
    try:
        raw, body = read_json(raw.strip())
    except ValueError:
        body = None
    said = ErrorBody.of(body)
    kind = said.kind(status)
    if said.message:  # scrubbed before it is cut: half a key is no key
        message = cut(scrub(said.message[:_LOOKED_AT]))
    else:
        page = " ".join(raw[:_LOOKED_AT].decode("utf-8", "replace").split())
        message = cut(scrub(page), LONGEST_PAGE) or f"status {status}"
    if status == _FORBIDDEN and said.type is None:
        message = f"a 403 that is not the API's own, but a proxy's or a firewall's: {message}"
    error_type = said.type or "api_error"
    is_of_the_api = isinstance(body, dict) and body.get("type") == "error" and said.type is not None
    if is_of_the_api and is_plain_error(raw, said.message or ""):
        fields = members(raw)
        if fields.get("request_id", b"null") in {b"null", b'""'}:
            fields["request_id"] = orjson.dumps(headers.request_id)
        error = scrub(on_one_line(object_of(fields)).decode()).encode()
    else:
        error = error_object(error_type, message, headers.request_id)
    return Failure(
        kind=kind,
        error=error,
        error_type=error_type,
        message=message,
        status=status,
        limit=_limiter(message) if kind is FailureKind.RATE_LIMITED else None,
        headers=headers,
    )


def _limiter(message: str) -> LimitKind | None:
    """Return the limit that a 429 names."""
    return next((kind for pattern, kind in _LIMITERS if pattern.search(message)), None)


def _redirected(answer: Answer, headers: ResponseHeaders) -> Failure:
    """Return what a redirect is: it is never followed, so that the key goes nowhere else."""
    try:
        host = URL(answer.header(b"location")).host or "another path"
    except ValueError:
        host = "an unreadable address"
    message = (
        f"the endpoint answers {answer.status} and points to {host}; redirects are not "
        "followed, so that the key goes nowhere else: correct the base URL"
    )
    return own_failure(
        FailureKind.ENDPOINT_UNUSABLE, message, status=answer.status, headers=headers
    )
