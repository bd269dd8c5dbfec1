"""Both senders send the same, and raise what means the same."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from dataclasses import replace
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.lib.credentials import AccessToken

from claude_batch.core.model.requests import Failure, FailureKind
from claude_batch.transport.clients import Client, EndpointSettings
from claude_batch.transport.network import Answer
from claude_batch.transport.opening import direct_client, needs_sdk, sdk_client
from claude_batch.transport.sdk import OverNetwork, SdkSender
from tests.transport.wire import KEY, Wire, a_message, an_error

PATH = "/v1/messages"
VERSION = {"anthropic-version": "2023-06-01"}
OF_THE_HTTP_CLIENT = {"accept-encoding", "connection"}


def sent(client: Client, method: str, path: str, body: bytes | None) -> Answer | Failure:
    async def go() -> Answer | Failure:
        answer = await client.send(method, path, headers=VERSION, body=body)
        if isinstance(answer, Answer):
            await answer.release()
        await client.close()
        return answer

    return asyncio.run(go())


def post(client: Client) -> Answer | Failure:
    return sent(client, "POST", PATH, b'{"model":"m"}')


@pytest.mark.parametrize(
    "settings",
    [
        EndpointSettings(api_key=KEY),
        EndpointSettings(auth_token=KEY, base_url="https://relay.example/a/b"),
        EndpointSettings(auth_token=KEY, base_url="https://relay.example:8443/a/"),
        EndpointSettings(api_key=KEY, headers={"Accept": "text/plain", "X-Team": "blue"}),
        EndpointSettings(api_key=KEY, headers={"Authorization": "Basic abcdefgh"}),
    ],
)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", PATH, b'{"model":"m"}'),
        ("POST", "/v1/messages/batches/b/cancel", None),
        ("GET", "/v1/models?limit=2&page=p%202", None),
        ("DELETE", "/v1/messages/batches/a%2Fb", None),
    ],
)
def test_both_senders_send_the_same(
    settings: EndpointSettings,
    method: str,
    path: str,
    body: bytes | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-team: red\nX-Note: hi: there")
    ours, sdks = Wire(), Wire()
    sent(direct_client(settings, ours), method, path, body)
    sent(sdk_client(settings, sdks), method, path, body)
    (direct,), (reference,) = ours.sent, sdks.sent
    wanted = {
        name: value
        for name, value in reference.headers.items()
        if not name.startswith("x-stainless") and name not in OF_THE_HTTP_CLIENT
    }
    assert (direct.method, direct.url, direct.content) == (
        reference.method,
        reference.url,
        reference.content,
    )
    mine = {n: v for n, v in direct.headers.items() if n not in OF_THE_HTTP_CLIENT}
    assert mine | {"user-agent": ""} == wanted | {"user-agent": ""}


def test_a_request_says_which_program_it_comes_from() -> None:
    wire = Wire()
    post(direct_client(EndpointSettings(api_key=KEY), wire))
    assert wire.sent[0].headers["user-agent"].startswith("claude-batch/")


@pytest.mark.parametrize(
    ("settings", "needs"),
    [
        (EndpointSettings(api_key=KEY), False),
        (EndpointSettings(auth_token=KEY), False),
        (EndpointSettings(), True),
        (EndpointSettings(headers={"Authorization": "Basic abcdefgh"}), True),
        (EndpointSettings(provider="foundry", api_key=KEY), True),
        (EndpointSettings(provider="openai", base_url="http://127.0.0.1:1"), False),
    ],
)
def test_the_sdk_is_for_what_a_header_cannot_do(settings: EndpointSettings, *, needs: bool) -> None:
    assert needs_sdk(settings) is needs


@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
def test_a_key_of_the_sdks_variables_needs_no_sdk(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, KEY)
    assert not needs_sdk(EndpointSettings())


def test_a_plain_key_does_not_load_the_sdk() -> None:
    script = """
import sys
from claude_batch.transport.clients import EndpointSettings
from claude_batch.transport.opening import open_transport
open_transport(EndpointSettings(api_key="sk-test"))
sys.exit("anthropic" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def with_tokens(wire: Wire, provider: Any) -> Client:
    client = sdk_client(EndpointSettings(api_key=KEY), wire)
    sdk = anthropic.AsyncAnthropic(
        credentials=provider,
        base_url="https://api.example",
        http_client=httpx2.AsyncClient(transport=OverNetwork(wire)),
        max_retries=0,
    )
    return replace(client, sender=SdkSender(sdk, "anthropic"))


def test_a_token_that_was_withdrawn_is_fetched_again_once() -> None:
    given: list[bool] = []

    async def provider(*, force_refresh: bool = False) -> AccessToken:
        given.append(force_refresh)
        return AccessToken(token=f"token-{len(given)}", expires_at=None)

    wire = Wire(answers=[an_error(401, "authentication_error"), a_message()])
    assert isinstance(post(with_tokens(wire, provider)), Answer)
    tokens = [request.headers["authorization"] for request in wire.sent]
    assert tokens == ["Bearer token-1", "Bearer token-2"]
    assert given == [False, True]


def test_a_token_that_is_refused_twice_is_a_401() -> None:
    async def provider(**_: bool) -> AccessToken:
        return AccessToken(token="token", expires_at=None)

    wire = Wire(answer=lambda _: an_error(401, "authentication_error"))
    outcome = post(with_tokens(wire, provider))
    assert isinstance(outcome, Failure)
    assert outcome.status == 401
    assert len(wire.sent) == 2


@pytest.mark.usefixtures("sender")
def test_a_key_that_is_refused_is_refused_at_once() -> None:
    wire = Wire(answer=lambda _: an_error(401, "authentication_error"))
    post(wire.client())
    assert len(wire.sent) == 1


@pytest.mark.parametrize("error", [anthropic.CredentialsError("no token"), KeyError("no token")])
def test_a_credential_that_cannot_be_had_puts_the_endpoint_out(error: Exception) -> None:
    async def provider(**_: bool) -> AccessToken:
        raise error

    wire = Wire()
    outcome = post(with_tokens(wire, provider))
    assert isinstance(outcome, Failure)
    assert not wire.sent
    assert "no token" in outcome.message
    if isinstance(error, anthropic.CredentialsError):
        assert outcome.kind is FailureKind.ENDPOINT_REJECTED


def test_nothing_of_a_prompt_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        post(direct_client(EndpointSettings(api_key=KEY), Wire()))
    assert not any(text in caplog.text for text in (KEY, '"model"'))


@pytest.mark.usefixtures("sender")
def test_closing_a_client_closes_its_connections() -> None:
    wire = Wire()
    asyncio.run(wire.client().close())
    assert wire.closed
