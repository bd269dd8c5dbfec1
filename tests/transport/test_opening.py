"""Every provider's transport offers what the engine needs."""

from __future__ import annotations

from typing import get_args

import pytest

from claude_batch.config.settings import Provider
from claude_batch.ports import BatchApi, Transport
from claude_batch.transport.batches import BatchesTransport
from claude_batch.transport.clients import ABILITIES, EndpointSettings
from claude_batch.transport.messages import MessagesTransport
from claude_batch.transport.openai_chat import OpenAiTransport
from claude_batch.transport.opening import open_transport
from tests.transport.wire import KEY, Wire


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("ANTHROPIC_AWS_WORKSPACE_ID", "wrkspc_1")
    monkeypatch.setenv("ANTHROPIC_VERTEX_PROJECT_ID", "a-project")
    monkeypatch.setenv("CLOUD_ML_REGION", "global")
    monkeypatch.setenv("ANTHROPIC_GOOGLE_CLOUD_PROJECT", "a-project")


def settings(provider: Provider) -> EndpointSettings:
    is_google = provider in {"vertex", "google-cloud"}
    return EndpointSettings(
        name="main",
        provider=provider,
        base_url="https://gate.example",
        api_key=None if is_google else KEY,
        auth_token=KEY if is_google else None,
    )


@pytest.mark.parametrize("provider", get_args(Provider))
def test_a_provider_is_opened_by_its_name(provider: Provider) -> None:
    transport: Transport = open_transport(settings(provider))
    kind = OpenAiTransport if provider == "openai" else MessagesTransport
    assert isinstance(transport, kind)
    assert transport.name == "main"


@pytest.mark.parametrize("provider", get_args(Provider))
def test_a_transport_tells_where_it_leads_and_what_it_can(provider: Provider) -> None:
    transport = open_transport(settings(provider))
    assert (transport.host, transport.is_anthropic, transport.abilities) == (
        "gate.example",
        False,
        ABILITIES[provider],
    )


def test_batches_offer_what_the_engine_needs() -> None:
    api: BatchApi = BatchesTransport(Wire().client())
    assert api.name == "default"
