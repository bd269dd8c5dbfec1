"""What goes wrong has one meaning: the table of failures, over either sender."""

from __future__ import annotations

from typing import Any

import httpx2
import orjson
import pytest

from claude_batch.core.model.error_kinds import BY_CODE
from claude_batch.core.model.raw_json import LONGEST_MESSAGE
from claude_batch.core.model.requests import FailureKind, LimitKind
from claude_batch.transport.clients import EndpointSettings
from claude_batch.transport.failures import LONGEST_PAGE
from tests.transport.wire import KEY, Chunks, an_error, failure

pytestmark = pytest.mark.usefixtures("sender")

HTML = "<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>"


@pytest.mark.parametrize(
    ("status", "error_type", "kind"),
    [
        (400, "invalid_request_error", FailureKind.REQUEST_REJECTED),
        (401, "authentication_error", FailureKind.ENDPOINT_REJECTED),
        (402, "billing_error", FailureKind.RUN_REFUSED),
        (403, "permission_error", FailureKind.MODEL_FORBIDDEN),
        (404, "not_found_error", FailureKind.REQUEST_REJECTED),
        (408, "timeout_error", FailureKind.SERVER_ERROR),
        (409, "conflict_error", FailureKind.SERVER_ERROR),
        (413, "request_too_large", FailureKind.REQUEST_REJECTED),
        (422, "invalid_request_error", FailureKind.REQUEST_REJECTED),
        (429, "rate_limit_error", FailureKind.RATE_LIMITED),
        (500, "api_error", FailureKind.SERVER_ERROR),
        (503, "whatever_error", FailureKind.OVERLOADED),
        (503, "api_error", FailureKind.OVERLOADED),
        (429, "api_error", FailureKind.RATE_LIMITED),
        (504, "timeout_error", FailureKind.SERVER_ERROR),
        (529, "overloaded_error", FailureKind.OVERLOADED),
        (418, "invalid_request_error", FailureKind.REQUEST_REJECTED),
    ],
)
def test_an_error_of_the_api_means_what_the_table_says(
    status: int, error_type: str, kind: FailureKind
) -> None:
    assert failure(an_error(status, error_type)).kind is kind


@pytest.mark.parametrize(("code", "kind"), BY_CODE.items())
@pytest.mark.parametrize("status", [400, 402, 429])
def test_an_error_code_says_more_than_status_and_type(
    status: int, code: str, kind: FailureKind
) -> None:
    assert failure(an_error(status, "rate_limit_error", code=code)).kind is kind


@pytest.mark.parametrize(
    "message",
    [
        "You have reached your specified API usage limits. You will regain access on 2026-12-01.",
        "You have reached your specified workspace API usage limits.",
        "Your credit balance is too low to access the Anthropic API.",
    ],
)
def test_a_spend_limit_that_comes_as_a_400_ends_the_run(message: str) -> None:
    assert failure(an_error(400, "invalid_request_error", message)).kind is FailureKind.RUN_REFUSED


def test_a_spend_limit_that_comes_as_a_429_without_a_wait_ends_the_run() -> None:
    spent = an_error(429, "rate_limit_error", code="enforced_spend_limit_reached")
    assert failure(spent).kind is FailureKind.RUN_REFUSED


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        ("of 50 requests per minute", LimitKind.REQUESTS),
        ("of 80,000 input tokens per minute", LimitKind.INPUT_TOKENS),
        ("of 8,000 output tokens per minute", LimitKind.OUTPUT_TOKENS),
        ("of your organization", None),
    ],
)
def test_a_429_names_the_limit_it_speaks_of(words: str, limit: LimitKind | None) -> None:
    message = f"This request would exceed the rate limit for your organization (0b7a) {words}."
    assert failure(an_error(429, "rate_limit_error", message)).limit is limit


@pytest.mark.parametrize(
    ("status", "advice", "kind"),
    [
        (500, "false", FailureKind.REQUEST_REJECTED),
        (500, "true", FailureKind.SERVER_ERROR),
        (422, "true", FailureKind.SERVER_ERROR),
        (422, "false", FailureKind.REQUEST_REJECTED),
        (429, "false", FailureKind.RATE_LIMITED),
        (529, "false", FailureKind.OVERLOADED),
        (401, "true", FailureKind.ENDPOINT_REJECTED),
    ],
)
def test_a_server_may_advise_to_try_again_or_not_to(
    status: int, advice: str, kind: FailureKind
) -> None:
    answer = an_error(status, "whatever_error", headers={"x-should-retry": advice})
    assert failure(answer).kind is kind


def test_a_429_carries_its_wait() -> None:
    limited = an_error(429, "rate_limit_error", headers={"retry-after": "12"})
    assert failure(limited).headers.retry_after_s == 12.0


def test_the_apis_own_error_is_kept_as_it_is() -> None:
    kept = orjson.loads(failure(an_error(400, "invalid_request_error", "max_tokens")).error)
    assert kept == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "max_tokens"},
        "request_id": "req_1",
    }


def test_a_missing_request_id_is_taken_from_the_header() -> None:
    body = {"type": "error", "error": {"type": "api_error", "message": "x"}}
    answer = httpx2.Response(500, json=body, headers={"request-id": "req_9"})
    assert orjson.loads(failure(answer).error)["request_id"] == "req_9"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (413, FailureKind.REQUEST_REJECTED),
        (502, FailureKind.SERVER_ERROR),
        (503, FailureKind.OVERLOADED),
        (520, FailureKind.SERVER_ERROR),
    ],
)
def test_a_page_from_the_edge_is_judged_by_its_status(status: int, kind: FailureKind) -> None:
    assert failure(httpx2.Response(status, html=HTML)).kind is kind


