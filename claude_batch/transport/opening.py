"""From the settings of an endpoint to its client and its transport. Nothing is sent here."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import assert_never

from yarl import URL

from claude_batch import __version__
from claude_batch.config.secrets import Scrub, named_secrets
from claude_batch.core.model.requests import API_VERSION
from claude_batch.errors import SettingsError
from claude_batch.transport.clients import OWN_HOST, Client, EndpointSettings
from claude_batch.transport.messages import MessagesTransport
from claude_batch.transport.network import ENCODINGS, Connections, Network, proxy_of
from claude_batch.transport.openai_chat import OpenAiTransport
from claude_batch.transport.senders import DirectSender, Sender

EndpointTransport = MessagesTransport | OpenAiTransport

_KEY_VARIABLE, _TOKEN_VARIABLE = "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"  # names
_URL_VARIABLE, _HEADERS_VARIABLE = "ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS"
_URL_HINT = f"correct base_url, or {_URL_VARIABLE}; without either, requests go to {OWN_HOST}"


def open_transport(
    endpoint: EndpointSettings, *, network: Network | None = None
) -> EndpointTransport:
    """Return the transport of an endpoint. Raises CredentialsMissingError, SettingsError."""
    client = open_client(endpoint, network=network)
    return OpenAiTransport(client) if endpoint.provider == "openai" else MessagesTransport(client)


def open_client(endpoint: EndpointSettings, *, network: Network | None = None) -> Client:
    """Return a client; with `network` it sends over that.

    Raises CredentialsMissingError, SettingsError.
    """
    if needs_sdk(endpoint):
        return sdk_client(endpoint, network or Connections(secure=True))
    secure = _base_url(endpoint).scheme == "https"
    return direct_client(endpoint, network or Connections(secure=secure))


def needs_sdk(endpoint: EndpointSettings) -> bool:
    """Whether the SDK has to find the credential, or to sign or rewrite requests."""
    if endpoint.provider == "openai":
        return False
    return endpoint.provider != "anthropic" or not any(_credential(endpoint))


def direct_client(endpoint: EndpointSettings, network: Network) -> Client:
    """Return a client that needs nothing but headers. Raises SettingsError."""
    refuse_unsendable(endpoint)
    key, token = _credential(endpoint)
    of_anthropic = {} if endpoint.provider == "openai" else _anthropic_headers()
    headers = {
        "accept": "application/json",
        "accept-encoding": ENCODINGS,
        "content-type": "application/json",
        "user-agent": f"claude-batch/{__version__}",
        **_authorization(endpoint, key, token),
        **of_anthropic,
        **{name.lower(): value for name, value in endpoint.headers.items()},
    }
    url = _base_url(endpoint)
    sender = DirectSender(network, base_url=url, headers=headers)
    return _client(endpoint, sender, url, found=(key, token, *named_secrets(headers)))


def sdk_client(endpoint: EndpointSettings, network: Network) -> Client:
    """Return a client over the SDK. Raises CredentialsMissingError, SettingsError."""
    from claude_batch.transport import sdk  # noqa: PLC0415  # takes 1 to 2 s, only where needed

    refuse_unsendable(endpoint)
    client = sdk.open_sdk(endpoint, network)
    url = _checked_url(endpoint.name, str(client.base_url))
    sender = sdk.SdkSender(client, endpoint.provider)
    return _client(endpoint, sender, url, found=sdk.secrets_of(client))


def refuse_unsendable(endpoint: EndpointSettings) -> None:
    """Raise SettingsError for two credentials, or one that no header can carry (not repeated)."""
    if endpoint.api_key and endpoint.auth_token:
        raise SettingsError(
            f"endpoint {endpoint.name}: it has both a key and a token",
            hint="name one of them, by api_key_env or by auth_token_env",
        )
    for name, value in endpoint.headers.items():
        _refuse_unsendable(endpoint.name, f"the header {name}", value)
    _refuse_unsendable(endpoint.name, "its key", endpoint.api_key)
    _refuse_unsendable(endpoint.name, "its token", endpoint.auth_token)


def _refuse_unsendable(name: str, what: str, value: str | None) -> None:
    if value and not (value.isascii() and value.isprintable()):
        raise SettingsError(
            f"endpoint {name}: {what} holds a character that no header can carry",
            hint="is there a line break at the end of the variable, or a quotation mark that "
            "a word processor has changed?",
        )


def _client(
    endpoint: EndpointSettings, sender: Sender, url: URL, *, found: Iterable[str | None]
) -> Client:
    """Return the client; `found` are the secrets that will be sent."""
    secrets = [value and value.removeprefix("Bearer ") for value in found]
    for secret in secrets:
        _refuse_unsendable(endpoint.name, "its credential", secret)
    proxy = proxy_of(url)
    return Client(
        sender=sender,
        name=endpoint.name,
        provider=endpoint.provider,
        base_url=url,
        models=dict(endpoint.models),
        scrub=Scrub.of([*endpoint.headers.values(), *secrets, proxy.password if proxy else None]),
    )


def _credential(endpoint: EndpointSettings) -> tuple[str | None, str | None]:
    """Return the key or token that is sent as it is: from the settings, else the SDK's variables.

    Those variables are for Anthropic's API and its relays; all others get only their own.
    """
    if endpoint.api_key or endpoint.auth_token or endpoint.provider != "anthropic":
        return endpoint.api_key, endpoint.auth_token
    key = os.environ.get(_KEY_VARIABLE) or None
    return key, None if key else os.environ.get(_TOKEN_VARIABLE) or None


def _authorization(
    endpoint: EndpointSettings, key: str | None, token: str | None
) -> dict[str, str]:
    """Return the headers that carry the credential, as `auth` of the endpoint says."""
    if endpoint.auth != "bearer" and token:
        raise SettingsError(
            f"endpoint {endpoint.name}: auth = {endpoint.auth!r} sends a key, but there is only a "
            "token, which goes out as bearer",
            hint="name the variable of a key, api_key_env, or leave auth out",
        )
    bearer = {"authorization": f"Bearer {key or token}"} if key or token else {}
    match endpoint.auth:
        case "bearer":
            return bearer
        case "x-api-key":
            return {"x-api-key": key} if key else {}
        case "both":
            return {**bearer, "x-api-key": key} if key else {}
    assert_never(endpoint.auth)


def _anthropic_headers() -> dict[str, str]:
    """Return the API version, and the headers of the SDK's variable: one `Name: value` a line."""
    lines = os.environ.get(_HEADERS_VARIABLE, "").split("\n")
    pairs = (line.partition(":") for line in lines if ":" in line)
    named = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return {"anthropic-version": API_VERSION, **named}


