"""Who serves Claude, through which client of the SDK, and what each of them lacks.

Sources: API-FACTS 8.2, and the SDK's lib/{aws,google_cloud,bedrock,vertex,foundry}. Regions,
projects and workspaces come from the variables that the SDK itself reads.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, assert_never

import anthropic
import httpx2

from claude_batch.config import Provider
from claude_batch.errors import SettingsError

Sdk = (
    anthropic.AsyncAnthropic
    | anthropic.AsyncAnthropicAWS
    | anthropic.AsyncAnthropicGoogleCloud
    | anthropic.AsyncAnthropicBedrock
    | anthropic.AsyncAnthropicVertex
    | anthropic.AsyncAnthropicFoundry
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a provider offers beside plain messages.

    `batches`: the Message Batches API; a relay may lack it all the same (404). `rate_headers`:
    replies tell what is left of the limits. `streams`: long answers can be streamed as events.
    """

    batches: bool = True
    count_tokens: bool = True
    rate_headers: bool = True
    models: bool = True
    streams: bool = True


ABILITIES: Mapping[Provider, Abilities] = {
    "anthropic": Abilities(),
    "aws": Abilities(),
    "google-cloud": Abilities(),
    "bedrock": Abilities(
        batches=False,
        count_tokens=False,
        rate_headers=False,
        models=False,
        streams=False,  # Amazon's own framing, not server-sent events
    ),
    "vertex": Abilities(batches=False, rate_headers=False, models=False),
    "foundry": Abilities(batches=False, rate_headers=False, models=False),
    "openai": Abilities(batches=False, count_tokens=False, rate_headers=False, models=False),
}

JSON_BODY: frozenset[Provider] = frozenset({"bedrock", "vertex"})
"""Providers whose client takes the model out of the body into the URL: it needs JSON, not bytes."""

OLD_API_VERSIONS: Mapping[Provider, str] = {
    "bedrock": "bedrock-2023-05-31",
    "vertex": "vertex-2023-10-16",
}
"""What stands in the body there for the older API version, 2023-06-01."""

_SIGNERS: Mapping[Provider, str] = {
    "aws": "boto3",
    "bedrock": "boto3",
    "vertex": "google.auth",
    "google-cloud": "google.auth",
}
_KEY_VARIABLES: Mapping[Provider, str] = {
    "aws": "ANTHROPIC_AWS_API_KEY",
    "bedrock": "AWS_BEARER_TOKEN_BEDROCK",
}
"""Keys that make signing with Amazon's own credentials needless."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A key or a token, if the settings name one."""

    api_key: str | None
    auth_token: str | None


def make_sdk(
    provider: Provider,
    credential: Credential,
    base_url: str | None,
    http: httpx2.AsyncClient,
    headers: Mapping[str, Any],
) -> Sdk:
    """Return the SDK's client for `provider`. Raises anthropic.AnthropicError, ValueError."""
    key, token = credential.api_key, credential.auth_token
    common: dict[str, Any] = {
        "base_url": base_url,
        "http_client": http,
        "timeout": http.timeout,
        "max_retries": 0,
        "default_headers": headers,
    }
    match provider:
        case "anthropic":
            return anthropic.AsyncAnthropic(api_key=key, auth_token=token, **common)
        case "aws":
            return anthropic.AsyncAnthropicAWS(api_key=key or token, **common)
        case "google-cloud":
            return anthropic.AsyncAnthropicGoogleCloud(token_provider=_giving(token), **common)
        case "bedrock":
            return anthropic.AsyncAnthropicBedrock(api_key=key or token, **common)
        case "vertex":
            return anthropic.AsyncAnthropicVertex(access_token=token, **common)
        case "foundry":
            return anthropic.AsyncAnthropicFoundry(
                api_key=key, azure_ad_token_provider=_giving(token), **common
            )
        case "openai":
            raise ValueError("an OpenAI-compatible endpoint has no client in Anthropic's SDK")
    assert_never(provider)


def require_extra(provider: Provider, credential: Credential) -> None:
    """Raise SettingsError when what signs for `provider` is needed and not installed."""
    library = _SIGNERS.get(provider)
    if library is None or credential.auth_token or _is_installed(library):
        return
    variable = _KEY_VARIABLES.get(provider)
    if variable and (credential.api_key or os.environ.get(variable)):
        return
    raise SettingsError(
        f"provider = {provider!r} needs {library}, which is not installed",
        hint=f"pip install 'claude-batch[{provider}]'",
    )


def _giving(token: str | None) -> Callable[[], Awaitable[str]] | None:
    if token is None:
        return None

    async def give() -> str:
        return token

    return give


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:
        return False