def test_a_403_that_the_api_did_not_write_is_not_said_to_be_the_keys_fault() -> None:
    page = failure(httpx2.Response(403, html=HTML))
    assert page.message == f"a 403 that is not the API's own, but a proxy's or a firewall's: {HTML}"


def test_a_page_becomes_an_error_in_the_apis_shape() -> None:
    error = orjson.loads(failure(httpx2.Response(502, html=HTML)).error)["error"]
    assert error == {"type": "api_error", "message": HTML}


def test_a_long_page_is_cut() -> None:
    long = failure(httpx2.Response(502, text="words " * 1000))
    assert len(long.message) == LONGEST_PAGE + len("...")


@pytest.mark.parametrize(
    "error",
    [
        {"type": "invalid_request_error", "message": "long " * 10_000},
        {"type": "invalid_request_error", "message": "short", "more": "long " * 10_000},
    ],
)
def test_a_long_error_of_the_api_is_cut(error: dict[str, Any]) -> None:
    long = failure(httpx2.Response(400, json={"type": "error", "error": error}))
    kept = orjson.loads(long.error)["error"]
    assert kept == {"type": error["type"], "message": long.message}
    assert len(long.message) <= LONGEST_MESSAGE + len("...")


@pytest.mark.parametrize("charset", ["utf-16", "base64", "zlib", "idna", "undefined", "\xff"])
def test_no_charset_can_do_harm(charset: str) -> None:
    kind = f"text/html; charset={charset}".encode("latin-1")
    page = failure(httpx2.Response(500, content=b"oops", headers=[(b"content-type", kind)]))
    assert (page.kind, page.message) == (FailureKind.SERVER_ERROR, "oops")


@pytest.mark.parametrize("depth", [250, 300, 1000, 1020, 5000])
def test_an_error_that_is_nested_deeply_is_kept_or_cut(depth: int) -> None:
    error = b'{"type":"invalid_request_error","message":"no","x":%b}' % (
        b"[" * depth + b"]" * depth
    )
    deep = failure(httpx2.Response(400, content=b'{"type":"error","error":%b}' % error))
    orjson.loads(b'{"result":{"error":%b}}' % deep.error)
    assert deep.kind is FailureKind.REQUEST_REJECTED


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (
            401,
            {"message": "Incorrect API key", "type": "invalid_request_error", "code": None},
            FailureKind.ENDPOINT_REJECTED,
        ),
        (
            429,
            {"message": "You exceeded your current quota", "code": "insufficient_quota"},
            FailureKind.RUN_REFUSED,
        ),
        (
            429,
            {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"},
            FailureKind.RATE_LIMITED,
        ),
        (
            500,
            {"message": "bad gateway", "type": "invalid_request_error"},
            FailureKind.SERVER_ERROR,
        ),
    ],
)
def test_an_error_in_openais_shape_is_understood(
    status: int, error: dict[str, Any], kind: FailureKind
) -> None:
    assert failure(httpx2.Response(status, json={"error": error})).kind is kind


@pytest.mark.parametrize("body", [b"", b"overloaded", b"[1]", b'"no"', b'{"error":"no"}', b"null"])
def test_any_body_at_all_is_a_failure_with_a_message(body: bytes) -> None:
    assert failure(httpx2.Response(500, content=body)).message


def test_an_error_whose_body_breaks_off_keeps_its_status() -> None:
    cut = httpx2.Response(529, stream=Chunks([b'{"type":'], httpx2.ReadError("reset")))
    assert failure(cut).kind is FailureKind.OVERLOADED


def test_an_error_in_a_broken_encoding_keeps_its_status() -> None:
    garbled = httpx2.Response(529, headers={"content-encoding": "gzip"}, stream=Chunks([b"no"]))
    assert failure(garbled).kind is FailureKind.OVERLOADED


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    moved = httpx2.Response(status, headers={"location": "https://elsewhere.example/v1/messages"})
    gone = failure(moved)
    assert (gone.kind, gone.error_type) == (FailureKind.ENDPOINT_UNUSABLE, "connection_error")
    assert "elsewhere.example" in gone.message


@pytest.mark.parametrize("location", ["https://[bad", "https://a.example:port/", "/login", ""])
def test_a_redirect_to_nowhere_is_still_one(location: str) -> None:
    moved = httpx2.Response(302, headers={"location": location})
    assert failure(moved).kind is FailureKind.ENDPOINT_UNUSABLE


@pytest.mark.parametrize(
    "answer",
    [
        an_error(401, "authentication_error", f"invalid key {KEY}"),
        httpx2.Response(502, text=f"your key {KEY}"),
        httpx2.Response(200, text=f"hello {KEY}"),
        httpx2.Response(500, json={"error": {"message": KEY, "type": "x"}}),
    ],
)
def test_a_key_that_comes_back_is_taken_out(answer: httpx2.Response) -> None:
    echoed = failure(answer)
    assert KEY not in f"{echoed.message}{echoed.error!r}"


def test_a_token_that_the_sdk_fetched_is_taken_out_by_its_shape() -> None:
    echoed = failure(httpx2.Response(500, text="Bearer sk-ant-oat01-abcdefghijklmnop"))
    assert echoed.message == "Bearer [secret]"


def test_a_header_named_by_the_settings_is_taken_out() -> None:
    settings = EndpointSettings(api_key=KEY, headers={"x-team": "team-secret"})
    echoed = failure(httpx2.Response(500, text="x-team: team-secret"), settings=settings)
    assert echoed.message == "x-team: [secret]"
