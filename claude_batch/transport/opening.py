"""From the settings of an endpoint to its transport: the one place that chooses by provider."""

from __future__ import annotations

import httpx2

from claude_batch.transport.clients import EndpointSettings, open_client, open_http
from claude_batch.transport.messages import MessagesTransport
from claude_batch.transport.openai_chat import OpenAiTransport

EndpointTransport = MessagesTransport | OpenAiTransport


def open_transport(
    endpoint: EndpointSettings,
    *,
    connections: int,
    network: httpx2.AsyncBaseTransport | None = None,
) -> EndpointTransport:
    """Return the transport of an endpoint. Nothing is sent.

    `network` stands in for the network in tests. Raises CredentialsMissingError, SettingsError.
    """
    if endpoint.provider == "openai":
        return OpenAiTransport(endpoint, open_http(connections=connections, transport=network))
    return MessagesTransport(open_client(endpoint, connections=connections, transport=network))
