"""An endpoint and how it is spoken to: its settings, what it offers, and one request to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson
from yarl import URL

from claude_batch.config.secrets import Scrub
from claude_batch.config.settings import Auth, Provider
from claude_batch.core.model.raw_json import members, object_of
from claude_batch.core.model.requests import Failure
from claude_batch.transport.failures import error_failure, failure_of
from claude_batch.transport.network import Answer, Body
from claude_batch.transport.senders import Sender

OWN_HOST = "api.anthropic.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """Where an endpoint is and what opens it. Secrets are values here, and never printed.

    Without `api_key` and `auth_token` a credential is looked for as the SDK does
    (docs/claude-api.md, "Credentials"). `models` says what this endpoint calls a model; one that is
    not in it keeps its name.
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
class Abilities:
    """What a provider offers beside plain messages.

    `batches`: the Message Batches API; a relay may lack it all the same (404). `rate_headers`:
    replies report what is left of the limits. `streams`: long answers can be streamed as events.
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
"""By provider. Source: docs/claude-api.md, "Cloud providers"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An endpoint that requests can be sent to."""

    sender: Sender
    name: str
    provider: Provider
    base_url: URL
    models: Mapping[str, str]
    scrub: Scrub

    @property
    def host(self) -> str:
        """Host and port, for the screen."""
        host, port = self.base_url.host or "", self.base_url.port
        return host if self.base_url.is_default_port() else f"{host}:{port}"

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
        return (
            body
            if name in {None, model}
            else object_of(members(body) | {"model": orjson.dumps(name)})
        )

    async def send(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: Body | None = None,
    ) -> Answer | Failure:
        """Send once; return a good answer, its body still to be read, or the failure.

        The one place where an exception of sending, or an error status, becomes a failure. Header
        names are in lower case. The caller releases the answer.
        """
        try:
            answer = await self.sender.send(method, path, headers=headers or {}, body=body)
        except Exception as error:  # noqa: BLE001  # an aiohttp or SDK error, or a cloud library's
            return failure_of(error, self.scrub)
        return answer if answer.is_good else await error_failure(answer, self.scrub)

    async def close(self) -> None:
        """Close all connections."""
        await self.sender.close()
