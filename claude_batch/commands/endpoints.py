"""The endpoints of the settings as core knows them: where they are, whose limits they draw on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from claude_batch.commands.api import Api
from claude_batch.config.options import Options
from claude_batch.config.settings import Endpoint, Settings
from claude_batch.core.catalog.catalog import Catalog
from claude_batch.core.catalog.serving import Serves, is_claude
from claude_batch.core.model.account import Limits
from claude_batch.core.model.adjustment import Bounds
from claude_batch.core.planning.limits import KnownEndpoint, ReportedLimits, stated_limits
from claude_batch.core.scheduling.pool import EndpointSpec, Role

_URL_VARIABLES = {
    "anthropic": "ANTHROPIC_BASE_URL",
    "aws": "ANTHROPIC_AWS_BASE_URL",
    "google-cloud": "ANTHROPIC_GOOGLE_CLOUD_BASE_URL",
    "bedrock": "ANTHROPIC_BEDROCK_BASE_URL",
    "vertex": "ANTHROPIC_VERTEX_BASE_URL",
    "foundry": "ANTHROPIC_FOUNDRY_BASE_URL",
}
"""What the SDK reads where the settings name no base_url."""

_DEFAULT_URLS = {"anthropic": "https://api.anthropic.com"}
_OWN = "anthropic api.anthropic.com"
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def endpoint_specs(
    api: Api, options: Options, catalog: Catalog, serving: Mapping[str, Serves]
) -> tuple[EndpointSpec, ...]:
    """Return the endpoints that `api` has opened, in the order of the settings.

    `serving` says which models they are asked for; one that it does not name: for any.
    """
    if api.sandbox:
        return (EndpointSpec(name=api.transport.name, host=api.transport.host),)
    return tuple(
        endpoint_spec(each, options, catalog, serving.get(each.name)) for each in api.endpoints
    )


def endpoint_spec(
    endpoint: Endpoint, options: Options, catalog: Catalog, serves: Serves | None
) -> EndpointSpec:
    """Return an endpoint as the settings describe it."""
    stated, tier = _stated(endpoint), endpoint.tier or options.tier
    return EndpointSpec(
        name=endpoint.name,
        host=_host(endpoint, os.environ),
        limit_group=endpoint.limit_group,
        role=Role(endpoint.role),
        initial_limits=lambda model: stated_limits(stated, tier, model, catalog),
        serves=serves,
    )


def serves_by_settings(endpoint: Endpoint) -> Serves:
    """Return which models an endpoint, one of several, is asked for as its settings say.

    One that speaks another API is asked for no Claude unless it is named. A relay, and any cloud,
    is: unless the settings say which models there are.
    """
    named = frozenset([*endpoint.models, *endpoint.models.values()])
    is_relay = endpoint.provider == "anthropic" and _host(endpoint, os.environ) != _OWN
    return Serves(
        named=named,
        claude=endpoint.provider != "openai" and not (is_relay and named),
        anything=endpoint.serves_any,
    )


def sold_as(endpoint: Endpoint, model: str) -> str:
    """Return the name whose price an endpoint's answers have; "" where there is none.

    What is called differently at a server that is not Claude's has the price of that name, if the
    price list has it; so has a Claude that an OpenAI-compatible server was only asked for.
    """
    called = endpoint.models.get(model)
    if endpoint.provider == "openai":
        return called or ("" if is_claude(model) else model)
    is_other = endpoint.provider == "anthropic" and called is not None and not is_claude(called)
    return called if is_other and called else model


def known_endpoints(
    settings: Settings, reported: Mapping[str, ReportedLimits], catalog: Catalog
) -> list[KnownEndpoint]:
    """Return the primary endpoints with what is known of their limits; `reported` is by name."""
    primary = [each for each in settings.endpoints if each.role == "primary"]
    return [
        KnownEndpoint(
            spec=endpoint_spec(
                endpoint,
                settings.options,
                catalog,
                serves_by_settings(endpoint) if len(settings.endpoints) > 1 else None,
            ),
            tier=endpoint.tier or settings.options.tier,
            stated=_stated(endpoint),
            reported=reported.get(endpoint.name, ReportedLimits()),
        )
        for endpoint in primary or settings.endpoints
    ]


def ceilings(options: Options) -> Limits:
    """Return the user's own limits, which no minute exceeds."""
    return Limits(requests=options.rpm, input_tokens=options.itpm, output_tokens=options.otpm)


def bounds_of(options: Options, api: Api) -> Bounds:
    """Return the user's bounds on a run, as far as the machine allows them."""
    return Bounds(
        ceilings=ceilings(options),
        share=options.share,
        concurrency=api.at_once(options.concurrency),
        max_cost_usd=options.max_cost,
    )


def _stated(endpoint: Endpoint) -> Limits:
    return Limits(requests=endpoint.rpm, input_tokens=endpoint.itpm, output_tokens=endpoint.otpm)


def _host(endpoint: Endpoint, environment: Mapping[str, str]) -> str:
    """Return the provider, and host and port as far as they can be known without its SDK."""
    provider = endpoint.provider
    url = urlsplit(
        endpoint.base_url
        or environment.get(_URL_VARIABLES.get(provider, ""))
        or _DEFAULT_URLS.get(provider, "")
    )
    host = url.netloc.rpartition("@")[2].lower().removesuffix(_DEFAULT_PORTS.get(url.scheme, ":"))
    return f"{provider} {host}"
