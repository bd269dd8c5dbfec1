"""The SDK client of an endpoint: the one place that makes it, with the SDK's own retries off.

The engine retries (docs/decisions/0003); redirects are off, so that a key goes nowhere but to
the endpoint it was given for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import anthropic
import httpx2

from claude_batch.errors import CredentialsMissingError, SettingsError

OWN_HOST = "api.anthropic.com"
CONNECT_S = 10.0
"""How long making a connection may take. The deadline of a whole attempt is the caller's."""

Auth = Literal["bearer", "x-api-key", "both"]

_SHORTEST_SECRET = 6
_SECRET_HEADERS = {"authorization", "x-api-key", "proxy-authorization", "cookie"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """Where an endpoint is and what opens it. Secrets are values here, and never printed.

    Without `api_key` and `auth_token` the SDK looks for a credential itself (API-FACTS 8.1).
    """

    name: str = "default"
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    auth_token: str | None = field(default=None, repr=False)
    auth: Auth = "bearer"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An endpoint's SDK client, where it points to, and what must never be written down."""

    sdk: anthropic.AsyncAnthropic
    name: str
    host: str
    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    @property
    def is_anthropic(self) -> bool:
        """Whether prompts go to Anthropic itself."""
        return self.host == OWN_HOST

    def scrub(self, text: str) -> str:
        """Return `text` without any secret: relays echo keys."""
        for secret in self.secrets:
            text = text.replace(secret, "[secret]")
        return text


def open_client(
    endpoint: EndpointSettings,
    *,
    connections: int,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> Client:
    """Return a client with room for `connections` at a time. Nothing is sent.

    `transport` stands in for the network in tests. Raises CredentialsMissingError, SettingsError.
    """
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    timeout = httpx2.Timeout(None, connect=CONNECT_S)
    http_client = anthropic.DefaultAioHttpClient(
        limits=limits, timeout=timeout, follow_redirects=False, transport=transport
    )
    try:
        sdk = anthropic.AsyncAnthropic(
            api_key=endpoint.api_key,
            auth_token=endpoint.auth_token,
            base_url=endpoint.base_url,
            max_retries=0,
            timeout=timeout,
            http_client=http_client,
        )
    except (anthropic.AnthropicError, ValueError) as error:
        raise SettingsError(
            f"endpoint {endpoint.name}: {error}", hint="correct its credential or its base URL"
        ) from error
    headers = {**endpoint.headers, **_key_headers(sdk, endpoint.auth)}
    _require_credential(sdk, headers)
    return Client(
        sdk=sdk,
        name=endpoint.name,
        host=_host(sdk.base_url),
        headers=headers,
        secrets=_secrets(sdk, endpoint, headers),
    )


def _key_headers(sdk: anthropic.AsyncAnthropic, auth: Auth) -> dict[str, str]:
    """Return the headers for servers that read the key where SDK 2 does not put it."""
    return {"x-api-key": sdk.api_key} if sdk.api_key and auth != "bearer" else {}


def _require_credential(sdk: anthropic.AsyncAnthropic, headers: Mapping[str, str]) -> None:
    given = {name.lower() for name in [*headers, *sdk.default_headers]}
    if sdk.api_key or sdk.auth_token or sdk.credentials or given & {"authorization", "x-api-key"}:
        return
    raise CredentialsMissingError(
        "no credential was found: neither ANTHROPIC_API_KEY nor ANTHROPIC_AUTH_TOKEN is set, and "
        "there is no profile (ANTHROPIC_PROFILE)",
        hint="export ANTHROPIC_API_KEY=..., or try it without a key and at no cost: --sandbox",
    )


def _host(url: httpx2.URL) -> str:
    """Return host and port for the screen, without userinfo or path."""
    return url.host if url.port is None else f"{url.host}:{url.port}"


def _secrets(
    sdk: anthropic.AsyncAnthropic, endpoint: EndpointSettings, headers: Mapping[str, str]
) -> tuple[str, ...]:
    custom = {name: str(value) for name, value in sdk.default_headers.items()}
    named = [value for name, value in custom.items() if name.lower() in _SECRET_HEADERS]
    base_url = httpx2.URL(endpoint.base_url or "")
    candidates = [
        sdk.api_key,
        sdk.auth_token,
        sdk.base_url.password,
        base_url.password,
        *endpoint.headers.values(),
        *headers.values(),
        *(value.removeprefix("Bearer ") for value in named),
    ]
    long = {value for value in candidates if value and len(value) >= _SHORTEST_SECRET}
    return tuple(sorted(long, key=len, reverse=True))