def _base_url(endpoint: EndpointSettings) -> URL:
    """Return where a direct client sends. Raises SettingsError."""
    if endpoint.base_url is not None:
        return _checked_url(endpoint.name, endpoint.base_url)
    if endpoint.provider == "openai":
        raise SettingsError(
            f"endpoint {endpoint.name}: provider = 'openai' needs a base_url",
            hint='for example base_url = "http://localhost:11434/v1"',
        )
    return _checked_url(endpoint.name, os.environ.get(_URL_VARIABLE, f"https://{OWN_HOST}"))


def _checked_url(name: str, text: str) -> URL:
    """Return a base URL that paths can be added to. Raises SettingsError, never with a password."""
    try:
        url = URL(text)
    except ValueError as error:
        raise SettingsError(
            f"endpoint {name}: its base URL is not a URL", hint=_URL_HINT
        ) from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise SettingsError(
            f"endpoint {name}: its base URL does not begin with http:// or https:// and a host"
            if text
            else f"endpoint {name}: its base URL is empty",
            hint=_URL_HINT,
        )
    if url.query_string or url.fragment:
        raise SettingsError(
            f"endpoint {name}: base_url holds a query or a fragment: the path of each request "
            "would come after it",
            hint="let the URL end before the ? or #; headers_env can carry what a gateway wants",
        )
    if url.user or url.password:
        raise SettingsError(
            f"endpoint {name}: base_url holds a user name or a password, which cannot be sent "
            "beside a key",
            hint="take it out of the URL; headers_env gives a header of your own, such as "
            "Proxy-Authorization, from a variable",
        )
    return url
