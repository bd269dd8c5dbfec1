"""What an endpoint offers: an answer to one cheap request, counting, its limits, its batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from claude_batch.config.settings import Settings
from claude_batch.core.catalog.catalog import DEFAULT_MODEL, Catalog, model_class
from claude_batch.core.model.account import Limits
from claude_batch.core.model.requests import Failure, FailureKind, Reply, Request, ResponseHeaders
from claude_batch.ports import Transport

if TYPE_CHECKING:
    from claude_batch.transport.batches import BatchesTransport
    from claude_batch.transport.counting import CountingTransport
    from claude_batch.transport.opening import EndpointTransport

PROBE_S = 30.0
"""How long the one request may take in all."""

_REMEDIES = {
    FailureKind.RATE_LIMITED: "the limit is used up for now: wait, or find out what else uses it",
    FailureKind.RAMP_LIMITED: "usage has grown too quickly: wait some minutes",
    FailureKind.OVERLOADED: "the API is overloaded: try again in some minutes",
    FailureKind.UNREACHABLE: "check the network, and base_url or ANTHROPIC_BASE_URL",
    FailureKind.SERVER_ERROR: "try again in some minutes",
    FailureKind.TIMED_OUT: "try again; a proxy on the way may be holding the answer back",
    FailureKind.INVALID_RESPONSE: "what answers there does not speak the API of its provider: "
    "check base_url and provider",
    FailureKind.REQUEST_REJECTED: "name a model that it serves: --model ID",
    FailureKind.MODEL_FORBIDDEN: "this key may not use this model: name another, or request access",
    FailureKind.ENDPOINT_REJECTED: "the key is wrong, expired or for another endpoint: check the "
    "variable that holds it",
    FailureKind.ENDPOINT_UNUSABLE: "check base_url, the proxy, SSL_CERT_FILE and SSL_CERT_DIR",
    FailureKind.RUN_REFUSED: "the account is not served: check its credit and spend limits",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one endpoint answered for one model, and how long that took."""

    model: str
    outcome: Reply | Failure
    seconds: float

    @property
    def failure(self) -> Failure | None:
        """The failure, if it is one."""
        return self.outcome if isinstance(self.outcome, Failure) else None

    @property
    def headers(self) -> ResponseHeaders:
        """What the headers said, also those of a failure."""
        return self.outcome.headers

    @property
    def reports_limits(self) -> bool:
        """Whether the headers report any limit."""
        return bool(self.headers.limits)

    @property
    def limits(self) -> Limits:
        """The limits that the headers report."""
        found = {reading.kind.value: reading.limit_per_minute for reading in self.headers.limits}
        return Limits(**found)


def models_of(settings: Settings) -> tuple[str, ...]:
    """Return the models that the settings name: the default one first, then those of routes."""
    routed = [route.model for route in settings.routes if route.model is not None]
    return tuple(dict.fromkeys([settings.options.model or DEFAULT_MODEL, *routed]))


def one_per_class(models: Sequence[str], catalog: Catalog) -> tuple[str, ...]:
    """Return the first model of each class: those of one class share their limits."""
    first: dict[str, str] = {}
    for model in models:
        first.setdefault(model_class(model, catalog).name, model)
    return tuple(first.values())


async def probe(transport: Transport, models: Sequence[str]) -> list[Probe]:
    """Request one token of each model, all at once; return the replies, in that order."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_probe(transport, model)) for model in models]
    return [task.result() for task in tasks]


async def _probe(transport: Transport, model: str) -> Probe:
    body = {
        "model": model,
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "hi"}],
    }
    request = Request(
        custom_id="probe",
        line=1,
        model=model,
        max_tokens=1,
        body=orjson.dumps(body),
        input_tokens=8,
    )
    loop = asyncio.get_running_loop()
    began = loop.time()
    outcome = await transport.send(request, timeout_s=PROBE_S)
    return Probe(model=model, outcome=outcome, seconds=loop.time() - began)


def remedy(failure: Failure) -> str:
    """Return what to do about a failure."""
    return remedy_for(failure.kind)


def remedy_for(kind: FailureKind) -> str:
    """Return what to do about failures of a kind."""
    return _REMEDIES[kind]


def counting_of(transport: EndpointTransport) -> CountingTransport | None:
    """Return what an account offers free of charge; None where there are only messages."""
    from claude_batch.transport.counting import CountingTransport  # noqa: PLC0415  # aiohttp: 0.2 s
    from claude_batch.transport.messages import MessagesTransport  # noqa: PLC0415  # as above

    if isinstance(transport, MessagesTransport):
        return CountingTransport(transport.client)
    return None


def batches_of(transport: EndpointTransport) -> BatchesTransport | None:
    """Return the Message Batches API of an endpoint; None where there is certainly none."""
    from claude_batch.transport.batches import BatchesTransport  # noqa: PLC0415  # aiohttp: 0.2 s
    from claude_batch.transport.messages import MessagesTransport  # noqa: PLC0415  # as above

    if isinstance(transport, MessagesTransport) and transport.abilities.batches:
        return BatchesTransport(transport.client)
    return None
