"""The direct door sends what the SDK would send."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.lib.credentials import AccessToken

from claude_batch.transport.clients import Client, EndpointSettings
from claude_batch.transport.doors import DirectDoor, Door, SdkDoor
from tests.transport.wire import KEY, Wire, a_message, an_error

PATH = "/v1/messages"
VERSION = {"anthropic-version": "2026-10-21"}
ABOUT_THE_SDKS_OWN_RETRIES = {
    "x-stainless-retry-count",
    "x-stainless-timeout",
    "x-stainless-read-timeout",
    "x-stainless-raw-response",
}


def posted(make: Callable[[Client], Door], settings: EndpointSettings) -> httpx2.Request:
    wire = Wire()
    post(make(wire.client(settings)))
    return wire.sent[0]


def post(door: Door) -> httpx2.Response:
    return asyncio.run(_post(door))


async def _post(door: Door) -> httpx2.Response:
    response = await door.post(PATH, b'{"model":"m"}', headers=VERSION)
    await response.aclose()
    return response


@pytest.mark.parametrize(
    "settings",
    [
        EndpointSettings(api_key=KEY),
        EndpointSettings(auth_token=KEY, base_url="https://relay.example/a/b"),
        EndpointSettings(api_key=KEY, auth="x-api-key", headers={"X-Team": "blue"}),
        EndpointSettings(api_key=KEY, auth="both", headers={"accept": "text/plain"}),
    ],
)
def test_both_doors_send_the_same(settings: EndpointSettings) -> None:
    direct, sdks = posted(DirectDoor, settings), posted(SdkDoor, settings)
    wanted = {n: v for n, v in sdks.headers.items() if n not in ABOUT_THE_SDKS_OWN_RETRIES}
    assert (direct.method, direct.url, direct.content) == (sdks.method, sdks.url, sdks.content)
    assert dict(direct.headers) == wanted


@pytest.mark.parametrize("make", [DirectDoor, SdkDoor])
def test_both_doors_raise_the_same_for_a_status(make: Callable[[Client], Door]) -> None:
    wire = Wire(answer=lambda _: an_error(529, "overloaded_error"))
    with pytest.raises(anthropic.OverloadedError) as raised:
        post(make(wire.client()))
    assert isinstance(raised.value.body, dict)


@pytest.mark.parametrize("make", [DirectDoor, SdkDoor])
@pytest.mark.parametrize(
    ("thrown", "expected"),
    [
        (httpx2.ReadTimeout("slow"), anthropic.APITimeoutError),
        (httpx2.ConnectError("refused"), anthropic.APIConnectionError),
        (ConnectionResetError("reset"), anthropic.APIConnectionError),
        (httpx2.RemoteProtocolError("garbage"), anthropic.APIConnectionError),
    ],
)
def test_both_doors_raise_the_same_for_the_network(
    make: Callable[[Client], Door], thrown: Exception, expected: type[Exception]
) -> None:
    def throw(_: httpx2.Request) -> httpx2.Response:
        raise thrown

    with pytest.raises(expected):
        post(make(Wire(answer=throw).client()))


def with_tokens(wire: Wire, provider: Any) -> Client:
    client = wire.client()
    sdk = anthropic.AsyncAnthropic(
        credentials=provider,
        base_url="https://api.example",
        http_client=client.http,
        max_retries=0,
    )
    return replace(client, sdk=sdk)


def test_a_token_that_was_taken_back_is_fetched_anew_once() -> None:
    given: list[bool] = []

    async def provider(*, force_refresh: bool = False) -> AccessToken:
        given.append(force_refresh)
        return AccessToken(token=f"token-{len(given)}", expires_at=None)

    wire = Wire(answers=[an_error(401, "authentication_error"), a_message()])
    assert post(DirectDoor(with_tokens(wire, provider))).is_success
    sent = [request.headers["authorization"] for request in wire.sent]
    assert sent == ["Bearer token-1", "Bearer token-2"]
    assert given == [False, True]


def test_a_token_that_is_refused_twice_is_a_401() -> None:
    async def provider(**_: bool) -> AccessToken:
        return AccessToken(token="token", expires_at=None)

    wire = Wire(answer=lambda _: an_error(401, "authentication_error"))
    with pytest.raises(anthropic.AuthenticationError):
        post(DirectDoor(with_tokens(wire, provider)))
    assert len(wire.sent) == 2


def test_a_key_that_is_refused_is_a_401_at_once() -> None:
    wire = Wire(answer=lambda _: an_error(401, "authentication_error"))
    with pytest.raises(anthropic.AuthenticationError):
        post(DirectDoor(wire.client()))
    assert len(wire.sent) == 1


def test_credentials_that_cannot_be_had_are_the_sdks_error() -> None:
    async def provider(**_: bool) -> AccessToken:
        raise anthropic.CredentialsError("no identity token")

    with pytest.raises(anthropic.CredentialsError):
        post(DirectDoor(with_tokens(Wire(), provider)))


def test_nothing_of_a_prompt_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        posted(DirectDoor, EndpointSettings(api_key=KEY))
    assert not any(text in caplog.text for text in (KEY, '"model"'))
