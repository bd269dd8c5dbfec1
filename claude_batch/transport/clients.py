"""The SDK client of an endpoint: the one place that opens it, with the SDK's own retries off.

The engine retries (docs/decisions/0003); redirects are off, so that a key goes nowhere but to
the endpoint it was given for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import anthropic
import httpx2
import orjson

from claude_batch.config import Auth, Provider
from claude_batch.errors import CredentialsMissingError, SettingsError
from claude_batch.transport.providers import (
    ABILITIES,
    Abilities,
    Credential,
    Sdk,
    make_sdk,
    require_extra,
)

OWN_HOST = "api.anthropic.com"
CONNECT_S = 10.0
"""How long making a connection may take. The deadline of a whole attempt is the caller's."""

_SHORTEST_SECRET = 6
_LOOKED_AT, _SHOWN = 10_000, 200
_SECRET_NAME = re.compile(r"auth|key|token|secret|passw|cookie|credential|signature")
"""Headers whose values are secrets, also those of ANTHROPIC_CUSTOM_HEADERS."""
_OWN_KEY = re.compile(r"sk-ant-[A-Za-z0-9_-]{8,}")
"""Keys and tokens of Anthropic, also those that the SDK fetches while a run is going."""
_SECRET = "[secret]"  # noqa: S105  # what stands where one was


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """Where an endpoint is and what opens it. Secrets are values here, and never printed.

    Without `api_key` and `auth_token` the SDK looks for a credential itself (API-FACTS 8.1).
    `models` says what this endpoint calls a model; one that is not in it keeps its name.
    """

    name: str = "default"
    provider: Provider = "anthropic"
    base_url: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    auth_token: str | None = field(default=None, repr=False)
    auth: Auth = "bearer"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrub:
    """Takes secrets out of what is written down: relays echo keys."""

    secrets: tuple[str, ...] = field(repr=False)

    def __call__(self, text: str) -> str:
        """Return `text` without any secret."""
        for secret in self.secrets:
            text = text.replace(secret, _SECRET)
        return _OWN_KEY.sub(_SECRET, text)

    def json(self, raw: bytes) -> bytes:
        """Return JSON without the endpoint's own secrets; almost always that is `raw` itself."""
        for secret in self.secrets:
            raw = raw.replace(secret.encode(), _SECRET.encode())
        return raw


def beginning(body: bytes, scrub: Scrub) -> str:
    """Return how a body that makes no sense begins, scrubbed before it is cut."""
    text = scrub(body[:_LOOKED_AT].decode("utf-8", "replace"))
    return repr(" ".join(text.split())[:_SHOWN]) if text.strip() else "an empty body"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An endpoint's SDK client, where it points to, what it can, and what it calls models."""

    sdk: Sdk
    http: httpx2.AsyncClient
    name: str
    provider: Provider
    host: str
    models: Mapping[str, str]
    scrub: Scrub

    @property
    def abilities(self) -> Abilities:
        """What the provider offers beside plain messages."""
        return ABILITIES[self.provider]

    @property
    def is_anthropic(self) -> bool:
        """Whether prompts go to Anthropic itself."""
        return self.host == OWN_HOST

    def renamed(self, body: bytes, model: str) -> bytes:
        """Return `body` with what this endpoint calls `model`."""
        name = self.models.get(model)
        return body if name is None else orjson.dumps({**orjson.loads(body), "model": name})


def open_client(
    endpoint: EndpointSettings,
    *,
    connections: int,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> Client:
    """Return a client with room for `connections` at a time. Nothing is sent.

    `transport` stands in for the network in tests. Raises CredentialsMissingError, SettingsError.
    """
    refuse_unsendable(endpoint)
    http = open_http(connections=connections, transport=transport)
    try:
        sdk = _open_sdk(endpoint, http)
    except (anthropic.AnthropicError, ValueError) as error:
        raise SettingsError(
            f"endpoint {endpoint.name}: {error}", hint="correct its credential or its base URL"
        ) from error
    refuse_odd_url(endpoint.name, sdk.base_url)
    found = tuple(_sent_secrets(sdk))
    for secret in found:
        _refuse_unsendable(endpoint.name, "its credential", secret)
    return Client(
        sdk=sdk,
        http=http,
        name=endpoint.name,
        provider=endpoint.provider,
        host=host_of(sdk.base_url),
        models=dict(endpoint.models),
        scrub=Scrub(secrets=known_secrets(endpoint, found)),
    )


def open_http(
    *, connections: int, transport: httpx2.AsyncBaseTransport | None = None
) -> httpx2.AsyncClient:
    """Return an HTTP client over aiohttp (half the CPU of the default) that never redirects."""
    return anthropic.DefaultAioHttpClient(
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        timeout=httpx2.Timeout(None, connect=CONNECT_S),
        follow_redirects=False,
        transport=transport,
    )


def refuse_odd_url(name: str, url: httpx2.URL) -> None:
    """Raise SettingsError for a base URL that paths cannot be added to, or that holds a password.

    A key leaves no room for a user and a password.
    """
    if url.query or url.fragment:
        raise SettingsError(
            f"endpoint {name}: base_url holds a query or a fragment: the path of each request "
            "would come after it",
            hint="let the URL end before the ? or #; headers_env can carry what a gateway wants",
        )
    if url.userinfo:
        raise SettingsError(
            f"endpoint {name}: base_url holds a user name or a password, which cannot be sent "
            "beside a key",
            hint="take it out of the URL; headers_env gives a header of your own, such as "
            "Proxy-Authorization, from a variable",
        )


def refuse_unsendable(endpoint: EndpointSettings) -> None:
    """Raise SettingsError for two credentials, or one that no header can carry (not repeated)."""
    if endpoint.api_key and endpoint.auth_token:
        raise SettingsError(
            f"endpoint {endpoint.name}: it has both a key and a token",
            hint="name one of them, by api_key_env or by auth_token_env",
        )
    for what, value in (
        ("its key", endpoint.api_key),
        ("its token", endpoint.auth_token),
        *((f"the header {name}", value) for name, value in endpoint.headers.items()),
    ):
        _refuse_unsendable(endpoint.name, what, value)


def _refuse_unsendable(name: str, what: str, value: str | None) -> None:
    if value and not (value.isascii() and value.isprintable()):
        raise SettingsError(
            f"endpoint {name}: {what} holds a character that no header can carry",
            hint="is there a line break at the end of the variable, or a quotation mark that "
            "a word processor has changed?",
        )


def host_of(url: httpx2.URL) -> str:
    """Return host and port for the screen, without userinfo or path."""
    return url.host if url.port is None else f"{url.host}:{url.port}"


def known_secrets(endpoint: EndpointSettings, sent: Iterable[str | None] = ()) -> tuple[str, ...]:
    """Return what must never be written down, longest first."""
    base_url = httpx2.URL(endpoint.base_url or "")
    candidates = [
        endpoint.api_key,
        endpoint.auth_token,
        base_url.password,
        *endpoint.headers.values(),
        *sent,
    ]
    long = {value for value in candidates if value and len(value) >= _SHORTEST_SECRET}
    return tuple(sorted(long, key=len, reverse=True))


def _open_sdk(endpoint: EndpointSettings, http: httpx2.AsyncClient) -> Sdk:
    credential = Credential(endpoint.api_key, endpoint.auth_token)
    require_extra(endpoint.provider, credential)
    sdk = make_sdk(endpoint.provider, credential, endpoint.base_url, http, endpoint.headers)
    if endpoint.provider != "anthropic":
        return sdk
    key = getattr(sdk, "api_key", None)
    if key and endpoint.auth != "bearer":
        headers = {**endpoint.headers, "X-Api-Key": key}
        if endpoint.auth == "x-api-key":
            headers["Authorization"] = anthropic.omit
        return make_sdk("anthropic", Credential(key, None), endpoint.base_url, http, headers)
    if endpoint.auth != "bearer" and getattr(sdk, "auth_token", None):
        raise SettingsError(
            f"endpoint {endpoint.name}: auth = {endpoint.auth!r} sends a key, but there is only a "
            "token, which goes out as bearer",
            hint="name the variable of a key, api_key_env, or leave auth out",
        )
    _require_credential(sdk)
    return sdk


def _require_credential(sdk: Sdk) -> None:
    names = {name.lower() for name in sdk.default_headers}
    if getattr(sdk, "credentials", None) or names & {"authorization", "x-api-key"}:
        return
    raise CredentialsMissingError(
        "no credential was found: neither ANTHROPIC_API_KEY nor ANTHROPIC_AUTH_TOKEN is set, and "
        "there is no profile (ANTHROPIC_PROFILE)",
        hint="export ANTHROPIC_API_KEY=..., or try claude-batch run --sandbox: no key, no cost",
    )


def _sent_secrets(sdk: Sdk) -> Iterable[str | None]:
    """Yield the secrets that the SDK found by itself, and those in headers it always sends."""
    yield sdk.base_url.password
    yield getattr(sdk, "api_key", None)
    yield getattr(sdk, "auth_token", None)
    for name, value in sdk.default_headers.items():
        if _SECRET_NAME.search(name.lower()) and isinstance(value, str):
            yield value.removeprefix("Bearer ")
